"""Scores and costs over a number in which runs differ, from recorded runs through the report."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.support import recorded
from tests.support.recorded import METRIC, config, tasks_of

from analysis.across import across_table, panels
from analysis.collect import arrange, cpu_curves
from analysis.figures import across_lines
from analysis.statistics import Estimate
from records.files import RecordError
from records.store import FileStore
from report import main

SIZES = {"battle_100v50": 100, "battle": 200, "battle_667v333": 667}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Two seeds of HMF and IQL at three sizes, of which HMF's margin is the size over 100; IQL's cost is the size."""
    store = FileStore(tmp_path / "sacred")
    for environment, size in SIZES.items():
        for seed in (1, 2):
            for name, value in (("iql", seed), ("hmf", seed + size / 100)):
                info = {"cpu_seconds": [[0, 0.0], [10, float(size)]]} if name == "iql" else {}
                run_id = len(store.ids()) + 1
                recorded.put(store, run_id, config(name, environment, seed), values=[0, value], info=info)
    return store


def test_sizes_of_one_environment_are_one_panel(store: FileStore) -> None:
    """Other arguments of a size differ with it; the tail of two evaluations is their mean."""
    records = store.list()
    (panel,) = panels(tasks_of(store), arrange(records, cpu_curves(store, records), {}), "env_args.n_agents")
    assert panel.label == "battle"
    assert {name: list(line) for name, line in panel.lines.items()} == {"hmf": [100, 200, 667], "iql": [100, 200, 667]}
    table = across_table([panel], "env_args.n_agents", METRIC, "hmf")
    assert table.head == ["task", "method", "env_args.n_agents", "tail", "CPU s", "hmf above"]
    cells = {(row[1], row[2]): row[3:] for row in table.rows}
    assert cells["hmf", "200"] == [Estimate(1.75, 1.5, 2, 2), None, None]
    assert cells["iql", "667"][1:] == [Estimate(667, 667, 667, 2), Estimate(6.67 / 2, 6.67 / 2, 6.67 / 2, 2)]
    left, right, *_ = across_lines([panel], "env_args.n_agents", METRIC, "words").axes
    assert [label.get_text() for label in left.get_xticklabels()] == ["100", "200", "667"]
    assert len(left.containers) == 2
    assert len(right.containers) == 2


def test_cpu_seconds_are_those_of_runs_without_a_gpu(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for run_id, use_cuda in enumerate((False, True), start=1):
        info = {"cpu_seconds": [[0, 0.0], [10, 3.0]]}
        recorded.put(store, run_id, config("iql", "bar", 1, f"use_cuda={use_cuda}"), info=info)
    assert [method.label for task in tasks_of(store) for method in task.methods] == ["iql"]
    assert {run_id: curve.values[-1] for run_id, curve in cpu_curves(store, store.list()).items()} == {1: 3.0}


def test_numbers_of_methods_are_lines_on_their_task(tmp_path: Path) -> None:
    """Methods without the key are left out; a task whose runs do not differ in it, too."""
    store = FileStore(tmp_path)
    for run_id, (name, *words) in enumerate(
        [("hmf", "n_groups=2"), ("hmf", "n_groups=10"), ("hmf_ipc", "n_groups=2"), ("hmf_ipc", "n_groups=5"), ("iql",)]
    ):
        recorded.put(store, run_id + 1, config(name, "bar", 1, *words), values=[run_id])
    (panel,) = panels(tasks_of(store), [], "n_groups")
    assert panel.label == "bar"
    assert {name: list(line) for name, line in panel.lines.items()} == {"hmf": [2, 10], "hmf_ipc": [2, 5]}
    rows = across_table([panel], "n_groups", METRIC, None).rows
    assert rows[0][1:4] == ["hmf", "2", Estimate(0, None, None, 1)]
    assert rows[0][4] is None
    for reference, gains in (("iql", [4, 3, 2, 1]), ("hmf n_groups=10", [1, None, -1, -2]), ("hmf", [None] * 4)):
        rows = across_table([panel], "n_groups", METRIC, reference).rows
        found = [row[5].value if isinstance(row[5], Estimate) else row[5] for row in rows]
        assert found[:2] + (found[2:] if reference != "hmf" else [None] * 2) == gains, reference
    assert rows[2][5] == Estimate(-2, None, None, 1)  # two groups of either


def test_the_report_writes_table_and_figure(tmp_path: Path, store: FileStore) -> None:
    assert len(store.ids()) == 12
    out = tmp_path / "out"
    words = ["--results", str(tmp_path), "--out", str(out), "--across", "env_args.n_agents", "--reference", "hmf"]
    assert main(words) == 0
    rows = list(csv.DictReader((out / "across.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["hmf"] * 3 + ["iql"] * 3
    assert {"across.md", "across.png", "across.svg", "across.tex"} <= {path.name for path in out.iterdir()}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("gamma", "--across gamma: expected runs that differ in it and are called by it, these are not"),
        ("td_level", "--across td_level: expected numbers, got td_level=agent"),
        ("env_args.n_agents", "expected runs that differ in nothing else, two sets of hmf on bar have"),
    ],
)
def test_what_makes_no_line_is_refused(key: str, message: str, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    other, fewer = "env_args.capacity=20", "env_args.n_agents=70"
    for run_id, words in enumerate(([fewer], [fewer, other], ["td_level=agent", other]), start=1):
        recorded.put(store, run_id, config("hmf", "bar", 1, *words), values=[run_id])
    recorded.put(store, 4, config("hmf", "bar", 1, other), values=[1])
    tasks = tasks_of(store)
    with pytest.raises(RecordError) as error:
        panels(tasks, [], key)
    assert message in str(error.value)
