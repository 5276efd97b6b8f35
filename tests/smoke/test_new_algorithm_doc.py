"""docs/new_algorithm.md does what it says: its two files are run as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.support.paths import ROOT

import main

DOC = (ROOT / "docs" / "new_algorithm.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOC, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "softmin_mixer.py").write_text(block("python"))
    (tmp_path / "softmin.yaml").write_text(block("yaml"))
    monkeypatch.syspath_prepend(tmp_path)
    small = ["t_max=80", "batch_size=8", "learning_starts=16", "test_nepisode=2", "env_args.episode_limit=5"]
    return [f"--config={tmp_path}/softmin.yaml", "--env-config=bar", "with", *small, f"local_results_path={tmp_path}/r"]


def test_the_worked_example_trains_and_is_recorded(command: list[str], tmp_path: Path) -> None:
    assert main.main([*command, "softmin_temperature=0.5"]) == 0
    assert json.loads((tmp_path / "r/sacred/1/run.json").read_text())["status"] == "COMPLETED"
    assert json.loads((tmp_path / "r/sacred/1/config.json").read_text())["softmin_temperature"] == 0.5


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("softmin_temperatur=0.5", "Did you mean 'softmin_temperature'?"),
        ("softmin_temperature=hot", "softmin_temperature expects float, got 'hot'"),
    ],
)
def test_its_keys_are_checked_before_anything_is_written(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    assert main.main([*command, word]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
