"""``python src/doctor.py [--config=A --env-config=E [with key=value ...]]``: can this machine train, what is missing.

One line per check: ok, warn (training works, something else does not) or fail (with what to do). Exit code 1 on a fail.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from performance.checks import examine
from utils.cli import add_results, command_parser, divided, exit_code
from utils.errors import InputError


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Raises InputError for keys of no configuration."""
    options, overrides = divided(argv)
    parser = command_parser("doctor", __doc__, "", "--config=hmf --env-config=battle with use_cuda=true")
    parser.add_argument("--config", metavar="ALGORITHM", help="a file of src/config/algs")
    parser.add_argument("--env-config", metavar="ENVIRONMENT", help="a file of src/config/envs")
    add_results(parser)
    parser.add_argument("--mongo-url", metavar="URL", default=os.environ.get("MONGO_URL"), help="default: $MONGO_URL")
    arguments = parser.parse_args(options)
    if overrides and not (arguments.config and arguments.env_config):
        raise InputError(
            f"command line: expected --config=ALGORITHM and --env-config=ENVIRONMENT before with {' '.join(overrides)}"
            ", which changes their keys. Give both."
        )
    arguments.overrides = overrides
    return arguments


def check(argv: Sequence[str]) -> int:
    """Print a line per check as it is done; 1 when one failed. Raises InputError."""
    arguments = parse(argv)
    failed = False
    asked = (arguments.config, arguments.env_config, arguments.overrides, arguments.mongo_url, arguments.results)
    for name, finding in examine(*asked):
        print(f"{finding.level:5}{name:14}{finding.text}", flush=True)
        failed |= finding.level == "fail"
    return int(failed)


def main(argv: Sequence[str]) -> int:
    """Check; see `exit_code` for what goes wrong."""
    return exit_code(lambda: check(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
