"""Every promise of the environment contract, for every registered environment or for ``--env``'s."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.contract.checks import CHECKS, Case


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(env_case: Case, check: Callable[[Case], None]) -> None:
    check(env_case)
