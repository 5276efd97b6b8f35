"""Trackers: recorded metrics, copied to TensorBoard, Weights & Biases or Trackio. The files stay the record."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from config.schema import Config
from records.files import METRICS, Curve, read_curves
from records.store import FileStore, RunRecord
from utils.cli import require

POLL_SECONDS = 0.5


class Sink(Protocol):
    """Where points go."""

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Add the points of a step; ``time``: seconds since 1970. Steps never fall."""

    def finish(self) -> None:
        """Bring everything to where it is kept."""


class TensorBoard:
    """Event files in the run's folder, without TensorFlow or torch."""

    def __init__(self, record: RunRecord, folder: Path) -> None:
        """Replace what an earlier copy wrote."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary, self._records = Event, Summary, RecordWriter
        events = folder / "tensorboard"
        events.mkdir(exist_ok=True)
        for old in events.glob("events.out.tfevents.*"):
            old.unlink()
        # Not TensorBoard's EventFileWriter, whose thread prints a traceback of its own where the disk is full.
        self._file = events / f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Write one event."""
        points = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(self._event(step=step, wall_time=time, summary=self._summary(value=points)))

    def _write(self, event: Any) -> None:
        with self._file.open("ab") as file:
            self._records(file).write(event.SerializeToString())

    def finish(self) -> None:
        """Leave everything as it is: it is written."""


class WandbLike:
    """A package with the interface of wandb: ``init``, and ``log`` and ``finish`` of what that returns."""

    def __init__(self, package: str, record: RunRecord, folder: Path) -> None:
        """Start a run there, in the project $WANDB_PROJECT or else "hmf"."""
        label = f"{record.config.get('name')} {record.config.get('env')} run {record.id}"
        self._run = import_module(package).init(
            project=os.environ.get("WANDB_PROJECT", "hmf"), name=label, config=record.flat_config
        )

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Send the points of a step."""
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        """Wait until everything is sent."""
        self._run.finish()


@dataclass(frozen=True)
class Tracker:
    """A tracker that can be chosen, and the package that it needs."""

    package: str
    cure: str  # the command that installs it
    open: Callable[[RunRecord, Path], Sink]

    def check(self) -> None:
        """Raise InputError where the package is missing."""
        require(self.package, self.cure)


def _wandb_like(package: str) -> Tracker:
    return Tracker(
        package, f".venv/bin/pip install {package}", lambda record, folder: WandbLike(package, record, folder)
    )


TRACKERS = {
    "tensorboard": Tracker("tensorboard", "./install_dependencies.sh --extras", TensorBoard),
    "wandb": _wandb_like("wandb"),
    "trackio": _wandb_like("trackio"),
}


def require_trackers(config: Config) -> list[str]:
    """List where the metrics of a run go beside the record. Raises InputError where a package for it is missing."""
    chosen = (("tensorboard", config.tensorboard), (config.tracker, config.tracker != "none"))
    kinds = [kind for kind, wanted in chosen if wanted]
    for kind in kinds:
        TRACKERS[kind].check()
    return kinds


def track(store: FileStore, run_id: int, kind: str) -> int:
    """Copy a run's own points to a tracker, of a running one until it has ended; return how many.

    Raises RecordError for a run that is not there, or whose metrics cannot be read, InputError for a missing package,
    and whatever the tracker raises.
    """
    tracker = TRACKERS[kind]
    tracker.check()
    record, metrics = store.get(run_id), store.folder(run_id) / METRICS
    sink = tracker.open(record, store.folder(run_id))
    n_points, read, running = 0, 0, True
    while running:
        running = store.get(run_id).status == "RUNNING"  # before its points are read, so that the last ones are seen
        curves, read = read_curves(metrics, read)
        for step, (values, at) in sorted(_by_step(curves).items()):
            sink.log(step, values, at)
            n_points += len(values)
        if running:
            time.sleep(POLL_SECONDS)
    sink.finish()
    return n_points


def _by_step(curves: Mapping[str, Curve]) -> dict[int, tuple[dict[str, float], float]]:
    """Gather the values of all metrics, and the latest time, at each step."""
    values: dict[int, dict[str, float]] = defaultdict(dict)
    times: dict[int, float] = defaultdict(float)
    for name, curve in curves.items():
        for step, value, at in zip(curve.steps, curve.values, curve.times, strict=True):
            values[step][name] = value
            times[step] = max(times[step], datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp())
    return {step: (found, times[step]) for step, found in values.items()}
