"""The observer that records a Sacred run as files that survive kill -9 and a full disk."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from records.files import (
    LOCK,
    METRICS,
    STOCK_METRICS,
    RecordError,
    dumps,
    metric_line,
    read_curves,
    stock_metrics,
)
from records.ids import create_run_folder, free
from records.machine import git_state, machine, versions
from records.store import utc_now
from utils.atomic import TEMPORARY, AppendFile, write_atomic
from utils.lock import Lock, is_held
from utils.outage import Outage
from utils.sacred import RunObserver
from utils.version import VERSION

logger = logging.getLogger(__name__)


def remove_leftovers(results_dir: Path) -> None:
    """Remove what runs in ``results_dir`` were writing when they were killed."""
    for lock in results_dir.glob(f"*/{LOCK}"):
        if is_held(lock) is False:
            for path in lock.parent.rglob(TEMPORARY.format("*")):
                with contextlib.suppress(OSError):  # another user's
                    path.unlink()


class FileObserver(RunObserver):
    """Writes ``results_dir/<id>/``, the format of ``records.files``.

    Nothing raises after the start: Sacred drops an observer that raises once. A failed write is warned about, its data
    stay in memory, and every beat tries again; so does the training loop with what it saves (``saving``). ``failed``
    and ``summary`` say at the end what did not reach the disk.
    """

    priority = 100  # first: this observer gives the id, a database takes it over

    def __init__(self, results_dir: Path, first_id: int = 1, claim: Callable[[int], bool] = free) -> None:
        """Write nothing yet; for ``first_id``, the lowest id to give, and ``claim`` see `create_run_folder`."""
        self.results_dir = Path(results_dir)
        self._first_id, self._claim = first_id, claim
        self.run_id: int | None = None
        self._lock = threading.Lock()  # the heartbeat thread may still be writing when the run stops
        self._entry: dict[str, Any] = {}  # run.json
        self._info: dict[str, Any] = {}
        self._lines: list[str] = []  # metric points that are not on disk
        self._cout = ""
        self._cout_written = 0
        self._json_written: dict[str, bytes] = {}
        self._alive: Lock | None = None  # held while the run goes on
        self._appended: tuple[AppendFile, ...] = ()
        # Sacred drops an observer that raises anything.
        self._writing = Outage(
            "record: writing failed ({error}); kept in memory, next try at the next beat.", Exception
        )
        self.saving = Outage(
            "checkpoint: saving failed ({error}); training goes on, next try at the next beat.", OSError
        )

    @property
    def run_dir(self) -> Path:
        """The run's folder. Raises RecordError before the start."""
        if self.run_id is None:
            raise RecordError("run folder: known once the run has started, asked for before.")
        return self.results_dir / str(self.run_id)

    @property
    def failed(self) -> bool:
        """Something of the run, or of its checkpoints, is not on disk."""
        return self._lacks() is not None

    def _lacks(self) -> str | None:
        """Return what is not on disk, and why."""
        if self._writing.error is not None:
            return f"{len(self._lines)} metric points ({self._writing.error})"
        if self.saving.error is not None:
            return f"its last checkpoint ({self.saving.error})"
        for file in self._appended:
            if file.n_lost:
                return f"{file.n_lost} bytes of {file.path.name} (something else shortened or removed it)"
        return None

    def summary(self) -> str:
        """Return the line that ends the run's output: where it is recorded, or what is not on disk."""
        if self.run_id is None:
            return "Recording: the run did not start, nothing was recorded."
        lacks = self._lacks()
        if lacks is not None:
            return (
                f"RECORDING FAILED: run {self.run_id} in {self.run_dir} lacks {lacks}. "
                "Free space or restore the folder before the next run."
            )
        n_failed = self._writing.n_failed + self.saving.n_failed
        recovered = f"; {n_failed} failed writes were repeated, nothing is lost" if n_failed else ""
        return f"Recorded as run {self.run_id} in {self.run_dir}{recovered}."

    def started_event(
        self,
        ex_info: Mapping[str, Any],
        command: str,
        host_info: Mapping[str, Any],
        start_time: datetime,
        config: Mapping[str, Any],
        meta_info: Mapping[str, Any],
        _id: int | None,
    ) -> int:
        """Allocate the id and write config.json and run.json. Raises RecordError: no run starts unrecorded."""
        remove_leftovers(self.results_dir)
        self.run_id = create_run_folder(self.results_dir, self._first_id, self._claim)
        self._metrics_file = AppendFile(self.run_dir / METRICS)
        self._cout_file = AppendFile(self.run_dir / "cout.txt")
        self._appended = (self._metrics_file, self._cout_file)
        self._entry = {
            "experiment": {"name": ex_info["name"], "mainfile": ex_info["mainfile"]},
            "command": command,
            "status": "RUNNING",
            "start_time": start_time.isoformat(),
            "heartbeat": start_time.isoformat(),
            "stop_time": None,
            "result": None,
            "meta": {"comment": meta_info.get("comment", "")},
            "version": VERSION,
            "git": git_state(Path(__file__).parent),
            "versions": versions(),
            "host": machine(),
        }
        try:
            self._alive = Lock.take(self.run_dir / LOCK, wait=True)  # a reader may be looking
            self._write_json("config.json", config)
            self._write_json("run.json", self._entry)
        except OSError as error:
            raise RecordError(
                f"results folder: cannot write in {self.run_dir} ({error.strerror}). "
                "Free space there, or choose another folder."
            ) from error
        return self.run_id

    def log_scalar(self, name: str, value: float, step: int) -> None:
        """Keep a point for the beat that follows; a value that is no number is reported and left out."""
        try:
            line = metric_line(name, step, value, utc_now().isoformat())
        except (TypeError, ValueError) as error:
            logger.warning("metric '%s': expected numbers, got %r at step %r (%s).", name, value, step, error)
            return
        with self._lock:
            self._lines.append(line)

    def add_info(self, **constants: Any) -> None:
        """Record what was found out at run time, at once."""
        with self._lock:
            self._info |= constants
            self._write()

    def flush(self) -> None:
        """Write every point that was logged. Raises OSError when the disk refuses them; they wait for the next beat."""
        with self._lock:
            self._write()
            if self._lines:
                raise OSError(self._writing.error)

    def heartbeat_event(
        self, info: Mapping[str, Any], captured_out: str, beat_time: datetime, result: float | None
    ) -> None:
        """Write everything that is new since the last beat."""
        with self._lock:
            self._info |= info
            self._cout = captured_out
            self._entry |= {"heartbeat": beat_time.isoformat(), "result": result}
            self._write()

    def completed_event(self, stop_time: datetime, result: float | None) -> None:
        """Record that the run ended by itself."""
        self._stop("COMPLETED", stop_time, result=result)

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        """Record that Ctrl-C or SIGTERM ended the run."""
        self._stop(status, interrupt_time)

    def failed_event(self, fail_time: datetime, fail_trace: list[str]) -> None:
        """Record that the run raised; Sacred reports the failure of an observer's start here too."""
        if self.run_id is not None:
            self._stop("FAILED", fail_time, fail_trace=fail_trace)

    def join(self) -> None:
        """Let go of the run, Sacred's last call: one whose end could not be written then reads as DEAD."""
        if self._alive is not None:
            self._alive.abandon()

    def _stop(self, status: str, time: datetime, **outcome: Any) -> None:
        with self._lock:
            self._entry |= {"status": status, "stop_time": time.isoformat(), **outcome}
            self._write()

    def _write(self) -> None:
        """Bring the folder up to date; what fails stays for the next beat."""
        with self._writing:
            if self._lines:
                self._metrics_file.append("".join(self._lines).encode())
                self._lines.clear()
            if len(self._cout) > self._cout_written:
                self._cout_file.append(self._cout[self._cout_written :].encode(errors="replace"))
                self._cout_written = len(self._cout)
            self._write_json("run.json", self._entry)
            self._write_json("info.json", self._info)
            if self._entry["status"] != "RUNNING":
                curves, _ = read_curves(self.run_dir / METRICS)
                self._write_json(STOCK_METRICS, stock_metrics(curves))
                if self._alive is not None:
                    self._alive.release()
                    self._alive = None

    def _write_json(self, name: str, value: Any) -> None:
        data = dumps(value)
        if self._json_written.get(name) != data:
            write_atomic(self.run_dir / name, data)
            self._json_written[name] = data
