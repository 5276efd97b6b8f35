"""A report on recorded runs: its tables, its figures and the data behind them, in a folder."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from analysis import across, figures
from analysis.claims import load_claims, verdicts
from analysis.collect import Task, arrange, collect, cpu_curves, curves_of, score, wall_minutes
from analysis.comparison import (
    CURVE,
    EXPLOITABILITY,
    MEANT,
    ONLINE,
    RETURN,
    ablation_table,
    bars,
    budget,
    cost_table,
    described,
    over_tasks_ablation_table,
    over_tasks_table,
    overview_table,
    results_table,
    same_methods,
    swing_table,
    with_reference,
)
from analysis.factors import factors_table, grids
from analysis.figures import FILES as FIGURE_FILES
from analysis.speed import measured, speed_table
from analysis.tables import FILES as TABLE_FILES
from analysis.tables import Cell, Table, make_folder
from records.files import Curve, RecordError
from records.query import env_name
from records.store import RunRecord, RunStore

RAW = "marl_eval.json"
LONGEST = 100  # letters of a task in the name of a file, of which disks take 255
# What only some reports write: names, and the suffixes of their files. It would stay of earlier reports.
SOME = (
    (re.compile(r"over_tasks(_ablation)?|ablation|verdicts|speed|across|swing|factors"), TABLE_FILES),
    (re.compile(r"(curves|speed|factors)(_.+)?|across|ablation"), FIGURE_FILES),
)


@dataclass(frozen=True)
class Scope:
    """What a report says of its runs.

    ``score``: by which methods are compared, of MEANT; ``reference``: the method that others are compared with;
    ``reach``: see `measured`, needs a reference; ``across``: see `panels`; ``factors``: see `factors_table`;
    ``claims``: files of claims.
    """

    metric: str = RETURN
    score: str = "final"
    reference: str | None = None
    reach: str | None = None
    across: str | None = None
    factors: bool = False
    claims: Sequence[Path] = ()


@dataclass(frozen=True)
class Report:
    """Tables and figures by name, other files by name with their text, and the tasks without a run of the reference."""

    tables: dict[str, Table]
    figures: dict[str, Figure]
    data: dict[str, str]
    left_out: list[str]

    def write(self, out: Path) -> None:
        """Write every file, then remove what an earlier report in the folder ``out`` had beyond it.

        Raises RecordError when the folder cannot be made, and where it holds another file of the same name.
        """
        make_folder(out)
        written = {*self.data, *(name + suffix for name in self.tables for suffix in TABLE_FILES)}
        written |= {name + suffix for name in self.figures for suffix in FIGURE_FILES}
        there = {path.name for path in out.iterdir()}
        if RAW not in there and written & there:
            raise RecordError(
                f"--out {out}: expected an empty folder, or a report's, it holds another {min(written & there)}, which "
                "would be lost. Choose another folder."
            )
        for name, text in self.data.items():  # RAW, by which a report is known, among them: first
            (out / name).write_text(text)
        for name, table in self.tables.items():
            table.write(out / name)
        for name, figure in self.figures.items():
            figures.write(figure, out / name)
        for name in surplus(there) - written:
            (out / name).unlink()


def surplus(there: Set[str]) -> set[str]:
    """Return those names in a folder that a report may have written: where all files of a table or figure are."""
    found = set[str]()
    for names, suffixes in SOME:
        stems = {name.removesuffix(suffixes[0]) for name in there if name.endswith(suffixes[0])}
        for stem in stems:
            files = {stem + suffix for suffix in suffixes}
            found |= files if names.fullmatch(stem) and files <= there else set()
    return found


def make(store: RunStore, records: Sequence[RunRecord], names: Mapping[str, str], scope: Scope) -> Report:
    """Make the report on ``records``; ``names``: see `arrange`.

    Raises RecordError or ConfigError for what does not fit.
    """
    metric, reference, score = scope.metric, scope.reference, scope.score
    records, tasks = collect(store, records, metric, names)
    if not tasks:
        raise RecordError(f"--metric '{metric}': none of these runs logged it.")
    claimed = [claim for path in scope.claims for claim in load_claims(path)]
    judged = {"verdicts": verdicts(claimed, tasks)} if claimed else {}  # also where the reference has no run
    tasks, left_out = with_reference(tasks, reference) if reference else (tasks, [])

    kept = {task.label for task in tasks}

    def arranged(found: Mapping[int, Curve]) -> list[Task]:
        """Return the tasks of other curves of the same runs, but for those that were left out."""
        return [task for task in arrange(records, found, names) if task.label in kept]

    exploited = arranged(curves_of(store, records, EXPLOITABILITY)[0]) if metric == RETURN else []
    tables = score_tables(tasks, scope, exploited) | judged | {"runs": runs_table(records)}
    costs = arranged(cpu_curves(store, records))
    tables["cost"] = cost_table({"minutes": arranged(wall_minutes(records)), "CPU s": costs})
    drawn = curves(tasks, metric)
    if reference and (panels := bars(tasks, reference, score)):
        caption = f"{tables['ablation'].caption} Bars: {MEANT[score]}. {budget(tasks)}"
        drawn["ablation"] = figures.difference_bars(panels, metric, reference, caption)
    if reference and scope.reach:
        speeds = measured(tasks, costs, reference, scope.reach)
        tables["speed"] = speed_table(speeds, metric)
        for speed in speeds:
            caption = f"{described(metric)}. {CURVE} Dotted: the level. {budget([speed.task])}"
            drawn[f"speed_{slug(speed.task.label)}"] = figures.speed_curves(speed, metric, caption)
    if scope.factors:
        crossed = grids(tasks, score)
        tables["factors"] = factors_table(crossed, metric, score)
        for label, grid in crossed.items():
            one = figures.factor_lines(grid, label, f"{score} of {metric}", tables["factors"].caption)
            drawn[f"factors_{slug(label)}"] = one
    if scope.across:
        series = across.panels(tasks, costs, scope.across)
        tables["across"] = across.across_table(series, scope.across, metric, reference)
        drawn["across"] = figures.across_lines(series, scope.across, metric, tables["across"].caption)
    if metric == RETURN:
        swing = swing_table(tasks, arrange(records, curves_of(store, records, ONLINE)[0], names))
        tables |= {"swing": swing} if swing.rows else {}
    data = {RAW: json.dumps(marl_eval(tasks, metric), indent=1), "curves.csv": points(tasks)}
    return Report(tables, drawn, data, left_out)


def score_tables(tasks: Sequence[Task], scope: Scope, exploited: Sequence[Task]) -> dict[str, Table]:
    """Make the tables of scores, by name; ``exploited``: see `overview_table`."""
    metric, score, reference = scope.metric, scope.score, scope.reference
    tables = {"results": results_table(tasks, metric), "overview": overview_table(tasks, metric, score, exploited)}
    if same_methods(tasks):
        tables["over_tasks"] = over_tasks_table(tasks, metric)
    if reference is not None:
        tables["ablation"] = ablation_table(tasks, reference, metric, score)
        if same_methods(tasks):
            tables["over_tasks_ablation"] = over_tasks_ablation_table(tasks, reference, metric, score)
    return tables


def curves(tasks: Sequence[Task], metric: str) -> dict[str, Figure]:
    """Draw every task's learning curves, and all of several tasks, by name."""
    drawn = {f"curves_{slug(task.label)}": [task] for task in tasks}
    drawn |= {"curves": list(tasks)} if len(tasks) > 1 else {}
    return {
        name: figures.learning_curves(shown, metric, f"{described(metric)}. {CURVE} {budget(shown)}")
        for name, shown in drawn.items()
    }


def slug(label: str) -> str:
    """Turn a label into a file name: a long one into its beginning and a digest of all of it."""
    name = re.sub(r"[^\w.=-]+", "_", label)
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}_{sha256(label.encode()).hexdigest()[:8]}"


def points(tasks: Sequence[Task]) -> str:
    """Return every evaluation of every run as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["task", "method", "seed", "t_env", "value"])
    for task in tasks:
        for method in task.methods:
            for seed, curve in sorted(method.curves.items()):
                rows = zip(curve.steps, curve.values, strict=True)
                writer.writerows([task.label, method.label, seed, step, value] for step, value in rows)
    return file.getvalue()


def runs_table(records: Sequence[RunRecord]) -> Table:
    """Tabulate the runs behind the report: how many, what they cost, which code and which machines."""
    by_env: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        by_env[env_name(record.flat_config)].append(record)
    rows: list[list[Cell]] = [
        [
            env,
            len(group),
            f"{sum((record.last_sign - record.started).total_seconds() for record in group) / 3600:.2f}",
            distinct(f"{git['commit']}"[:7] + " with changes" * bool(git["dirty"]) for git in parts(group, "git")),
            distinct(machine_name(host) for host in parts(group, "host")),
            distinct(f"torch {versions['torch']}" for versions in parts(group, "versions")),
        ]
        for env, group in sorted(by_env.items())
    ]
    caption = (
        "Runs behind this report. Hours: wall time of each run from start to end, summed; a resumed run counts its "
        "last part. With changes: the working tree differed from the commit."
    )
    return Table(caption, ["environment", "runs", "hours", "commits", "machines", "versions"], rows)


def parts(records: Sequence[RunRecord], key: str) -> list[Mapping[str, Any]]:
    """Return one part of each run's entry, where it was recorded."""
    return [record.entry[key] for record in records if record.entry.get(key)]


def machine_name(host: Mapping[str, Any]) -> str:
    """Name the processor, cores and accelerators of a recorded host."""
    return f"{host['machine']}, {host['cpu_count']} cores, {', '.join(host['gpus']) or 'no GPU'}"


def distinct(names: Iterable[str]) -> str:
    """List each name once, as text."""
    return "; ".join(sorted(set(names)))


def marl_eval(tasks: Sequence[Task], metric: str) -> dict[str, Any]:
    """Return the raw data in marl-eval's layout, with the highest evaluation as its absolute metric."""
    data: dict[str, Any] = {}
    for task in tasks:
        algorithms = data.setdefault(task.env, {}).setdefault(task.label, {})
        for method in task.methods:
            algorithms[method.label] = {
                f"seed_{seed}": {
                    **{
                        f"step_{number}": {"step_count": step, metric: [value]}
                        for number, (step, value) in enumerate(zip(curve.steps, curve.values, strict=True), start=1)
                    },
                    "absolute_metrics": {metric: [score(curve, "best")]},
                }
                for seed, curve in sorted(method.curves.items())
            }
    return data
