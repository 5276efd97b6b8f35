"""What commands that play a policy again share: their options, and what they print."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config import trust
from utils.cli import count

if TYPE_CHECKING:
    from experiments.evaluation import Evaluation
    from policies.zoo import Entry


def add_options(parser: argparse.ArgumentParser, colours: Sequence[str]) -> None:
    """Add what to play, what to film and what to import."""
    parser.add_argument("--episodes", type=count, default=16, help="greedy episodes a side (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
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
    """Where statistics lie of what a policy of the zoo played; another one of the same name has a place of its own."""
    return results / "tmp/zoo" / entry.folder.parent.name / entry.card["sha256"][:12]


def play(chosen: Evaluation, arguments: argparse.Namespace, title: str) -> None:
    """Write the video, print and save statistics. Raises InputError for what cannot be played."""
    from experiments.video import film

    if arguments.video is not None:  # first: what cannot be drawn is refused before all the episodes are played
        path = chosen.file.with_suffix(".gif") if arguments.video == Path() else arguments.video
        film(chosen, path, arguments.colour, arguments.fps, arguments.every)
        print(f"written: {path}")
    found = chosen.play()
    a_side = " a side" if len(found) > 1 else ""
    print(f"{title}, {arguments.episodes} greedy episodes{a_side}")
    print(f"{'':18s}" + "".join(f"{side:>12s}" for side in found))
    for name in next(iter(found.values())):
        print(f"{name:18s}" + "".join(f"{means[name]:12.4f}" for means in found.values()))
    print(f"written: {chosen.file}")
