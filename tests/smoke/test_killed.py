"""Killing a real main.py at the worst moments: what was recorded, and what a resumed run continues."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support import process
from tests.support.small_runs import eventful, points

import main
from records import checkpoint
from records.store import FileStore
from utils.cli import INTERRUPTED, RECORDING_FAILED


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, float]]]:
    """What the run records that nobody kills."""
    results = tmp_path_factory.mktemp("whole")
    assert main.main(eventful(results)) == 0
    return points(results, 1)


SECOND_STATE = "args[0].name == 'resume.pt' and args[1]['counters']['t_env'] > 150"


@pytest.mark.parametrize(
    ("moment", "call", "when"),
    [
        ("after", "records.checkpoint:save", SECOND_STATE),  # points must not wait for a beat then
        ("before", "records.observer:FileObserver.completed_event", "True"),  # everything is done, nothing says so
    ],
    ids=["as soon as a state is saved", "at the end"],
)
def test_a_killed_run_continues_without_a_hole(
    moment: str, call: str, when: str, whole: dict[str, list[tuple[int, float]]], tmp_path: Path
) -> None:
    code, _, errors = process.finish(process.start(eventful(tmp_path), process.struck(moment, call, when)))
    assert code == -signal.SIGKILL, errors
    assert FileStore(tmp_path / "sacred").get(1).status == "DEAD"
    assert main.main([f"--resume={tmp_path / 'sacred' / '1'}", "with", f"local_results_path={tmp_path}"]) == 0
    assert points(tmp_path, 2) == whole


def test_a_run_that_says_completed_needs_no_state(tmp_path: Path) -> None:
    hook = process.struck("after", "records.observer:FileObserver.completed_event")
    assert process.finish(process.start(eventful(tmp_path), hook))[0] == -signal.SIGKILL
    assert FileStore(tmp_path / "sacred").get(1).status == "COMPLETED"


@pytest.mark.parametrize("left", [0, 1000], ids=["removed", "shortened"])
def test_metrics_that_something_else_cuts_go_on_after_their_last_whole_line(
    left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, save, cut = tmp_path / "sacred" / "1" / "metrics.jsonl", checkpoint.save, list[int]()

    def saved(target: Path, state: dict[str, Any]) -> None:
        save(target, state)
        if target.name == checkpoint.RESUME and not cut:
            cut.append(path.stat().st_size)
            if left:
                os.truncate(path, left)
            else:
                path.unlink()

    monkeypatch.setattr(checkpoint, "save", saved)
    assert main.main(eventful(tmp_path)) == RECORDING_FAILED
    last = capsys.readouterr().out.splitlines()[-1]
    assert "bytes of metrics.jsonl (something else shortened or removed it)" in last
    steps = [step for step, _ in points(tmp_path, 1)["test_return_mean"]]
    assert steps[-3:] == [200, 300, 400]


def test_the_next_start_removes_what_a_killed_run_was_writing(tmp_path: Path) -> None:
    fits = "any('/.resume.pt.' in path and 'sha256' not in path for path in [os.readlink(f'/proc/self/fd/{args[0]}')])"
    hook = process.struck("before", "os:fsync", fits)
    assert process.finish(process.start(eventful(tmp_path), hook))[0] == -signal.SIGKILL
    assert len(list(tmp_path.rglob(".resume.pt.*.tmp"))) == len(list(tmp_path.rglob("*.tmp"))) == 1
    assert main.main(eventful(tmp_path)) == 0
    assert list(tmp_path.rglob("*.tmp")) == []


@pytest.mark.parametrize(
    ("moment", "call", "status"),
    [
        ("after", "records.observer:FileObserver.started_event", "INTERRUPTED"),
        ("before", "run:Trainer.train", "INTERRUPTED"),
        ("before", "records.observer:FileObserver.completed_event", "COMPLETED"),  # nothing is left to interrupt
    ],
)
def test_a_signal_at_any_moment_of_a_record_ends_it(moment: str, call: str, status: str, tmp_path: Path) -> None:
    hook = process.struck(moment, call, number=signal.SIGTERM)
    code, output, errors = process.finish(process.start(eventful(tmp_path), hook))
    assert code == (INTERRUPTED if status == "INTERRUPTED" else 0), errors
    assert FileStore(tmp_path / "sacred").get(1).status == status
    assert ("continue with: python src/main.py --resume=" in output) == (status == "INTERRUPTED")
