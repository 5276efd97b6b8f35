"""``python src/crossplay.py RUN_OR_POLICY ... [--episodes N]``: trained policies play Battle against each other.

``--outside FILE [ADAPTER]``: a team of others, trained on MAgent2's battle_v4, from its state dict; may be repeated.
``--league RUN``: ratings of one run's policies over its training, from the games of its league.
``--sides RUN``: ratings of both sides of a run over its training, where the enemies learned too.

The first one's environment is the game. Who fits the learners' side is a row, who fits the enemies' side a column,
beside random play; where both sides are alike everybody is both. Every pair meets with the row on either side.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from config import trust
from utils.cli import command_parser, count, exit_code, say
from utils.errors import InputError
from utils.paths import default_results, default_zoo


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = command_parser(
        "crossplay",
        __doc__,
        "1 2 opponents/battle.pt",
        "3 4 --step best --episodes 32",
        "3 battle/iql_s2",
        "3 --outside theirs.pt --outside others.pt my_adapter:Network",
        "--league 5",
        "--sides 6 --episodes 32",
    )
    parser.add_argument(
        "players", nargs="*", metavar="RUN_OR_POLICY", help="id or folder of a run, a policy.pt, or a name in the zoo"
    )
    parser.add_argument(
        "--outside",
        nargs="+",
        action="append",
        default=[],
        metavar=("FILE", "ADAPTER"),
        help="a state dict, and module:Class that makes its network (default: convolutions and linear layers)",
    )
    parser.add_argument(
        "--league", metavar="RUN", help="rate a run that was trained with opponent=league; play nothing"
    )
    parser.add_argument(
        "--sides", metavar="RUN", help="rate learners and enemies of a run that was trained with opponent=learner"
    )
    parser.add_argument("--episodes", type=count, default=16, help="on either side (default: %(default)s)")
    parser.add_argument(
        "--step", help="which checkpoint of runs that are named: nearest to a step, best or newest (default)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=default_results(), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--zoo", type=Path, default=default_zoo(), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--out", default=default_results() / "tmp/crossplay", type=Path, metavar="DIR")
    trust.add_option(parser)
    arguments = parser.parse_args(argv)
    if [bool(arguments.players or arguments.outside), bool(arguments.league), bool(arguments.sides)].count(True) != 1:
        parser.error("expected either players, --league RUN or --sides RUN")
    if arguments.step and not arguments.players:
        parser.error("--step: expected runs to which it belongs; --league and --sides rate all checkpoints of theirs")
    for given in arguments.outside:
        if len(given) > 2:
            parser.error(f"--outside: expected a file and at most one adapter, got {' '.join(given)}")
    return arguments


def crossplay(argv: Sequence[str]) -> None:
    """Play everything, print and write the results. Raises InputError for what cannot be played."""
    arguments = parse(argv)
    if arguments.league:
        league(arguments.league, arguments.results, arguments.out)
        return
    if arguments.sides:
        both_sides(arguments)
        return
    from policies.zoo import is_run, policy_file

    if arguments.step and not any(is_run(name, arguments.zoo) for name in arguments.players):
        raise InputError(
            "--step: expected a run, whose checkpoint it chooses; a file and a policy of the zoo are of one."
        )
    files = {
        name: policy_file(name, arguments.zoo, arguments.results, arguments.step or "newest")
        for name in arguments.players
    }
    from analysis.crossplay import write  # these take seconds
    from analysis.figures import make_folder
    from experiments.crossplay import load_outside, load_player, play

    players = [load_player(name, path, arguments.trust) for name, path in files.items()]
    players += [load_outside(Path(file), *adapter) for file, *adapter in dict.fromkeys(map(tuple, arguments.outside))]
    make_folder(arguments.out)  # before anything is played
    found = []
    for result in play(players, arguments.episodes, arguments.seed):
        say(f"{result.row} on the {result.side} against {result.column}: score {result.scores.mean():.2f}")
        found.append(result)
    print(f"\n{write(found, arguments.out).markdown()}\nwritten: {arguments.out}")


def league(run: str, results: Path, out: Path) -> None:
    """Print and write the ratings of the run's policies. Raises InputError for a run without a league."""
    from records.checkpoint import find_run
    from records.files import read_json

    info = read_json(find_run(run, results) / "info.json")
    from analysis.league import write  # this takes seconds

    table = write(info.get("league", []), out)
    print(f"\n{table.markdown()}\nwritten: {out}")


def both_sides(arguments: argparse.Namespace) -> None:
    """Play, print and write the ratings of a run's learners and enemies. Raises InputError for what has no such."""
    from records.checkpoint import find_run

    run_dir = find_run(arguments.sides, arguments.results)
    from analysis.both_sides import Meeting, write  # these take seconds
    from analysis.figures import make_folder
    from experiments.both_sides import meet

    found: list[Meeting] = []
    for meeting in meet(run_dir, arguments.episodes, arguments.seed, arguments.trust):
        if not found:
            make_folder(arguments.out)
        say(
            f"learners of step {meeting.learners:,} against enemies of step {meeting.enemies:,}: "
            f"score {meeting.scores.mean():.2f}"
        )
        found.append(meeting)
    print(f"\n{write(found, arguments.out).markdown()}\nwritten: {arguments.out}")


def main(argv: Sequence[str]) -> int:
    """Play; see `exit_code` for what goes wrong."""
    return exit_code(lambda: crossplay(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
