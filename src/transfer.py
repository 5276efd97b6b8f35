"""``python src/transfer.py --experiment NAME --at ENVIRONMENT ...``: policies trained with N agents play with M.

The newest checkpoint of every completed run plays greedy episodes in its own environment, and in each that ``--at``
names: a file of src/config/envs, or one of your own, of the same environment with other numbers. What was played
before is not played again. Policies with parameters of their own for each agent play no other population.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from config import trust
from config.loader import named_layer
from utils.cli import add_experiments, add_out, add_results, add_zoo, command_parser, count, exit_code, seed


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser(
        "transfer",
        __doc__,
        "--experiment paper_battle --at battle_100v50 --at battle_667v333",
        "name=hmf env=battle --at battle_400v200 --episodes 8",
        "battle/hmf_s1 battle/hmf_s2 --at battle_667v333",
    )
    parser.add_argument(
        "chosen", nargs="*", metavar="POLICY_OR_FILTER", help="names in the zoo, and which runs, as in runs.py ls"
    )
    add_experiments(parser)
    parser.add_argument("--at", action="append", required=True, metavar="ENVIRONMENT", help="may be repeated")
    parser.add_argument("--episodes", type=count, default=16, help="of every run, a side (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=0)
    add_results(parser)
    add_zoo(parser)
    add_out(parser, "transfer")
    trust.add_option(parser)
    arguments = parser.parse_intermixed_args(argv)
    arguments.out = arguments.out or arguments.results / "tmp/transfer"
    return arguments


def transfer(argv: Sequence[str]) -> None:
    """Play everything, print and write the table. Raises InputError for what cannot be played."""
    arguments = parse(argv)
    from experiments.plan import completed_runs
    from policies.zoo import find, is_name
    from records.store import FileStore, RunRecord

    for name in arguments.at:
        named_layer("envs", name)  # an unknown name is told before anything is read
    results, playing = arguments.results, (arguments.episodes, arguments.seed, arguments.trust)
    kept = [find(given, arguments.zoo) for given in arguments.chosen if is_name(given, arguments.zoo)]
    filters = [given for given in arguments.chosen if not is_name(given, arguments.zoo)]
    store, records, names = FileStore(results / "sacred"), list[RunRecord](), dict[str, str]()
    if filters or arguments.experiment or not kept:
        found, names = completed_runs(store, filters, arguments.experiment, results)
        records += found
    from analysis.comparison import transfer_table  # these take seconds
    from analysis.tables import make_folder
    from experiments.transfer import of_run, of_zoo, play, settings

    populations = [of_run(store, record, *playing) for record in records]
    for number, entry in enumerate(kept, start=1):
        population = of_zoo(entry, -number, results, *playing)
        populations.append(population)
        if entry.card["method"] != population.record.config["name"]:  # a variant of an experiment
            names[population.record.identity] = entry.card["method"]
    chosen = settings(arguments.at, [population.record for population in populations])
    make_folder(arguments.out)  # before anything is played
    tasks = play(populations, names, chosen)
    table = transfer_table(tasks)
    table.write(arguments.out / "transfer")
    print(f"\n{table.markdown()}\nwritten: {arguments.out}")


def main(argv: Sequence[str]) -> int:
    """Play; see `exit_code` for what goes wrong."""
    return exit_code(lambda: transfer(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
