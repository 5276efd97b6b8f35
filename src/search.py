"""``python src/search.py SPACE.yaml --trials N``: hyper-parameters by Optuna, as many trials for every method.

A trial is one or more recorded runs of main.py. The study lives beside them and continues where it stopped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from experiments.workers import n_cores
from utils.cli import add_results, command_parser, count, exit_code, require
from utils.errors import InputError


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("search", __doc__, "space.yaml --trials 20 --workers 4")
    parser.add_argument("space", metavar="SPACE.yaml", help="name of a file of src/config/searches, or a path")
    parser.add_argument("--trials", type=count, required=True, help="of every method, those of earlier calls included")
    parser.add_argument("--compare", type=Path, metavar="YAML", help="write the experiment of the best trials here")
    parser.add_argument("--table", type=Path, metavar="STEM", help="write all trials to STEM.md, .csv and .tex")
    parser.add_argument("--workers", type=count, default=n_cores(), help="runs at once (default: the cores)")
    add_results(parser)
    return parser.parse_args(argv)


def search(argv: Sequence[str]) -> None:
    """Run every trial, then print the best ones. Raises ConfigError with one clear message."""
    arguments = parse(argv)
    require("optuna", "./install_dependencies.sh")
    from analysis.tables import FILES
    from experiments.space import load_space
    from records.ids import check_writable

    folder = arguments.results / "sweeps" / Path(arguments.space).stem
    space = load_space(arguments.space)
    if arguments.compare and not space.final.get("seeds"):
        raise InputError(f"--compare: expected 'final: {{seeds: [...]}}' in {arguments.space}, which says what to run.")
    for option, path in (("--compare", arguments.compare), ("--table", arguments.table)):
        if path and not path.parent.is_dir():
            raise InputError(f"{option}: expected an existing folder, got {path.parent}. Make it first.")
    if arguments.table and arguments.table.suffix in FILES:
        raise InputError(
            f"--table: expected a file's name without its ending, got {arguments.table}. Leave "
            f"{arguments.table.suffix} off: {', '.join(FILES)} are added."
        )
    if arguments.compare and (arguments.compare.suffix not in (".yaml", ".yml") or arguments.compare.is_dir()):
        raise InputError(f"--compare: expected a file's name that ends in .yaml, got {arguments.compare}. Give one.")
    check_writable(arguments.results / "sacred")
    import optuna

    from experiments.search import Search, database

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with database(folder):
        studies = Search(space, arguments.space, arguments.results, folder)
        studies.execute(arguments.trials, arguments.workers)
        print(studies.best())
        if arguments.table:
            studies.table().write(arguments.table)
            print(f"written: {arguments.table}.md, .csv and .tex")
        if arguments.compare:
            head = f"# The best of {studies.given()} of {arguments.space}: written by src/search.py."
            arguments.compare.write_text(f"{head}\n{yaml.safe_dump(studies.comparison(), sort_keys=False)}")
            print(f"written: {arguments.compare}. Next: python src/sweep.py {shlex.quote(str(arguments.compare))}")


def main(argv: Sequence[str]) -> int:
    """Search; see `exit_code` for what goes wrong."""
    return exit_code(lambda: search(argv), interrupted="interrupted; the same command continues")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
