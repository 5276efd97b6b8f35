"""The command line: its words, and how commands end.

Bad input and Ctrl-C are one line and an exit code; a mistake in the code keeps its traceback.
"""

from __future__ import annotations

import argparse
import errno
import io
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import InputError
from utils.paths import default_results, default_zoo

FAILED = 1  # on the way
BAD_INPUT = 2
RECORDING_FAILED = 3  # the run itself may be whole
COPY_INCOMPLETE = 5  # in the database or a tracker; the files are whole (4: sweep.LEFT_OUT)
INTERRUPTED = 130
READER_GONE = 141  # what shells report for SIGPIPE

LARGEST = 2**31 - 1  # number that options take: of ids, the largest that Omniboard and MongoDB's int32 hold
DISK = {  # what a person can mend
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
}
REFUSAL = "error: "  # begins the line that says what a person can mend


def say(text: str) -> None:
    """Print a line; drop it when the reader of standard output has ended (``| head``, a ``tee`` that got Ctrl-C).

    What a full disk refuses waits in the stream.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence()
    except OSError:
        pass


def close_output() -> None:
    """Redirect what standard output still refuses at the end; Python's own last flush would change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        silence()


def silence() -> None:
    """Redirect standard output, whose reader has ended, to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def refuse(error: InputError) -> int:
    """Print the error in one line, after its traceback if $HMF_TRACEBACK is set, and return BAD_INPUT."""
    if os.environ.get("HMF_TRACEBACK"):
        traceback.print_exception(error)
    print(f"{REFUSAL}{error}", file=sys.stderr)
    return BAD_INPUT


class CommandParser(argparse.ArgumentParser):
    """A parser that refuses in one line, as commands do everywhere."""

    def error(self, message: str) -> NoReturn:
        """Print the line and end the process with BAD_INPUT.

        Commands whose examples have a ``with`` say that ``key=value`` words which are no options belong behind it.
        """
        unknown = message.partition("unrecognized arguments: ")[2].split()
        keys = [word for word in unknown if "=" in word and not word.startswith("-")]
        if keys and " with " in (self.epilog or ""):
            message = f"{message}. Write: with {' '.join(keys)}"
        self.exit(
            BAD_INPUT, f"{REFUSAL}{self.prog}: {message.removesuffix('.')}. Help: python src/{self.prog} --help\n"
        )


def command_parser(name: str, description: str | None, *examples: str) -> argparse.ArgumentParser:
    """Return the parser of ``src/<name>.py``, whose help ends with ``examples``: what follows the file's name."""
    shown = "\n".join(f"  python src/{name}.py {words}".rstrip() for words in examples)
    return CommandParser(
        prog=f"{name}.py",
        description=description,
        epilog=f"examples:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_command(commands: Any, parser: argparse.ArgumentParser, run: Callable[..., Any], **options: Any) -> Any:
    """Add the subcommand ``run``, with its name and docstring, to ``commands`` of a `command_parser`.

    Returns its parser, whose help ends with those of the parser's examples that begin with it.
    """
    lines = (parser.epilog or "").splitlines()
    shown = [line for line in lines if line.split()[2:3] == [run.__name__]]
    added = commands.add_parser(
        run.__name__,
        help=run.__doc__,
        description=run.__doc__,
        epilog="\n".join([lines[0], *shown]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        **options,
    )
    added.set_defaults(command=run)
    return added


def intermixed(
    parser: argparse.ArgumentParser, argv: Sequence[str], takes: Mapping[Callable[..., Any], str]
) -> argparse.Namespace:
    """Read the command line of a parser with subcommands, where words of a subcommand may follow its options too.

    ``takes``: subcommand -> what it calls such words; argparse's own way (parse_intermixed_args) knows no subcommands.
    """
    arguments, later = parser.parse_known_args(argv)
    if later and (arguments.command not in takes or any(word.startswith("-") for word in later)):
        parser.error(f"unrecognized arguments: {' '.join(later)}")
    if later:
        getattr(arguments, takes[arguments.command]).extend(later)
    return arguments


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add the option --results, the folder of recorded runs, to a parser."""
    parser.add_argument("--results", type=folder, default=default_results(), metavar="DIR", help="default: %(default)s")


def add_out(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the option --out, a folder; None means that of ``name`` beside the runs."""
    parser.add_argument("--out", type=folder, metavar="DIR", help=f"default: tmp/{name} in the folder of --results")


def add_zoo(parser: argparse.ArgumentParser) -> None:
    """Add the option --zoo, the folder of kept policies, to a parser."""
    parser.add_argument("--zoo", type=Path, default=default_zoo(), metavar="DIR", help="default: %(default)s")


def add_experiments(parser: argparse.ArgumentParser) -> None:
    """Add the option --experiment, names or files of experiments, to a parser."""
    parser.add_argument(
        "--experiment",
        action="append",
        default=[],
        metavar="NAME",
        help="its completed runs; a name in src/config/experiments or a file; may be repeated",
    )


def folder(text: str) -> Path:
    """Read a folder, for ``type=`` of an option. Raises ArgumentTypeError for no name, as of a variable not set."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, got an empty name")
    return Path(text)


def count(text: str) -> int:
    """Read a whole number of 1 or more, for ``type=`` of an option. Raises ArgumentTypeError."""
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {LARGEST}, got '{text}'")
    return int(text)


def positive(text: str) -> float:
    """Read a finite number above 0, for ``type=`` of an option. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got '{text}'")
    return value


def seed(text: str) -> int:
    """Read a seed, a whole number of 0 or more, for ``type=`` of an option. Raises ArgumentTypeError."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got '{text}'")
    return int(text)


def divided(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line at its ``with``: options before it, ``key=value`` words behind it."""
    place = list(argv).index("with") if "with" in argv else len(argv)
    return list(argv[:place]), list(argv[place + 1 :])


def require(package: str, cure: str) -> None:
    """Raise InputError where ``package`` is not installed; ``cure`` is the command that installs it."""
    if find_spec(package) is None:
        raise InputError(f"expected the package {package}, it is not installed. Install it: {cure}")


def exit_code(command: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """Run ``command`` and return its exit code (0 for None), or BAD_INPUT, INTERRUPTED or READER_GONE."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # of a terminal that knows ASCII alone, for example
    try:
        code = command() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader (head, less) has seen enough
        silence()  # or Python's own last flush would complain
        return READER_GONE
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except ModuleNotFoundError as error:
        return refuse(missing(error))
    except InputError as error:
        return refuse(error)
    except OSError as error:
        if error.errno not in DISK:
            raise
        code = refuse(refused_by_disk(error))
        close_output()  # it may be what the disk refused
        return code


def refused_by_disk(error: OSError) -> InputError:
    """Return what to say where a full disk, or a place that is another's, refuses a file."""
    place = "one that cannot" if error.filename is None else f"'{error.filename}'"
    return InputError(
        f"disk: expected a place that can be read and written, got {place} ({error.strerror}). Free space there, mend "
        "its rights, or name another one."
    )


def missing(error: ModuleNotFoundError) -> InputError:
    """Return what to say where a package of this project is not installed."""
    return InputError(
        f"expected the package {error.name}, {sys.executable} has none of this name. Install: "
        "./install_dependencies.sh; then start with .venv/bin/python"
    )
