"""Trackers through the real main: what they get, and what a run does with one that is broken, or hangs, or is gone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.summary.writer.record_writer import RecordWriter
from tests.support.paths import SRC
from tests.support.small_runs import command, points, run

import main
import runs
from records import tracker, tracking
from records.files import Curve
from records.store import FileStore
from utils.cli import BAD_INPUT, COPY_INCOMPLETE

FAKE = """
import json, os, sys, time

class Run:
    def log(self, values, step):
        with open("sent.jsonl", "a") as file:
            file.write(json.dumps([step, values]) + "\\n")
        {log}
    def finish(self):
        {finish}
        open("finished", "w").close()

def init(project, name, config):
    {init}
    with open("sent.jsonl", "w") as file:
        file.write(json.dumps([project, name, config["lr"], config["env_args.capacity"]]) + "\\n")
    print("a line of the tracker's own")
    return Run()
"""
RAISE, HANG, CRASH = "raise ConnectionError('no network')", "time.sleep(600)", "os._exit(3)"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package wandb that writes what it gets into its folder; `broken` makes others."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    broken(tmp_path)
    return tmp_path


def broken(folder: Path, **where: str) -> None:
    """Write that package, with a line of code in its ``init``, ``log`` or ``finish``."""
    (folder / "packages").mkdir(exist_ok=True)
    text = FAKE.format(**{name: where.get(name, "pass") for name in ("init", "log", "finish")})
    (folder / "packages/wandb.py").write_text(dedent(text))


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every tag in event files."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in folder.glob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    return found


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Shanghai"])
def test_times_of_points_are_those_of_the_world(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        points = tracker._by_step({"loss": Curve([1], [0.5], ["2026-01-02T03:04:05.250000"])})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert points == {1: ({"loss": 0.5}, datetime(2026, 1, 2, 3, 4, 5, 250000, tzinfo=UTC).timestamp())}


def test_event_files_hold_the_recorded_points(tmp_path: Path) -> None:
    assert run(tmp_path, "iql", "bar", tensorboard=True, log_interval=8) == 0
    recorded = points(tmp_path, 1)
    assert {"loss", "test_return_mean", "return_mean"} <= recorded.keys()
    found = events(tmp_path / "sacred/1/tensorboard")
    assert found.keys() == recorded.keys()
    for name, curve in recorded.items():
        assert [step for step, _ in found[name]] == [step for step, _ in curve]
        assert [value for _, value in found[name]] == pytest.approx(
            [value for _, value in curve], rel=1e-6, nan_ok=True
        )


def test_a_tracker_gets_configuration_and_points(fake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(fake, "iql", "bar", tracker="wandb", log_interval=8) == 0
    folder = fake / "sacred/1"
    first, *sent = [json.loads(line) for line in (folder / "sent.jsonl").read_text().splitlines()]
    assert first == ["hmf", "iql bar run 1", 0.001, 3]
    steps = [step for step, _ in sent]
    assert steps == sorted(steps)
    got = {name: [(step, values[name]) for step, values in sent if name in values] for _, some in sent for name in some}
    assert got == points(fake, 1)
    assert (folder / "finished").exists()
    assert "a line of the tracker's own" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("where", "what", "reason"),
    [
        ("init", RAISE, "ConnectionError: no network"),
        ("init", HANG, "it did not end within 0.5 seconds"),
        ("log", RAISE, "ConnectionError: no network"),
        ("log", HANG, "it did not end within 0.5 seconds"),
        ("finish", RAISE, "ConnectionError: no network"),
        ("finish", HANG, "it did not end within 0.5 seconds"),
        ("log", CRASH, "it ended with status 3"),
    ],
)
def test_a_dead_tracker_neither_stops_nor_hangs_a_run(
    fake: Path,
    where: str,
    what: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken(fake, **{where: what})
    monkeypatch.setattr(tracking, "EXIT_WAIT", 0.5 if what == HANG else 20.0)
    assert run(fake, "iql", "bar", tracker="wandb") == COPY_INCOMPLETE
    assert FileStore(fake / "sacred").get(1).status == "COMPLETED"
    assert {"loss", "test_return_mean"} <= points(fake, 1).keys()
    said = [record.getMessage() for record in caplog.records if "wandb" in record.getMessage()]
    assert said == [
        f"wandb LACKS A PART OF RUN 1 ({reason}). The run is whole in {fake}/sacred/1; send it again with: "
        "python src/runs.py track 1 --to wandb"
    ]


def test_a_run_is_sent_again(fake: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(fake, "iql", "bar") == 0
    monkeypatch.chdir(fake)
    capsys.readouterr()
    assert runs.main(["track", "1", "--to", "wandb", "--results", str(fake)]) == 0
    n_points = sum(len(curve) for curve in points(fake, 1).values())
    assert capsys.readouterr().out.endswith(f"run 1: {n_points} points -> wandb\n")
    assert (fake / "sacred/1/finished").exists(), "trackers leave their files with the run, not where one stands"
    for _ in range(2):  # it replaces what it wrote
        assert runs.main(["track", "1", "--to", "tensorboard", "--results", str(fake)]) == 0
    assert len(list((fake / "sacred/1/tensorboard").iterdir())) == 1
    assert runs.main(["track", "1", "--to", "wandb", "--mongo-url", "mongodb://x"]) == BAD_INPUT


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert run(tmp_path, "iql", "bar") == 0
    capsys.readouterr()
    monkeypatch.setattr(RecordWriter, "write", full)
    assert runs.main(["track", "1", "--to", "tensorboard", "--results", str(tmp_path)]) == BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: disk: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("key", "cure"),
    [("tracker=trackio", ".venv/bin/pip install trackio"), ("tensorboard=true", "./install_dependencies.sh --extras")],
)
def test_a_missing_package_is_refused_before_anything_is_written(
    tmp_path: Path,
    flags: list[str],
    key: str,
    cure: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("utils.cli.find_spec", lambda name: None)
    assert main.main([*flags, *command(tmp_path / "results", "iql", "bar"), key]) == BAD_INPUT
    package = key.partition("=")[2] if key.startswith("tracker") else "tensorboard"
    assert (
        capsys.readouterr().err == f"error: expected the package {package}, it is not installed. Install it: {cure}\n"
    )
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_killed_run_leaves_no_process(fake: Path) -> None:
    words = command(fake, "iql", "bar", tracker="wandb", t_max=10**7, log_interval=100, save_model=False)
    with subprocess.Popen([sys.executable, SRC / "main.py", *words], stdout=subprocess.DEVNULL) as child:
        while not (fake / "sacred/1/sent.jsonl").exists():
            assert child.poll() is None
            time.sleep(0.1)
        os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not (fake / "sacred/1/finished").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
