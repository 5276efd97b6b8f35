"""Every promise of an algorithm, for ``--alg``'s; tests/smoke takes all registered ones through whole runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.algorithm_checks import ALGORITHM_CHECKS, AlgorithmCase


@pytest.mark.parametrize("check", ALGORITHM_CHECKS, ids=lambda check: check.__name__)
def test_contract(algorithm_case: AlgorithmCase, check: Callable[[AlgorithmCase, Path], None], tmp_path: Path) -> None:
    check(algorithm_case, tmp_path)
