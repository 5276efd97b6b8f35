"""The contract suite notices what it promises to notice: one broken environment for each check."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contract import checks
from tests.contract.cases import asked_for
from tests.contract.checks import CHECKS, Case
from tests.support.paths import ROOT
from torch import Tensor

from components.batch import Step
from envs.bar import Bar
from envs.base import Env
from envs.matrix_game import MatrixGame
from utils.errors import InputError

CPU = torch.device("cpu")
ARGS = {"n_agents": 5, "capacity": 3, "episode_limit": 4}


class Spoilt(Bar):
    """Bar, with every row passed through ``spoil``."""

    def spoil(self, row: Step, first: Tensor) -> Step:
        return row

    def reset(self, seed: int) -> Step:
        return self.spoil(super().reset(seed), torch.ones(self.n_envs, dtype=torch.bool))

    def step(self, action: Tensor) -> Step:
        first = self._state["done"]
        return self.spoil(super().step(action), first)


class NoActions(Bar):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.info = replace(self.info, n_actions=0)


class NoKindZero(Bar):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.info = replace(self.info, kinds=(1, 1, 2, 2, 2))


class DoubleReward(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, reward=row.reward.double())


class NoStats(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, info={})


class OneStatForAll(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, info={key: value[:1] for key, value in row.info.items()})


class Lossy(Spoilt):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.info = replace(self.info, compact_dim=1)

    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, compact=torch.zeros(self.n_envs, 1, dtype=torch.int16))

    def observations(self, compact: Tensor) -> Tensor:
        return torch.full((len(compact), self.info.n_agents, *self.info.obs_shape), 0.5)


class NotANumber(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, info=row.info | {"payoff": row.info["payoff"] / 0})


class Stuck(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, avail=torch.zeros(*row.alive.shape, 2, dtype=torch.bool))


class SeeingDead(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, alive=row.obs[..., 0] == 0)


class PaidDead(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        dead = torch.zeros_like(row.alive)
        return replace(row, alive=dead, obs=torch.zeros_like(row.obs))


class RewardedFirst(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, reward=row.reward + first.unsqueeze(1))


class StillDone(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, terminated=row.terminated | first)


class DeadAtFirst(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, alive=row.alive & ~first.unsqueeze(1))


class BothEnds(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, terminated=row.truncated)


class NoLimit(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, truncated=torch.zeros_like(row.truncated))


class ActsTooEarly(Bar):
    def step(self, action: Tensor) -> Step:
        return replace(super().step(action), obs=action.unsqueeze(2).float())


class OwnRandomness(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        return replace(row, obs=torch.rand_like(row.obs))


class DeafToSeeds(Bar):
    def reset(self, seed: int) -> Step:
        return super().reset(0)


class Clones(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        same = {key: value[:1].expand_as(value) for key, value in row.info.items()}
        return replace(row, obs=row.obs[:1].expand_as(row.obs), info=same)


class Forgetful(Bar):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state | {"generator": torch.Generator().get_state()})


class SharedState(Bar):
    def state_dict(self) -> dict[str, Any]:
        return {"env": self}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(Bar.state_dict(state["env"]))


class ReusedBuffer(Spoilt):
    def spoil(self, row: Step, first: Tensor) -> Step:
        self.buffer: Tensor = getattr(self, "buffer", torch.zeros_like(row.obs))
        return replace(row, obs=self.buffer.copy_(row.obs))


class AcceptsNone(Bar):
    def __init__(self, n_envs: int, device: torch.device, **kwargs: Any) -> None:
        super().__init__(max(n_envs, 1), device, **kwargs)


class AcceptsAnything(Bar):
    def step(self, action: Tensor) -> Step:
        return super().step(action[:, :5])


class Crashes(Bar):
    def _checked(self, action: Tensor) -> Tensor:
        raise RuntimeError("segmentation fault")


class ClosesOnce(Bar):
    closed = False

    def close(self) -> None:
        assert not self.closed, "already closed"
        self.closed = True


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        (checks.info_is_sound, NoActions, "EnvInfo.n_actions is 0"),
        (checks.info_is_sound, NoKindZero, "EnvInfo.kinds is .* the kind of each of 5 agents"),
        (checks.shapes_and_dtypes, DoubleReward, "Step.reward has dtype torch.float64, expected torch.float32"),
        (checks.shapes_and_dtypes, NoStats, "Make EnvInfo.stats, has_avail, has_position and compact_dim agree"),
        (checks.shapes_and_dtypes, OneStatForAll, r"Step.info\[attendance\] has shape \(1,\), expected \(3,\)"),
        (checks.numbers_are_finite, NotANumber, r"Step.info\[payoff\] is not finite"),
        (checks.compact_rows_hold_the_observations, Lossy, r"row 0: observations\(Step.compact\) differs"),
        (checks.the_living_can_act, Stuck, "a living agent has no available action"),
        (checks.the_dead_see_and_earn_nothing, SeeingDead, "row 0: a dead agent observes something"),
        (checks.the_dead_see_and_earn_nothing, PaidDead, "dead before the step is rewarded"),
        (checks.first_rows, RewardedFirst, "row 0 is the first of an episode, but carries a reward"),
        (checks.first_rows, StillDone, "row 0 is the first of an episode, but is terminated"),
        (checks.first_rows, DeadAtFirst, "nobody is alive in it"),
        (checks.episodes_end, BothEnds, "row 4 is terminated and truncated at once"),
        (checks.episodes_end, NoLimit, "goes on after EnvInfo.episode_limit = 4 steps"),
        (checks.ignored_actions, ActsTooEarly, "Step.obs of row 5 depends on the actions"),
        (checks.same_seed_same_trajectory, OwnRandomness, "Step.obs of row 0 differs between two runs"),
        (checks.seeds_differ, DeafToSeeds, "seeds 1 and 2 give the same trajectory"),
        (checks.copies_differ, Clones, "all parallel copies play the same game"),
        (checks.continues_from_its_state, Forgetful, "after load_state_dict"),
        (checks.continues_from_its_state, SharedState, "must hold a copy of all state"),
        (checks.rows_stay_as_they_were, ReusedBuffer, "Step.obs of row 0 changed after it was returned"),
        (checks.any_number_of_copies, AcceptsNone, "n_envs=0 was accepted"),
        (checks.bad_actions_are_refused, AcceptsAnything, r"shape \(3, 6\) were accepted for 5 agents"),
        (checks.bad_actions_are_refused, Crashes, r"raised RuntimeError \(segmentation fault\)"),
        (checks.closes_twice, ClosesOnce, "already closed"),
    ],
)
def test_broken_environment_is_noticed(check: Callable[[Case], None], broken: type[Env], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(Case("broken", broken, ARGS))


def test_numbers_that_no_seed_decides_are_called_that_by_every_check() -> None:
    """And by the one for seeds first, which explains the others."""
    failed = dict[Callable[[Case], None], str]()
    for check in CHECKS:
        try:
            check(Case("broken", OwnRandomness, ARGS))
        except AssertionError as error:
            failed[check] = str(error)
    assert [*failed] == [checks.same_seed_same_trajectory, checks.ignored_actions, checks.continues_from_its_state]
    assert all("differs between two runs from reset(seed=1)" in message for message in failed.values())


def test_every_check_has_a_broken_environment() -> None:
    marks = [mark for mark in test_broken_environment_is_noticed.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {row[0] for row in marks[0].args[1]} == set(CHECKS)


def test_a_class_that_the_suite_cannot_read_is_one_line(tmp_path: Path) -> None:
    text = "from envs.base import Env\nclass Mine(Env):\n    def __init__(self, n_envs, device, *, size): pass\n"
    (tmp_path / "mine.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/contract", "--env=mine:Mine"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: Mine: the keyword-only parameter size is a configuration key" in done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr


def test_the_suite_takes_files_and_names_of_configurations_as_main_does(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"env: {__name__}:NoKindZero\nenv_args: {ARGS}\n")
    found = asked_for(str(tmp_path / "mine.yaml"), ["capacity=2"], CPU, False)
    assert (found.name, found.cls.__name__, found.args) == ("mine", "NoKindZero", ARGS | {"capacity": 2})
    found = asked_for("hawk_dove", [], CPU, False)
    assert (found.cls, found.args["game"], found.same_start) == (MatrixGame, "hawk_dove", True)


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("env_args: {}", [], r"mine.yaml: env expects str, got None"),
        ("env: bar\nenv_args: 3", [], "mine.yaml: env_args expects dict, got 3"),
        ("env: bar", [], r"mine.yaml: expected the env_args \['capacity', .*\], got \[\]. Write them in a YAML file"),
        ("env: bar", ["capacity"], "expected key=value after with, got 'capacity'"),
        (None, [], "expected a file .*mine.yaml, there is none in"),
    ],
)
def test_a_file_that_the_suite_cannot_use_is_one_line(
    text: str | None, words: list[str], message: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        asked_for(str(tmp_path / "mine.yaml"), words, CPU, False)
