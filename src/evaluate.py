"""Play a recorded run's checkpoint: statistics on both sides, and a video.

``python src/evaluate.py --run 3 [--step best] [--episodes 32] [--video battle.gif] [--colour group] [--trust]
[with env_args.opponent=random ...]``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from config import trust
from pictures import COLOURS
from utils.cli import command_parser, exit_code
from utils.paths import default_results


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    options, overrides = argv, []
    if "with" in argv:
        split = argv.index("with")
        options, overrides = argv[:split], argv[split + 1 :]
    parser = command_parser(
        "evaluate",
        __doc__,
        "--run 3",
        "--run 3 --step best --video --colour group",
        "--run 3 --episodes 32 with env_args.opponent=random",
    )
    parser.add_argument("--run", required=True, help="id or folder of a recorded run")
    parser.add_argument("--step", default="newest", help="step of a checkpoint, best or newest")
    parser.add_argument("--episodes", type=int, default=16, help="greedy episodes a side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--video",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="PATH",
        help="also write one episode as .gif, .mp4, .png (one sheet) or folder (default: a GIF beside the statistics)",
    )
    parser.add_argument("--colour", choices=COLOURS, default="side")
    parser.add_argument("--fps", type=int, default=12, help="pictures a second")
    parser.add_argument("--every", type=int, default=1, help="steps between pictures")
    parser.add_argument("--results", type=Path, default=default_results(), help="default: %(default)s")
    trust.add_option(parser)
    arguments = parser.parse_args(options)
    for option in ("episodes", "fps", "every"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option}: expected at least 1, got {getattr(arguments, option)}")
    arguments.overrides = overrides
    return arguments


def evaluate(argv: list[str]) -> None:
    """Write the video, print and save statistics. Raises InputError for what cannot be played."""
    arguments = parse(argv)
    from experiments.evaluation import Evaluation
    from experiments.video import film
    from records.checkpoint import find_run

    run_dir = find_run(arguments.run, arguments.results)
    chosen = Evaluation.of_run(
        run_dir, arguments.step, arguments.overrides, arguments.episodes, arguments.seed, arguments.trust
    )
    if arguments.video is not None:  # first: what cannot be drawn is refused before all the episodes are played
        path = chosen.file.with_suffix(".gif") if arguments.video == Path() else arguments.video
        film(chosen, path, arguments.colour, arguments.fps, arguments.every)
        print(f"written: {path}")
    found = chosen.play()
    config, folder = chosen.config, chosen.folder
    print(f"{config.name} on {config.env}, step {folder.name}, {arguments.episodes} greedy episodes a side")
    print(f"{'':18s}" + "".join(f"{side:>12s}" for side in found))
    for name in next(iter(found.values())):
        print(f"{name:18s}" + "".join(f"{means[name]:12.4f}" for means in found.values()))
    print(f"written: {chosen.file}")


def main(argv: list[str]) -> int:
    """Evaluate; see `exit_code` for what goes wrong."""
    return exit_code(lambda: evaluate(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
