"""``python src/runs.py ls|show|diff|plot|push|pull|rm``: look at recorded runs, compare, copy and delete them."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from config.loader import CONFIG_DIR, available, merge, named_layer, read_yaml
from records.files import Curve, RecordError
from records.mongo import MongoStore
from records.query import Condition, differing_keys, flatten, parse_condition, telling_keys
from records.store import STATUSES, FileStore, RunRecord, RunStore, utc_now
from utils.cli import exit_code
from utils.words import nearest

ALWAYS_SHOWN = ("name", "env", "seed")  # of the configuration, in ls; first in legends
LEGEND_WIDTH = 100  # characters


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; ``command`` is the function to call."""
    parser = argparse.ArgumentParser(prog="runs.py", description=__doc__, allow_abbrev=False)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--results-dir", default="results/sacred", metavar="DIR", help="default: %(default)s")
    where.add_argument("--mongo-url", metavar="URL", help="this MongoDB instead of files; push and pull: or $MONGO_URL")
    commands = parser.add_subparsers(required=True, metavar="ls|show|diff|plot|push|pull|rm")

    def add(command: Any, ids: str | None) -> argparse.ArgumentParser:
        added = commands.add_parser(command.__name__, help=command.__doc__, parents=[where], allow_abbrev=False)
        added.set_defaults(command=command)
        if ids is not None:
            added.add_argument("ids", nargs=ids, type=int, metavar="ID")
        return added

    listing = add(ls, None)
    listing.add_argument("filters", nargs="*", metavar="FILTER", help="'env=battle' 'test_return_mean>3' ...")
    listing.add_argument("--status", help="|".join(STATUSES))
    listing.add_argument("--metric", action="append", default=[], help="show its last value; may be repeated")
    add(show, "+")
    add(diff, "+")
    plotting = add(plot, "+")
    plotting.add_argument("--metric", action="append", help="default: test_return_mean; may be repeated")
    plotting.add_argument("--output", default="runs.png", type=Path, metavar="FILE", help="default: %(default)s")
    add(push, "*")
    add(pull, "*")
    add(rm, "+").add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(argv)


def file_store(arguments: argparse.Namespace) -> FileStore:
    """The runs recorded as files."""
    return FileStore(Path(arguments.results_dir))


def existing_files(arguments: argparse.Namespace) -> FileStore:
    """The runs recorded as files. Raises RecordError when their folder does not exist."""
    store = file_store(arguments)
    if not store.results_dir.is_dir():
        raise RecordError(
            f"--results-dir: expected the folder that holds runs by their id, there is no folder '{store.name}'. "
            "Correct it, or record a first run with src/main.py."
        )
    return store


def mongo_store(url: str | None) -> MongoStore:
    """Raises RecordError without a URL."""
    if not url:
        raise RecordError("MongoDB: expected --mongo-url or $MONGO_URL, such as mongodb://127.0.0.1:27017/sacred.")
    return MongoStore.at(url)


def chosen_store(arguments: argparse.Namespace) -> RunStore:
    """Files that are there, or the MongoDB that was asked for. Raises RecordError."""
    return mongo_store(arguments.mongo_url) if arguments.mongo_url else existing_files(arguments)


def ls(arguments: argparse.Namespace) -> None:
    """list runs, with the configuration keys in which they differ"""
    store = chosen_store(arguments)
    conditions = [parse_condition(text) for text in arguments.filters]
    records = store.list(conditions, arguments.status)
    if not records and (everything := store.list()):
        check_kinds(conditions, [record.flat_config for record in everything])
    configs = [record.flat_config for record in records]
    config_keys = {key for config in configs for key in config}
    metrics = [*arguments.metric, *(condition.key for condition in conditions if condition.key not in config_keys)]
    keys = [key for key in ALWAYS_SHOWN if key in config_keys]
    keys += [key for key in telling_keys(configs) if key not in keys]
    curves = [store.metrics(record.id) if metrics else {} for record in records]
    for name in metrics:
        if records and not any(name in found for found in curves):
            raise RecordError(f"--metric '{name}': none of these runs logged it.{nearest(name, set().union(*curves))}")
    rows: list[list[Any]] = [["id", "status", "started (UTC)", "duration", *keys, *metrics]]
    for record, config, found in zip(records, configs, curves, strict=True):
        values = [config.get(key, "") for key in keys]
        values += [found[name].values[-1] if name in found else "" for name in metrics]
        rows.append([record.id, record.status, f"{record.started:%Y-%m-%d %H:%M}", duration(record), *values])
    print_table(rows)


def check_kinds(conditions: Sequence[Condition], configs: Sequence[dict[str, Any]]) -> None:
    """Raises RecordError for a condition between numbers and a text, which no run can meet."""
    for key, sign, value in ((condition.key, condition.operator, condition.value) for condition in conditions):
        recorded = [config[key] for config in configs if key in config] or [0.0]  # a metric is a number
        if isinstance(value, str) and all(isinstance(known, int | float) for known in recorded):
            raise RecordError(
                f"filter '{key}{sign}{value}': {key} is a number in every run, expected one, got the text '{value}'. "
                "Write it like 3, 0.001 or 1.0e-3."
            )
        if isinstance(value, int | float) and all(isinstance(known, str) for known in recorded):
            raise RecordError(
                f"filter '{key}{sign}{value}': {key} is a text in every run, expected one, got the number {value}."
            )


def show(arguments: argparse.Namespace) -> None:
    """everything recorded of a run"""
    store = chosen_store(arguments)
    for run_id in arguments.ids:
        record = store.get(run_id)
        git = record.entry.get("git") or {}
        dirty = " with uncommitted changes" if git.get("dirty") else ""
        print(f"run {run_id} in {store.name}: {record.status}, started {record.started} UTC, {duration(record)}")
        version = record.entry.get("version", "before 0.2.0")
        print(f"result {record.entry.get('result')}, version {version}, commit {git.get('commit')}{dirty}\n")
        print_table([["key", "value"], *([key, value] for key, value in sorted(record.flat_config.items()))])
        print()
        print_table([["info", "value"], *([key, value] for key, value in sorted(record.info.items()))])
        print()
        curves = store.metrics(run_id)
        rows = [[name, len(curve.steps), curve.steps[-1], curve.values[-1]] for name, curve in sorted(curves.items())]
        print_table([["metric", "points", "last step", "last value"], *rows])
        print("".join(record.entry.get("fail_trace") or []), end="")


def diff(arguments: argparse.Namespace) -> None:
    """the configuration keys in which runs differ"""
    if len(arguments.ids) < 2:
        raise RecordError(f"diff: expected two or more ids, got {arguments.ids[0]} alone. Add the run to compare with.")
    store = chosen_store(arguments)
    configs = [store.get(run_id).flat_config for run_id in arguments.ids]
    keys = differing_keys(configs)
    if not keys:
        print("The configurations are equal.")
        return
    rows = [[key, *(config.get(key, "(none)") for config in configs)] for key in sorted(keys)]
    print_table([["key", *(f"run {run_id}" for run_id in arguments.ids)], *rows])


def plot(arguments: argparse.Namespace) -> None:
    """curves of metrics, one line per run, as a picture"""
    store = chosen_store(arguments)
    names = arguments.metric or ["test_return_mean"]
    records = [store.get(run_id) for run_id in arguments.ids]
    figure = picture(records, [store.metrics(record.id, names) for record in records], names)
    try:
        figure.savefig(arguments.output, dpi=150)
    except (OSError, ValueError) as error:
        raise RecordError(f"--output: cannot write {arguments.output} ({error}).") from error
    print(arguments.output)


def picture(records: Sequence[RunRecord], curves: Sequence[dict[str, Curve]], names: Sequence[str]) -> Figure:
    """One panel per metric, one line per run; the legend below all of them."""
    keys = legend_keys([record.flat_config for record in records])
    labels = [textwrap.fill(label(record, keys), LEGEND_WIDTH, subsequent_indent="    ") for record in records]
    n_lines = sum(len(text.splitlines()) for text in labels)
    figure = Figure(figsize=(8, 4 * len(names) + 0.2 * n_lines), layout="constrained")
    for row, name in enumerate(names, start=1):
        axis = figure.add_subplot(len(names), 1, row)
        for text, found in zip(labels, curves, strict=True):
            curve = found[name]
            mark = "o" if len(curve.steps) == 1 else None  # a single point has no line
            axis.plot(curve.steps, curve.values, label=text, marker=mark)
        axis.set(xlabel="t_env (environment steps)", ylabel=name)
    figure.legend(handles=axis.lines, loc="outside lower left", fontsize="small")
    return figure


def legend_keys(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Telling keys, name and environment first, without those whose values the name of the algorithm implies."""
    default = read_yaml(CONFIG_DIR / "default.yaml")
    known = {name: flatten(merge(default, named_layer("algs", name).values)) for name in available("algs")}
    presets = [known.get(config["name"], {}) for config in configs]
    keys = [
        key
        for key in telling_keys(configs)
        if key == "name"
        or any(key not in preset or preset[key] != config[key] for config, preset in zip(configs, presets, strict=True))
    ]
    return sorted(keys, key=lambda key: key not in ALWAYS_SHOWN)


def label(record: RunRecord, keys: Iterable[str]) -> str:
    """Run and the values of the differing keys."""
    values = ", ".join(f"{key}={record.flat_config.get(key, '(none)')}" for key in keys)
    return f"run {record.id}: {values}" if values else f"run {record.id}"


def push(arguments: argparse.Namespace) -> None:
    """copy runs (default: all) from files to MongoDB; what is there already is completed"""
    files, mongo = existing_files(arguments), mongo_store(arguments.mongo_url or os.environ.get("MONGO_URL"))
    for run_id in arguments.ids or files.ids():
        mongo.put(files.get(run_id), files.own_metrics(run_id), files.output(run_id))
        print(f"run {run_id}: {files.name} -> {mongo.name}")


def pull(arguments: argparse.Namespace) -> None:
    """copy runs (default: all) from MongoDB to files; a run that is there already is left as it is"""
    files, mongo = file_store(arguments), mongo_store(arguments.mongo_url or os.environ.get("MONGO_URL"))
    known = set(files.ids())
    for run_id in arguments.ids or mongo.ids():
        record = mongo.get(run_id)
        if run_id in known and files.get(run_id).is_same_run(record):
            print(f"run {run_id}: already in {files.name}")
            continue
        files.put(record, mongo.own_metrics(run_id), mongo.output(run_id))
        print(f"run {run_id}: {mongo.name} -> {files.name}")


def rm(arguments: argparse.Namespace) -> None:
    """delete runs for good, with their checkpoints"""
    store = chosen_store(arguments)
    records = [store.get(run_id) for run_id in arguments.ids]
    for record in records:
        if record.status == "RUNNING":
            raise RecordError(f"run {record.id}: it is RUNNING. Stop it first; it counts as DEAD two minutes later.")
    for record in records:
        if arguments.yes or confirmed(f"delete run {record.id} ({record.status}) from {store.name}? [y/N] "):
            store.remove(record.id)
            print(f"run {record.id}: deleted from {store.name}")


def confirmed(question: str) -> bool:
    """Ask on the terminal; no answer is a no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def duration(record: RunRecord) -> str:
    """Until the end, the last heartbeat of a dead run, or now."""
    end = utc_now() if record.status == "RUNNING" else record.last_sign
    return str(timedelta(seconds=round((end - record.started).total_seconds())))


def print_table(rows: Sequence[Sequence[Any]]) -> None:
    """Aligned columns; the first row is the head."""
    texts = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main(argv: Sequence[str]) -> int:
    """Do what is asked for; see `exit_code` for what goes wrong."""
    arguments = parse(argv)
    return exit_code(lambda: arguments.command(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
