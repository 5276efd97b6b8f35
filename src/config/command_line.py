"""The command line of ``src/main.py``: its options, its help, and what is said of a word that is none."""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from typing import NoReturn

from config import trust
from config.loader import available, named_layer, parse_overrides
from config.schema import ConfigError
from utils.cli import divided
from utils.words import nearest, to_yaml

PRINT_CONFIG = "print_config"  # a word that users of Sacred know


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"command line: {message}. Usage: {self.format_usage().split(': ', 1)[1].strip()}")


def parse_command_line(argv: list[str]) -> argparse.Namespace:
    """Read ``main.py [print_config] --config=A --env-config=E [--resume=ID] [OPTION ...] [with key=value ...]``.

    Raises ConfigError for anything else, with the right spelling.
    """
    parser = _Parser(
        prog="main.py",
        usage="main.py [print_config] --config=ALGORITHM --env-config=ENVIRONMENT [OPTION ...] [with key=value ...]",
        description="Train, or continue a run. print_config: print the configuration, and where each value is set.",
        epilog=_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="ALGORITHM", help="a file of src/config/algs")
    parser.add_argument("--env-config", metavar="ENVIRONMENT", help="a file of src/config/envs")
    parser.add_argument("--resume", metavar="RUN", help="id or folder of a run to continue exactly")
    parser.add_argument(
        "--mongo-url",
        metavar="URL",
        default=os.environ.get("MONGO_URL"),
        help="also record to this MongoDB (default: $MONGO_URL)",
    )
    parser.add_argument(
        "--results", metavar="DIR", help="where to record, the key local_results_path (default: results)"
    )
    trust.add_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="build everything, say what would run, write nothing")
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    options, overrides = divided(argv)
    given = [word.partition("=")[0] for word in options if word.startswith("--")]
    for option in given:
        if given.count(option) > 1:
            raise ConfigError(f"command line: expected {option} once, got it {given.count(option)} times. Give one.")
    arguments, unknown = parser.parse_known_args(options)
    arguments.print_config = PRINT_CONFIG in arguments.words
    for word in unknown + [word for word in arguments.words if word != PRINT_CONFIG]:
        option, _, value = word.partition("=")
        known = re.findall(r"--[\w-]+", parser.format_help()) if option.startswith("--") else [PRINT_CONFIG]
        hint = nearest(option, known)
        if value:
            cure = f"{'Or write' if hint else 'Write'}: with {option.lstrip('-')}={value}"
            raise ConfigError(f"command line: '{word}' is not an option.{hint} {cure}")
        raise ConfigError(f"command line: do not know '{word}'. Overrides follow the word with: with key=value.{hint}")
    both = [word for word in overrides if word.startswith("local_results_path=")]
    if arguments.results is not None and both:
        raise ConfigError(
            f"command line: --results is the key local_results_path, expected one of the two, got "
            f"--results={arguments.results} and {both[-1]}. Leave one out."
        )
    place = [] if arguments.results is None else [f"local_results_path={to_yaml(arguments.results)}"]
    arguments.overrides = [*overrides, *place]
    beside = [option for option in ("--config", "--env-config") if option in given]
    if arguments.resume is not None and beside:
        raise ConfigError(
            f"command line: expected --resume={arguments.resume} alone, since a run continues with its own "
            f"configuration, got {' and '.join(beside)} too. Leave that out, or leave out --resume and start a new run "
            "with checkpoint_path=..."
        )
    if arguments.resume is None and not (arguments.config and arguments.env_config):
        parse_overrides(overrides)  # which says of options behind the word with where they belong
        raise ConfigError(
            "command line: expected --config=ALGORITHM and --env-config=ENVIRONMENT (or --resume=RUN), such as: "
            "python src/main.py --config=hmf --env-config=battle. --help lists what there is."
        )
    for folder, name in (("algs", arguments.config), ("envs", arguments.env_config)):
        if name is not None:
            named_layer(folder, name)  # an unknown name is told before torch is imported, which takes seconds
    return arguments


def _help() -> str:
    """List what there is to choose from, where it is explained, and examples."""
    parts = {
        "algorithms (docs/algorithms.md)": ", ".join(available("algs")),
        "environments": ", ".join(available("envs")),
        "keys": "src/config/default.yaml explains those that most runs share, docs/algorithms.md those of algorithms, "
        "src/config/envs/ENVIRONMENT.yaml those of env_args; print_config shows all of one run.",
    }
    listed = "\n\n".join(f"{name}:\n{textwrap.indent(textwrap.fill(text, 96), '  ')}" for name, text in parts.items())
    return f"""{listed}

examples:
  python src/main.py --config=hmf --env-config=battle with seed=2 lr=3e-4 env_args.n_agents=100
  python src/main.py print_config --config=hmf --env-config=battle with regime=rollout
  python src/main.py --config=hmf --env-config=battle --dry-run
  python src/main.py --resume=7                       # exactly where run 7 stopped
  python src/main.py --resume=7 with t_max=1e6        # and further than it was meant to go"""
