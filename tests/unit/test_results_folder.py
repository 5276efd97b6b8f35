"""Where runs are recorded unless told: beside the project, wherever one stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.small_runs import command

import evaluate
import main
import runs
from utils import paths


def bar(**overrides: object) -> list[str]:
    """Arguments of a short run that is recorded where nobody said."""
    words = command(Path("unsaid"), "iql", "bar", save_replay="always", **overrides)
    return [word for word in words if word != "local_results_path=unsaid"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the commands take for the project's."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(paths.ROOT / "pyproject.toml", folder)  # says the version
    monkeypatch.setattr(paths, "ROOT", folder)
    return folder


def test_runs_lie_beside_the_project_wherever_one_stands(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(project)
    assert main.main(bar()) == 0
    assert "Recorded as run 1 in results/sacred/1." in capsys.readouterr().out  # by its name, where one stands there
    monkeypatch.chdir(elsewhere)
    assert main.main(bar(seed=2)) == 0
    assert f"Recorded as run 2 in {project / 'results/sacred/2'}." in capsys.readouterr().out
    assert main.main(["--resume=1", "with", "t_max=60"]) == 0  # recorded as results, which is not this folder's
    capsys.readouterr()
    assert runs.main(["ls"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()[1:4]] == ["1", "2", "3"]
    assert "local_results_path" not in listed
    assert evaluate.main(["--run=3", "--episodes=2"]) == 0
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_is_named_is_where_one_stands(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main([*bar(), "local_results_path=mine"]) == 0
    assert (tmp_path / "mine" / "sacred" / "1" / "run.json").exists()
    assert not (project / "results").exists()


def test_a_run_is_continued_beside_itself_wherever_one_stands(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that was recorded as relative is relative to where somebody stood then, not now."""
    monkeypatch.chdir(tmp_path)
    results, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert main.main(["--results=mine", *bar()]) == 0
    monkeypatch.chdir(elsewhere)
    assert main.main([f"--resume={results}/sacred/1", "with", "t_max=32"]) == 0
    monkeypatch.chdir(results / "sacred")
    assert main.main(["--resume=./1", "with", "t_max=40"]) == 0
    assert sorted(path.parent.name for path in tmp_path.rglob("run.json")) == ["1", "2", "3"]
    assert all((results / "sacred" / run / "run.json").exists() for run in "123")
    assert list(elsewhere.iterdir()) == []

    monkeypatch.chdir(elsewhere)
    shutil.copytree(results / "sacred/1", tmp_path / "7")
    assert main.main([f"--resume={tmp_path}/7", "with", "t_max=32"]) == 0
    assert (project / "results/sacred/1/run.json").exists(), "the project's, for a run in no folder of results"
