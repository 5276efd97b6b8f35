"""``python src/benchmark.py [OPTIONS] [with key=value ...]``: speed and memory against the population.

Everything is timed on one core, in its CPU time and in turn with its floors, so that other work on the machine
disturbs ratios little; with ``use_cuda=true`` in wall time (``threads=16`` lets engines feed it from as many cores).
Writes tables (Markdown, CSV) and a picture; docs/performance.md explains the columns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from config.loader import named_layer
from utils.cli import command_parser, count, divided, exit_code, folder, positive
from utils.paths import default_results


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the options, and what follows the word ``with``."""
    parser = command_parser(
        "benchmark",
        __doc__,
        "--agents 20 200 --seconds 2",
        "--config hmf --env-config spread --agents 100 with use_cuda=true",
    )
    parser.add_argument("--config", nargs="+", default=["iql", "hmf"], metavar="ALGORITHM")
    parser.add_argument("--env-config", default="battle", metavar="ENVIRONMENT")
    parser.add_argument("--agents", nargs="+", type=count, default=[20, 64, 200, 500, 1000, 2000], metavar="N")
    parser.add_argument("--seconds", type=positive, default=10.0, help="about half as long as one table row takes")
    parser.add_argument(
        "--targets",
        action="store_true",
        help="also what is asked: both regimes, rollouts, batched tasks beside mpe2, two processes beside one",
    )
    parser.add_argument("--page", type=Path, action="append", default=[], help="bring its tables up to date")
    parser.add_argument(
        "--out", type=folder, default=default_results() / "tmp/benchmark", metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="nothing but ratios of OLD NEW [OLD NEW ...], pairs of --out",
    )
    options, overrides = divided(argv)
    arguments = parser.parse_args(options)
    arguments.overrides = overrides
    if len(arguments.compare or ()) % 2:
        parser.error(f"--compare: expected pairs of folders, got {len(arguments.compare)}")
    return arguments


def benchmark(argv: Sequence[str]) -> None:
    """Measure every algorithm at every population, each in a process of its own; write and print the tables."""
    arguments = parse(argv)
    for layer, names in (("algs", arguments.config), ("envs", [arguments.env_config])):
        for name in names:
            named_layer(layer, name)
    from analysis.figures import write  # these take seconds
    from analysis.page import check, fill
    from analysis.tables import make_folder
    from performance.cases import config_for, measured
    from performance.compare import comparison
    from performance.tables import picture, population_table, split_table
    from performance.targets import measured_targets

    if arguments.compare:
        print(*comparison(arguments.compare), sep="\n")
        return
    for page in arguments.page:
        check(page)
    make_folder(arguments.out)
    cases = [
        config_for(algorithm, arguments.env_config, n, arguments.overrides)
        for algorithm in arguments.config
        for n in arguments.agents
    ]
    rows = measured(cases, arguments.env_config, arguments.seconds)
    tables = {"benchmark": population_table(rows), "split": split_table(rows)}
    if arguments.targets:
        tables |= measured_targets(arguments.seconds)
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
