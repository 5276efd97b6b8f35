"""``python src/zoo.py [ls|play NAME|add RUN ...|film [NAME ...]|rm NAME ...]``: trained policies with their cards.

``ls``, also without a word, lists them; ``play`` plays one as evaluate.py plays a run's; ``add`` takes those of
recorded runs in; ``film`` gives them the films of their cards.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from config import trust
from experiments.playing import add_options, add_picture_options, playground
from experiments.playing import play as play_again
from utils.cli import (
    add_command,
    add_experiments,
    add_results,
    add_zoo,
    command_parser,
    divided,
    exit_code,
    intermixed,
    seed,
)
from utils.errors import InputError
from utils.words import table


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ``command`` is the function to call."""
    options, overrides = divided(argv)
    parser = command_parser(
        "zoo",
        __doc__,
        "ls",
        "play battle/hmf_s1 --episodes 32 --video battle.gif --colour group",
        "play battle/iql_s2 with env_args.opponent=random",
        "add 3 5",
        "add --experiment final_bar name=hmf 'seed<=4'",
        "film --every 2",
        "rm battle/iql_s2",
    )
    where = argparse.ArgumentParser(add_help=False)
    add_zoo(where)
    commands = parser.add_subparsers(required=True, metavar="ls|play|add|film|rm")

    def added(command: Any) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = add_command(commands, parser, command, parents=[where])
        return one

    added(ls)
    playing = added(play)
    playing.add_argument("name", metavar="NAME")
    add_options(playing, ("side", "group"))
    adding = added(add)
    adding.add_argument(
        "runs", nargs="*", metavar="RUN_OR_FILTER", help="ids; or 'env=bar' 'name=hmf' ..., as in runs.py ls"
    )
    add_experiments(adding)
    adding.add_argument("--step", default="newest", help="step of a checkpoint, best or newest (default)")
    adding.add_argument("--task", metavar="NAME", help="what to call the task (default: the environment)")
    trust.add_option(adding)
    filming = added(film)
    filming.add_argument("names", nargs="*", metavar="NAME", help="default: those without a film")
    filming.add_argument("--seed", type=seed, default=0, help="of the episode")
    add_picture_options(filming, ("side", "group"))
    trust.add_option(filming)
    added(rm).add_argument("names", nargs="+", metavar="NAME")
    for one in (playing, adding):
        add_results(one)
    arguments = intermixed(parser, options or ["ls"], {add: "runs", film: "names", rm: "names"})
    if overrides and arguments.command not in (play, film):
        parser.error("with: expected after play NAME or film alone")
    if arguments.command is add and not (arguments.runs or arguments.experiment):
        adding.error("expected ids of runs, filters or --experiment NAME")
    arguments.overrides = overrides
    return arguments


def ls(arguments: argparse.Namespace) -> None:
    """list the policies (also: no command)"""
    from policies.zoo import HEAD, entries

    there = entries(arguments.zoo)
    print(table([HEAD, *([entry.name, *entry.facts] for entry in there)]))
    if not there:
        print(f"Nothing is in {arguments.zoo} yet; add recorded runs: python src/zoo.py add --help")


def play(arguments: argparse.Namespace) -> None:
    """play one greedily in its evaluation environments, as evaluate.py does"""
    from policies.zoo import find

    entry = find(arguments.name, arguments.zoo)
    from experiments.evaluation import Evaluation  # this takes seconds

    place = playground(arguments.results, entry)
    chosen = Evaluation.of_policy(
        entry.policy().parent, place, arguments.overrides, arguments.episodes, arguments.seed, arguments.trust
    )
    play_again(chosen, arguments, f"{entry.name}, step {entry.card['step']}")


def add(arguments: argparse.Namespace) -> None:
    """take the averaged policies of completed runs in, with their cards"""
    from experiments.plan import completed_runs
    from records.store import FileStore

    store = FileStore(arguments.results / "sacred")
    records = [store.get(int(word)) for word in arguments.runs if word.isdecimal()]
    names: dict[str, str] = {}
    filters = [word for word in arguments.runs if not word.isdecimal()]
    if filters or arguments.experiment:
        found, names = completed_runs(store, filters, arguments.experiment, arguments.results)
        records += found
    from policies.keep import keep  # this takes seconds

    kept = keep(
        store,
        records,
        names,
        step=arguments.step,
        task=arguments.task,
        zoo=arguments.zoo,
        trust=arguments.trust,
    )
    for policy in kept:
        print(f"run {policy.card['run']}, step {policy.card['step']} -> {arguments.zoo / policy.name}")


def film(arguments: argparse.Namespace) -> None:
    """write a greedy episode of policies as the films of their cards"""
    from policies.zoo import entries, find

    chosen = [find(name, arguments.zoo) for name in arguments.names]
    from experiments.evaluation import Evaluation  # these take seconds
    from experiments.video import film as write
    from policies.keep import refresh

    for entry in chosen or [entry for entry in entries(arguments.zoo) if not entry.film.exists()]:
        try:
            playing = Evaluation.of_policy(
                entry.policy().parent, entry.folder, arguments.overrides, 1, arguments.seed, arguments.trust
            )
            write(playing, entry.film, arguments.colour, arguments.fps, arguments.every)
        except InputError as error:
            if chosen:
                raise
            print(f"{entry.name}: left out ({error})")
            continue
        refresh(arguments.zoo)
        print(f"written: {entry.film}")


def rm(arguments: argparse.Namespace) -> None:
    """remove policies"""
    from policies.zoo import find

    chosen = {entry.name: entry for entry in (find(name, arguments.zoo) for name in arguments.names)}
    from policies.keep import refresh, remove  # this takes seconds

    for entry in chosen.values():  # one that is named twice once
        remove(entry)
    refresh(arguments.zoo)


def main(argv: Sequence[str]) -> int:
    """Do what is asked for; see `exit_code` for what goes wrong."""
    arguments = parse(argv)
    return exit_code(lambda: arguments.command(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
