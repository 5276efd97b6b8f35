"""``python src/sweep.py EXPERIMENT [--workers N] [--ray auto] [--dry-run]``: many runs of main.py.

Finished runs are skipped, interrupted ones continue from their checkpoint, failed ones are tried once more,
but for those whose input was refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.workers import LocalWorkers, RayWorkers, Workers, n_cores
from utils.cli import COPY_INCOMPLETE, add_results, command_parser, count, exit_code

LEFT_OUT = 4  # exit code, beside those of utils.cli


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("sweep", __doc__, "smoke --dry-run", "smoke --workers 4", "my_experiment.yaml")
    parser.add_argument("experiment", help="name of a file of src/config/experiments, or a path ending in .yaml")
    parser.add_argument("--workers", type=count, help="runs at once (default: the cores over threads)")
    parser.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster; auto: the one of this machine")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its estimated cost")
    add_results(parser)
    return parser.parse_args(argv)


def sweep(argv: Sequence[str]) -> int:
    """Run a whole sweep; return its exit code.

    0; 1 when runs failed; LEFT_OUT when other processes run what is not finished; COPY_INCOMPLETE when all is finished
    but not everywhere copied.
    """
    arguments = parse(argv)
    from experiments.plan import load_experiment, plan
    from experiments.sweep import Sweep, forecast, say, stale
    from records.ids import check_writable
    from records.index import RunIndex
    from records.store import FileStore

    experiment, where = load_experiment(arguments.experiment)
    runs = plan(experiment, where, arguments.results)
    check_writable(arguments.results / "sacred")
    index = RunIndex(FileStore(arguments.results / "sacred"))
    at_once = arguments.workers or max(n_cores() // max(run.config.threads for run in runs), 1)
    for note in stale(runs, index):
        print(note)
    if arguments.dry_run:
        for line in forecast(runs, index, at_once):
            print(line)
        return 0
    workers: Workers = RayWorkers(arguments.ray, arguments.workers) if arguments.ray else LocalWorkers(at_once)
    jobs = Sweep(runs, index, workers, arguments.results / "sweeps" / Path(arguments.experiment).stem)
    print(f"{where}: {jobs.line()}, {workers.n_slots} at once", flush=True)
    jobs.execute()
    if sys.stderr.isatty():
        say(jobs.line())
    for job in jobs.failed:
        print(f"failed: {job.failure()}")
    for job in jobs.left:
        print(f"left to another process: {job.run.label}")
    for job in jobs.uncopied:
        print(f"finished, but not copied whole: {job.failure()}")
    if jobs.failed:
        return 1
    if jobs.left:
        return LEFT_OUT
    return COPY_INCOMPLETE if jobs.uncopied else 0


def main(argv: Sequence[str]) -> int:
    """Run; see `exit_code` for what goes wrong."""
    return exit_code(lambda: sweep(argv), interrupted="interrupted; the same command continues")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
