"""``python src/main.py --config=hmf --env-config=battle with key=value``: trains, as one recorded run."""

from __future__ import annotations

import os
import sys

from config.loader import parse_command_line
from utils.cli import BAD_INPUT, refuse
from utils.errors import InputError


def main(argv: list[str]) -> int:
    """Train, or continue a run; the exit code (`launch.launch`), or BAD_INPUT for what cannot be understood."""
    try:
        arguments = parse_command_line(argv)
    except InputError as error:
        return refuse(error) if os.environ.get("RANK", "0") == "0" else BAD_INPUT  # once, of torchrun's processes
    from launch import launch  # torch takes seconds: help and mistakes come at once

    return launch(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
