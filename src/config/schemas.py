"""What a configuration needs to know of a class, without the class, whose import brings torch along and takes seconds.

What registered classes say is kept from one process to the next, beside compiled code, and read anew when any source
file has changed.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from config.registry import Kind, config_keys, resolve
from config.trust import NOTHING, Trust
from utils.atomic import write_atomic

SOURCES = Path(__file__).parents[1]
KEPT = Path(cache_from_source(__file__)).with_suffix(".pickle")  # in __pycache__


@dataclass(frozen=True)
class Schema:
    """The configuration keys of a class."""

    keys: Mapping[str, Any]  # key -> type annotation
    imports: tuple[str, ...]  # keys of an environment whose values its constructor imports

    @classmethod
    def of(cls, found: type) -> Schema:
        """Make the schema of a class. Raises RegistryError like `config_keys`."""
        return cls(config_keys(found), tuple(getattr(found, "imports", ())))


def schema(kind: Kind, name: str, key: str, trust: Trust = NOTHING) -> Schema:
    """Return the schema behind a name. Raises like `registry.resolve` for what is no class of the kind."""
    entry = kind.known.get(name)
    if not isinstance(entry, str):
        return Schema.of(resolve(kind, name, key, trust))
    kept = _kept()
    if entry not in kept:
        kept[entry] = Schema.of(resolve(kind, name, key, trust))
        _keep(kept)
    return kept[entry]


def _sources() -> str:
    """Compute a digest of this Python and of all source files, by their sizes and the times of their last change."""
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(SOURCES.rglob("*.py"))]
    return hashlib.sha256(repr((sys.version, files)).encode()).hexdigest()


@functools.cache
def _kept() -> dict[str, Schema]:
    """Load the schemas of registered classes by "module:Class", as far as a process read them from these sources."""
    try:
        sources, schemas = pickle.loads(KEPT.read_bytes())
    except Exception:  # whatever a file that is none leads to: it is only a copy
        return {}
    return schemas if sources == _sources() else {}


def _keep(schemas: dict[str, Schema]) -> None:
    try:
        KEPT.parent.mkdir(exist_ok=True)
        write_atomic(KEPT, pickle.dumps((_sources(), schemas)))
    except (OSError, pickle.PicklingError):  # a folder that may not be written: every process reads for itself
        pass
