"""``python src/main.py --config=hmf --env-config=battle with key=value``: trains, as one recorded run."""

from __future__ import annotations

import os
import sys

from config.command_line import parse_command_line
from utils.cli import BAD_INPUT, INTERRUPTED, exit_code, missing, refuse
from utils.errors import InputError


def main(argv: list[str]) -> int:
    """Train, continue a run, or show what would be run.

    The exit code: that of `launch.launch`, BAD_INPUT for what cannot be understood, INTERRUPTED before anything began.
    """
    try:
        return _main(argv)
    except KeyboardInterrupt:
        print("interrupted; nothing was recorded.", file=sys.stderr)
        return INTERRUPTED


def _main(argv: list[str]) -> int:
    alone = "RANK" not in os.environ  # torchrun's processes ask once, together
    try:
        arguments = parse_command_line(argv)
        from request import Request, print_config  # not for --help

        if arguments.print_config:
            return exit_code(lambda: print_config(arguments))
        asked = Request.read(arguments) if alone else None
    except InputError as error:
        return refuse(error) if os.environ.get("RANK", "0") == "0" else BAD_INPUT
    try:  # torch takes seconds: help, configurations and mistakes come at once
        from launch import launch, preview
    except ModuleNotFoundError as error:
        return refuse(missing(error))
    if arguments.dry_run:
        return exit_code(lambda: preview(asked or Request.read(arguments)))
    return launch(lambda: asked or Request.read(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
