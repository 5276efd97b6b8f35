"""``python src/benchmark.py [OPTIONS] [with key=value ...]``: speed and memory against the population.

Everything is timed on one core, in its CPU time and in turn with its floors, so that other work on the machine
disturbs ratios little; with ``use_cuda=true`` in wall time, and engines run on all cores. Writes tables (Markdown, CSV)
and a picture; docs/performance.md explains the columns.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from matplotlib.figure import Figure

import build
from analysis.figures import write
from analysis.page import check, fill
from analysis.tables import Cell, Table
from config.loader import Layer, layers
from config.resolve import make_config
from config.schema import Config
from performance import targets
from performance.measure import SECTIONS, Measurement, measure, population
from performance.tasks import MPE2, task_speeds, two_cores
from utils.cli import exit_code

ROLLOUTS = (2, 8, 32)  # battles at once
HEAD = [
    *("algorithm", "env", "N", "E"),
    *("env_steps/s", "agent_steps/s", "updates/s", "rollout_us", "train_us", "update_ms"),
    *("rollout/floors", "update/floor", "update/ceiling", "overhead", "replay", "peak_MB"),
]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Options, and what follows the word ``with``."""
    parser = argparse.ArgumentParser(prog="benchmark.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", nargs="+", default=["iql", "hmf"], metavar="ALGORITHM")
    parser.add_argument("--env-config", default="battle", metavar="ENVIRONMENT")
    parser.add_argument("--agents", nargs="+", type=int, default=[20, 64, 200, 500, 1000, 2000], metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, help="about half as long as one table row takes")
    parser.add_argument(
        "--targets",
        action="store_true",
        help="also rollouts of 64 against 64, batched tasks beside mpe2 and two cores beside one, and what is asked",
    )
    parser.add_argument("--page", type=Path, action="append", default=[], help="bring its tables up to date")
    parser.add_argument("--out", type=Path, default=Path("results/tmp/benchmark"), metavar="DIR")
    split = argv.index("with") if "with" in argv else len(argv)
    arguments = parser.parse_args(argv[:split])
    arguments.overrides = argv[split + 1 :]
    return arguments


def config_for(algorithm: str, environment: str, n_agents: int, overrides: list[str]) -> Config:
    """The algorithm's own configuration at ``n_agents``, with a replay just large enough to sample from."""
    *stack, command_line = layers(algorithm, environment, overrides)
    small = {"buffer_size": 512, "learning_starts": 512, "env_args": population(environment, n_agents)}
    return make_config([*stack, Layer("benchmark", small), command_line], build.REGISTRIES)[0]


def population_table(rows: Sequence[Measurement]) -> Table:
    """One row per measurement."""
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
            f"{1 / row.training:.2f}",
            f"{1e6 * row.rollout / (row.n_agents * row.n_envs):.2f}",
            f"{1e6 / (row.env_steps * row.n_agents):.2f}",
            f"{1e3 * row.update:.1f}",
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
    """Where the time of training goes."""
    cells: list[list[Cell]] = [
        [row.algorithm, row.environment, row.n_agents, *(f"{row.split[name]:.1%}" for name in SECTIONS)] for row in rows
    ]
    return Table("Shares of training time.", ["algorithm", "env", "N", *SECTIONS], cells)


def tasks_table(speeds: dict[str, float], n_envs: int) -> Table:
    """Batched tasks beside mpe2."""
    base = speeds[MPE2]
    cells: list[list[Cell]] = [[name, f"{speed:.0f}", f"{speed / base:.1f}"] for name, speed in speeds.items()]
    return Table(f"{n_envs} environments at once on one core.", ["task", "env_steps/s", "ratio"], cells)


def picture(rows: Sequence[Measurement]) -> Figure:
    """Cost per agent step against N, and the split of the time."""
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
    """The kind of machine and versions, without its name."""
    parts = [platform.machine(), torch.backends.cpu.get_cpu_capability(), accelerator, f"torch {torch.__version__}"]
    return f"{', '.join(part for part in parts if part)}."


def measured(cases: Sequence[Config], environment: str, seconds: float) -> list[Measurement]:
    """Each in a process of its own."""
    rows = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for number, config in enumerate(cases):
            rows.append(pool.submit(measure, config.to_dict(), environment, seconds).result())
            done = f"{number + 1} of {len(cases)}"
            print(f"{done}: {config.name}, {rows[-1].n_agents} agents, {rows[-1].n_envs} at once", file=sys.stderr)
    return rows


def rollout_config(n_envs: int) -> Config:
    """Battle, 64 against 64, with the small network whose rollout has a target."""
    return config_for("iql", "battle_symmetric", 64, ["hidden_dims=[64,64]", f"batch_size_run={n_envs}"])


def benchmark(argv: Sequence[str]) -> None:
    """Measure every algorithm at every population, each in a process of its own; write and print the tables."""
    arguments = parse(argv)
    for page in arguments.page:
        check(page)
    cases = [
        config_for(algorithm, arguments.env_config, n, arguments.overrides)
        for algorithm in arguments.config
        for n in arguments.agents
    ]
    rows = measured(cases, arguments.env_config, arguments.seconds)
    tables = {"benchmark": population_table(rows), "split": split_table(rows)}
    if arguments.targets:
        rollouts = [rollout_config(n_envs) for n_envs in ROLLOUTS]
        alone = measured(rollouts, "battle_symmetric", arguments.seconds)
        speeds = task_speeds(1000, arguments.seconds)
        both = two_cores(config_for("iql", "battle_symmetric", 64, []), 2.0, 5)
        tables["tasks"] = tasks_table(speeds, 1000)
        asked = [*targets.of_rollouts(alone), *targets.of_training(rows), *targets.of_tasks(speeds, both)]
        tables["targets"] = targets.table(asked)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        (arguments.out / f"{name}.csv").write_text(table.csv())
        (arguments.out / f"{name}.md").write_text(table.markdown())
        print(table.markdown())
    write(picture(rows), arguments.out / "benchmark", (".png",))
    for page in arguments.page:
        fill(page)


def main(argv: Sequence[str]) -> int:
    """Measure; see `exit_code` for what goes wrong."""
    return exit_code(lambda: benchmark(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
