"""``python src/runs.py COMMAND``: look at recorded runs, compare, copy and delete them.

``export`` takes a policy away: the network that acts, as one file with its card. ``pack`` writes the records of runs
into one file to publish, ``unpack`` takes such files in.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import trust
from policies import KINDS
from records.checkpoint import exact_folder, find_run
from records.files import RecordError
from records.listing import Listing, near_miss, overview
from records.presets import own_keys
from records.query import differing_keys, parse_condition
from records.store import STATUSES, FileStore, RunStore
from records.tracker import TRACKERS
from records.tracker import track as copy_to_tracker
from utils.cli import add_command, add_experiments, add_results, command_parser, count, exit_code, folder, intermixed
from utils.words import amount, columns_within, table

if TYPE_CHECKING:
    from records.mongo import MongoStore

ARCHIVE = ".tar.xz"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ``command`` is the function to call."""
    parser = command_parser(
        "runs",
        __doc__,
        "ls 'env=battle' 'test_return_mean>2'",
        "ls --columns name,seed,lr --metric test_return_mean --sort=-test_return_mean --last 20",
        "show 3",
        "diff 3 5",
        "plot 3 5 --metric test_return_mean --smooth 5 --output curves.png",
        "export 3 --to onnx",
        "track 3 5 --to tensorboard",
        "pack records.tar.xz --experiment final_bar",
        "unpack results/paper/bar/records.tar.xz results/paper/spread/records.tar.xz",
        "push --mongo-url mongodb://127.0.0.1:27017/sacred",
        "pull 7 --mongo-url mongodb://127.0.0.1:27017/sacred",
        "rm 4",
    )
    where = argparse.ArgumentParser(add_help=False)
    add_results(where)
    where.add_argument("--mongo-url", metavar="URL", help="this MongoDB instead of files; push and pull: or $MONGO_URL")
    commands = parser.add_subparsers(required=True, metavar="ls|show|diff|plot|export|track|pack|unpack|push|pull|rm")

    def add(command: Any, ids: str | None) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = add_command(commands, parser, command, parents=[where])
        if ids is not None:
            added.add_argument("ids", nargs=ids, type=count, metavar="ID")
        return added

    listing = add(ls, None)
    listing.add_argument("filters", nargs="*", metavar="FILTER", help="'env=battle' 'test_return_mean>3' ...")
    listing.add_argument("--status", help="|".join(STATUSES))
    listing.add_argument("--metric", action="append", default=[], help="show its last value; may be repeated")
    listing.add_argument("--columns", type=names, default=[], metavar="KEY,...", help="these instead of the usual ones")
    listing.add_argument("--sort", metavar="KEY", help="by any column; --sort=-KEY: the largest first")
    listing.add_argument("--last", type=count, metavar="N", help="only the N newest")
    add(show, None).add_argument("runs", nargs="+", metavar="ID_OR_FOLDER", help="a folder: that of a run")
    add(diff, "+")
    plotting = add(plot, "+")
    plotting.add_argument("--metric", action="append", help="default: test_return_mean; may be repeated")
    plotting.add_argument("--smooth", type=count, default=1, metavar="N", help="moving mean of a run's last N points")
    plotting.add_argument("--each", action="store_true", help="one line per run, also where only the seed differs")
    plotting.add_argument(
        "--output", type=Path, metavar="FILE", help="default: tmp/runs.png in the folder of --results"
    )
    taking = add(export, None)
    taking.add_argument("id", type=count, metavar="ID")
    taking.add_argument("--to", required=True, choices=KINDS, help="the format")
    taking.add_argument("--step", default="newest", help="step of a checkpoint, best or newest (default)")
    taking.add_argument(
        "--out",
        type=folder,
        metavar="DIR",
        help="of a file and its card; default: policies in the folder of --results",
    )
    trust.add_option(taking)
    add(track, "+").add_argument("--to", required=True, choices=TRACKERS, help="where to")
    packing = add(pack, None)
    packing.add_argument("file", type=Path, metavar="FILE.tar.xz")
    packing.add_argument("filters", nargs="*", metavar="FILTER", help="'env=battle' 'test_return_mean>3' ...")
    add_experiments(packing)
    add(unpack, None).add_argument("archives", nargs="+", type=Path, metavar="FILE.tar.xz")
    add(push, "*")
    add(pull, "*")
    add(rm, "+").add_argument("--yes", action="store_true", help="do not ask")
    return intermixed(parser, argv, {ls: "filters", show: "runs", pack: "filters"})


def names(text: str) -> list[str]:
    """Split names with commas between them. Raises ArgumentTypeError when one is empty."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"expected names such as seed,lr, got '{text}'")
    return found


def file_store(arguments: argparse.Namespace) -> FileStore:
    """Return the runs recorded as files."""
    return FileStore(arguments.results / "sacred")


def existing_files(arguments: argparse.Namespace) -> FileStore:
    """Return the runs recorded as files. Raises RecordError when their folder does not exist."""
    store = file_store(arguments)
    if not store.results_dir.is_dir():
        raise RecordError(
            f"--results: expected a folder of results, whose runs are in its folder sacred; there is no "
            f"'{store.name}'. Correct it, or record a first run with src/main.py."
        )
    return store


def mongo_store(url: str | None) -> MongoStore:
    """Return the runs in the MongoDB at ``url``. Raises RecordError without a URL."""
    if not url:
        raise RecordError("MongoDB: expected --mongo-url or $MONGO_URL, such as mongodb://127.0.0.1:27017/sacred.")
    from records.mongo import MongoStore

    return MongoStore.at(url)


def chosen_store(arguments: argparse.Namespace) -> RunStore:
    """Return the files that are there, or the MongoDB that was asked for. Raises RecordError."""
    return mongo_store(arguments.mongo_url) if arguments.mongo_url else existing_files(arguments)


def located(given: str, arguments: argparse.Namespace) -> tuple[RunStore, int]:
    """Find the store and id of a run that is named by its id or its folder. Raises InputError for one that is neither.

    A number is an id, also where a folder has that name.
    """
    if given.isdecimal():
        return chosen_store(arguments), int(given)
    folder = find_run(given, arguments.results).resolve()
    if not folder.name.isdecimal():
        raise RecordError(f"run: expected a folder that is named by its run's id, got {folder}. Name it so.")
    return FileStore(folder.parent), int(folder.name)


def ls(arguments: argparse.Namespace) -> None:
    """list runs, with the keys that were set and in which they differ"""
    where = [parse_condition(text) for text in arguments.filters]
    chosen = (arguments.status, arguments.metric, arguments.columns, arguments.sort, arguments.last)
    store = chosen_store(arguments)
    rows = overview(store, Listing(where, *chosen))
    if len(rows) == 1:
        near = near_miss(store, where)
        print(f"no run fits {' '.join(arguments.filters) or 'these options'}{near and f'.{near}'}")
        return
    everything = len(rows[0])
    wide = shutil.get_terminal_size((sys.maxsize, 0)).columns  # a file and a pipe have room for all
    shown = everything if arguments.columns else columns_within(rows, wide)
    print(table([row[:shown] for row in rows]))
    if shown < everything:
        note = f"{everything - shown} columns left out; --columns KEY,... chooses: {', '.join(rows[0][shown:])}"
        print(textwrap.fill(note, wide))


def show(arguments: argparse.Namespace) -> None:
    """print everything recorded of a run"""
    for store, run_id in [located(given, arguments) for given in arguments.runs]:
        record = store.get(run_id)
        git = record.entry.get("git") or {}
        dirty = " with uncommitted changes" if git.get("dirty") else ""
        started = f"{record.started:%Y-%m-%d %H:%M:%S} UTC"
        print(f"run {run_id} in {store.name}: {record.status}, started {started}, {record.duration}")
        version, result = record.entry.get("version", "before 0.2.0"), brief(record.entry.get("result"))
        print(f"result {result}, version {version}, commit {git.get('commit')}{dirty}\n")
        own = own_keys(record.flat_config)
        keys = [["*" * (key in own), key, brief(value)] for key, value in sorted(record.flat_config.items())]
        print(table([["", "key", "value"], *keys]))
        print("*: not what the files of src/config give this algorithm and environment: it was set, or they changed\n")
        print(table([["info", "value"], *([key, brief(value)] for key, value in sorted(record.info.items()))]))
        print()
        curves = store.metrics(run_id)
        rows = [[name, len(curve.steps), curve.steps[-1], curve.values[-1]] for name, curve in sorted(curves.items())]
        print(table([["metric", "points", "last step", "last value"], *rows]))
        print("".join(record.entry.get("fail_trace") or []), end="")


def brief(value: Any) -> Any:
    """Shorten ``value`` for `show`: numbers to five digits; a list of rows, which grows with a run, to the last one."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: brief(inner) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    entries = [brief(inner) for inner in value]
    if not any(isinstance(entry, list) for entry in entries):
        return entries
    return f"{amount(len(entries), 'point')}, last {entries[-1]}"


def diff(arguments: argparse.Namespace) -> None:
    """print the configuration keys in which runs differ"""
    if len(arguments.ids) < 2:
        raise RecordError(f"diff: expected two or more ids, got {arguments.ids[0]} alone. Add the run to compare with.")
    store = chosen_store(arguments)
    configs = [store.get(run_id).flat_config for run_id in arguments.ids]
    keys = differing_keys(configs)
    if not keys:
        print("The configurations are equal.")
        return
    rows = [[key, *(config.get(key, "(none)") for config in configs)] for key in sorted(keys)]
    print(table([["key", *(f"run {run_id}" for run_id in arguments.ids)], *rows]))


def plot(arguments: argparse.Namespace) -> None:
    """draw curves of metrics as a picture; runs that differ only in the seed are one line with its interval"""
    store = chosen_store(arguments)
    names = arguments.metric or ["test_return_mean"]
    records = [store.get(run_id) for run_id in arguments.ids]
    from analysis.curves import picture  # this takes a second

    curves = [store.metrics(record.id, names) for record in records]
    figure = picture(records, curves, names, arguments.each, arguments.smooth)
    known = figure.canvas.get_supported_filetypes()
    output = arguments.output or arguments.results / "tmp/runs.png"
    if output.suffix.lower().removeprefix(".") not in known:  # without one matplotlib adds its own
        suffixes = ", ".join(f".{name}" for name in sorted(known))
        raise RecordError(f"--output: expected a file's name that ends in one of {suffixes}, got '{output}'. Add one.")
    try:
        if arguments.output is None:
            output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, dpi=150)
    except (OSError, ValueError) as error:
        raise RecordError(f"--output: cannot write {output} ({error}).") from error
    print(output)


def export(arguments: argparse.Namespace) -> None:
    """write the network that acts, alone, as one file with its card"""
    if arguments.mongo_url:
        raise RecordError("export: expected a run recorded as files; checkpoints are not copied to MongoDB.")
    files = existing_files(arguments)
    files.get(arguments.id)
    exact_folder(files.folder(arguments.id), arguments.step)
    from policies.take import take_away  # this takes seconds

    folder = arguments.out or arguments.results / "policies"
    print(take_away(files, arguments.id, arguments.step, arguments.to, folder, arguments.trust))


def track(arguments: argparse.Namespace) -> None:
    """copy metrics of runs to a tracker, of a running one until it ends; each time as a new run there"""
    if arguments.mongo_url:
        pull = "python src/runs.py pull"
        raise RecordError(f"track: expected runs recorded as files. Copy those of MongoDB first: {pull}")
    files = FileStore(existing_files(arguments).results_dir.resolve())
    for run_id in arguments.ids:
        files.get(run_id)
        with chdir(files.folder(run_id)):  # where trackers leave their files
            n_points = copy_to_tracker(files, run_id, arguments.to)
        print(f"run {run_id}: {n_points} points -> {arguments.to}")


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


def pack(arguments: argparse.Namespace) -> None:
    """write the records of completed runs, and of those that they continue, into one file to publish; no checkpoints"""
    if arguments.mongo_url:
        pull = "python src/runs.py pull"
        raise RecordError(f"pack: expected runs recorded as files; get those of MongoDB with `{pull}` first.")
    if not arguments.file.name.endswith(ARCHIVE):
        raise RecordError(f"pack: expected a file's name that ends in {ARCHIVE}, got {arguments.file}.")
    from experiments.plan import completed_runs
    from records.archive import pack as write

    store = existing_files(arguments)
    records, _ = completed_runs(store, arguments.filters, arguments.experiment, arguments.results)
    verb = "replaced" if arguments.file.exists() else "written"
    ids = write(store, [record.id for record in records], arguments.file)
    print(f"{verb}: {arguments.file}, {amount(len(ids), 'run')}")


def unpack(arguments: argparse.Namespace) -> None:
    """take the runs of such files in, under new ids; a run that is there already is left as it is"""
    from records.archive import unpack as read

    store = file_store(arguments)
    for archive in arguments.archives:
        placed = read(archive, store)
        new = sorted(run_id for run_id, is_new in placed.values() if is_new)
        ids = f" ({new[0]} to {new[-1]})" if new else ""
        print(f"{archive}: {amount(len(new), 'run')} taken in{ids}, {len(placed) - len(new)} there already")


def rm(arguments: argparse.Namespace) -> None:
    """delete runs for good, with their checkpoints"""
    store = chosen_store(arguments)
    records = [store.get(run_id) for run_id in dict.fromkeys(arguments.ids)]
    for record in records:
        if record.status == "RUNNING":
            raise RecordError(f"run {record.id}: it is RUNNING. Stop it first.")
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


def main(argv: Sequence[str]) -> int:
    """Do what is asked for; see `exit_code` for what goes wrong."""
    arguments = parse(argv)
    return exit_code(lambda: arguments.command(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
