"""The committed records of results/paper: its experiments still know them, whatever the defaults are by now."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest
from tests.support.paths import ROOT

from experiments.plan import load_experiment, plan
from records.index import RunIndex
from records.store import FileStore

EXPERIMENTS = re.findall(
    r"\b(?:choose|printed|paper|diagnose|pursuit)_\w+\b",
    (ROOT / "tools" / "paper_train.sh").read_text().partition("for experiment in")[2].partition("; do")[0],
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> RunIndex:
    folder = tmp_path_factory.mktemp("records")
    with tarfile.open(ROOT / "results" / "paper" / "records.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return RunIndex(FileStore(folder))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "paper_battle" else pytest.mark.slow) for name in EXPERIMENTS]
)
def test_every_run_of_an_experiment_is_recorded(name: str, index: RunIndex, tmp_path: Path) -> None:
    experiment, where = load_experiment(name)
    assert [run.label for run in plan(experiment, where, tmp_path) if index.finished(run.identity) is None] == []


def test_all_experiments_of_the_page_are_meant() -> None:
    assert len(EXPERIMENTS) == 14
