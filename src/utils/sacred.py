"""All that this project uses of Sacred; the only file that imports it.

Sacred 0.8.7, its last release, imports ``pkg_resources``, which setuptools has removed. What it would call there serves
the discovery of sources and packages, which this project does itself: while Sacred is imported, a stand-in is there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from types import MappingProxyType, ModuleType
from typing import Any

__all__ = ["SETTINGS", "Experiment", "Run", "RunObserver", "SacredInterrupt"]

NAME = "pkg_resources"


class NoPackages(tuple[()]):
    """The list of installed packages that Sacred asks for versions, which `records.machine` records itself."""

    by_key: Mapping[str, Any] = MappingProxyType({})


@contextmanager
def stand_in() -> Iterator[None]:
    """Let Sacred import a ``pkg_resources`` that lists no packages; then put back what was there, if anything."""
    module, before = ModuleType(NAME), sys.modules.get(NAME)
    vars(module).update(
        working_set=NoPackages(),
        resource_filename=lambda package, name: str(files(package) / name),
    )
    sys.modules[NAME] = module
    try:
        yield
    finally:
        del sys.modules[NAME]
        if before is not None:
            sys.modules[NAME] = before


with stand_in():  # Sacred keeps the name it imported
    from sacred import SETTINGS, Experiment
    from sacred.observers.base import RunObserver
    from sacred.run import Run
    from sacred.utils import SacredInterrupt
