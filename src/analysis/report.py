"""A report on recorded runs: its tables, its figures and the data behind them, in a folder."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import figures
from analysis.across import Panel, across_table, panels
from analysis.claims import load_claims, verdicts
from analysis.collect import Task, arrange, collect, cpu_curves, curves_of, wall_minutes
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
from analysis.page import check, fill
from analysis.speed import Speed, measured, speed_table
from analysis.tables import Cell, Table, make_folder
from records.files import RecordError
from records.query import env_name
from records.store import RunRecord, RunStore

RAW = "marl_eval.json"
# What reports write, but for the data that every report writes: of an earlier one with other tasks it would stay.
OURS = re.compile(
    r"(results|overview|over_tasks|(over_tasks_)?ablation|verdicts|cost|runs|speed|across|swing|factors)"
    r"\.(md|csv|tex|png|svg|pdf)"
    r"|(curves|speed|factors)(_.+)?\.(png|svg|pdf)"
)


def write(
    store: RunStore,
    records: Sequence[RunRecord],
    *,
    metric: str,
    names: Mapping[str, str],
    score: str,
    reference: str | None,
    reach: str | None,
    across: str | None,
    factors: bool,
    claims: Sequence[Path],
    pages: Sequence[Path],
    out: Path,
) -> tuple[dict[str, Table], list[str]]:
    """Write the report on ``records`` into the folder ``out`` and bring ``pages`` up to date.

    ``names``: see `arrange`; ``score``: by which methods are compared, of MEANT; ``reach``: see `measured`, needs a
    reference; ``across``: see `panels`; ``factors``: see `factors_table`. Returns its tables by name, and the tasks
    that were left out because they have no run of ``reference``. Raises RecordError or ConfigError for what does not
    fit, before anything is written.
    """
    tasks = collect(store, records, metric, names)
    if not tasks:
        raise RecordError(f"--metric '{metric}': none of these runs logged it.")
    claimed = [claim for path in claims for claim in load_claims(path)]
    judged = {"verdicts": verdicts(claimed, tasks)} if claimed else {}  # also where the reference has no run
    tasks, left_out = with_reference(tasks, reference) if reference else (tasks, [])
    for page in pages:
        check(page)
    kept, exploited = {task.label for task in tasks}, list[Task]()
    if metric == RETURN:
        found = arrange(records, curves_of(store, records, EXPLOITABILITY)[0], names)
        exploited = [task for task in found if task.label in kept]
    tables = make_tables(tasks, metric, score, reference, exploited) | judged | {"runs": runs_table(records)}
    speeds, series, crossed = list[Speed](), list[Panel](), grids(tasks, score) if factors else {}
    costs = arrange(records, cpu_curves(store, records), names)
    columns = {"minutes": arrange(records, wall_minutes(records), names), "CPU s": costs}
    tables["cost"] = cost_table(
        {name: [task for task in found if task.label in kept] for name, found in columns.items()}
    )
    if reference and reach:
        speeds = measured(tasks, costs, reference, reach)
        tables["speed"] = speed_table(speeds, metric)
    if factors:
        tables["factors"] = factors_table(crossed, metric, score)
    if across:
        series = panels(tasks, columns["CPU s"], across)
        tables["across"] = across_table(series, across, metric, reference)
    if metric == RETURN:
        swing = swing_table(tasks, arrange(records, curves_of(store, records, ONLINE)[0], names))
        tables |= {"swing": swing} if swing.rows else {}
    write_files(tasks, tables, metric, score, reference, speeds, out)
    if series:
        caption = tables["across"].caption
        figures.write(figures.across_lines(series, str(across), metric, caption), out / "across")
    for label, found_there in crossed.items():
        one = figures.factor_lines(found_there, label, f"{score} of {metric}", tables["factors"].caption)
        figures.write(one, out / f"factors_{slug(label)}")
    for page in pages:
        fill(page)
    return tables, left_out


def make_tables(
    tasks: Sequence[Task],
    metric: str,
    score: str,
    reference: str | None,
    exploited: Sequence[Task],
) -> dict[str, Table]:
    """Make the tables of scores, by name; ``exploited``: see `overview_table`."""
    tables = {"results": results_table(tasks, metric), "overview": overview_table(tasks, metric, score, exploited)}
    if same_methods(tasks):
        tables["over_tasks"] = over_tasks_table(tasks, metric)
    if reference is not None:
        tables["ablation"] = ablation_table(tasks, reference, metric, score)
        if same_methods(tasks):
            tables["over_tasks_ablation"] = over_tasks_ablation_table(tasks, reference, metric, score)
    return tables


def write_files(
    tasks: Sequence[Task],
    tables: Mapping[str, Table],
    metric: str,
    score: str,
    reference: str | None,
    speeds: Sequence[Speed],
    out: Path,
) -> None:
    """Write every file of the report, and remove those of the report that was in its folder.

    Raises RecordError when the folder cannot be made.
    """
    make_folder(out)
    if (out / RAW).exists():  # elsewhere these names are of other files
        for path in out.iterdir():
            if OURS.fullmatch(path.name):
                path.unlink()
    for name, table in tables.items():
        table.write(out / name)
    caption = f"{described(metric)}. {CURVE}"
    for task in tasks:
        one = figures.learning_curves([task], metric, f"{caption} {budget([task])}")
        figures.write(one, out / f"curves_{slug(task.label)}")
    if len(tasks) > 1:
        figures.write(figures.learning_curves(tasks, metric, f"{caption} {budget(tasks)}"), out / "curves")
    for speed in speeds:
        one = figures.speed_curves(speed, metric, f"{caption} Dotted: the level. {budget([speed.task])}")
        figures.write(one, out / f"speed_{slug(speed.task.label)}")
    if reference is not None and (panels := bars(tasks, reference, score)):
        bars_caption = f"{tables['ablation'].caption} Bars: {MEANT[score]}. {budget(tasks)}"
        figures.write(figures.difference_bars(panels, metric, reference, bars_caption), out / "ablation")
    (out / "curves.csv").write_text(points(tasks))
    (out / RAW).write_text(json.dumps(marl_eval(tasks, metric), indent=1))


def slug(label: str) -> str:
    """Turn a label into a file name."""
    return re.sub(r"[^\w.=-]+", "_", label)


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
                    "absolute_metrics": {metric: [max(curve.values)]},
                }
                for seed, curve in sorted(method.curves.items())
            }
    return data
