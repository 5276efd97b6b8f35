"""All that this project uses of Sacred; the only file that imports it.

Sacred 0.8.7, its last release, imports ``pkg_resources``, which setuptools has removed, and uses a function of
``pkgutil`` that Python 3.14 has removed. The first would serve the discovery of sources and packages, which this
project does itself; with the other it looks for optional packages. While Sacred is imported, stand-ins are there.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from types import MappingProxyType, ModuleType
from typing import Any

__all__ = ["SETTINGS", "Experiment", "Run", "RunObserver", "SacredInterrupt"]

NAME, FINDER = "pkg_resources", "find_loader"


class NoPackages(tuple[()]):
    """The list of installed packages that Sacred asks for versions, which `records.machine` records itself."""

    by_key: Mapping[str, Any] = MappingProxyType({})


@contextmanager
def stand_in() -> Iterator[None]:
    """Let Sacred import a ``pkg_resources`` that lists no packages, and find others; then put back what was there."""
    module, before = ModuleType(NAME), sys.modules.get(NAME)
    finds = hasattr(pkgutil, FINDER)
    if not finds:
        setattr(pkgutil, FINDER, find_spec)
    vars(module).update(
        working_set=NoPackages(),
        resource_filename=lambda package, name: str(files(package) / name),
    )
    sys.modules[NAME] = module
    try:
        yield
    finally:
        if not finds:
            delattr(pkgutil, FINDER)
        del sys.modules[NAME]
        if before is not None:
            sys.modules[NAME] = before


with stand_in():  # Sacred keeps the name it imported
    from sacred import SETTINGS, Experiment
    from sacred.observers.base import RunObserver
    from sacred.run import Run
    from sacred.utils import SacredInterrupt
