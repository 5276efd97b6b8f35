"""The committed records of results: their experiments still know them, whatever the defaults are by now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.paths import ROOT

from experiments.plan import load_experiment, plan
from records.archive import unpack
from records.index import RunIndex
from records.store import FileStore

EXPERIMENTS = re.findall(
    r"\b(?:choose|printed|paper|diagnose|pursuit)_\w+\b",
    (ROOT / "tools" / "first_train.sh").read_text().partition("for experiment in")[2].partition("; do")[0],
)


FIGURES = {  # archive -> the experiments in it: the paper's Figures 4 and 5, its appendix, Battle's first final runs
    **{
        Path("docs/credit") / task / "records.tar.xz": [f"groups_{task}", f"appendix_{task}", f"appendix_ipc_{task}"]
        for task in ("bar", "battle", "pursuit", "spread")
    },
    **{
        Path("results/paper") / task / "scale_records.tar.xz": [f"scale_{task}"]
        for task in ("battle", "pursuit", "spread")
    },
    Path("results/paper/battle/earlier_records.tar.xz"): ["earlier_battle"],
}
FINAL = sorted(path.parent.name for path in ROOT.glob("results/paper/*/records.tar.xz"))


def unpacked(archive: Path, folder: Path) -> RunIndex:
    store = FileStore(folder)
    unpack(archive, store)
    return RunIndex(store)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> RunIndex:
    return unpacked(ROOT / "results" / "first" / "records.tar.xz", tmp_path_factory.mktemp("records"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "paper_battle" else pytest.mark.slow) for name in EXPERIMENTS]
)
def test_every_run_of_an_experiment_is_recorded(name: str, index: RunIndex, tmp_path: Path) -> None:
    experiment, where = load_experiment(name)
    assert [run.label for run in plan(experiment, where, tmp_path) if index.finished(run.identity) is None] == []


@pytest.mark.parametrize("task", FINAL)
def test_every_run_of_the_second_comparison_is_recorded(task: str, tmp_path: Path) -> None:
    found = unpacked(ROOT / "results" / "paper" / task / "records.tar.xz", tmp_path / "records")
    experiment, where = load_experiment(f"final_{task}")
    assert [run.label for run in plan(experiment, where, tmp_path) if found.finished(run.identity) is None] == []


@pytest.mark.slow
@pytest.mark.parametrize("archive", FIGURES, ids=str)
def test_every_run_of_the_figures_is_recorded(archive: Path, tmp_path: Path) -> None:
    found = unpacked(ROOT / archive, tmp_path / "records")
    for name in FIGURES[archive]:
        experiment, where = load_experiment(name)
        missing = [run.label for run in plan(experiment, where, tmp_path) if found.finished(run.identity) is None]
        assert missing == [], name


def test_all_experiments_of_the_page_are_meant() -> None:
    assert len(EXPERIMENTS) == 14
