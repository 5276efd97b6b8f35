"""What is measured: algorithms at populations, rollouts of Battle, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from assembly.registries import REGISTRIES
from config.loader import Layer, layers
from config.resolve import make_config
from config.schema import Config
from performance.measure import Measurement, measure, population


def config_for(algorithm: str, environment: str, n_agents: int, overrides: list[str]) -> Config:
    """Return the algorithm's own configuration at ``n_agents``, with a replay just large enough to sample from."""
    *stack, command_line = layers(algorithm, environment, overrides)
    small = {"buffer_size": 512, "learning_starts": 512, "env_args": population(environment, n_agents)}
    return make_config([*stack, Layer("benchmark", small), command_line], REGISTRIES)[0]


def rollout_config(n_envs: int) -> Config:
    """Return Battle, 64 against 64, with the small network whose rollout has a target."""
    return config_for("iql", "battle_symmetric", 64, ["hidden_dims=[64,64]", f"batch_size_run={n_envs}"])


def measured(cases: Sequence[Config], environment: str, seconds: float) -> list[Measurement]:
    """Measure each in a process of its own."""
    rows = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for number, config in enumerate(cases):
            rows.append(pool.submit(measure, config.to_dict(), environment, seconds).result())
            done = f"{number + 1} of {len(cases)}"
            print(f"{done}: {config.name}, {rows[-1].n_agents} agents, {rows[-1].n_envs} at once", file=sys.stderr)
    return rows
