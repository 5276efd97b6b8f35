"""``python src/crossplay.py RUN_OR_POLICY ... [--episodes N]``: trained policies play Battle against each other.

``--outside FILE [ADAPTER]``: a team of others, trained on MAgent2's battle_v4, from its state dict; may be repeated.
``--league RUN``: ratings of one run's policies over its training, from the games of its league.
``--sides RUN``: ratings of both sides of a run over its training, where the enemies learned too.

The first one's environment is the game. Who fits the learners' side is a row, who fits the enemies' side a column,
beside random play; where both sides are alike every player is both. Every pair meets with the row on either side. Games
stay in ``games.jsonl`` of --out: what was played is not played again. Methods of several policies are rated, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from config import trust
from experiments.entrants import Entrant
from experiments.workers import n_cores
from utils.cli import add_experiments, add_out, add_results, add_zoo, command_parser, count, exit_code, say, seed
from utils.errors import InputError


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser(
        "crossplay",
        __doc__,
        "1 2 opponents/battle.pt",
        "3 4 --step best --episodes 32",
        "3 battle/iql_s2",
        "--experiment arena_battle opponents/battle.pt --episodes 32",
        "3 --outside theirs.pt --outside others.pt my_adapter:Network",
        "--league 5",
        "--sides 6 --episodes 32",
    )
    parser.add_argument(
        "players", nargs="*", metavar="RUN_OR_POLICY", help="id or folder of a run, a policy.pt, or a name in the zoo"
    )
    add_experiments(parser)
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
    parser.add_argument("--workers", type=count, default=n_cores(), help="games at once (default: the cores)")
    parser.add_argument("--seed", type=seed, default=0)
    add_results(parser)
    add_zoo(parser)
    add_out(parser, "crossplay")
    trust.add_option(parser)
    arguments = parser.parse_intermixed_args(argv)
    arguments.out = arguments.out or arguments.results / "tmp/crossplay"
    modes = [arguments.players or arguments.experiment or arguments.outside, arguments.league, arguments.sides]
    if sum(map(bool, modes)) != 1:
        parser.error("expected either players, --league RUN or --sides RUN")
    if arguments.step and not (arguments.players or arguments.experiment):
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
    from policies.zoo import is_run

    named_run = any(is_run(name, arguments.zoo) for name in arguments.players)
    if arguments.step and not (arguments.experiment or named_run):
        raise InputError(
            "--step: expected a run, whose checkpoint it chooses; a file and a policy of the zoo are of one."
        )
    entrants = named(arguments)
    for entrant in entrants if arguments.step else ():
        at = entrant.path.parent.name
        if at.isdecimal() and arguments.step.isdecimal() and int(at) != int(arguments.step):
            say(f"{entrant.given}: there is no step {arguments.step}; the nearest, {at}, plays")
    from analysis.crossplay import write  # these take seconds
    from analysis.tables import make_folder
    from experiments.crossplay import meetings, play

    loaders = [entrant.load for entrant in entrants]
    players = [load() for load in loaders]
    meetings(players)  # who fits no side is refused
    make_folder(arguments.out)  # before anything is played
    found, played = [], arguments.out / "games.jsonl"
    for result in play(players, loaders, arguments.episodes, arguments.seed, arguments.workers, played):
        say(f"{result.row} on the {result.side} against {result.column}: score {result.scores.mean():.2f}")
        found.append(result)
    for table in write(found, {player.label: player.method for player in players}, arguments.out):
        print(f"\n{table.markdown()}")
    print(f"written: {arguments.out}")


def named(arguments: argparse.Namespace) -> list[Entrant]:
    """List all whom the command line names, each once, by its first name. Raises InputError for what is not there."""
    from policies.zoo import policy_file

    results, step, trusted = arguments.results, arguments.step or "newest", arguments.trust
    found = [
        Entrant(name, policy_file(name, arguments.zoo, results, step), alone=name.endswith(".pt"), trust=trusted)
        for name in arguments.players
    ]
    if arguments.experiment:
        from experiments.plan import completed_runs
        from records.store import FileStore

        records, methods = completed_runs(FileStore(results / "sacred"), [], arguments.experiment, results)
        for record in records:
            path = policy_file(str(record.id), arguments.zoo, results, step)
            found.append(Entrant(str(record.id), path, methods.get(record.identity, ""), trust=trusted))
    for file, *adapter in arguments.outside:
        found.append(Entrant(file, Path(file), adapter=adapter[0] if adapter else "plain"))
    once: dict[tuple[Path, str], Entrant] = {}
    for entrant in found:  # or it would play itself
        once.setdefault((entrant.path.resolve(), entrant.adapter), entrant)
    return list(once.values())


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
    from analysis.tables import make_folder
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
