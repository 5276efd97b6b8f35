"""``python src/report.py [FILTER ...] [--experiment NAME]... [--reference METHOD] [--out DIR]``: tables and curves.

Reads completed runs, as files or from MongoDB, and writes Markdown, CSV and LaTeX tables, learning curves as PNG and
SVG, and every point of them as CSV and in the JSON format of marl-eval.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from analysis import figures
from analysis.claims import Claim, verdicts
from analysis.collect import SCORES, Method, Task, collect
from analysis.page import check, fill
from analysis.statistics import LEVEL, RESAMPLES, Estimate, estimate, improvement, min_max_scaled, paired_difference
from analysis.tables import Cell, Table
from config.schema import ConfigError
from experiments.plan import from_values, load_experiment, plan
from records.files import RecordError
from records.identity import identity
from records.mongo import MongoStore
from records.query import parse_condition
from records.store import FileStore, RunRecord, RunStore
from utils.cli import exit_code
from utils.words import nearest

CONVENTIONS = {
    "return_mean": "an episode's summed rewards, mean over the initial agents",
    "return_sum": "an episode's summed rewards, sum over the agents",
}
INTERVAL = (
    f"stratified bootstrap {LEVEL:.0%} interval over seeds ({RESAMPLES} draws, percentiles); n is the number of seeds"
)
FEW_SEEDS = "With two to four seeds the interval is the range from the worst to the best."
IQM = "Interquartile mean over seeds (n = 4: the two middle ones; n < 4: the plain mean)"


def described(metric: str) -> str:
    """The metric and, for returns, the convention behind it."""
    convention = CONVENTIONS.get(metric.removeprefix("test_"))
    prefix = "greedy evaluation, " if metric.startswith("test_") else ""
    return f"{metric} ({prefix}{convention})" if convention else metric


def slug(label: str) -> str:
    """A label as a file name."""
    return re.sub(r"[^\w.=-]+", "_", label)


def results_table(tasks: Sequence[Task], metric: str) -> Table:
    """Final, best and mean height of the curve of every method on every task."""
    caption = (
        f"{described(metric)}. t_env: step of the last evaluation; final: that evaluation; best: highest evaluation of "
        "a run, optimistic; auc: area under the curve over its span of steps. "
        f"{IQM} with {INTERVAL}. {FEW_SEEDS}"
    )
    rows: list[list[Cell]] = [
        [task.label, method.label, method.last_step, *(estimate([method.array(kind)]) for kind in SCORES)]
        for task in tasks
        for method in task.methods
    ]
    return Table(caption, ["task", "method", "t_env", *SCORES], rows)


def overview_table(tasks: Sequence[Task], metric: str) -> Table:
    """Give the last evaluation of every method, in rows, on every task, in columns; None where it did not run."""
    columns = [{method.label: estimate([method.array("final")]) for method in task.methods} for task in tasks]
    names = sorted({name for column in columns for name in column})
    rows: list[list[Cell]] = [[name, *(column.get(name) for column in columns)] for name in names]
    caption = f"{described(metric)}: the last evaluation. {IQM} with {INTERVAL}. {FEW_SEEDS}"
    return Table(caption, ["method", *(task.label for task in tasks)], rows)


def against(tasks: Sequence[Task], reference: str) -> list[tuple[Task, Method, Method]]:
    """(task, method, reference) for every other method on every task that has the reference."""
    return [
        (task, method, base)
        for task in tasks
        for base in task.methods
        if base.label == reference
        for method in task.methods
        if method is not base
    ]


def with_reference(tasks: Sequence[Task], reference: str) -> list[Task]:
    """The tasks that have the reference: a comparison says nothing about others. Raises RecordError when none has."""
    known = {method.label for task in tasks for method in task.methods}
    if reference not in known:
        raise RecordError(
            f"--reference '{reference}': not among these runs.{nearest(reference, known)} "
            f"Known: {', '.join(sorted(known))}."
        )
    found = [task for task in tasks if any(method.label == reference for method in task.methods)]
    missing = [task.label for task in tasks if task not in found]
    if missing:
        print(f"left out, no finished run of {reference} there: {', '.join(missing)}")
    return found


def budget(tasks: Sequence[Task]) -> str:
    """How long runs were, per task, as a sentence."""
    steps = (f"{task.label} {max(method.last_step for method in task.methods):,}" for task in tasks)
    return f"Budget in environment steps: {', '.join(steps)}."


def ablation_table(tasks: Sequence[Task], reference: str, metric: str) -> Table:
    """Every method minus the reference, seed by seed."""
    rows: list[list[Cell]] = [
        [
            task.label,
            method.label,
            *(paired_difference(method.scores(kind), base.scores(kind)) for kind in ("final", "auc")),
            improvement(method.array("final"), base.array("final")),
        ]
        for task, method, base in against(tasks, reference)
    ]
    caption = (
        f"Difference to {reference} in {described(metric)}: {IQM} of the differences between runs of the same seed, "
        f"with {INTERVAL} (common seeds). {FEW_SEEDS} P: probability that a run is better than one of "
        f"{reference} by its final evaluation, over all pairs of runs; its n counts the runs of both."
    )
    return Table(caption, ["task", "method", "final", "auc", "P(final)"], rows)


def same_methods(tasks: Sequence[Task]) -> bool:
    """Whether there are several tasks, with the same methods on each."""
    names = [method.label for method in tasks[0].methods]
    return len(tasks) > 1 and all([method.label for method in task.methods] == names for task in tasks)


def scaled(task: Task, kind: str) -> dict[str, dict[int, float]]:
    """Method -> seed -> score, scaled to 0 (the worst run of all methods) and 1 (the best)."""
    arrays = min_max_scaled({method.label: method.array(kind) for method in task.methods})
    return {
        method.label: dict(zip(sorted(method.curves), map(float, arrays[method.label]), strict=True))
        for method in task.methods
    }


def over_tasks_table(tasks: Sequence[Task], metric: str) -> Table:
    """Scores of `same_methods`, scaled per task and pooled."""
    scores = {kind: [scaled(task, kind) for task in tasks] for kind in SCORES}
    rows: list[list[Cell]] = [
        [
            method.label,
            *(estimate([np.array([*task[method.label].values()]) for task in scores[kind]]) for kind in SCORES),
        ]
        for method in tasks[0].methods
    ]
    caption = (
        f"{described(metric)} over {len(tasks)} tasks, scaled on each to 0 (the worst run of all methods) and 1 (the "
        f"best). {IQM}, runs of all tasks pooled, with {INTERVAL} in all tasks; seeds are resampled within tasks."
    )
    return Table(caption, ["method", *SCORES], rows)


def over_tasks_ablation_table(tasks: Sequence[Task], reference: str, metric: str) -> Table:
    """Every method of `same_methods` minus the reference, by task and seed, in scaled scores."""
    scores = {kind: [scaled(task, kind) for task in tasks] for kind in ("final", "auc")}
    rows: list[list[Cell]] = [
        [method.label, *(pooled_difference(scores[kind], method.label, reference) for kind in scores)]
        for method in tasks[0].methods
        if method.label != reference
    ]
    caption = (
        f"Difference to {reference} in {described(metric)} over {len(tasks)} tasks, scaled on each to 0 (the worst run "
        f"of all methods) and 1 (the best). {IQM} of the differences between runs of the same task and seed, tasks "
        f"pooled, with {INTERVAL} in all tasks; seeds are resampled within tasks."
    )
    return Table(caption, ["method", "final", "auc"], rows)


def pooled_difference(tasks: Sequence[dict[str, dict[int, float]]], name: str, reference: str) -> Estimate | None:
    """IQM of differences by task and seed; None where a task has no seed in common."""
    strata = [
        np.array([task[name][seed] - task[reference][seed] for seed in sorted(task[name].keys() & task[reference])])
        for task in tasks
    ]
    return estimate(strata) if all(map(len, strata)) else None


def bars(tasks: Sequence[Task], reference: str) -> dict[str, dict[str, Estimate]]:
    """Task -> method -> difference to the reference in the final evaluation, where there is one."""
    found: dict[str, dict[str, Estimate]] = defaultdict(dict)
    for task, method, base in against(tasks, reference):
        difference = paired_difference(method.scores("final"), base.scores("final"))
        if difference is not None:
            found[task.label][method.label] = difference
    return found


def points(tasks: Sequence[Task]) -> str:
    """Every evaluation of every run as CSV."""
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
    """What stands behind the report: how many runs, what they cost, which code and which machines."""
    by_env: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        by_env[str(record.config["env"])].append(record)
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
    """One part of each run's entry, where it was recorded."""
    return [record.entry[key] for record in records if record.entry.get(key)]


def machine_name(host: Mapping[str, Any]) -> str:
    """Processor, cores and accelerators of a recorded host."""
    return f"{host['machine']}, {host['cpu_count']} cores, {', '.join(host['gpus']) or 'no GPU'}"


def distinct(names: Iterable[str]) -> str:
    """Each name once."""
    return "; ".join(sorted(set(names)))


def marl_eval(tasks: Sequence[Task], metric: str) -> dict[str, Any]:
    """The raw data in marl-eval's layout; the best evaluation stands in for its absolute metric."""
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


def load_claims(path: Path) -> list[Claim]:
    """A YAML list of mappings with the fields of `Claim`. Raises ConfigError for anything else."""
    try:
        entries = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--claims {path}: cannot be read: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ConfigError(f"--claims {path}: expected a list of mappings, such as '- {{claim: ..., task: bar}}'.")
    return [from_values(Claim, entry, f"{path}, claim {number}") for number, entry in enumerate(entries, start=1)]


def chosen_runs(store: RunStore, arguments: argparse.Namespace) -> Sequence[RunRecord]:
    """Completed runs that meet the filters or belong to the experiment. Raises RecordError when there is none."""
    records = store.list([parse_condition(text) for text in arguments.filters], "COMPLETED")
    if arguments.experiment:
        recorded = {identity(record.config) for record in records}
        wanted: set[str] = set()
        for name in arguments.experiment:
            planned = {run.identity for run in plan(*load_experiment(name), Path(arguments.results))}
            wanted |= planned
            missing = len(planned - recorded)
            if missing:
                why = "not finished, or do not meet the filters" if arguments.filters else "not finished"
                print(f"{missing} of {len(planned)} runs of {name} are {why}: src/sweep.py {name}")
        records = [record for record in records if identity(record.config) in wanted]
    if not records:
        raise RecordError(f"report: no completed run in {store.name} fits. See: src/runs.py ls --status COMPLETED")
    return records


def make_tables(tasks: Sequence[Task], metric: str, reference: str | None, claims: Sequence[Claim]) -> dict[str, Table]:
    """Every table of the report by its name. Raises RecordError for a claim about an ambiguous task."""
    tables = {"results": results_table(tasks, metric)}
    if len(tasks) > 1:
        tables["overview"] = overview_table(tasks, metric)
    if same_methods(tasks):
        tables["over_tasks"] = over_tasks_table(tasks, metric)
    if reference is not None:
        tables["ablation"] = ablation_table(tasks, reference, metric)
        if same_methods(tasks):
            tables["over_tasks_ablation"] = over_tasks_ablation_table(tasks, reference, metric)
    if claims:
        tables["verdicts"] = verdicts(claims, tasks)
    return tables


def write_report(
    tasks: Sequence[Task], tables: Mapping[str, Table], metric: str, reference: str | None, out: Path
) -> None:
    """Every file of the report. Raises RecordError when its folder cannot be made."""
    figures.make_folder(out)
    for name, table in tables.items():
        table.write(out / name)
    caption = f"{described(metric)}. Line: {IQM}. Band: {INTERVAL}, at each point separately. {FEW_SEEDS}"
    for task in tasks:
        one = figures.learning_curves([task], metric, f"{caption} {budget([task])}")
        figures.write(one, out / f"curves_{slug(task.label)}")
    if len(tasks) > 1:
        figures.write(figures.learning_curves(tasks, metric, f"{caption} {budget(tasks)}"), out / "curves")
    panels = bars(tasks, reference) if reference is not None else {}
    if panels:
        bars_caption = f"{tables['ablation'].caption} {budget(tasks)}"
        figures.write(figures.difference_bars(panels, metric, bars_caption), out / "ablation")
    (out / "curves.csv").write_text(points(tasks))
    (out / "marl_eval.json").write_text(json.dumps(marl_eval(tasks, metric), indent=1))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="report.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("filters", nargs="*", metavar="FILTER", help="'env=bar' 'name=hmf' ..., as in runs.py ls")
    parser.add_argument("--experiment", action="append", metavar="NAME", help="only its runs; may be repeated")
    parser.add_argument("--reference", metavar="METHOD", help="ablation table: differences to this method")
    parser.add_argument("--claims", type=Path, metavar="YAML", help="table of verdicts on these claims")
    parser.add_argument(
        "--page", action="append", default=[], type=Path, metavar="MD", help="refresh its tables; may be repeated"
    )
    parser.add_argument("--metric", default="test_return_mean", help="default: %(default)s")
    parser.add_argument("--mongo-url", metavar="URL", help="read this MongoDB instead of files")
    parser.add_argument("--results", default="results", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--out", default=Path("results/tmp/report"), type=Path, metavar="DIR")
    return parser.parse_args(argv)


def report(argv: Sequence[str]) -> None:
    """Print the tables and write the report. Raises RecordError or ConfigError with one clear message."""
    arguments = parse(argv)
    url = arguments.mongo_url
    store = MongoStore.at(url) if url else FileStore(Path(arguments.results) / "sacred")
    records = chosen_runs(store, arguments)
    tasks = collect(store, records, arguments.metric)
    if not tasks:
        raise RecordError(f"--metric '{arguments.metric}': none of these runs logged it.")
    if arguments.reference:
        tasks = with_reference(tasks, arguments.reference)
    claims = load_claims(arguments.claims) if arguments.claims else []
    for page in arguments.page:
        check(page)
    tables = make_tables(tasks, arguments.metric, arguments.reference, claims) | {"runs": runs_table(records)}
    write_report(tasks, tables, arguments.metric, arguments.reference, arguments.out)
    for page in arguments.page:
        fill(page)
    for table in tables.values():
        print(table.markdown())
    print(f"written: {arguments.out}")


def main(argv: Sequence[str]) -> int:
    """Report; see `exit_code` for what goes wrong."""
    return exit_code(lambda: report(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
