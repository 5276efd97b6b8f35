"""MAgent2's package and C library, imported where Battle is built: other environments do not need them."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import torch  # noqa: F401  before magent2: torch reads OMP_NUM_THREADS once, and magent2 sets it

from envs.base import EnvError


def import_engine() -> tuple[ModuleType, Any]:
    """Import ``(magent2.gridworld, its C library)``. Raises EnvError when the package is missing."""
    threads = os.environ.get("OMP_NUM_THREADS")
    try:
        from magent2 import c_lib, gridworld
    except (ImportError, OSError) as error:
        raise EnvError(
            f"Battle needs the package magent2, which cannot be imported ({error}). "
            "Install it with 'pip install magent2==0.3.4', or all requirements with ./install_dependencies.sh."
        ) from error
    if threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)  # magent2's guess would limit every child process to it
    return gridworld, c_lib._LIB
