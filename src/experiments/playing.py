"""What commands that play a policy again share: their options, and what they print."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config import trust
from utils.cli import count, seed
from utils.words import table

if TYPE_CHECKING:
    from experiments.evaluation import Evaluation
    from policies.zoo import Entry


def add_options(parser: argparse.ArgumentParser, colours: Sequence[str]) -> None:
    """Add what to play, what to film and what to import."""
    parser.add_argument("--episodes", type=count, default=16, help="greedy episodes a side (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument(
        "--video",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="PATH",
        help="also write one episode as .gif, .mp4, .png (one sheet) or folder (default: a GIF beside the statistics)",
    )
    add_picture_options(parser, colours)
    trust.add_option(parser)


def add_picture_options(parser: argparse.ArgumentParser, colours: Sequence[str]) -> None:
    """Add how a film looks."""
    parser.add_argument("--colour", choices=colours, default="side")
    parser.add_argument("--fps", type=count, default=12, help="pictures a second")
    parser.add_argument("--every", type=count, default=1, help="steps between pictures")


def playground(results: Path, entry: Entry) -> Path:
    """Return where statistics lie of what a policy of the zoo played; each of the same name has a place of its own."""
    return results / "tmp/zoo" / entry.folder.parent.name / entry.card["sha256"][:12]


def play(chosen: Evaluation, arguments: argparse.Namespace, title: str) -> None:
    """Write the video, print and save statistics. Raises InputError for what cannot be played or written."""
    from experiments.video import film

    if arguments.video is not None:  # first: what cannot be drawn is refused before all the episodes are played
        path = chosen.file.with_suffix(".gif") if arguments.video == Path() else arguments.video
        film(chosen, path, arguments.colour, arguments.fps, arguments.every)
        print(f"written: {path}")
    found, deviations = chosen.measure()
    a_side = " a side" if len(found) > 1 else ""
    print(f"{title}, {arguments.episodes} greedy episodes{a_side}: mean ± standard deviation over episodes")
    names = list(next(iter(deviations.values())))
    rows = [
        [name, *(f"{means[name]:10.4f} ± {deviations[side][name]:.4g}" for side, means in found.items())]
        for name in names
    ]
    counts = [f"{means['n_episodes']:10.0f}" for means in found.values()]
    print(table([["", *(f"{side:>10s}" for side in found)], *rows, ["n_episodes", *counts]]))
    meanings = [f"{name}: {meaning}" for name, meaning in chosen.meanings.items() if name in names]
    if meanings:
        print("; ".join(meanings))
    print(f"written: {chosen.keep(found, deviations)}")  # last: a full disk takes nothing from what was printed
