"""MongoDB: runs in the layout of Sacred's MongoObserver, and the copy of a running run.

The files are the record. The copy reads them and sends what the database lacks, so that an outage of any length loses
nothing, and nothing is sent twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pymongo
from pymongo.database import Database
from pymongo.errors import ConfigurationError, DuplicateKeyError, InvalidURI, PyMongoError
from pymongo.uri_parser import parse_uri

from records.files import METRICS, Curve, RecordError, read_curves
from records.store import FileStore, RunRecord, RunStore
from utils.sacred import RunObserver

logger = logging.getLogger(__name__)

TIMEOUT_MS = 3000
OUTPUT_LIMIT = 2**20  # characters of output that are copied, from the end: a document holds 16 MB
TIMES = ("start_time", "heartbeat", "stop_time")
FORMAT = "MongoObserver-0.7.0"


def address(url: str) -> str:
    """Return host:port/database of a MongoDB URL, without user and password. Raises RecordError for a bad URL."""
    try:
        parsed = parse_uri(url)
    except (InvalidURI, ConfigurationError, ValueError) as error:
        raise RecordError(f"MongoDB URL: expected mongodb://host:27017/database, cannot read it ({error}).") from error
    hosts = ",".join(f"{host}:{port}" for host, port in parsed["nodelist"])
    return f"{hosts}/{parsed['database'] or 'sacred'}"


@contextmanager
def reached() -> Iterator[None]:
    """Turn what pymongo raises inside into a RecordError with the beginning of its long message."""
    try:
        yield
    except PyMongoError as error:
        reason = str(error).split(" (configured timeouts", maxsplit=1)[0]
        raise RecordError(f"MongoDB does not answer: {reason}. Start it or correct the URL.") from error


def connect(url: str) -> Database[Any]:
    """Return the database of ``url`` ("sacred" if it names none), unasked yet. Raises RecordError for a bad URL."""
    address(url)
    client: pymongo.MongoClient[Any] = pymongo.MongoClient(
        url, serverSelectionTimeoutMS=TIMEOUT_MS, connectTimeoutMS=TIMEOUT_MS, socketTimeoutMS=10 * TIMEOUT_MS
    )
    return client.get_default_database("sacred")


class MongoStore(RunStore):
    """Collections ``runs``, ``metrics`` and ``ids``, the ids that were ever given to runs.

    Every method raises RecordError, also on an outage.
    """

    def __init__(self, database: Database[Any], name: str) -> None:
        self.name = name
        self._runs = database["runs"]
        self._metrics = database["metrics"]
        self._ids = database["ids"]

    @classmethod
    def at(cls, url: str) -> MongoStore:
        """Make the store of a URL; nothing is sent yet. Raises RecordError for a bad URL."""
        return cls(connect(url), address(url))

    @reached()
    def ids(self) -> Sequence[int]:
        return sorted(document["_id"] for document in self._runs.find({}, {"_id": 1}))

    @reached()
    def claim(self, run_id: int) -> bool:
        """Add an id that a run starts with; return False when another run has it."""
        try:
            self._ids.insert_one({"_id": run_id})
        except DuplicateKeyError:
            return False
        return True

    @reached()
    def get(self, run_id: int) -> RunRecord:
        document = self._find(run_id, {"captured_out": 0, "resources": 0, "artifacts": 0, "format": 0, "omniboard": 0})
        config, info = document.pop("config"), document.pop("info")
        info.pop("metrics", None)
        del document["_id"]
        times = {key: document[key].isoformat() for key in TIMES if document.get(key) is not None}
        return RunRecord(run_id, {**document, **times}, config, info)

    @reached()
    def own_metrics(self, run_id: int) -> dict[str, Curve]:
        self._find(run_id, {"_id": 1})
        return {
            found["name"]: Curve(found["steps"], found["values"], [time.isoformat() for time in found["timestamps"]])
            for found in self._metrics.find({"run_id": run_id})
        }

    @reached()
    def output(self, run_id: int) -> str:
        return str(self._find(run_id, {"captured_out": 1})["captured_out"])

    def put(self, record: RunRecord, curves: dict[str, Curve], output: str) -> None:
        """Send the parts of a run that the database lacks; repeating it changes nothing.

        Raises RecordError when the id belongs to another run there.
        """
        self.put_record(record, output)
        self.append(record.id, self.missing(record.id, curves))

    @reached()
    def put_record(self, record: RunRecord, output: str) -> None:
        """Insert or update the document in ``runs``; what Omniboard added to it (tags, notes) stays."""
        entry = {key: _to_time(value) if key in TIMES else value for key, value in record.entry.items()}
        document: dict[str, Any] = {
            **entry,
            "format": FORMAT,
            "config": record.config,
            "info": {**record.info, "metrics": self._references(record.id)},
            "resources": [],
            "artifacts": [],
            "captured_out": output[-OUTPUT_LIMIT:],
        }
        try:  # another run of this id does not match, and the insertion that follows fails
            self._runs.update_one(
                {"_id": record.id, "start_time": document["start_time"]}, {"$set": document}, upsert=True
            )
        except DuplicateKeyError:
            raise RecordError(
                f"run {record.id}: {self.name} holds another run of this id. "
                f"Rename the folder to a free number ({max(self.ids()) + 1} or higher) and push that."
            ) from None

    @reached()
    def missing(self, run_id: int, curves: dict[str, Curve]) -> dict[str, Curve]:
        """Return the part of ``curves`` that the database does not hold yet."""
        stored = {found["name"]: len(found["steps"]) for found in self._metrics.find({"run_id": run_id})}
        return {name: curve.part(range(stored.get(name, 0), len(curve.steps))) for name, curve in curves.items()}

    @reached()
    def append(self, run_id: int, curves: dict[str, Curve]) -> None:
        """Add points at the end of the metrics of a run that ``put_record`` has stored."""
        for name, curve in curves.items():
            if curve.steps:
                points = {
                    "steps": {"$each": curve.steps},
                    "values": {"$each": curve.values},
                    "timestamps": {"$each": [_to_time(time) for time in curve.times]},
                }
                self._metrics.update_one({"run_id": run_id, "name": name}, {"$push": points}, upsert=True)
        self._runs.update_one({"_id": run_id}, {"$set": {"info.metrics": self._references(run_id)}})

    @reached()
    def remove(self, run_id: int) -> None:
        self._find(run_id, {"_id": 1})
        self._metrics.delete_many({"run_id": run_id})
        self._runs.delete_one({"_id": run_id})

    def _references(self, run_id: int) -> list[dict[str, str]]:
        """List the names and ids of a run's metrics, as its document holds them for Omniboard and incense."""
        metrics = self._metrics.find({"run_id": run_id}, {"name": 1})
        return [{"name": found["name"], "id": str(found["_id"])} for found in metrics]

    def _find(self, run_id: int, fields: Mapping[str, int]) -> dict[str, Any]:
        document = self._runs.find_one({"_id": run_id}, fields)
        if document is None:
            raise self._unknown(run_id)
        return dict(document)


def _to_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


class MongoCopy(RunObserver):
    """Copies the run that a FileObserver records; a missing database neither stops nor delays it.

    Its thread reads the run's files after every beat. At the end the run waits ``exit_wait`` seconds at most.
    """

    priority = 30  # after the FileObserver

    def __init__(self, store: MongoStore, results_dir: Path, exit_wait: float = 10.0) -> None:
        self.complete = False  # the run has ended and the database holds all of it
        self._store = store
        self._files = FileStore(results_dir)
        self._exit_wait = exit_wait
        self._run_id = 0
        self._answers = True  # when it was asked for the first id
        self._sent: int | None = None  # bytes of metrics.jsonl that the database surely holds; None: ask it
        self._error: str | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="mongo-copy")

    def first_id(self) -> int:
        """Return the lowest id above those of all runs in the database; 1, with a warning, when it does not answer."""
        try:
            return max(self._store.ids(), default=0) + 1
        except RecordError as error:
            self._answers = False
            logger.warning(
                "%s: %s The run goes on and is recorded as files; the copy follows when the database returns.",
                self._store.name,
                error,
            )
            return 1

    def claim(self, run_id: int) -> bool:
        """Return whether the run gets this id; always where the database does not answer."""
        try:
            return not self._answers or self._store.claim(run_id)
        except RecordError:
            return True

    def started_event(  # type: ignore[override]  # Sacred passes everything by name
        self, *, _id: int, **event: Any
    ) -> int:
        """Start copying the run ``_id``."""
        self._run_id = _id
        self._thread.start()
        self._wake.set()
        return _id

    def heartbeat_event(self, **event: Any) -> None:  # type: ignore[override]
        """Copy what is new in the files."""
        self._wake.set()

    def join(self) -> None:
        """Wait for the copy, ``exit_wait`` seconds at most; Sacred calls this last, however a run ended."""
        if not self._thread.is_alive():
            return
        self._stopping.set()
        self._wake.set()
        self._thread.join(self._exit_wait)
        if not self.complete:
            logger.error(
                "MongoDB %s LACKS A PART OF RUN %d (%s). "
                "The run is whole in %s; send it with: python src/runs.py push %d",
                self._store.name,
                self._run_id,
                self._error or "it is too slow",
                self._files.folder(self._run_id),
                self._run_id,
            )

    def _work(self) -> None:
        while not self.complete:
            self._wake.wait()
            self._wake.clear()
            last = self._stopping.is_set()  # read before the files: what is sent then is final
            sent = self._send()
            self.complete = last and sent
            if last and not sent:
                time.sleep(0.5)
                self._wake.set()

    def _send(self) -> bool:
        try:
            record, output = self._files.get(self._run_id), self._files.output(self._run_id)
            curves, end = read_curves(self._files.folder(self._run_id) / METRICS, self._sent or 0)
            self._store.put_record(record, output)  # first: it refuses the id of another run
            if self._sent is None:
                curves = self._store.missing(self._run_id, curves)
            self._store.append(self._run_id, curves)
        except Exception as error:  # whatever is wrong with the copy, the run goes on
            if self._error is None:  # once per outage
                logger.warning(
                    "MongoDB %s: copy of run %d fails (%s); trying on.", self._store.name, self._run_id, error
                )
            self._error = str(error)
            self._sent = None
            return False
        self._error = None
        self._sent = end
        return True
