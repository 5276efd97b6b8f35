"""Stores of recorded runs: the interface, and its implementation over the folders that the observer writes."""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from records.files import (
    LOCK,
    METRICS,
    STOCK_METRICS,
    Curve,
    RecordError,
    dumps,
    metric_lines,
    read_curves,
    read_json,
    stock_metrics,
)
from records.identity import ALONE, identity
from records.query import Condition, flatten, nearest_value, parse_condition
from utils.atomic import write_atomic
from utils.lock import is_held
from utils.words import nearest

logger = logging.getLogger(__name__)

DESCRIBED = {"name": str, "env": str, "env_args": dict, "seed": int}  # what tables ask of every configuration
STALE = timedelta(minutes=2)  # without a heartbeat a running run counts as dead
STATUSES = ("RUNNING", "COMPLETED", "INTERRUPTED", "FAILED", "DEAD")


def utc_now() -> datetime:
    """Return the time in UTC without a time zone, as Sacred writes its times."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Parent:
    """The run that another one continues: its number alone may be that of another run in another folder."""

    id: int
    at: int  # step (t_env) of its checkpoint
    started: str | None  # its start_time; None where an earlier version recorded the child

    def is_run(self, record: RunRecord) -> bool:
        """Return whether ``record`` is that run."""
        if record.id != self.id:
            return False
        return self.started is None or is_same_time(datetime.fromisoformat(self.started), record.started)


def is_same_time(one: datetime, other: datetime) -> bool:
    """Compare two times; MongoDB keeps milliseconds."""
    return abs(one - other) < timedelta(milliseconds=1)


@dataclass(frozen=True)
class RunRecord:
    """Everything recorded of a run but its metrics and output."""

    id: int
    entry: Mapping[str, Any]  # run.json; times are ISO 8601 text, UTC
    config: Mapping[str, Any]
    info: Mapping[str, Any]
    alive: bool | None = None  # whether its process lives; None where only its heartbeat can tell

    @property
    def status(self) -> str:
        """One of STATUSES: a run that was killed cannot say so itself."""
        status = str(self.entry["status"])
        alive = utc_now() - self.last_sign <= STALE if self.alive is None else self.alive
        return "DEAD" if status == "RUNNING" and not alive else status

    @property
    def started(self) -> datetime:
        """The time of the start, UTC."""
        return datetime.fromisoformat(self.entry["start_time"])

    @property
    def last_sign(self) -> datetime:
        """The time of the end, or of the last heartbeat of a run that has not ended, UTC."""
        return datetime.fromisoformat(
            self.entry.get("stop_time") or self.entry.get("heartbeat") or self.entry["start_time"]
        )

    @property
    def duration(self) -> timedelta:
        """Whole seconds until the end, the last heartbeat of a dead run, or now."""
        end = utc_now() if self.status == "RUNNING" else self.last_sign
        return timedelta(seconds=round((end - self.started).total_seconds()))

    @property
    def flat_config(self) -> dict[str, Any]:
        """The configuration with nested keys joined by dots, and ``processes``, by how many the run was played."""
        resolved = self.info.get("resolved", {})
        return {**flatten(self.config), **ALONE, **{key: resolved[key] for key in ALONE if key in resolved}}

    @property
    def identity(self) -> str:
        """What makes it the same experiment as another; see `records.identity.identity`."""
        return identity(self.flat_config)

    @property
    def resumed(self) -> Parent | None:
        """The run that this one continues; None for a fresh run."""
        if {"resumed_from", "resumed_at"} <= self.info.keys():
            return Parent(self.info["resumed_from"], self.info["resumed_at"], self.info.get("resumed_start"))
        return None

    def is_same_run(self, other: RunRecord) -> bool:
        """Return whether two records of one id are one run."""
        return is_same_time(self.started, other.started)


class RunStore(ABC):
    """Recorded runs. Every method raises RecordError for an id that is not there, naming those that are."""

    name: str  # for messages

    @abstractmethod
    def ids(self) -> Sequence[int]:
        """List the ids of all runs, ascending."""

    @abstractmethod
    def get(self, run_id: int) -> RunRecord:
        """Read one run."""

    @abstractmethod
    def own_metrics(self, run_id: int) -> dict[str, Curve]:
        """Read the points that this run logged itself, without those of a run that it continues."""

    @abstractmethod
    def output(self, run_id: int) -> str:
        """Read what the run printed."""

    @abstractmethod
    def put(self, record: RunRecord, curves: dict[str, Curve], output: str) -> None:
        """Store a run that comes from another store, under its id."""

    @abstractmethod
    def remove(self, run_id: int) -> None:
        """Delete a run for good."""

    def list(self, where: Sequence[Condition] = (), status: str | None = None) -> Sequence[RunRecord]:
        """List the runs that meet every condition on configuration values or on last metric values.

        A run that lacks the key does not meet the condition. Raises RecordError for a key that no run has.
        """
        if status is not None and status not in STATUSES:
            raise RecordError(f"status '{status}': expected one of {', '.join(STATUSES)}.{nearest(status, STATUSES)}")
        everything = self._readable()
        keys = {key for record in everything for key in record.flat_config}
        records = [record for record in everything if status in (None, record.status)]
        for condition in sorted(where, key=lambda condition: condition.key not in keys):  # metrics last: slow to read
            if condition.key in keys:
                values = {record.id: record.flat_config for record in records}
            else:
                values = {record.id: self.last_values(record) for record in records}
                if not any(condition.key in last for last in values.values()):
                    self._check_metric(condition.key, everything, keys)
            records = [r for r in records if condition.met(values[r.id])]
        return records

    def metrics(self, run_id: int, names: Sequence[str] | None = None) -> dict[str, Curve]:
        """Read metric -> points, all or the named ones, including those of the runs that this one was resumed from.

        Raises RecordError for a name that the run never logged.
        """
        curves = self._joined(self.get(run_id))
        if names is None:
            return curves
        for name in names:
            if name not in curves:
                raise RecordError(f"run {run_id}: no metric '{name}'.{nearest(name, curves)} {known_names(curves)}")
        return {name: curves[name] for name in names}

    def cpu_seconds(self, record: RunRecord) -> dict[int, float]:
        """Read t_env -> CPU seconds of training up to there, at every evaluation and save; evaluations cost nothing.

        They are those of the process that recorded the run; a resumed run's add to those of the run that it continues,
        of which what came after ``resumed_at`` is cut. Empty where a part of the chain did not record them.
        """
        own = dict(record.info.get("cpu_seconds", []))
        if record.resumed is None:
            return own
        parent = self.parent(record)
        earlier = self.cpu_seconds(parent) if parent else {}
        kept = {step: seconds for step, seconds in earlier.items() if step <= record.resumed.at}
        if not own or not kept:
            return {}
        before = max(kept.values())
        return kept | {step: before + seconds for step, seconds in own.items()}

    def _joined(self, record: RunRecord) -> dict[str, Curve]:
        own = self.own_metrics(record.id)
        parent = self.parent(record)
        if record.resumed is None or parent is None:
            return own
        return join_curves(self._joined(parent), own, record.resumed.at)

    def parent(self, record: RunRecord) -> RunRecord | None:
        """Read the run that this one continues; None for a fresh run and, with a warning, where it is not here."""
        parent = self._parent(record)
        if record.resumed is not None and parent is None:
            here = "is another one" if record.resumed.id in self.ids() else "is not"
            logger.warning(
                "run %d was resumed from a run %s, which %s in %s: only its own points are shown.",
                *(record.id, record.resumed.id, here, self.name),
            )
        return parent

    def extended(self, record: RunRecord) -> bool:
        """Return whether ``record`` continues a run in which the learning rate fell towards another ``t_max``.

        It is not the run that would have had its own ``t_max`` from the start, though its configuration is.
        """
        flat = record.flat_config
        if all(value == 1.0 for key, value in flat.items() if key.rpartition(".")[2] == "lr_finish"):
            return False
        parent = self._parent(record)
        return parent is not None and (parent.config["t_max"] != flat["t_max"] or self.extended(parent))

    def _parent(self, record: RunRecord) -> RunRecord | None:
        if record.resumed is None:
            return None
        try:
            parent = self.get(record.resumed.id)
        except RecordError:
            return None
        return parent if record.resumed.is_run(parent) and parent.started < record.started else None

    def children(self, record: RunRecord) -> Sequence[RunRecord]:
        """List the runs here that continue ``record``, which may be recorded elsewhere, ascending."""
        return [one for one in self._readable() if one.resumed is not None and one.resumed.is_run(record)]

    def _readable(self) -> Sequence[RunRecord]:
        records = []
        for run_id in self.ids():
            try:
                records.append(self.get(run_id))
            except RecordError as error:
                logger.warning("run %d is left out: %s", run_id, error)
        return records

    def last_values(self, record: RunRecord) -> dict[str, float]:
        """Read metric -> last value; nothing, with a warning, where the metrics cannot be read."""
        try:
            return {name: curve.values[-1] for name, curve in self._joined(record).items()}
        except RecordError as error:
            logger.warning("run %d: its metrics are left out: %s", record.id, error)
            return {}

    def _check_metric(self, name: str, records: Sequence[RunRecord], keys: set[str]) -> None:
        metrics = {metric for record in records for metric in self.last_values(record)}
        if records and name not in metrics:
            raise RecordError(
                f"filter '{name}': no run has a configuration key or a metric of this name."
                f"{nearest(name, metrics | keys)}"
            )

    def _unknown(self, run_id: int) -> RecordError:
        ids = self.ids()
        found = f"the nearest is {min(ids, key=lambda known: abs(known - run_id))}" if ids else "there is none yet"
        return RecordError(f"run {run_id}: not in {self.name}, {found}. `python src/runs.py ls` shows all.")


def known_names(curves: Mapping[str, Curve]) -> str:
    """Return a clause for messages that lists the metrics."""
    return f"Known: {', '.join(sorted(curves))}." if curves else "It logged none."


def join_curves(earlier: dict[str, Curve], own: dict[str, Curve], resumed_at: int) -> dict[str, Curve]:
    """Join a resumed run's points to those of the run it continues, of which those after ``resumed_at`` are cut."""
    joined = {}
    for name in earlier | own:
        before, after = earlier.get(name, Curve()), own.get(name, Curve())
        kept = before.part([index for index, step in enumerate(before.steps) if step <= resumed_at])
        last = kept.steps[-1] if kept.steps else -1
        new = after.part([index for index, step in enumerate(after.steps) if step > last])
        joined[name] = Curve(kept.steps + new.steps, kept.values + new.values, kept.times + new.times)
    return {name: curve for name, curve in joined.items() if curve.steps}


class FileStore(RunStore):
    """The folders ``results_dir/<id>``. A folder without run.json belongs to a run killed as it started: no run."""

    def __init__(self, results_dir: Path) -> None:
        self.results_dir = Path(results_dir)
        self.name = str(results_dir)

    def folder(self, run_id: int) -> Path:
        """Return a run's folder. Raises RecordError."""
        folder = self.results_dir / str(run_id)
        if not (folder / "run.json").exists():
            raise self._unknown(run_id)
        return folder

    def ids(self) -> Sequence[int]:
        return sorted(int(p.parent.name) for p in self.results_dir.glob("*/run.json") if p.parent.name.isdecimal())

    def get(self, run_id: int) -> RunRecord:
        folder = self.folder(run_id)
        alive = is_held(folder / LOCK)  # before run.json is read: a run that ends says so first
        entry, config, info = (read_json(folder / name) for name in ("run.json", "config.json", "info.json"))
        lacking = [f"{key} in run.json" for key in ("status", "start_time") if key not in entry]
        lacking += [] if config else ["all of config.json"]
        if lacking:
            raise RecordError(
                f"{folder}: expected the record of a run, it lacks {', '.join(lacking)}. Repair it, or remove the "
                "folder."
            )
        return RunRecord(run_id, entry, config, info, alive if entry.get("status") == "RUNNING" else None)

    def own_metrics(self, run_id: int) -> dict[str, Curve]:
        curves, _ = read_curves(self.folder(run_id) / METRICS)
        return curves

    def output(self, run_id: int) -> str:
        path = self.folder(run_id) / "cout.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def put(self, record: RunRecord, curves: dict[str, Curve], output: str) -> None:
        """Write a run's folder, run.json last: a copy that is interrupted is no run yet."""
        folder = self.results_dir / str(record.id)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise RecordError(
                f"run {record.id}: {folder} exists already. "
                f"Remove it (`python src/runs.py rm {record.id}`) or rename it to a free number."
            ) from None
        write_atomic(folder / "config.json", dumps(record.config))
        write_atomic(folder / "info.json", dumps(record.info))
        write_atomic(folder / "cout.txt", output.encode())
        write_atomic(folder / METRICS, metric_lines(curves))
        write_atomic(folder / STOCK_METRICS, dumps(stock_metrics(curves)))
        write_atomic(folder / "run.json", dumps(record.entry))

    def remove(self, run_id: int) -> None:
        """Delete a run with its checkpoints, run.json first."""
        folder = self.folder(run_id)
        (folder / "run.json").unlink()
        shutil.rmtree(folder)


def completed(store: RunStore, filters: Sequence[str]) -> Sequence[RunRecord]:
    """List completed runs that meet ``filters``, whose configuration says what they are.

    The others are left out with a warning. Raises RecordError when there is none.
    """
    where = [parse_condition(text) for text in filters]
    records = []
    for record in store.list(where, "COMPLETED"):
        lacking = [key for key, kind in DESCRIBED.items() if not isinstance(record.config.get(key), kind)]
        if lacking:
            logger.warning("run %d is left out: its configuration lacks %s", record.id, ", ".join(lacking))
        else:
            records.append(record)
    if not records:
        near = nearest_value(where, [record.flat_config for record in store.list()])
        raise RecordError(
            f"runs: no completed run in {store.name} fits.{near} See: python src/runs.py ls --status COMPLETED; "
            "src/main.py records one."
        )
    return records
