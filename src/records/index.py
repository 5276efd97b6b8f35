"""Recorded runs by the configuration that they ran: which are finished, are running, can be continued."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from records import checkpoint
from records.files import METRICS, RecordError, read_curves
from records.store import FileStore, RunRecord
from utils.lock import Lock

CLAIMS = "claims"  # folder of locks beside the runs
FINAL = ("COMPLETED", "INTERRUPTED", "FAILED")
NEEDED = ("name", "env", "env_args", "use_cuda", "evaluate", "t_max")  # keys that every run of this project has


def task_key(config: Mapping[str, Any]) -> str:
    """Return algorithms, environment, its arguments and the device as text: equal for runs that cost alike per step."""
    enemies = config.get("opponent_config", "")  # the algorithm of those that learn too
    parts = [config["name"], enemies, config["env"], config["env_args"], config["use_cuda"]]
    return json.dumps(parts, sort_keys=True)


class RunIndex:
    """A view of a `FileStore`, brought up to date by ``refresh``; runs that have ended are read once."""

    def __init__(self, store: FileStore) -> None:
        self.store = store
        self._records: dict[int, RunRecord] = {}
        self._ids: dict[str, set[int]] = defaultdict(set)  # identity -> run ids
        self._reached: dict[int, tuple[int, int]] = {}  # run -> bytes of its metrics read, last step in them
        self.refresh()

    def refresh(self) -> None:
        """Read what is new; a record that cannot be read, or is of no run of this project, is left out."""
        for run_id in self.store.ids():
            known = self._records.get(run_id)
            if known is not None and known.entry["status"] in FINAL:
                continue
            try:
                record = self.store.get(run_id)
            except RecordError:
                continue
            if not all(key in record.config for key in NEEDED):
                continue
            self._records[run_id] = record
            if known is not None:  # by how many processes it is played is recorded soon after its start
                self._ids[known.identity].discard(run_id)
            if not self.store.extended(record):
                self._ids[record.identity].add(run_id)

    def _of(self, key: str) -> list[RunRecord]:
        """List the runs of this identity, newest first."""
        found = [self._records[run_id] for run_id in self._ids.get(key, ())]
        return sorted(found, key=lambda record: (record.started, record.id), reverse=True)

    def finished(self, key: str) -> RunRecord | None:
        """Return the newest completed run of this identity."""
        return next((record for record in self._of(key) if record.status == "COMPLETED"), None)

    def claim(self, key: str) -> Lock | None:
        """Give this process, and children that inherit it, the right to run this identity until the last of them ends.

        Return None when the run is finished, or running, or when another process has the right.
        Raises RecordError when it cannot be written.
        """
        path = self.store.results_dir / CLAIMS / hashlib.sha256(key.encode()).hexdigest()[:32]
        try:
            lock = Lock.take(path)
        except OSError as error:
            raise RecordError(f"results folder: cannot write {path} ({error.strerror}). Free space there.") from error
        if lock is None:
            return None
        self.refresh()
        if self.finished(key) or self.running(key):
            lock.release()
            return None
        return lock

    def running(self, key: str) -> bool:
        """Return whether a run of this identity is running now."""
        return any(record.status == "RUNNING" for record in self._of(key))

    def resumable(self, key: str, use_cuda: bool = False) -> Path | None:
        """Find the folder of the newest run of this identity, of this kind of device, that can be continued exactly."""
        cut = [record for record in self._of(key) if record.status != "COMPLETED"]
        folders = [self.store.folder(record.id) for record in cut if record.config["use_cuda"] == use_cuda]
        return next((folder for folder in folders if (folder / "checkpoints" / checkpoint.RESUME).exists()), None)

    def progress(self, key: str) -> int:
        """Count the environment steps that the newest run of this identity has recorded, or all if one is finished."""
        finished = self.finished(key)
        if finished is not None:
            return int(finished.config["t_max"])
        records = self._of(key)
        return self._last_step(records[0].id) if records else 0

    def _last_step(self, run_id: int) -> int:
        start, step = self._reached.get(run_id, (0, 0))
        try:
            curves, end = read_curves(self.store.folder(run_id) / METRICS, start)
        except RecordError:  # what reads all of it will tell
            return step
        step = max([step, *(curve.steps[-1] for curve in curves.values())])
        self._reached[run_id] = (end, step)
        return step

    def seconds_per_step(self) -> dict[str, float]:
        """Compute the mean cost of an environment step in completed, never interrupted runs, by `task_key`.

        Over all their steps: a run of a few steps, most of it start and evaluations, says little.
        """
        seconds: dict[str, float] = defaultdict(float)
        steps: dict[str, int] = defaultdict(int)
        for record in self._records.values():
            if record.status == "COMPLETED" and "resumed_from" not in record.info and not record.config["evaluate"]:
                key = task_key(record.config)
                seconds[key] += (record.last_sign - record.started).total_seconds()
                steps[key] += record.config["t_max"]
        return {key: seconds[key] / steps[key] for key in steps}
