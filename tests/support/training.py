"""Short training runs without Sacred, for tests of learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.support.factory import config_for
from tests.support.record import Point, Points
from torch import Tensor

import build
from components.batch import Batch, EnvInfo, Memory, Step
from components.replay import Replay
from components.rows import RowSpec
from components.selectors import ActionSelector
from controllers.basic_controller import BasicMAC
from run import Trainer
from utils.signals import StopRequest

CPU = torch.device("cpu")
BAR = {"n_agents": 6, "capacity": 3, "episode_limit": 5}
QUICK = {"env_args": BAR, "t_max": 60, "test_interval": 20, "test_nepisode": 2, "log_interval": 20, "n_groups": 2}


def trainer_for(folder: Path, algorithm: str = "iql", **overrides: Any) -> tuple[Trainer, list[Point]]:
    """A trainer on a small Bar that records in ``folder``, and the list of what it logs."""
    system = build.build(config_for(algorithm, "bar", **{**QUICK, **overrides}))
    record = Points(folder)
    return Trainer(system, record, StopRequest()), record.points


def trained(folder: Path, algorithm: str, environment: str, **overrides: Any) -> tuple[build.System, float]:
    """The system after training, and its greedy ``return_mean``."""
    quick = {"save_model": False, "save_replay": "never", "test_interval": 10**9, "test_nepisode": 2}
    system = build.build(config_for(algorithm, environment, **{**quick, **overrides}))
    result = Trainer(system, Points(folder), StopRequest()).train()
    assert result is not None
    return system, result


class RecordingSelector(ActionSelector):
    """Uniform random actions; keeps the Q-values it was shown."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def probabilities(self, q: Tensor, avail: Tensor | None, t_env: int) -> Tensor:
        self.seen.append(q)
        return torch.full_like(q, 1.0 / q.shape[-1])


def numbered_row(t: int, info: EnvInfo, n_envs: int, rng: torch.Generator) -> Step:
    """Row t of episodes of ``info.episode_limit`` rows in which agents die at random.

    The first number of each observation is the row's serial number, t * E + e; the others are random.
    """
    age = t % info.episode_limit
    alive = torch.rand(n_envs, info.n_agents, generator=rng) > 0.15 * age
    obs = torch.randn(n_envs, info.n_agents, *info.obs_shape, generator=rng)
    obs[..., 0] = (torch.arange(n_envs) + n_envs * t)[:, None]
    nobody = torch.zeros(n_envs, dtype=torch.bool)
    done = nobody | (age == info.episode_limit - 1)
    return Step(obs, alive, torch.zeros(n_envs, info.n_agents), nobody, done, {})


def acted_and_learned(mac: BasicMAC, window: tuple[int, int] | None) -> list[tuple[Tensor, Tensor]]:
    """(Q-values computed in acting, those computed from a replayed batch) of the same rows, at t and at t + 1."""
    selector = RecordingSelector()
    mac.selector = selector
    info, n_envs, rows = mac.info, 2, 40
    rng = torch.Generator().manual_seed(3)
    spec = RowSpec(info, n_envs, CPU, CPU, window=window)
    replay = Replay(spec, n_envs * (rows + 1), torch.Generator().manual_seed(4))
    memory: Memory = mac.init_memory(n_envs)
    for t in range(rows):
        row = numbered_row(t, info, n_envs, rng)
        action, memory = mac.select_actions(row, memory, 0, False, rng)
        replay.insert(row, action, memory.group)
    batch = replay.sample(64)
    acted = torch.stack(selector.seen).flatten(0, 1)  # by serial number
    played = batch.weight > 0
    return [
        (acted[serial(obs)[played]], q.detach()[played])
        for obs, q in ((batch.obs, mac.q_values(batch)), (batch.next_obs, mac.next_q_values(batch)))
    ]


def serial(obs: Tensor) -> Tensor:
    """Serial numbers (B,) of `numbered_row` observations (B, N, O)."""
    return obs[:, 0, 0].long()


def slow_agent_target(batch: Batch, next_value: Tensor, gamma: float) -> Tensor:
    """The slow, obvious one-step target of every agent: (B, N) values at t + 1 -> (B, N)."""
    target = batch.reward.clone()
    for b in range(target.shape[0]):
        for k in range(target.shape[1]):
            if batch.next_alive[b, k] and not batch.terminated[b]:
                target[b, k] += gamma * next_value[b, k]
    return target


def slow_loss(value: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean squared error over the agents (B, N) bool that count."""
    errors = [
        (value[b, k] - target[b, k]) ** 2 for b in range(value.shape[0]) for k in range(value.shape[1]) if counted[b, k]
    ]
    return torch.stack(errors).mean()
