"""The zoo: policies of recorded runs under names, ``TASK/METHOD_sSEED``, each in a folder of its own with its card."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.base import PolicyError
from records.checkpoint import POLICY, find_run, named_folder
from records.files import read_json
from utils.words import nearest

PREFIX = "zoo:"  # may stand before a name
CARD = "card.json"
FILM = "film.gif"
HEAD = ("name", "task", "method", "seed", "return", "CPU minutes")
NEEDED = ("task", "method", "seed", "evaluation", "cpu_minutes", "curve", "sha256")  # of a card


@dataclass(frozen=True)
class Entry:
    """A policy of the zoo."""

    folder: Path
    card: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called by."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def facts(self) -> tuple[str, ...]:
        """The cells below HEAD, but its name."""
        found, minutes = self.card["evaluation"], self.card["cpu_minutes"]
        return (
            *(str(self.card[key]) for key in ("task", "method", "seed")),
            f"{found['value']:.4g}" if found else "–",
            "–" if minutes is None else f"{minutes:.1f}",
        )

    @property
    def film(self) -> Path:
        """Where its film is, or will be."""
        return self.folder / FILM

    def policy(self) -> Path:
        """Return its file. Raises PolicyError where it is not what was put there."""
        path = self.folder / POLICY
        if not path.exists():
            raise PolicyError(f"zoo: expected the file {path}, it does not exist. Get it again.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.card["sha256"]:
            raise PolicyError(
                f"zoo: expected {path} as it was put there, its SHA-256 digest is not the one of its card. Get both "
                "again."
            )
        return path


def entries(zoo: Path) -> list[Entry]:
    """List what is in the folder ``zoo``, by task, method and seed. Raises InputError for a card that is none."""
    found = [Entry(path.parent, read_json(path)) for path in zoo.glob(f"*/*/{CARD}")]
    for entry in found:
        lacking = [key for key in NEEDED if key not in entry.card]
        if lacking:
            raise PolicyError(
                f"zoo: expected a card of a policy in {entry.folder / CARD}, it lacks {', '.join(lacking)}. Remove "
                "the folder, or get it again."
            )
    return sorted(found, key=lambda entry: (entry.card["task"], entry.card["method"], entry.card["seed"]))


def is_name(given: str, zoo: Path) -> bool:
    """Return whether ``given`` means a policy of the zoo: it says so, or names one of its tasks and no other file."""
    if given.startswith(PREFIX):
        return True
    task, _, name = given.partition("/")
    tasks = {path.parents[1].name for path in zoo.glob(f"*/*/{CARD}")}
    return task in tasks and name != "" and ((zoo / given / CARD).exists() or not Path(given).exists())


def find(given: str, zoo: Path) -> Entry:
    """Find a policy by its name. Raises PolicyError for one that is not there."""
    known = {entry.name: entry for entry in entries(zoo)}
    name = given.removeprefix(PREFIX)
    if name not in known:
        raise PolicyError(
            f"zoo: expected the name of a policy in '{zoo}', got '{name}'.{nearest(name, known)} "
            "List them: python src/zoo.py ls"
        )
    return known[name]


def is_run(given: str, zoo: Path) -> bool:
    """Return whether ``given``, as of `policy_file`, means a run: no policy file, and no policy of the zoo."""
    return Path(given).suffix != ".pt" and not is_name(given, zoo)


def policy_file(given: str, zoo: Path, results: Path, step: str) -> Path:
    """Find what a person calls ``given``: a policy file, one of the zoo, or a run (id or folder) at ``step``.

    Raises InputError for what is not there.
    """
    if is_run(given, zoo):
        return named_folder(find_run(given, results), step) / POLICY
    return find(given, zoo).policy() if is_name(given, zoo) else Path(given)
