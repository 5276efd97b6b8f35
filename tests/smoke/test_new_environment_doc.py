"""The template of docs/new_environment.md is a sound environment."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.contract.checks import CHECKS, Case
from tests.support.paths import ROOT

DOC = (ROOT / "docs" / "new_environment.md").read_text()


def block(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", DOC, re.DOTALL)
    assert match is not None
    return match.group(1)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_template_passes_the_contract(check: Callable[[Case], None]) -> None:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    check(Case("guess", names["Guess"], yaml.safe_load(block("yaml"))["env_args"]))
