"""Compiled loops on as many threads as torch has."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads)


def share(loop: Callable[..., None], size: int, worth: int, *arguments: Any) -> None:
    """Call ``loop(begin, end, *arguments)`` on every thread's share of range(``size``), at least ``worth`` of it each.

    ``loop`` must be `utils.compiled.compiled`, which lets other threads run.
    """
    n_threads = max(1, min(torch.get_num_threads(), size // worth))
    spans = list(itertools.pairwise(size * i // n_threads for i in range(n_threads + 1)))
    others = [_pool(n_threads - 1).submit(loop, *span, *arguments) for span in spans[1:]]
    loop(*spans[0], *arguments)
    for other in others:
        other.result()
