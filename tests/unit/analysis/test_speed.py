"""How soon methods learn, and what averaging does to the swing, from recorded runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support import recorded
from tests.support.recorded import METRIC, config, tasks_of

from analysis.collect import arrange, cpu_curves
from analysis.comparison import swing_table
from analysis.figures import speed_curves
from analysis.speed import Speed, Timed, _timed, measured, speed_table
from analysis.statistics import Estimate
from records.files import Curve
from records.store import FileStore
from report import main

COST = {"iql": 10.0, "vdn": 1.0}  # CPU seconds between evaluations
VALUES = {"iql": [[0, 1, 2], [0, 1, 2], [0, 0, 1]], "vdn": [[0, 3, 0], [0, 3, 3], [0, 0, 0]]}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Three seeds of iql and vdn on Bar, evaluated at 0, 10 and 20 steps."""
    store = FileStore(tmp_path / "sacred")
    for name, runs in VALUES.items():
        for seed, values in enumerate(runs, start=1):
            cpu = [[10 * i, 0.5 + COST[name] * i] for i in range(3)] + [[25, 99.0]]  # the last one without evaluation
            recorded.put(
                store, len(store.ids()) + 1, config(name, "bar", seed), values=values, info={"cpu_seconds": cpu}
            )
    return store


def speed_of(store: FileStore, reach: str) -> Speed:
    records = store.list()
    (speed,) = measured(tasks_of(store), arrange(records, cpu_curves(store, records), {}), "iql", reach)
    return speed


def test_the_first_evaluation_at_the_level_counts() -> None:
    run = Timed([0, 10, 20], [0.5, 1.5, 2.5], [0.0, 3.0, 1.0])
    assert run.first_at(-1.0) == (0, 0.5)
    assert run.first_at(3.0) == (10, 1.5)
    assert run.first_at(3.1) == (float("inf"), float("inf"))


def test_seconds_between_two_notes_are_in_proportion() -> None:
    """A metric of training is logged at other steps than evaluations, where seconds are noted."""
    timed = _timed(Curve([5, 10, 20], [1.0, 2.0, 3.0]), Curve([0, 10, 20], [0.5, 1.5, 3.5]))
    assert timed.seconds == [1.0, 1.5, 3.5]


def test_the_table_has_medians_in_which_a_run_that_is_never_there_comes_last(store: FileStore) -> None:
    iql, vdn = speed_table([speed_of(store, "0.5")], METRIC).rows
    assert iql == ["bar", "iql", "0.5", "3 of 3", "10", "10.5", "1", Estimate(5 / 3, 1, 2, 3), "20.5", "1"]
    assert vdn == ["bar", "vdn", "0.5", "2 of 3", "10", "1.5", "7", Estimate(1, 0, 3, 3), "2.5", "8.2"]
    iql, vdn = speed_table([speed_of(store, "2.5")], METRIC).rows
    assert iql[3:7] == ["0 of 3", "not reached", "not reached", None]
    assert vdn[3:7] == ["2 of 3", "10", "1.5", None]


def test_the_level_may_be_where_the_reference_ends_on_average(store: FileStore) -> None:
    assert speed_of(store, "reference").level == pytest.approx(5 / 3)


def test_the_figure_has_steps_on_the_left_and_cpu_seconds_on_the_right(store: FileStore) -> None:
    left, right = speed_curves(speed_of(store, "2.5"), METRIC, "").axes
    drawn = [[np.asarray(line.get_xdata()).tolist() for line in axis.get_lines()] for axis in (left, right)]
    assert drawn[0][:2] == [[0, 10, 20], [0, 10, 20]]
    assert drawn[1][:2] == [[0.5, 10.5, 20.5], [0.5, 1.5, 2.5]]
    for axis in (left, right):
        assert np.asarray(axis.get_lines()[1].get_ydata()).tolist() == [0, 2, 1]
        assert np.asarray(axis.get_lines()[2].get_ydata()).tolist() == [2.5, 2.5]


def test_a_report_writes_speed_where_it_is_asked_to(tmp_path: Path, store: FileStore) -> None:
    words = [f"--results={tmp_path}", f"--out={tmp_path / 'out'}", "--reference=iql"]
    assert main([*words, "--reach=reference"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"speed.md", "speed.csv", "speed.tex", "speed_bar.png", "speed_bar.svg"} <= names
    assert "swing.md" not in names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reach=1.5"], "--reach: expected --reference METHOD as well"),
        (["--reach=soon", "--reference=iql"], "argument --reach: expected a number or the word reference, got 'soon'"),
        (["--reach=nan", "--reference=iql"], "argument --reach: expected a number or the word reference, got 'nan'"),
    ],
)
def test_what_cannot_be_reached_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert message in capsys.readouterr().err


def test_runs_without_cpu_seconds_are_one_line(
    tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.put(store, 9, config("vdn", "bar", 4), values=[0, 1, 2])
    words = [f"--results={tmp_path}", f"--out={tmp_path / 'out'}", "--reference=iql", "--reach=1"]
    assert main(words) == 2
    assert "--reach: vdn on bar has runs that recorded no CPU seconds" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_swing_is_the_deviation_of_the_last_five_evaluations_of_either_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FileStore(tmp_path / "sacred")
    recorded.put(
        store, 1, config("iql", "bar", 1), values=[9, 1, 1, 1, 1, 1], test_online_return_mean=[9, 0, 2, 0, 2, 1]
    )
    recorded.put(
        store, 2, config("iql", "bar", 2), values=[9, 0, 2, 0, 2, 1], test_online_return_mean=[9, 1, 7, 1, 7, 4]
    )
    recorded.put(store, 3, config("iql", "bar", 3), values=[5, 5, 5, 5], test_online_return_mean=[5, 5, 5, 5])
    recorded.put(store, 4, config("random", "bar", 1), values=[9, 1, 1, 1, 1, 1])
    assert main([f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 0
    row = "| bar | iql | 1 [1, 1] (n=2) | 2.5 [1, 4] (n=2) | 0.5 [0, 1] (n=2) | 2 [1, 3] (n=2) | -1.5 [-2, -1] (n=2) |"
    assert row in capsys.readouterr().out
    assert len(swing_table(tasks_of(store), tasks_of(store)).rows) == 2  # no row for what did not log both
    assert (tmp_path / "out" / "swing.md").read_text().count("| bar |") == 1
