"""Measurements as tables and as a picture."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from analysis.tables import Cell, Table
from performance.measure import SECTIONS, Measurement
from performance.tasks import MPE2

HEAD = [
    *("algorithm", "env", "N", "E"),
    *("env_steps/s", "agent_steps/s", "updates/s", "rollout_us", "train_us", "update_ms"),
    *("rollout/floors", "update/floor", "update/ceiling", "overhead", "replay", "peak_MB"),
]


def population_table(rows: Sequence[Measurement]) -> Table:
    """Tabulate one row per measurement."""
    caption = (
        "Training speed: env_steps/s, agent_steps/s, updates/s. Microseconds per agent step: rollout_us, train_us. "
        "Milliseconds of one update: update_ms. "
        "Rollout speed over both floors together; update over its floor; share of the device's measured "
        "ceiling that the update reaches; share of training that is neither engine nor networks; replay bytes over "
        f"those of one observation and 16. {machine(rows[0].accelerator)}"
    )
    cells: list[list[Cell]] = [
        [
            row.algorithm,
            row.environment,
            row.n_agents,
            row.n_envs,
            f"{row.env_steps:.0f}",
            f"{row.env_steps * row.n_agents:.0f}",
            f"{row.updates_per_cycle / row.training:.2f}",
            f"{1e6 * row.rollout / (row.n_agents * row.n_envs):.2f}",
            f"{1e6 / (row.env_steps * row.n_agents):.2f}",
            f"{1e3 * row.update / row.updates_per_cycle:.1f}",
            f"{row.rollout_share:.2f}",
            f"{row.update_ratio:.2f}",
            f"{row.ceiling_share:.2f}",
            f"{row.overhead:.2f}",
            f"{row.replay_ratio:.2f}",
            f"{row.peak_bytes / 2**20:.0f}",
        ]
        for row in rows
    ]
    return Table(caption, HEAD, cells)


def split_table(rows: Sequence[Measurement]) -> Table:
    """Tabulate where the time of training goes."""
    cells: list[list[Cell]] = [
        [row.algorithm, row.environment, row.n_agents, *(f"{row.split[name]:.1%}" for name in SECTIONS)] for row in rows
    ]
    return Table("Shares of training time.", ["algorithm", "env", "N", *SECTIONS], cells)


def tasks_table(speeds: dict[str, float], n_envs: int) -> Table:
    """Tabulate batched tasks beside mpe2."""
    base = speeds[MPE2]
    cells: list[list[Cell]] = [[name, f"{speed:.0f}", f"{speed / base:.1f}"] for name, speed in speeds.items()]
    return Table(f"{n_envs} environments at once on one core.", ["task", "env_steps/s", "ratio"], cells)


def picture(rows: Sequence[Measurement]) -> Figure:
    """Draw cost per agent step against N, and the split of the time."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    cost, *bars = figure.subplots(1, 1 + len({row.algorithm for row in rows}))
    for axis, algorithm in zip(bars, dict.fromkeys(row.algorithm for row in rows), strict=True):
        mine = [row for row in rows if row.algorithm == algorithm]
        n = [row.n_agents for row in mine]
        cost.plot(n, [1e6 / (row.env_steps * row.n_agents) for row in mine], marker="o", label=f"{algorithm}: training")
        per_step = [1e6 * row.rollout / (row.n_agents * row.n_envs) for row in mine]
        cost.plot(n, per_step, marker="o", linestyle="--", label=f"{algorithm}: rollout")
        axis.stackplot(range(len(n)), [[row.split[name] for row in mine] for name in SECTIONS], labels=SECTIONS)
        axis.set_xticks(range(len(n)), [str(value) for value in n])
        axis.set(title=f"{algorithm}: share of training time", xlabel="agents", ylim=(0, 1))
        axis.legend(fontsize="small", loc="center")
    cost.set(xscale="log", yscale="log", xlabel="agents", ylabel="microseconds per agent step")
    cost.legend(fontsize="small")
    return figure


def machine(accelerator: str) -> str:
    """Describe the machine by its kind and versions, without its name."""
    parts = [platform.machine(), torch.backends.cpu.get_cpu_capability(), accelerator, f"torch {torch.__version__}"]
    return f"{', '.join(part for part in parts if part)}."
