"""The suite for algorithms notices what it promises to notice: one broken learner for each check."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contract import algorithm_checks as checks
from tests.contract.algorithm_checks import ALGORITHM_CHECKS, AlgorithmCase

from components.batch import Batch
from components.returns import Outcome
from learners.base import Prediction
from learners.q_learner import QLearner


class NotANumber(QLearner):
    def predict(self, batch: Batch, t_env: int) -> Prediction:
        found = super().predict(batch, t_env)
        return replace(found, metrics={**found.metrics, "share": torch.tensor(0.0) / 0})


class OwnRandomness(QLearner):
    def reward(self, batch: Batch, *members: Any) -> torch.Tensor:
        return super().reward(batch, *members) + random.SystemRandom().random()  # Sacred seeds the others


class Forgetful(QLearner):
    """Counts its batches, and does not save the number."""

    seen = 0

    def predict(self, batch: Batch, t_env: int) -> Prediction:
        self.seen += 1
        return super().predict(replace(batch, obs=batch.obs + self.seen), t_env)


class Weighty(QLearner):
    def predict(self, batch: Batch, t_env: int) -> Prediction:
        return super().predict(replace(batch, weight=torch.ones_like(batch.weight)), t_env)


class Endless(QLearner):
    def outcomes(self, batch: Batch, t_env: int) -> list[Outcome]:
        return super().outcomes(replace(batch, terminated=torch.zeros_like(batch.terminated)), t_env)


class Divides(QLearner):
    def predict(self, batch: Batch, t_env: int) -> Prediction:
        found = super().predict(batch, t_env)
        problem = found.problems[0]
        return replace(found, problems=[replace(problem, value=problem.value / batch.alive.sum() * batch.alive.sum())])


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        (checks.a_run_learns_and_is_recorded, NotANumber, "share: not finite. Look for 0/0"),
        (checks.same_seed_same_run, OwnRandomness, "two runs with seed 1 differ in"),
        (checks.a_resumed_run_equals_the_whole_one, Forgetful, "a resumed run differs from the whole one in"),
        (checks.transitions_without_weight_teach_nothing, Weighty, "the loss depends on transitions of weight 0"),
        (checks.nothing_follows_a_true_end, Endless, r"outcomes\(\)\[0\].discount is not 0 in terminated transitions"),
        (checks.nobody_alive_is_no_error, Divides, "the loss is nan where all agents are dead"),
    ],
)
def test_broken_learner_is_noticed(
    check: Callable[[AlgorithmCase, Path], None], broken: type, message: str, tmp_path: Path
) -> None:
    config = tmp_path / "broken.yaml"
    config.write_text(f"base: iql\nlearner: {__name__}:{broken.__name__}\n")
    with pytest.raises(AssertionError, match=message):
        check(AlgorithmCase(str(config), "bar", "replay"), tmp_path)


def test_every_check_has_a_broken_learner() -> None:
    marks = [mark for mark in test_broken_learner_is_noticed.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {row[0] for row in marks[0].args[1]} == set(ALGORITHM_CHECKS)
