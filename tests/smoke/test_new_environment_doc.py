"""The templates of docs/new_environment.md are sound environments."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml
from tests.contract.checks import CHECKS, Case
from tests.support.paths import ROOT

DOC = (ROOT / "docs" / "new_environment.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


def documented() -> dict[str, Any]:
    """What the Python blocks define, in order."""
    names: dict[str, Any] = {}
    for text in blocks("python"):
        exec(text, names)
    return names


@pytest.mark.parametrize("name", ["Guess", "Elimination"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_templates_pass_the_contract(check: Callable[[Case], None], name: str) -> None:
    check(Case(name, documented()[name], yaml.safe_load(blocks("yaml")[0])["env_args"]))


def test_who_names_a_wrong_number_is_out() -> None:
    env = documented()["Elimination"](1, torch.device("cpu"), n_agents=3, n_numbers=9, episode_limit=20)
    row = env.reset(seed=0)
    right = row.obs[..., 0].long()
    row = env.step(torch.stack([right[0, 0], (right[0, 1] + 1) % 9, right[0, 2]])[None])
    assert (row.alive.tolist(), row.reward.tolist()) == ([[True, False, True]], [[1.0, 0.0, 1.0]])
    assert row.info["correct"].tolist() == [2.0]
    right = env._state["number"]  # of the dead, too
    row = env.step(torch.stack([(right[0, 0] + 1) % 9, right[0, 1], (right[0, 2] + 1) % 9])[None])
    assert (row.terminated.tolist(), row.reward.tolist(), row.info["correct"].tolist()) == ([True], [[0.0] * 3], [2.0])
    assert env.step(torch.zeros(1, 3, dtype=torch.int64)).alive.all()
