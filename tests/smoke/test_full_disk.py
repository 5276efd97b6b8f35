"""A disk that refuses the real main's writes, for a while or for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.support import process
from tests.support.full_disk import refuse
from tests.support.small_runs import eventful, points

import main
from records import checkpoint, saver
from records.files import read_json
from utils.cli import RECORDING_FAILED

CPU = torch.device("cpu")


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The results of the run that no disk disturbed."""
    assert main.main(eventful(tmp_path / "whole")) == 0
    return tmp_path / "whole"


def leftovers(results: Path) -> list[Path]:
    return list(results.rglob("*.tmp"))


@pytest.mark.parametrize("begin", [2, 6, 20])
def test_a_disk_that_is_full_for_a_while_costs_nothing(
    begin: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(saver, "RETRY_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        refuse(patch, range(begin, begin + 12))
        assert main.main(eventful(tmp_path)) == 0
    assert "failed writes were repeated, nothing is lost" in capsys.readouterr().out
    assert points(tmp_path, 1) == points(whole, 1)
    ours, theirs = (results / "sacred" / "1" / "checkpoints" for results in (tmp_path, whole))
    assert checkpoint.best_step(ours) == checkpoint.best_step(theirs)
    step = str(checkpoint.best_step(ours))
    one, other = (checkpoint.load(folder / step / checkpoint.POLICY, CPU)["mac"] for folder in (ours, theirs))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert leftovers(tmp_path) == []


def test_a_disk_that_stays_full_is_told_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        refuse(patch, range(6, 10**6))
        assert main.main(eventful(tmp_path)) == RECORDING_FAILED
    said = capsys.readouterr()
    assert "400/400 steps" in said.out
    assert said.out.splitlines()[-1].startswith("RECORDING FAILED: run 1 in ")
    assert read_json(tmp_path / "sacred" / "1" / "run.json")["status"] == "RUNNING"
    assert leftovers(tmp_path) == []


def test_output_that_nobody_can_write_stops_nothing(tmp_path: Path) -> None:
    """`main.py > log` on a full disk."""
    with open("/dev/full", "w") as full:
        started = process.start(eventful(tmp_path), stdout=full)
        assert process.finish(started)[0] == 0
    assert read_json(tmp_path / "sacred" / "1" / "run.json")["status"] == "COMPLETED"
