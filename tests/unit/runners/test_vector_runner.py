"""The runner, by hand: what it tells the controller, which transitions and which episodes it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from components.batch import EnvInfo, Memory, Step
from components.rows import Rows
from controllers.basic_controller import BasicMAC
from envs.base import Env, EnvError
from runners.vector_runner import VectorRunner


class Scripted(Env):
    """Copy e's k-th episode has ``lengths[e][k]`` steps; each pays 1 to the one agent."""

    info = EnvInfo("scripted", 1, 2, (1,), torch.float32, 1.0, 10)

    def __init__(self, *lengths: list[int]) -> None:
        super().__init__(len(lengths), torch.device("cpu"))
        self.lengths = lengths

    def reset(self, seed: int) -> Step:
        self.age, self.episode = [0] * self.n_envs, [0] * self.n_envs
        return self._row([0.0] * self.n_envs)

    def step(self, action: Tensor) -> Step:
        reward = []
        for e in range(self.n_envs):
            fresh = self._ended(e)
            self.episode[e] += fresh
            self.age[e] = 0 if fresh else self.age[e] + 1
            reward.append(0.0 if fresh else 1.0)
        return self._row(reward)

    def _ended(self, e: int) -> bool:
        return self.age[e] == self.lengths[e][self.episode[e]]

    def _row(self, reward: list[float]) -> Step:
        agents = (self.n_envs, 1)
        done, never = torch.tensor([self._ended(e) for e in range(self.n_envs)]), torch.zeros(self.n_envs).bool()
        return Step(
            torch.zeros(*agents, 1), ~torch.zeros(agents).bool(), torch.tensor(reward)[:, None], done, never, {}
        )

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"obs_dtype": torch.uint8},
            r"Step\.obs: expected torch\.uint8 of shape .*, got torch\.float32 of",
        ),
        ({"n_agents": 2}, r"Step\.obs: expected torch\.float32 of shape \(1, 2, 1\), .* of shape \(1, 1, 1\)"),
        ({"has_avail": True}, r"Step\.avail: expected torch\.bool of shape \(1, 1, 2\), .*, got none"),
        ({"stats": ("score",)}, r"Step\.info\[score\]: expected torch\.float32 of shape \(1,\), .*, got none"),
    ],
)
def test_rows_are_what_the_environment_announces(changes: dict[str, Any], said: str) -> None:
    env = Scripted([3])
    env.info = replace(env.info, **changes)
    with pytest.raises(EnvError, match=said):
        VectorRunner(env, cast(BasicMAC, Told()), torch.Generator(), 0)


def test_every_row_is_looked_at() -> None:
    """A reward for each game instead of each agent would be everybody's, in memory alone."""

    class Careless(Scripted):
        def step(self, action: Tensor) -> Step:
            row = super().step(action)
            return replace(row, reward=row.reward.squeeze(1))

    runner = VectorRunner(Careless([3]), cast(BasicMAC, Told()), torch.Generator(), 0)
    with pytest.raises(EnvError, match=r"Step\.reward: expected torch\.float32 of shape \(1, 1\), .* of shape \(1,\)"):
        runner.advance(0, test_mode=True)


class Told:
    """A controller that always plays action 0, and keeps what it is told: (t_env, test_mode)."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []

    def init_memory(self, n_envs: int) -> Memory:
        return self.bare_memory(n_envs, 1)

    def bare_memory(self, n_envs: int, n_agents: int) -> Memory:
        nobody = torch.full((n_envs, n_agents), -1)
        return Memory(torch.zeros(n_envs), nobody, nobody)

    def select_actions(
        self, step: Step, memory: Memory, t_env: int, test_mode: bool, generator: torch.Generator
    ) -> tuple[Tensor, Memory]:
        self.calls.append((t_env, test_mode))
        return torch.zeros(step.alive.shape, dtype=torch.int64), memory


class Nowhere:
    """Rows that keep nothing."""

    def insert(self, step: Step, action: Tensor, group: Tensor) -> None:
        pass


def runner_of(*lengths: list[int]) -> tuple[VectorRunner, Told]:
    told = Told()
    return VectorRunner(Scripted(*lengths), cast(BasicMAC, told), torch.Generator(), seed=0), told


def test_training_explores_as_at_its_step_and_evaluation_is_greedy() -> None:
    runner, told = runner_of([2] * 9)
    runner.collect(7, cast(Rows, Nowhere()))
    runner.collect(8, cast(Rows, Nowhere()))
    assert told.calls == [(7, False), (8, False)]
    runner.evaluate(0, 1, lambda: False)
    assert told.calls[2:] == [(0, True)] * 2


def test_a_reset_is_no_transition() -> None:
    """Copy 0 resets in every second step, copy 1 in every fourth."""
    runner, _ = runner_of([1] * 9, [3] * 9)
    assert [runner.collect(0, cast(Rows, Nowhere())) for _ in range(8)] == [2, 1, 2, 0, 2, 1, 2, 0]


@pytest.mark.parametrize("wanted", [3, 4])
def test_every_copy_plays_the_same_number_of_episodes(wanted: int) -> None:
    """Copy 0 ends six episodes while copy 1 plays its two."""
    runner, _ = runner_of([1] * 9, [5] * 9)
    means = runner.evaluate(0, wanted, lambda: False)
    assert (means["n_episodes"], means["return_mean"], means["ep_length"]) == (4, 3.0, 3.0)
    assert means["return_std"] == 2.0


def test_actions_are_drawn_from_another_stream_than_first_states() -> None:
    """An environment may draw its first states from the very seed; a random policy would act by them."""
    runner, _ = runner_of([1] * 9)
    runner.evaluate(5, 1, lambda: False)
    first = runner.generator.initial_seed()
    runner.evaluate(6, 1, lambda: False)
    assert len({first, runner.generator.initial_seed(), 5, 6}) == 4


def test_an_evaluation_that_is_stopped_has_no_result() -> None:
    runner, _ = runner_of([1] * 9)
    assert runner.evaluate(0, 1, lambda: True) == {}
