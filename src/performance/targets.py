"""What the framework asks of its own speed, as ratios inside one run of the benchmark, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.tables import Cell, Table
from performance.cases import config_for, measured, rollout_config
from performance.exchange import EXCHANGES, exchange_table, pair
from performance.learning import growth, sparse_update, speed_up
from performance.measure import Measurement, population
from performance.tables import tasks_table
from performance.tasks import MPE2, task_speeds, two_cores

ROLLOUTS = (2, 8, 32)  # battles at once
TASKS = 1000  # copies of a batched task at once
TRAINED = (64, 200, 1000)  # agents
OVERHEAD = "share of training that is neither engine nor networks"
DISTANCES = (100 / 6) ** 2  # what O(N^2) distances cost at N = 100 over N = 6


@dataclass(frozen=True)
class Target:
    """A measured ratio and its bound."""

    what: str
    measured: float
    asked: float
    at_most: bool  # the bound is an upper one

    @property
    def met(self) -> bool:
        """Whether the ratio keeps to its bound."""
        return self.measured <= self.asked if self.at_most else self.measured >= self.asked


def of_training(rows: Sequence[Measurement]) -> list[Target]:
    """List the targets of training in the replay regime, by every algorithm measured at N = 64, 200 and 1000."""
    at = {(row.algorithm, row.n_agents): row for row in rows}
    found = []
    for (name, n), row in at.items():
        if n == 200:
            found += [
                Target(f"{name}: {OVERHEAD}, replay, N = 200", row.overhead, 0.2, True),
                Target(f"{name}: update over its networks' arithmetic, N = 200", row.update_ratio, 1.25, True),
            ]
        if n == 1000 and (small := at.get((name, 64))):
            per_agent = {
                "rollout": row.rollout / small.rollout * 64 / n,
                "update": row.update / small.update * 64 / n,
            }
            found += [
                Target(f"{name}: {part} per agent step, N = 1000 over N = 64", ratio, 1.3, True)
                for part, ratio in per_agent.items()
            ]
    if ("iql", 200) in at and ("hmf", 200) in at:
        ratio = at["hmf", 200].update / at["iql", 200].update
        found.append(Target("hmf: update over iql's, N = 200", ratio, 1.4, True))
    replay = max(row.replay_ratio for row in rows)
    found.append(Target("replay memory over one uint8 observation and 16 bytes, the largest", replay, 1.15, True))
    return found


def of_rollouts(rollouts: Sequence[Measurement]) -> list[Target]:
    """List the targets of Battle, 64 against 64, MLP 64-64: speed over what the two floors allow together."""
    return [
        Target(
            f"rollout of 64 against 64, {row.n_envs} battles at once, over its floors", row.rollout_share, 0.6, False
        )
        for row in rollouts
    ]


def of_tasks(speeds: Mapping[str, float], both_cores: float) -> list[Target]:
    """List targets: batched tasks over mpe2's, their growth with N, and two processes with a battle each over one."""
    found = [Target("two battles on two cores (processes) over one on one", both_cores, 1.6, False)]
    found += [
        Target(f"{name}, {TASKS:,} at once, over one of {MPE2}", speeds[name] / speeds[MPE2], 300, False)
        for name in ("spread, N = 6", "pursuit", "bar")
    ]
    growth = speeds["spread, N = 6"] / speeds["spread, N = 100"]
    found.append(Target("spread's step, N = 100 over N = 6", growth, DISTANCES, True))
    return found


def of_learning(battle: Mapping[str, Any], symmetric: Mapping[str, Any], seconds: float) -> list[Target]:
    """List targets of the rollout regime and the sparse first layer, measured here.

    The arguments are env_args of Battle at N = 200 and of 64 v 64.
    """
    faster, sparser = (
        "training agent steps/s, rollout over replay as in 0.1.0",
        "replay update, dense over sparse layer",
    )
    grown = growth("iql", lambda n: population("battle", n), seconds)
    return [
        Target(f"{faster}: iql, N = 200", speed_up("iql", "battle", battle, seconds), 12, False),
        Target(f"{faster}: hmf, N = 200", speed_up("hmf", "battle", battle, seconds), 8, False),
        Target(f"{faster}: iql, 13 x 13 views", speed_up("iql", "battle_symmetric", symmetric, seconds), 15, False),
        Target(f"{sparser}: 7 x 7 views", sparse_update("battle", battle, seconds), 1.6, False),
        Target(f"{sparser}: 13 x 13 views", sparse_update("battle_symmetric", symmetric, seconds), 2.8, False),
        Target("cost per agent step, iql, rollout, N = 2000 over N = 64", grown, 1.2, True),
    ]


def table(targets: Sequence[Target]) -> Table:
    """Tabulate one row per target."""
    rows: list[list[Cell]] = [
        [
            target.what,
            f"{'at most' if target.at_most else 'at least'} {target.asked:.3g}",
            f"{target.measured:.4g}",
            "met" if target.met else "missed",
        ]
        for target in targets
    ]
    return Table("Targets, all measured in this run.", ["ratio", "asked", "measured", ""], rows)


def of_shares(rows: Sequence[Measurement]) -> list[Target]:
    """List the targets of training in the rollout regime."""
    return [Target(f"{row.algorithm}: {OVERHEAD}, rollout, N = 200", row.overhead, 0.25, True) for row in rows]


def measured_targets(seconds: float) -> dict[str, Table]:
    """Measure what is asked for; return the tables of tasks, of exchanges, of targets."""

    def training(regime: str, populations: Sequence[int]) -> list[Measurement]:
        cases = [config_for(name, "battle", n, [f"regime={regime}"]) for name in ("iql", "hmf") for n in populations]
        return measured(cases, "battle", seconds)

    replay, rollout = training("replay", TRAINED), training("rollout", [200])
    rollouts = measured([rollout_config(n_envs) for n_envs in ROLLOUTS], "battle_symmetric", seconds)
    speeds = task_speeds(TASKS, seconds)
    both_cores = two_cores(config_for("iql", "battle_symmetric", 64, []), 2.0, 5)
    learning = of_learning(population("battle", 200), population("battle_symmetric", 64), seconds)
    pairs = [pair(config_for(name, "battle", n, ["regime=rollout"]), 4, 3) for name, n in EXCHANGES]
    gain = {(pair.algorithm, pair.both.n_agents): pair.gain for pair in pairs}["iql", 1000]
    learning.append(Target("two processes over one, iql, rollout, N = 1000", gain, 1.7, False))
    asked = [
        *learning,
        *of_shares(rollout),
        *of_rollouts(rollouts),
        *of_training(replay),
        *of_tasks(speeds, both_cores),
    ]
    return {"tasks": tasks_table(speeds, TASKS), "exchange": exchange_table(pairs), "targets": table(asked)}
