"""What torch environments share; on a GPU, a step never makes the host wait for the device."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.contract.checks import CHECKS, Case

from envs.bar import Bar
from envs.base import EnvError
from envs.matrix_game import MatrixGame
from envs.pursuit.env import Pursuit
from envs.spread import Spread
from envs.torch_env import State, TorchEnv, relative_to_agents


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (Bar, {"capacity": 3}),
        (MatrixGame, {"game": "hawk_dove"}),
        (Spread, {"local_ratio": 0.5, "communication_slots": True}),
        (Pursuit, {"dynamics": "unicycle"}),
    ],
)
def test_step_does_not_synchronise(make: Callable[..., TorchEnv], arguments: dict[str, Any]) -> None:
    device = torch.device("cuda")
    env = make(4, device, n_agents=5, episode_limit=2, **arguments)
    env.reset(seed=0)
    action = torch.zeros(4, 5, dtype=torch.int64, device=device)
    env.step(action)  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(4):
            env.step(action)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("n_objects", "n_agents"), [(1, 1), (1, 20), (6, 6), (3, 2), (2, 1)])
def test_relative_places_equal_a_slow_loop(n_objects: int, n_agents: int) -> None:
    stream = torch.Generator().manual_seed(0)
    objects, agents = (torch.rand(4, n, 2, generator=stream) for n in (n_objects, n_agents))
    seen = relative_to_agents(objects, agents)
    assert seen.shape == (4, n_agents, n_objects + n_agents - 1, 2)
    for env, k in itertools.product(range(4), range(n_agents)):
        others = [agents[env, j] for j in range(n_agents) if j != k]
        assert torch.equal(seen[env, k], torch.stack([*objects[env], *others]) - agents[env, k])


class Undecided(Bar):
    """Says of no agent, or at some step no longer, whether it lives."""

    dtype: torch.dtype

    def _start(self) -> State:
        return super()._start() | {"alive": torch.ones(self.n_envs, self.info.n_agents, dtype=self.dtype)}

    def _play(self, state: State, action: torch.Tensor) -> tuple[State, torch.Tensor, torch.Tensor]:
        played, reward, terminated = super()._play(state, action)
        return played | {"alive": state["alive"][:, :1]}, reward, terminated


@pytest.mark.parametrize(
    ("dtype", "message"),
    [(torch.float32, r"of shape \(2, 5\) .* got \(2, 5\) and torch.float32"), (torch.bool, r"got \(2, 1\) and")],
)
def test_alive_says_of_every_agent_whether_it_lives(dtype: torch.dtype, message: str) -> None:
    Undecided.dtype = dtype
    env = Undecided(2, torch.device("cpu"), n_agents=5, capacity=3, episode_limit=2)
    with pytest.raises(EnvError, match=rf"bar: expected state\['alive'\] .*{message}"):
        env.step(env.reset(seed=0).alive.long())


class Rationed(Bar):
    """Bar where who attends twice dies, and nobody may attend two nights running; an agent's own choice is kept."""

    def __init__(self, n_envs: int, device: torch.device, **args: Any) -> None:
        super().__init__(n_envs, device, **args)
        self.info = replace(self.info, has_avail=True)

    def _start(self) -> State:
        none = torch.zeros(self.n_envs, self.info.n_agents, dtype=torch.int64, device=self.device)
        return super()._start() | {"chosen": none, "visits": none, "alive": none == 0}

    def _play(self, state: State, action: torch.Tensor) -> tuple[State, torch.Tensor, torch.Tensor]:
        played, reward, terminated = super()._play(state, action)
        visits = state["visits"] + action
        return played | {"chosen": action, "visits": visits, "alive": visits < 2}, reward, terminated

    def _avail(self, state: State) -> torch.Tensor:
        return torch.stack([torch.ones_like(state["alive"]), state["chosen"] == 0], dim=2) & state["alive"].unsqueeze(2)


RATIONED = {"n_agents": 5, "capacity": 3, "episode_limit": 6}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_masks_meet_the_contract(check: Callable[[Case], None]) -> None:
    check(Case("rationed", Rationed, RATIONED))


def test_masks_are_those_of_the_state_and_allow_the_dead_everything() -> None:
    env = Rationed(2, torch.device("cpu"), **RATIONED)
    visit = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    rows = [env.reset(seed=0), *(env.step(action) for action in (visit, 0 * visit, visit))]
    mask = torch.stack([row.avail for row in rows if row.avail is not None])
    assert (~mask).nonzero().tolist() == [[1, 0, 0, 1]], "row, copy, agent, action: after the first visit alone"
    assert (~rows[3].alive).nonzero().tolist() == [[0, 0]]
    assert Bar(2, torch.device("cpu"), **RATIONED).reset(seed=0).avail is None
