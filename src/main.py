"""``python src/main.py --config=hmf --env-config=battle with key=value``: trains, as one recorded run."""

from __future__ import annotations

import os
import sys

from config.loader import parse_command_line
from utils.cli import BAD_INPUT, exit_code, refuse
from utils.errors import InputError


def main(argv: list[str]) -> int:
    """Train, continue a run, or show what would be run.

    The exit code: that of `launch.launch`, or BAD_INPUT for what cannot be understood.
    """
    try:
        arguments = parse_command_line(argv)
    except InputError as error:
        return refuse(error) if os.environ.get("RANK", "0") == "0" else BAD_INPUT  # once, of torchrun's processes
    if arguments.print_config:
        from request import print_config

        return exit_code(lambda: print_config(arguments))
    from launch import launch, preview  # torch takes seconds: help, configurations and mistakes come at once

    if arguments.dry_run:
        return exit_code(lambda: preview(arguments))
    return launch(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
