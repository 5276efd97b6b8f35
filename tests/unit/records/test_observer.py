"""The file observer under Sacred, kill -9, SIGTERM, a full disk and simultaneous starts."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from records.files import Curve, RecordError, read_curves, read_json
from records.ids import create_run_folder
from records.machine import git_state
from records.observer import FileObserver
from utils.atomic import AppendFile, write_atomic
from utils.sacred import Experiment, Run
from utils.signals import Stopped, StopRequest

fork = multiprocessing.get_context("fork")  # children start at once, everything imported
NOW = datetime(2024, 1, 2, 3, 4, 5)


def started(folder: Path) -> FileObserver:
    observer = FileObserver(folder)
    observer.started_event({"name": "t", "mainfile": "t.py"}, "main", {}, NOW, {"lr": 0.1, "seed": 1}, {}, None)
    return observer


def beat(observer: FileObserver, *points: tuple[int, Any], info: dict[str, Any] | None = None, cout: str = "") -> None:
    for step, value in points:
        observer.log_scalar("loss", value, step)
    observer.heartbeat_event(info or {}, cout, NOW, None)


def sacred_run(folder: Path, body: Callable[[Run, FileObserver], Any]) -> FileObserver:
    observer = FileObserver(folder)
    experiment = Experiment("t", interactive=True, save_git_info=False)
    experiment.observers.append(observer)
    experiment.add_config(lr=0.1, env_args={"size": 16})

    @experiment.main
    def main(_run: Run) -> Any:
        return body(_run, observer)

    with contextlib.suppress(KeyboardInterrupt, Stopped, ZeroDivisionError):
        experiment.run(options={"--beat-interval": 0.02, "--capture": "sys"})
    return observer


def curves(observer: FileObserver) -> dict[str, Curve]:
    return read_curves(observer.run_dir / "metrics.jsonl")[0]


def test_a_completed_sacred_run_is_recorded_whole(tmp_path: Path) -> None:
    def body(run: Run, observer: FileObserver) -> None:
        observer.add_info(device="cpu")
        for step in range(100):
            observer.log_scalar("loss", step / 2, step)
        print("trained")

    observer = sacred_run(tmp_path, body)
    run_dir = observer.run_dir
    record = read_json(run_dir / "run.json")
    assert run_dir == tmp_path / "1"
    assert (record["status"], record["experiment"]["name"]) == ("COMPLETED", "t")
    assert record["stop_time"] >= record["start_time"]
    assert read_json(run_dir / "config.json")["env_args"] == {"size": 16}
    assert read_json(run_dir / "info.json") == {"device": "cpu"}
    assert "trained" in (run_dir / "cout.txt").read_text()
    stock = json.loads((run_dir / "metrics.json").read_text())["loss"]
    assert stock["steps"] == list(range(100))
    assert stock["values"] == [step / 2 for step in range(100)]
    assert len(stock["timestamps"]) == 100
    assert not observer.failed
    assert observer.summary() == f"Recorded as run 1 in {run_dir}."


def test_the_record_names_versions_and_machine_but_no_host_and_no_environment(tmp_path: Path) -> None:
    text = (started(tmp_path).run_dir / "run.json").read_text()
    record = json.loads(text)
    assert set(record["git"]) == {"commit", "dirty"}
    assert record["versions"]["torch"].startswith("2.")
    assert record["host"]["cpu_count"] == os.cpu_count()
    assert record["host"]["torch_threads"] >= 1
    assert {"hostname", "ENV"}.isdisjoint(record["host"])


def test_an_exception_ends_as_failed_with_its_trace(tmp_path: Path) -> None:
    observer = sacred_run(tmp_path, lambda run, observer: 1 / 0)
    record = read_json(observer.run_dir / "run.json")
    assert record["status"] == "FAILED"
    assert "ZeroDivisionError" in "".join(record["fail_trace"])


def test_ctrl_c_ends_as_interrupted(tmp_path: Path) -> None:
    def body(run: Run, observer: FileObserver) -> None:
        raise KeyboardInterrupt

    assert read_json(sacred_run(tmp_path, body).run_dir / "run.json")["status"] == "INTERRUPTED"


def _run_until_sigterm(folder: Path) -> None:
    def body(run: Run, observer: FileObserver) -> None:
        with StopRequest() as stop:
            observer.log_scalar("loss", 1.0, 7)
            (folder / "ready").touch()
            while not stop.requested:
                time.sleep(0.01)
        raise Stopped

    sacred_run(folder, body)


def test_sigterm_ends_as_interrupted_with_every_point(tmp_path: Path) -> None:
    child = fork.Process(target=_run_until_sigterm, args=(tmp_path,))
    child.start()
    while not (tmp_path / "ready").exists():
        assert child.is_alive()
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGTERM)
    child.join(10)
    assert read_json(tmp_path / "1" / "run.json")["status"] == "INTERRUPTED"
    assert read_curves(tmp_path / "1" / "metrics.jsonl")[0]["loss"].steps == [7]


def _beat_for_ever(folder: Path, safe: Any) -> None:
    observer = started(folder)
    for step in range(10**9):
        beat(observer, *((10 * step + i, 0.5) for i in range(10)), info={"step": step}, cout="line\n" * step)
        safe.value = 10 * (step + 1)  # what a beat that ended has promised


def test_kill_9_at_a_random_moment_never_leaves_an_unreadable_run(tmp_path: Path) -> None:
    moments = random.Random(0)
    for run_id in range(1, 26):
        safe = fork.Value("l", 0, lock=False)
        child = fork.Process(target=_beat_for_ever, args=(tmp_path, safe))
        child.start()
        while safe.value == 0:
            assert child.is_alive()
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        child.kill()
        child.join()
        run_dir = tmp_path / str(run_id)
        assert read_json(run_dir / "run.json")["status"] == "RUNNING"
        assert read_json(run_dir / "config.json") == {"lr": 0.1, "seed": 1}
        read_json(run_dir / "info.json")
        steps = read_curves(run_dir / "metrics.jsonl")[0]["loss"].steps
        assert steps == list(range(len(steps)))
        assert safe.value <= len(steps) <= safe.value + 10


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(2**19))
    return filler


def test_a_full_disk_loses_nothing_once_space_returns(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    observer = started(small_disk)
    beat(observer, (0, 0.0))
    filler = fill(small_disk)
    for step in range(1, 200):
        beat(observer, *((step, i / 10) for i in range(5)), cout="x" * step)
    assert observer.failed
    assert len([r for r in caplog.records if "writing failed" in r.message]) == 1
    assert read_json(observer.run_dir / "run.json")["status"] == "RUNNING"
    assert curves(observer)["loss"].steps[0] == 0
    filler.unlink()
    beat(observer, (200, 1.0), cout="x" * 200)
    observer.completed_event(NOW, None)
    assert not observer.failed
    assert "failed writes were repeated, nothing is lost" in observer.summary()
    assert curves(observer)["loss"].steps == [0, *(step for step in range(1, 200) for _ in range(5)), 200]
    assert (observer.run_dir / "cout.txt").read_text() == "x" * 200
    assert json.loads((observer.run_dir / "metrics.json").read_text())["loss"]["steps"][-1] == 200


def test_a_disk_that_stays_full_is_reported_and_keeps_the_earlier_points(small_disk: Path) -> None:
    observer = started(small_disk)
    beat(observer, (0, 0.0), (1, 0.5))
    fill(small_disk)
    for step in range(2, 300):
        beat(observer, *((step, i / 10) for i in range(10)))
    observer.completed_event(NOW, None)
    assert observer.failed
    assert "RECORDING FAILED: run 1" in observer.summary()
    assert "No space left" in observer.summary()
    assert curves(observer)["loss"].steps[:2] == [0, 1]


def full(descriptor: int) -> None:
    """In the place of os.fsync."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failing_write_is_repeated_without_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observer = started(tmp_path)
    beat(observer, (0, 0.0))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)  # the data may or may not have arrived: it is written again
        beat(observer, (1, 0.1))
        beat(observer, (2, 0.2))
        assert observer.failed
    beat(observer, (3, 0.3))
    assert curves(observer)["loss"].steps == [0, 1, 2, 3]
    assert not observer.failed


def test_a_beat_that_comes_after_the_end_still_reaches_the_stock_file(tmp_path: Path) -> None:
    """Sacred waits two seconds for the last beat, then ends the run without it."""
    observer = started(tmp_path)
    observer.completed_event(NOW, None)
    beat(observer, (5, 1.0))
    assert read_json(observer.run_dir / "run.json")["status"] == "COMPLETED"
    assert read_json(observer.run_dir / "metrics.json")["loss"]["steps"] == [5]


def test_a_flush_brings_every_point_to_the_disk_or_says_that_it_did_not(tmp_path: Path) -> None:
    observer = started(tmp_path)
    observer.log_scalar("loss", 0.5, 3)
    observer.flush()
    assert curves(observer)["loss"].steps == [3]
    observer.log_scalar("loss", 0.25, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            observer.flush()
    observer.flush()
    assert curves(observer)["loss"].steps == [3, 4]


def test_what_is_no_number_is_reported_and_the_rest_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    observer = started(tmp_path)
    beat(observer, (0, 1), (1, [1.0, 2.0]), (2, 3))
    assert curves(observer)["loss"].values == [1.0, 3.0]
    assert "metric 'loss': expected numbers, got [1.0, 2.0] at step 1" in caplog.text
    assert not observer.failed


def test_info_that_json_cannot_hold_does_not_stop_the_metrics(tmp_path: Path) -> None:
    observer = started(tmp_path)
    info: dict[Any, Any] = {("a", 1): 2}
    beat(observer, (0, 1.0), info=info)
    assert curves(observer)["loss"].steps == [0]
    assert observer.failed
    assert "keys must be" in observer.summary()


def _start_at_the_barrier(folder: Path, barrier: Any, ids: Any) -> None:
    barrier.wait()
    ids.put(started(folder).run_id)


def test_24_runs_started_at_one_instant_get_24_ids(tmp_path: Path) -> None:
    barrier, ids = fork.Barrier(24), fork.SimpleQueue()
    children = [fork.Process(target=_start_at_the_barrier, args=(tmp_path / "new", barrier, ids)) for _ in range(24)]
    for child in children:
        child.start()
    assert sorted(ids.get() for _ in children) == list(range(1, 25))
    for child in children:
        child.join()


def test_ids_stay_below_2_to_the_31(tmp_path: Path) -> None:
    (tmp_path / str(2**31 - 2)).mkdir()
    assert create_run_folder(tmp_path) == 2**31 - 1
    with pytest.raises(RecordError, match=r"holds the largest id, 2147483647\. Choose another folder"):
        create_run_folder(tmp_path)


def test_an_unusable_results_folder_stops_the_run_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot create a run in .*file.*choose another folder"):
        sacred_run(tmp_path / "file", lambda run, observer: pytest.fail("trained unrecorded"))


def test_the_run_folder_is_unknown_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="known once the run has started"):
        _ = FileObserver(tmp_path).run_dir
    assert "nothing was recorded" in FileObserver(tmp_path).summary()


def test_git_state_without_repository_without_commit_and_dirty(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {"commit": None, "dirty": None}

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "a").touch()
    assert git_state(tmp_path) == {"commit": None, "dirty": True}
    git("add", "a")
    git("commit", "-m", "a")
    state = git_state(tmp_path)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False


def test_write_atomic_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="broken"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_append_file_cuts_the_rest_of_a_failed_write(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "file")
    file.append(b"one\n")
    (tmp_path / "file").write_bytes(b"one\ntw")
    file.append(b"two\n")
    assert (tmp_path / "file").read_bytes() == b"one\ntwo\n"


def test_a_torn_last_line_is_not_there_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = '{"name": "loss", "step": 1, "value": 2.0, "time": "t"}\n'
    path.write_text(whole + whole[:20])
    curves, end = read_curves(path)
    assert curves == {"loss": Curve([1], [2.0], ["t"])}
    assert end == len(whole)
    path.write_text(whole + whole)
    assert read_curves(path, end) == ({"loss": Curve([1], [2.0], ["t"])}, 2 * len(whole))
    path.write_text("nonsense\n" + whole)
    with pytest.raises(RecordError, match="expected one metric point per line"):
        read_curves(path)
