"""Whose word is enough to import code that is not this project's.

Importing ``module:Class`` runs that module, and a record or a policy may come from anywhere. So such a name counts
where the person who starts a command gives it: on the command line, in a YAML file named there, or after ``--trust``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from dataclasses import dataclass

from utils.errors import InputError


class TrustError(InputError):
    """A name of foreign code that nobody but a record gives."""


@dataclass(frozen=True)
class Trust:
    """The names that may be imported beside this project's own."""

    names: frozenset[str] = frozenset()
    everything: bool = False

    @classmethod
    def parse(cls, text: str) -> Trust:
        """Read names with commas between them. Raises ArgumentTypeError for what cannot be imported."""
        names = text.split(",")
        for name in names:
            if not all(part.isidentifier() for part in re.split("[.:]", name)):
                raise argparse.ArgumentTypeError(f"expected names such as mymodule:MyMixer, got '{name}'")
        return cls(frozenset(names))

    def also(self, names: Iterable[str]) -> Trust:
        """Add names that the person gave."""
        return Trust(self.names.union(names), self.everything)

    def require(self, key: str, name: str) -> None:
        """Raise TrustError when ``name``, the value of ``key``, may not be imported."""
        if not self.everything and name not in self.names:
            raise TrustError(
                f"{key}: expected a name of this project in what others may have written, got '{name}', whose import "
                f"would run foreign code. If you know where the record is from, give --trust={name}, or --trust for "
                "all that it names."
            )

    def words(self) -> list[str]:
        """Return the argument, if any, that lets another command import the same."""
        if self.everything:
            return ["--trust"]
        return [f"--trust={','.join(sorted(self.names))}"] if self.names else []


NOTHING, EVERYTHING = Trust(), Trust(everything=True)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust[=NAME,...]``, by default NOTHING."""
    parser.add_argument(
        "--trust",
        nargs="?",
        type=Trust.parse,
        default=NOTHING,
        const=EVERYTHING,
        metavar="NAME,...",
        help="import these classes (module:Class) if a record or a policy names them; without names: all that it names",
    )
