"""Timing on a machine that does other things too: tasks in turn, medians, exclusive sections."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

Clock = Callable[[], float]
MIN_ROUNDS = 5


def clock(device: torch.device) -> Clock:
    """Make a clock: seconds of this process's CPU time, no other's; for an accelerator, wall time when it is idle."""
    if device.type == "cpu":
        return time.process_time

    def now() -> float:
        torch.get_device_module(device).synchronize()
        return time.perf_counter()

    return now


def alternate(tasks: Mapping[str, Callable[[], Any]], seconds: float, now: Clock) -> dict[str, float]:
    """Measure the median seconds of each task, all run in turn for about ``seconds``.

    So what disturbs one disturbs its neighbours. The first round warms up and does not count; at least MIN_ROUNDS
    follow.
    """
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds <= MIN_ROUNDS or time.perf_counter() < end:
        for name, task in tasks.items():
            start = now()
            task()
            taken[name].append(now() - start)
        rounds += 1
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


class Stopwatch:
    """Seconds per section; sections nest, and each counts only what no inner one does."""

    def __init__(self, now: Clock) -> None:
        self.now = now
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = now()

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Charge the time inside to ``name``."""
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Charge every call of ``owner.method`` to the section ``name`` from now on."""
        inner = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.section(name):
                return inner(*args, **kwargs)

        setattr(owner, method, timed)

    def _charge(self) -> None:
        now = self.now()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now
