"""Compiled loops, with and without a place on disk for them."""

from __future__ import annotations

import numba
import pytest
from numba.core import caching

from utils.compiled import compiled


def double(x: int) -> int:
    return 2 * x


def test_a_loop_is_kept_on_disk() -> None:
    assert compiled(double)(21) == 42
    assert compiled(double).stats.cache_path


def test_without_a_writable_folder_it_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(double)
    assert compiled(double)(21) == 42
