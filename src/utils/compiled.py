"""Compiled loops: numba without Python's lock, kept on disk where there is room for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Return ``function`` as machine code, compiled at its first call.

    That takes seconds once a machine, or once a process where neither the source's folder nor the user's cache is
    writable (``NUMBA_CACHE_DIR`` names another).

    Numba compiles anew when the function's own file changes, so constants of other files are passed as arguments.
    """
    return _compiled(function)


def compiled_fused(function: Callable[..., Any]) -> Any:
    """Return `compiled` ``function`` whose products are added without being rounded first, as matrix libraries do."""
    return _compiled(function, fastmath={"contract"})


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    try:
        return njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # no place for a cache
        return njit(nogil=True, **options)(function)
