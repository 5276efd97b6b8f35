"""Recording through the real main: a database on a real socket, one that never answers, a disk that fills up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import main
from records.files import read_json
from records.mongo import MongoStore
from records.store import FileStore
from utils.cli import COPY_INCOMPLETE, RECORDING_FAILED

if TYPE_CHECKING:
    from tests.support.mongo_server import Embedded

pytest_plugins = ["tests.support.mongo_server"]

TINY = "regime=replay t_max=60 batch_size=8 learning_starts=8 log_interval=20 test_interval=30"
TINY += " test_nepisode=2 save_model=false"


def run(results: Path, *words: str, options: tuple[str, ...] = ()) -> int:
    command = f"--config=iql --env-config=bar with {TINY} save_replay=never env_args.episode_limit=5"
    return main.main([*options, *command.split(), *words, f"local_results_path={results}"])


def test_a_run_is_copied_over_a_real_socket(
    tmp_path: Path, embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGO_URL", embedded.url("main_test"))
    assert run(tmp_path) == 0
    files, copy = FileStore(tmp_path / "sacred"), MongoStore.at(embedded.url("main_test"))
    assert copy.get(1).status == files.get(1).status == "COMPLETED"
    assert copy.get(1).config == files.get(1).config
    expected = files.own_metrics(1)["test_return_mean"].values
    assert copy.own_metrics(1)["test_return_mean"].values == pytest.approx(expected, rel=1e-14)  # it keeps 15 digits


def test_a_database_that_never_answers_costs_a_message_and_the_exit_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MONGO_URL", raising=False)
    assert run(tmp_path, options=("--mongo-url=mongodb://127.0.0.1:1/nobody",)) == COPY_INCOMPLETE
    assert "MONGO_URL" not in os.environ, "the address is this run's own"
    assert read_json(tmp_path / "sacred" / "1" / "run.json")["status"] == "COMPLETED"
    said = capsys.readouterr()
    assert "push" in said.out + said.err + caplog.text


def test_a_full_disk_is_told_by_the_exit_code_and_the_last_line(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small_disk, "t_max=2000", "log_interval=4", "test_interval=8") == RECORDING_FAILED
    assert "RECORDING FAILED: run 1" in capsys.readouterr().out.splitlines()[-1]
