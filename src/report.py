"""``python src/report.py [FILTER ...] [--experiment NAME]... [--reference METHOD] [--out DIR]``: tables and curves.

Reads completed runs, as files or from MongoDB, and writes Markdown, CSV and LaTeX tables, learning curves as PNG, SVG
and, for a paper, PDF, and every point of them as CSV and in the JSON format of marl-eval.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from analysis import REFERENCE
from utils.cli import add_experiments, add_out, add_results, command_parser, exit_code


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("report", __doc__, "--experiment smoke", "'env=bar' 'n_groups>2' --reference hmf")
    parser.add_argument("filters", nargs="*", metavar="FILTER", help="'env=bar' 'name=hmf' ..., as in runs.py ls")
    add_experiments(parser)
    parser.add_argument(
        "--score",
        choices=("final", "tail"),
        default="final",
        help="by which methods are compared: the last evaluation (default), or the mean of the last five",
    )
    parser.add_argument("--reference", metavar="METHOD", help="ablation table: differences to this method")
    parser.add_argument(
        "--reach",
        type=_level,
        metavar="RETURN",
        help=f"how soon methods get there, in steps and CPU seconds, beside --reference; {REFERENCE}: its mean end",
    )
    parser.add_argument(
        "--across", metavar="KEY", help="scores and costs over a number that differs: env_args.n_agents, n_groups, ..."
    )
    parser.add_argument(
        "--factors", action="store_true", help="of crossed factors: each one's means over all others, and its share"
    )
    parser.add_argument(
        "--claims",
        action="append",
        default=[],
        type=Path,
        metavar="YAML",
        help="table of verdicts on these claims; may be repeated",
    )
    parser.add_argument(
        "--page", action="append", default=[], type=Path, metavar="MD", help="refresh its tables; may be repeated"
    )
    parser.add_argument("--metric", default="test_return_mean", help="default: %(default)s")
    parser.add_argument("--mongo-url", metavar="URL", help="read this MongoDB instead of files")
    add_results(parser)
    add_out(parser, "report")
    arguments = parser.parse_intermixed_args(argv)
    arguments.out = arguments.out or arguments.results / "tmp/report"
    if arguments.reach is not None and arguments.reference is None:
        parser.error("--reach: expected --reference METHOD as well, whose CPU seconds the others are compared with")
    return arguments


def _level(text: str) -> str:
    if text != REFERENCE:
        try:
            level = float(text)
        except ValueError:
            level = math.nan
        if not math.isfinite(level):
            raise argparse.ArgumentTypeError(f"expected a number or the word {REFERENCE}, got '{text}'")
    return text


def report(argv: Sequence[str]) -> None:
    """Write the report and print its tables. Raises RecordError or ConfigError with one clear message."""
    arguments = parse(argv)
    from experiments.plan import belonging
    from records.store import FileStore, RunStore, completed

    store: RunStore = FileStore(arguments.results / "sacred")
    if arguments.mongo_url:
        from records.mongo import MongoStore

        store = MongoStore.at(arguments.mongo_url)
    found = completed(store, arguments.filters)
    records, names = belonging(store, found, bool(arguments.filters), arguments.experiment, arguments.results)
    from analysis.page import check, fill  # these take seconds
    from analysis.report import Scope, make
    from analysis.tables import writing

    for page in arguments.page:
        check(page)
    asked = {field.name: getattr(arguments, field.name) for field in fields(Scope)}
    made = make(store, records, names, Scope(**asked))
    with writing(arguments.out):
        made.write(arguments.out)
    for page in arguments.page:
        fill(page)
    if made.left_out:
        print(f"left out, no finished run of {arguments.reference} there: {', '.join(made.left_out)}")
    for table in made.tables.values():
        print(table.markdown())
    print(f"written: {arguments.out}")


def main(argv: Sequence[str]) -> int:
    """Report; see `exit_code` for what goes wrong."""
    return exit_code(lambda: report(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
