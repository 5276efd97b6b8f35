"""Random streams: each depends on the run's seed, and none on what another one is used for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.support.factory import config_for
from tests.support.record import Points
from tests.support.rows import random_rows
from torch import Tensor

import build
from build import System
from run import Trainer
from utils.seeding import derive_seed
from utils.signals import StopRequest


def system_of(seed: int) -> System:
    """IQL on Spread, whose episodes start at random places."""
    env_args = {"n_agents": 3, "episode_limit": 3}
    return build.build(config_for("iql", "spread", seed=seed, env_args=env_args, test_nepisode=2))


def networks(system: System) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in system.mac.parameters()])


def replay_draws(system: System) -> Tensor:
    for row in random_rows(system.mac.info, system.config.batch_size_run, 30, seed=0):
        system.rows.insert(*row)
    return system.regime.sample(system.rows, system.rows.generator).obs


def exploration(system: System) -> Tensor:
    runner = system.runner
    shape = (8, *runner.row.obs.shape[1:])
    q_values = torch.zeros(*shape[:2], system.mac.info.n_actions)
    return system.mac.selector.select(q_values, None, 0, False, runner.generator)


def training_episodes(system: System) -> Tensor:
    return system.runner.row.obs


@pytest.mark.parametrize("stream", [networks, replay_draws, exploration, training_episodes])
def test_each_stream_follows_the_seed(stream: Callable[[System], Tensor]) -> None:
    one, same, other = (stream(system_of(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def evaluated(folder: Path, seed: int, t_env: int) -> tuple[int, System]:
    """The seed of the episodes that an evaluation plays, and the system that played them."""
    system = system_of(seed)
    seeds, reset = list[int](), system.test_runner.env.reset
    system.test_runner.env.reset = lambda seed: seeds.append(seed) or reset(seed)  # type: ignore
    trainer = Trainer(system, Points(folder), StopRequest())
    trainer.counters.t_env = t_env
    trainer.evaluate()
    assert len(set(seeds)) == 1, "averaged and online networks play the same episodes"
    return seeds[0], system


def test_evaluations_have_episodes_of_their_own(tmp_path: Path) -> None:
    """By seed and step, and other ones than training has."""
    found = {(seed, t_env): evaluated(tmp_path, seed, t_env)[0] for seed in (1, 2) for t_env in (0, 40)}
    assert len({*found.values(), derive_seed(1, "environment"), derive_seed(2, "environment")}) == 6
    assert found[1, 40] == evaluated(tmp_path, 1, 40)[0]


def test_exploration_goes_on_as_if_nothing_had_been_evaluated(tmp_path: Path) -> None:
    _, system = evaluated(tmp_path, 1, 0)
    assert torch.equal(exploration(system), exploration(system_of(1)))


def test_a_seed_depends_on_the_run_the_name_and_the_number() -> None:
    found = [derive_seed(*stream) for stream in ((1, "a"), (2, "a"), (1, "b"), (1, "c"), (1, "a", 1))]
    assert len(set(found)) == 5
    assert derive_seed(1, "a", 0) == found[0]
