"""Batched tasks beside the original one-copy environment, and one core beside two."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

import build
from assembly.parts import make_env
from assembly.registries import REGISTRIES
from config.loader import Layer, layers
from config.resolve import config_from_dict, make_config
from config.schema import Config
from performance.floors import bare_engine
from performance.timing import alternate, clock
from utils.allocator import keep_freed_memory

CPU = torch.device("cpu")
MPE2 = "mpe2 simple_spread_v3, N = 6"


def task_config(algorithm: str, environment: str, values: dict[str, Any]) -> Config:
    """Make the configuration of ``main.py`` with ``values`` on top."""
    return make_config([*layers(algorithm, environment, []), Layer("benchmark", values)], REGISTRIES)[0]


def batched_step(environment: str, n_envs: int, **env_args: Any) -> Callable[[], None]:
    """Return one step of ``n_envs`` copies with constant actions."""
    config = task_config("iql", environment, {"env_args": env_args})
    return bare_engine(make_env(config, n_envs, test=False))


def mpe2_step() -> Callable[[], None]:
    """Return one step of mpe2's Spread with 6 agents and constant actions, episodes begun anew as they end."""
    from mpe2 import simple_spread_v3  # a package of the tests

    env = simple_spread_v3.parallel_env(N=6, max_cycles=25)
    env.reset(seed=1)
    actions = {name: index % 5 for index, name in enumerate(env.possible_agents)}

    def step() -> None:
        if not env.agents:
            env.reset()
        env.step(actions)

    return step


def task_speeds(n_envs: int, seconds: float) -> dict[str, float]:
    """Name -> environment steps per second of one core: the tasks in batches of ``n_envs``, and mpe2's Spread alone.

    Spread with 100 agents is timed apart, with 6 beside it: its megabytes would displace those of the others.
    """
    torch.set_num_threads(1)
    keep_freed_memory()  # as build.build does
    now, spread = clock(CPU), batched_step("spread", n_envs)
    tasks = {
        MPE2: mpe2_step(),
        "spread, N = 6": spread,
        "pursuit": batched_step("pursuit", n_envs),
        "bar": batched_step("bar", n_envs),
    }
    medians = alternate(tasks, seconds, now)
    pair = alternate({"6": spread, "100": batched_step("spread", n_envs, n_agents=100)}, seconds, now)
    medians["spread, N = 100"] = medians["spread, N = 6"] * pair["100"] / pair["6"]
    return {name: (1 if name == MPE2 else n_envs) / median for name, median in medians.items()}


def rollout_speed(values: dict[str, Any], seconds: float) -> float:
    """Measure environment steps per second of wall time of one process; ``values``: of a `Config.to_dict`."""
    system = build.build(config_from_dict(values))
    system.runner.reset(seed=1)
    for _ in range(50):
        system.runner.collect(0, system.rows)
    made, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        made += system.runner.collect(0, system.rows)
    return made / (time.perf_counter() - start)


def two_cores(config: Config, seconds: float, rounds: int) -> float:
    """Measure what two processes at once collect together over what one alone does: the median over rounds."""
    values = config.to_dict()
    ratios = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for _ in range(rounds):
            alone = pool.submit(rollout_speed, values, seconds).result()
            both = [pool.submit(rollout_speed, values, seconds) for _ in range(2)]
            ratios.append(sum(future.result() for future in both) / alone)
    return statistics.median(ratios)
