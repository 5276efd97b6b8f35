"""Copies of running runs in MongoDB: as Sacred writes them, through outages, and without any server."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import mongomock
import pytest
from pymongo.collection import Collection
from pymongo.database import Database
from tests.support import small_runs

import main
from records import mongo as mongo_module
from records.files import RecordError
from records.mongo import MongoCopy, MongoStore, address, connect
from records.observer import FileObserver
from records.store import FileStore, RunRecord
from utils.cli import COPY_INCOMPLETE
from utils.sacred import Experiment, Run

from sacred.observers import MongoObserver  # isort: skip  (after the stand-in for what it imports)

if TYPE_CHECKING:
    from tests.support.mongo_server import Embedded, Server

pytest_plugins = ["tests.support.mongo_server"]

NOW = datetime(2024, 1, 2, 3, 4, 5, 678000)
NOWHERE = "mongodb://user:secret@127.0.0.1:1/runs"  # nothing listens on port 1


def record_run(observers: list[Any], n_points: int = 50, pause: float = 0.0) -> Run:
    experiment = Experiment("hmf", interactive=True, save_git_info=False)
    experiment.observers.extend(observers)
    experiment.add_config(lr=0.1, env_args={"size": 16})

    @experiment.main
    def main(_run: Run) -> float:
        for step in range(n_points):
            recorders: list[Any] = [_run, *(observer for observer in observers if isinstance(observer, FileObserver))]
            for recorder in recorders:
                recorder.log_scalar("loss", step / 2, step)
                recorder.log_scalar("return_mean", -step, step)
            time.sleep(pause)
        print("trained")
        return 1.5

    return experiment.run(options={"--beat-interval": 0.02, "--capture": "sys"})


def assert_equal_runs(files: FileStore, mongo: MongoStore, run_id: int) -> None:
    """Everything is in both; MongoDB keeps milliseconds."""
    ours, theirs = files.get(run_id), mongo.get(run_id)
    assert ours.is_same_run(theirs)
    assert (ours.status, ours.config, ours.info) == (theirs.status, theirs.config, theirs.info)
    assert ours.entry.keys() == theirs.entry.keys()
    expected, found = files.metrics(run_id), mongo.metrics(run_id)
    assert expected.keys() == found.keys()
    for name, curve in expected.items():
        assert (curve.steps, curve.values) == (found[name].steps, found[name].values)
    assert files.output(run_id) == mongo.output(run_id)


@pytest.fixture(params=["embedded_server", pytest.param("real_server", marks=pytest.mark.mongo)])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def test_one_real_run_is_copied_and_read_back(server: Server, tmp_path: Path) -> None:
    mongo = server.fresh_store()
    copy = MongoCopy(mongo, tmp_path)
    record_run([FileObserver(tmp_path, copy.first_id()), copy], pause=0.002)
    assert copy.complete
    assert mongo.get(1).status == "COMPLETED"
    assert mongo.get(1).entry["result"] == 1.5
    assert mongo.metrics(1)["loss"].steps == list(range(50))
    assert_equal_runs(FileStore(tmp_path), mongo, 1)


def test_the_newest_run_is_on_top_where_omniboard_sorts(server: Server) -> None:
    """By number, not as text (9 above 10), with the stages that Omniboard's server sends."""
    database = server.fresh()
    store = MongoStore(database, "the test server")
    for run_id in range(8, 13):
        entry = {"status": "COMPLETED", "start_time": NOW.isoformat()}
        store.put(RunRecord(run_id, entry, {"lr": run_id / 10}, {}), {}, "")
    columns, page = {"$project": {"_id": 1, "config": 1}}, [{"$skip": 1}, {"$limit": 3}]
    for stages in ([], [columns]):
        found = list(database["runs"].aggregate([*stages, {"$sort": {"_id": -1}}, *page]))
        assert [int(run["_id"]) for run in found] == [11, 10, 9]
        assert found[0].keys() <= {"_id", *documented(database)}


def documented(database: Database[Any]) -> set[str]:
    """The fields of a run's document as they are stored."""
    document = database["runs"].find_one({})
    assert document is not None
    return set(document)


def test_ids_go_on_where_the_database_stands(mongomock_server: Server, tmp_path: Path) -> None:
    """Several results folders share one database."""
    mongo = mongomock_server.fresh_store()
    for folder in ("a", "b"):
        copy = MongoCopy(mongo, tmp_path / folder)
        record_run([FileObserver(tmp_path / folder, copy.first_id()), copy], n_points=3)
        assert copy.complete
    assert FileStore(tmp_path / "a").ids() == [1]
    assert FileStore(tmp_path / "b").ids() == [2]
    assert mongo.ids() == [1, 2]


def test_folders_that_share_a_database_get_different_ids_at_one_instant(
    mongomock_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each asks for the highest id before any of them has recorded its run."""
    mongo = mongomock_server.fresh_store()
    monkeypatch.setattr(MongoStore, "at", lambda url: mongo)
    monkeypatch.setattr(MongoCopy, "first_id", lambda copy: 1)
    for folder in ("a", "b"):
        words = small_runs.command(tmp_path / folder, "iql", "bar")
        assert main.main([f"--mongo-url={NOWHERE}", *words]) == 0
    assert FileStore(tmp_path / "a" / "sacred").ids() == [1]
    assert FileStore(tmp_path / "b" / "sacred").ids() == [2]
    assert [path.name for path in (tmp_path / "b" / "sacred").glob("[0-9]*")] == ["2"]
    assert mongo.ids() == [1, 2]


def test_an_incomplete_copy_has_an_exit_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mongo_module, "TIMEOUT_MS", 100)
    monkeypatch.setattr(MongoCopy.__init__, "__defaults__", (0.1,))  # seconds that it waits at the end
    assert main.main([f"--mongo-url={NOWHERE}", *small_runs.command(tmp_path, "iql", "bar")]) == COPY_INCOMPLETE
    assert "LACKS A PART OF RUN 1" in caplog.text
    assert FileStore(tmp_path / "sacred").get(1).status == "COMPLETED"


def test_a_foreign_run_of_the_same_id_is_never_overwritten(mongomock_server: Server, tmp_path: Path) -> None:
    mongo = mongomock_server.fresh_store()
    for folder in ("a", "b"):
        record_run([FileObserver(tmp_path / folder)], n_points=3)
    first, second = FileStore(tmp_path / "a"), FileStore(tmp_path / "b")
    mongo.put(first.get(1), first.own_metrics(1), "")
    with pytest.raises(RecordError, match=r"run 1: .* holds another run of this id. Rename .* free number \(2 or"):
        mongo.put(second.get(1), second.own_metrics(1), "")
    assert mongo.get(1).is_same_run(first.get(1))


def test_a_push_repeated_changes_nothing_and_keeps_omniboards_tags(mongomock_server: Server, tmp_path: Path) -> None:
    record_run([FileObserver(tmp_path)])
    files, database = FileStore(tmp_path), mongomock_server.fresh()
    mongo = MongoStore(database, "test")
    mongo.put(files.get(1), files.own_metrics(1), files.output(1))
    database["runs"].update_one({"_id": 1}, {"$set": {"omniboard": {"tags": ["good"]}}})
    mongo.put(files.get(1), files.own_metrics(1), files.output(1))
    assert_equal_runs(files, mongo, 1)
    assert only(database["runs"])["omniboard"] == {"tags": ["good"]}
    assert database["metrics"].count_documents({}) == 2


def test_a_database_that_goes_away_and_returns_loses_no_point(embedded: Embedded, tmp_path: Path) -> None:
    mongo = MongoStore.at(embedded.url("outage"))
    copy = MongoCopy(mongo, tmp_path)

    def interrupt() -> None:
        time.sleep(0.3)
        embedded.kill()
        time.sleep(0.5)
        embedded.start()

    outage = threading.Thread(target=interrupt)
    outage.start()
    record_run([FileObserver(tmp_path, copy.first_id()), copy], n_points=200, pause=0.01)
    outage.join()
    assert copy.complete
    assert_equal_runs(FileStore(tmp_path), mongo, 1)


class LostAnswers(MongoStore):
    """Every second write arrives, but its answer does not."""

    n_writes = 0

    def append(self, run_id: int, curves: Any) -> None:
        super().append(run_id, curves)
        self.n_writes += 1
        if self.n_writes % 2:
            raise ConnectionError("the answer was lost")


def test_a_write_whose_answer_is_lost_is_not_repeated(mongomock_server: Server, tmp_path: Path) -> None:
    mongo = LostAnswers(mongomock_server.fresh(), "test")
    copy = MongoCopy(mongo, tmp_path)
    record_run([FileObserver(tmp_path), copy], pause=0.005)
    assert copy.complete
    assert_equal_runs(FileStore(tmp_path), mongo, 1)


def test_a_database_that_never_answers_neither_stops_nor_hangs_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = MongoCopy(MongoStore.at(NOWHERE), tmp_path, exit_wait=0.5)
    begin = time.monotonic()
    assert copy.first_id() == 1
    assert 2.5 < time.monotonic() - begin < 5
    assert "127.0.0.1:1/runs: MongoDB does not answer: " in caplog.text
    begin = time.monotonic()
    record_run([FileObserver(tmp_path), copy])
    assert time.monotonic() - begin < 3
    assert FileStore(tmp_path).get(1).status == "COMPLETED"
    assert FileStore(tmp_path).metrics(1)["loss"].steps == list(range(50))
    assert "LACKS A PART OF RUN 1" in caplog.text
    assert f"The run is whole in {tmp_path}/1; send it with: python src/runs.py push 1" in caplog.text
    assert "secret" not in caplog.text


def test_a_run_that_failed_to_start_is_not_waited_for(mongomock_server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    copy = MongoCopy(mongomock_server.fresh_store(), tmp_path / "file")
    with pytest.raises(RecordError, match="cannot create a run"):
        record_run([FileObserver(tmp_path / "file"), copy])
    assert not copy.complete


def stock_run() -> Database[Any]:
    """A run as Sacred's own observer records it, under mongomock."""
    database: Database[Any] = mongomock.MongoClient()["sacred"]
    sources = SimpleNamespace(find_one=lambda query: SimpleNamespace(_id="known"))
    record_run([MongoObserver.create_from(database["runs"], sources, metrics_collection=database["metrics"])])
    return database


def only(collection: Collection[Any], **query: Any) -> dict[str, Any]:
    (document,) = collection.find(query)
    return dict(document)


def test_runs_of_sacreds_own_observer_are_read(tmp_path: Path) -> None:
    stock = MongoStore(stock_run(), "stock")
    assert stock.get(1).status == "COMPLETED"
    assert stock.get(1).config["env_args"] == {"size": 16}
    assert stock.metrics(1, ["loss"])["loss"].values == [step / 2 for step in range(50)]
    files = FileStore(tmp_path)
    files.put(stock.get(1), stock.own_metrics(1), stock.output(1))
    assert_equal_runs(files, stock, 1)


def test_our_documents_have_the_keys_of_sacreds_own(mongomock_server: Server, tmp_path: Path) -> None:
    record_run([FileObserver(tmp_path)])
    files, database = FileStore(tmp_path), mongomock_server.fresh()
    MongoStore(database, "test").put(files.get(1), files.own_metrics(1), files.output(1))
    stock = stock_run()
    ours, theirs = only(database["runs"]), only(stock["runs"])
    assert theirs.keys() <= ours.keys()
    assert theirs["info"]["metrics"][0].keys() == ours["info"]["metrics"][0].keys()
    assert {type(ours[key]) for key in ("start_time", "stop_time", "heartbeat")} == {datetime}
    our_points, their_points = only(database["metrics"], name="loss"), only(stock["metrics"], name="loss")
    assert their_points.keys() == our_points.keys()
    assert isinstance(our_points["timestamps"][0], datetime)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://user:secret@db.example:27018/runs?tls=true", "db.example:27018/runs"),
        ("mongodb://localhost", "localhost:27017/sacred"),
    ],
)
def test_addresses_hide_user_and_password(url: str, shown: str) -> None:
    assert address(url) == shown


@pytest.mark.parametrize("url", ["http://host", "mongodb://", "mongodb://host:port", "host"])
def test_what_is_no_mongodb_url_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(RecordError, match="expected mongodb://host:27017/database, cannot read it"):
        connect(url)
