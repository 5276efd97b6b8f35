"""``python src/noise.py --experiment NAME``: how noisy the updates of recorded runs are, and their targets.

Every completed run is played on from a checkpoint without learning; the gradients of its next batches are compared.
Methods whose returns differ can be told apart by what they learn from: docs/credit.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from config import trust
from utils.cli import add_experiments, add_out, add_results, command_parser, count, exit_code


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser(
        "noise", __doc__, "--experiment credit_bar", "name=hmf env=battle --step 16000 --batches 32"
    )
    parser.add_argument("filters", nargs="*", metavar="KEY=VALUE", help="which runs, as in runs.py ls")
    add_experiments(parser)
    parser.add_argument("--step", default="newest", help="step of a checkpoint, best or newest (default: %(default)s)")
    parser.add_argument("--batches", type=count, default=16, help="of every run (default: %(default)s)")
    add_results(parser)
    add_out(parser, "noise")
    trust.add_option(parser)
    arguments = parser.parse_intermixed_args(argv)
    arguments.out = arguments.out or arguments.results / "tmp/noise"
    if arguments.batches < 2:
        parser.error(f"--batches: expected at least 2, which can differ, got {arguments.batches}")
    return arguments


def noise(argv: Sequence[str]) -> None:
    """Measure everything, print and write the table. Raises InputError for what cannot be played."""
    arguments = parse(argv)
    from experiments.plan import completed_runs
    from records.store import FileStore

    store = FileStore(arguments.results / "sacred")
    records, names = completed_runs(store, arguments.filters, arguments.experiment, arguments.results)
    from analysis.comparison import noise_table  # these take seconds
    from analysis.tables import make_folder, writing
    from experiments.noise import measured

    make_folder(arguments.out)  # before anything is played
    found = measured(store, records, names, arguments.step, arguments.batches, arguments.trust)
    table = noise_table(found, arguments.batches)
    print(f"\n{table.markdown()}\n")
    with writing(arguments.out):
        table.write(arguments.out / "noise")
    print(f"written: {arguments.out}")


def main(argv: Sequence[str]) -> int:
    """Measure; see `exit_code` for what goes wrong."""
    return exit_code(lambda: noise(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
