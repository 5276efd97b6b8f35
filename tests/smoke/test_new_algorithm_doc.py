"""docs/new_algorithm.md does what it says: its files are run as they stand there."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.factory import config_for, info_for
from tests.support.paths import ROOT

import build
import main
from assembly.registries import REGISTRIES
from components.grouping import GroupingInput
from config.checked import chosen_classes
from config.registry import make
from records import checkpoint

DOC = (ROOT / "docs" / "new_algorithm.md").read_text()


def block(language: str, chapter: str) -> str:
    found = re.search(rf"## {chapter}\n.*?```{language}\n(.*?)```", DOC, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return words_for(tmp_path, monkeypatch, "A mixer", "softmin_mixer.py", "softmin.yaml")


def words_for(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    chapter: str,
    module: str,
    config: str,
    regime: str = "replay",
    environment: str = "bar",
) -> list[str]:
    """The arguments of a short run of a chapter's two files."""
    (folder / module).write_text(block("python", chapter))
    (folder / config).write_text(block("yaml", chapter))
    monkeypatch.syspath_prepend(folder)
    small = [
        f"regime={regime}",
        "t_max=80",
        "batch_size=8",
        "learning_starts=16",
        "test_nepisode=2",
        "env_args.episode_limit=5",
    ]
    return [
        f"--config={folder}/{config}",
        f"--env-config={environment}",
        "with",
        *small,
        f"local_results_path={folder}/r",
    ]


@pytest.mark.parametrize(("regime", "updates"), [("replay", 16), ("rollout", 8)])
def test_the_learner_learns_in_both_regimes(
    regime: str, updates: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_for(tmp_path, monkeypatch, "A learner", "sarsa_learner.py", "sarsa.yaml", regime)
    sizes = ["batch_size_run=8", "rollout_length=8", "epochs=1", "minibatches=8"]
    assert main.main([*words, *sizes, "sarsa_share=0.2"]) == 0
    newest = checkpoint.step_folder(tmp_path / "r/sacred/1/checkpoints", 0)
    assert checkpoint.load(newest / checkpoint.LEARNER, torch.device("cpu"))["n_updates"] == updates


def test_the_mixer_trains_and_is_recorded(command: list[str], tmp_path: Path) -> None:
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


def test_the_grouping_trains_and_puts_who_stands_side_by_side_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_for(
        tmp_path, monkeypatch, "A grouping", "row_grouping.py", "rows.yaml", regime="rollout", environment="spread"
    )
    assert main.main([*words, "n_groups=3", "batch_size_run=8", "rollout_length=8", "epochs=1", "minibatches=8"]) == 0
    newest = checkpoint.step_folder(tmp_path / "r/sacred/1/checkpoints", 0)
    assert checkpoint.load(newest / checkpoint.LEARNER, torch.device("cpu"))["n_updates"] == 8
    logged = {json.loads(line)["name"] for line in (tmp_path / "r/sacred/1/metrics.jsonl").read_text().splitlines()}
    assert "group_changed" in logged

    grouping = importlib.import_module("row_grouping").RowGrouping(info_for(5, 2), n_groups=2, row_feature=1)
    obs = torch.zeros(1, 5, 3)
    obs[0, :, 1] = torch.tensor([4.0, 0.0, 3.0, 1.0, 2.0])
    alive = torch.tensor([[True, False, True, True, True]])
    features = GroupingInput(obs, torch.zeros(1, 5, 2), alive, None)
    assert grouping.checked(features, torch.Generator()).group.tolist() == [[1, -1, 1, 0, 0]]


def test_the_table_of_positional_parameters_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[type, list[str]] = {}

    def noted(cls: type, values: Mapping[str, Any], offered: Mapping[str, Any]) -> Any:
        given[cls] = [*offered]
        return make(cls, values, offered)

    monkeypatch.setattr("assembly.parts.make", noted)
    config = config_for("hmf", "bar")
    build.build(config)
    classes = chosen_classes(config.to_dict(), REGISTRIES, config.trust)
    chapter = DOC.partition("## What a constructor may take\n")[2].partition("\n## ")[0]
    table = re.findall(r"^\| `(\w+)` \| (.*) \|$", chapter, re.MULTILINE)
    assert {kind: re.findall(r"`(\w+)`", names) for kind, names in table} == {
        kind: given[cls] for kind, cls in classes.items()
    }
