"""The checkpoints of a run that is training, on a disk that may refuse them for a while."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from records import checkpoint
from utils.outage import Outage

RETRY_SECONDS = 2.0  # from a save that the disk refused to the next try, a beat

Networks = Mapping[str, dict[str, Any]]  # states by the names of their files


class _Best(NamedTuple):
    step: int
    networks: Networks
    value: float


class Saver:
    """Saves a run's checkpoints in ``folder``, the ``keep`` newest and the best one.

    What the disk refuses is kept by ``outage`` and not raised; saves are `overdue` then, until one is on the disk.
    """

    def __init__(self, folder: Path, outage: Outage, keep: int) -> None:
        self.folder, self.outage, self.keep = folder, outage, keep
        self._best: _Best | None = None  # the best evaluation's networks, while they are not on the disk
        self._refused = False  # the last save is not on the disk
        self._tried = 0.0  # when it was tried

    @property
    def overdue(self) -> bool:
        """Whether what the disk refused waits, and a beat has passed."""
        waits = self._refused or self._best is not None
        return waits and time.monotonic() - self._tried >= RETRY_SECONDS

    def save_best(self, step: int, networks: Networks, value: float) -> None:
        """Save the networks of ``step``, whose evaluation found ``value``, as the best so far."""
        self._best = _Best(step, networks, value)
        with self.outage:
            self._write_best()

    def save(
        self, step: int, networks: Networks | None, state: dict[str, Any] | None, first: Callable[[], None]
    ) -> None:
        """Save a checkpoint of ``step``, and the ``state`` that exact resume needs; None: not wanted.

        ``first``: what must be on the disk before them, which may raise OSError as they may.
        """
        self._refused, self._tried = True, time.monotonic()
        with self.outage:
            first()
            self._write_best()
            if networks is not None:
                checkpoint.save_step(self.folder, step, networks, self.keep)
            if state is not None:
                checkpoint.save(self.folder / checkpoint.RESUME, state)
            self._refused = False

    def _write_best(self) -> None:
        """Write the best networks. Raises OSError; a copy of them then waits, training changes its own."""
        if self._best is None:
            return
        step, networks, value = self._best
        try:
            checkpoint.save_step(self.folder, step, networks, self.keep, best_return=value)
        except OSError:
            self._best = self._best._replace(networks=copy.deepcopy(networks))
            raise
        self._best = None
