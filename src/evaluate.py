"""Play a recorded run's checkpoint: statistics on both sides, and a video.

``python src/evaluate.py --run 3 [--step best] [--episodes 32] [--video battle.gif] [--colour group] [--trust]
[with env_args.opponent=random ...]``
"""

from __future__ import annotations

import argparse
import sys

from experiments.playing import add_options, play
from pictures import COLOURS
from utils.cli import add_results, command_parser, divided, exit_code


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    options, overrides = divided(argv)
    parser = command_parser(
        "evaluate",
        __doc__,
        "--run 3",
        "--run 3 --step best --video --colour group",
        "--run 3 --episodes 32 with env_args.opponent=random",
    )
    parser.add_argument("--run", required=True, help="id or folder of a recorded run")
    parser.add_argument("--step", default="newest", help="step of a checkpoint, best or newest")
    add_results(parser)
    add_options(parser, COLOURS)
    arguments = parser.parse_args(options)
    arguments.overrides = overrides
    return arguments


def evaluate(argv: list[str]) -> None:
    """Write the video, print and save statistics. Raises InputError for what cannot be played."""
    arguments = parse(argv)
    from records.checkpoint import exact_folder, find_run

    run_dir = find_run(arguments.run, arguments.results)
    exact_folder(run_dir, arguments.step)
    from experiments.evaluation import Evaluation  # this takes seconds

    chosen = Evaluation.of_run(
        run_dir, arguments.step, arguments.overrides, arguments.episodes, arguments.seed, arguments.trust
    )
    play(chosen, arguments, f"{chosen.config.name} on {chosen.config.env}, step {chosen.folder.name}")


def main(argv: list[str]) -> int:
    """Evaluate; see `exit_code` for what goes wrong."""
    return exit_code(lambda: evaluate(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
