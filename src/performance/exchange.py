"""One run in two processes beside the same in one, and what an update makes the processes exchange."""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import build
from analysis.tables import Cell, Table
from config.resolve import config_from_dict
from config.schema import Config
from run import Trainer, Unrecorded
from utils.processes import Processes
from utils.signals import StopRequest

SIZE = 2
REPEATS = 20  # of an exchange
EXCHANGES = (("iql", 64), ("iql", 1000), ("hmf", 64), ("hmf", 1000))  # what is measured


@dataclass(frozen=True)
class Speed:
    """How one of the processes of a run trains."""

    steps: float  # environment steps of all processes per second of wall time
    update: float  # seconds of its CPU time that an update takes
    exchange: float  # seconds in which the gradients of all become one sum, at least; 0 for a process alone
    n_agents: int
    parameters: int


def _trained(values: dict[str, Any], rollouts: int, rank: int, size: int, port: int) -> Speed:
    """Train for so many rollouts after a first one, as ``rank`` of ``size``, with values of a `Config.to_dict`."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = Processes.join()
    system = build.build(config_from_dict(values), processes=processes)
    trainer = Trainer(system, Unrecorded(), StopRequest())
    counters, learner = trainer.counters, system.learner
    learning = 0.0

    def rollout() -> None:
        nonlocal learning
        n_updates = learner.n_updates
        while learner.n_updates == n_updates:
            counters.t_env += trainer.collect()
            begun = time.process_time()
            trainer.learn()
            learning += time.process_time() - begun

    rollout()
    learning, steps, n_updates = 0.0, counters.t_env, learner.n_updates
    wall = time.perf_counter()
    for _ in range(rollouts):
        rollout()
    wall = time.perf_counter() - wall
    steps, n_updates = counters.t_env - steps, learner.n_updates - n_updates
    gradients = [parameter.grad for parameter in learner.parameters if parameter.grad is not None]
    exchanges = []
    for _ in range(REPEATS if size > 1 else 0):
        begun = time.perf_counter()
        processes.add_up(gradients)
        exchanges.append(time.perf_counter() - begun)
    processes.leave()
    return Speed(
        steps=steps / wall,
        update=learning / n_updates,
        exchange=min(exchanges, default=0.0),
        n_agents=system.mac.info.n_agents,
        parameters=sum(gradient.numel() for gradient in gradients),
    )


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Pair:
    """One process and two, in turn."""

    algorithm: str
    gain: float  # environment steps per second of two over those of one, median over rounds
    both: Speed  # of one of two, in the last round


def pair(config: Config, rollouts: int, rounds: int) -> Pair:
    """Train ``config`` (of the rollout regime) in one process, then in two, ``rounds`` times."""
    values = config.to_dict()
    gains = []
    with ProcessPoolExecutor(SIZE, mp_context=get_context("spawn")) as pool:
        for _ in range(rounds):
            alone = pool.submit(_trained, values, rollouts, 0, 1, 0).result()
            port = _port()
            first, *_ = [pool.submit(_trained, values, rollouts, rank, SIZE, port) for rank in range(SIZE)]
            both = first.result()
            gains.append(both.steps / alone.steps)
    return Pair(config.name, statistics.median(gains), both)


def exchange_table(pairs: Sequence[Pair]) -> Table:
    """Tabulate what grows with what."""
    cells: list[list[Cell]] = [
        [
            pair.algorithm,
            pair.both.n_agents,
            f"{pair.both.parameters:,}",
            f"{4 * (pair.both.parameters + 1):,}",
            f"{1e3 * pair.both.exchange:.2f}",
            f"{1e3 * pair.both.update:.1f}",
        ]
        for pair in pairs
    ]
    caption = (
        f"{SIZE} processes on one machine, gloo, rollout regime, Battle. bytes: of a process's gradients and its loss, "
        f"once in an update. exchange_ms: until they are summed, the least of {REPEATS}. update_ms: CPU time of an "
        "update, a minibatch of 8 joint transitions in each process."
    )
    return Table(caption, ["algorithm", "N", "parameters", "bytes", "exchange_ms", "update_ms"], cells)
