"""Reports from recorded runs: who is compared with whom, and every file they write."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from tests.support import recorded
from tests.support.recorded import METRIC, STARTED, config, tasks_of

from analysis.collect import Task, collect, score
from analysis.comparison import (
    ablation_table,
    bars,
    budget,
    described,
    over_tasks_ablation_table,
    over_tasks_table,
    overview_table,
    results_table,
    same_methods,
)
from analysis.figures import difference_bars, learning_curves, write
from analysis.report import marl_eval, points, runs_table, slug
from analysis.statistics import Estimate, estimate
from analysis.tables import Cell, Table, column_types, escaped, unbroken
from records.files import Curve
from records.identity import identity
from records.mongo import MongoStore, connect
from records.store import FileStore
from report import main
from utils.cli import BAD_INPUT

if TYPE_CHECKING:
    from tests.support.mongo_server import Embedded

pytest_plugins = ["tests.support.mongo_server"]


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """hmf beats iql by 1 at the end of both seeds; hmf also with five groups, seed 1 only; iql seed 2 twice."""
    store = FileStore(tmp_path / "sacred")
    recorded.put(store, 1, config("iql", "bar", 1), values=[0, 4, 2])
    recorded.put(store, 2, config("iql", "bar", 2), values=[9, 9, 9])
    recorded.put(store, 3, config("hmf", "bar", 1, "n_groups=2"), values=[0, 2, 3])
    recorded.put(store, 4, config("hmf", "bar", 2, "n_groups=2"), values=[0, 2, 5])
    recorded.put(store, 5, config("hmf", "bar", 1, "n_groups=5"), values=[0, 0, 0])
    recorded.put(store, 6, config("iql", "bar", 2), values=[0, 0, 4])
    recorded.put(store, 7, config("iql", "bar", 3), "INTERRUPTED", values=[100])
    return store


def test_runs_are_grouped_by_task_and_method_and_named_by_what_differs(store: FileStore) -> None:
    recorded.put(store, 8, config("iql", "bar_30", 1, "local_results_path=elsewhere"))
    first, second = tasks_of(store)
    assert (first.label, second.label) == ("bar env_args.capacity=30", "bar env_args.capacity=60")
    assert [method.label for method in first.methods] == ["iql"]
    assert [method.label for method in second.methods] == ["hmf n_groups=2", "hmf n_groups=5", "iql"]


def test_enemies_that_learn_are_told_apart_by_their_algorithm_and_its_own_keys(tmp_path: Path) -> None:
    """Not by the parts and keys that follow from its name."""
    store = FileStore(tmp_path)
    for run_id, words in enumerate((["iql"], ["mfq", "lr=0.001"], ["mfq", "lr=0.002"]), start=1):
        given = [f"opponent_config={words[0]}", *(f"opponent_args.{word}" for word in words[1:])]
        recorded.put(store, run_id, config("hmf", "battle", 1, "env_args.opponent=learner", *given))
    (task,) = tasks_of(store)
    assert [method.label for method in task.methods] == [
        "hmf opponent_config=iql",
        "hmf opponent_config=mfq opponent_args.lr=0.001",
        "hmf opponent_config=mfq opponent_args.lr=0.002",
    ]


def test_a_repeated_seed_counts_once_by_its_newest_run(store: FileStore) -> None:
    iql = tasks_of(store)[0].methods[-1]
    assert iql.scores("final") == {1: 2.0, 2: 4.0}
    assert iql.scores("tail") == {1: np.mean(iql.curves[1].values[-5:]), 2: np.mean(iql.curves[2].values[-5:])}
    assert iql.scores("best") == {1: 4.0, 2: 4.0}
    assert iql.scores("auc") == {1: 2.5, 2: 1.0}


def test_an_older_run_that_was_taken_in_later_is_not_the_newest(store: FileStore) -> None:
    recorded.put(store, 8, config("iql", "bar", 2), values=[7, 7, 7], started=STARTED - timedelta(days=30))
    assert tasks_of(store)[0].methods[-1].scores("final") == {1: 2.0, 2: 4.0}


def test_all_that_stands_side_by_side_is_of_the_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it lacks what an older one logged: here the newest run used a GPU, and was not evaluated online."""
    monkeypatch.chdir(tmp_path)
    store = FileStore(tmp_path / "sacred")
    cost = {"cpu_seconds": [[0, 0.0], [10, 3.0]]}
    recorded.put(store, 1, config("iql", "bar", 1), values=[1] * 6, info=cost, test_online_return_mean=[9] * 6)
    later = config("iql", "bar", 1, "use_cuda=true", "test_online=false")
    recorded.put(store, 2, later, values=[5] * 6, started=STARTED + timedelta(hours=1))
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out/swing.csv").exists()
    (row,) = csv.DictReader((tmp_path / "out/cost.csv").open())
    assert row.get("CPU s", "") == ""
    (row,) = csv.DictReader((tmp_path / "out/runs.csv").open())
    assert row["runs"] == "1"


def test_a_run_made_longer_gives_way_to_one_that_was_meant_to_be_as_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "sacred")
    recorded.put(store, 1, config("iql", "bar", 1), values=[1])
    recorded.put(store, 2, config("iql", "bar", 1), values=[2], started=STARTED + timedelta(hours=1))
    recorded.put(store, 3, config("iql", "bar", 2), values=[3])
    monkeypatch.setattr(FileStore, "extended", lambda _, record: record.id in (2, 3))
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    said = "left out: run 2, made longer, beside run 1, which was as long from the start\n"
    assert capsys.readouterr().out.startswith(said)
    rows = csv.DictReader((tmp_path / "out/curves.csv").open())
    assert {(row["seed"], row["value"]) for row in rows} == {("1", "1.0"), ("2", "3.0")}


def test_files_of_tasks_with_long_names_have_names_that_disks_take() -> None:
    names = {slug(f"battle {key}={'x' * 300}") for key in ("team", "teams")}
    assert len(names) == 2
    assert max(map(len, names)) < 120
    assert slug("battle env_args.n_agents=100") == "battle_env_args.n_agents=100"


def test_no_number_is_the_highest_wherever_it_stands() -> None:
    for values in itertools.permutations([math.nan, 1.0, 2.0]):
        assert math.isnan(score(Curve.of(values), "best"))


def test_what_only_some_have_tells_apart_what_would_be_called_alike(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    old = config("iql", "bar", 1).to_dict()
    del old["average_decay"]
    recorded.put(store, 1, old, values=[1])
    recorded.put(store, 2, config("iql", "bar", 1, "average_decay=0.99"), values=[2])
    recorded.put(store, 3, config("iql", "bar", 1, "average_decay=0.99", "test_env_args.n_agents=50"), values=[3])
    tasks = tasks_of(store)
    assert [task.label for task in tasks] == ["bar", "bar test_env_args.n_agents=50"]
    assert [method.label for method in tasks[0].methods] == ["iql average_decay=0.0", "iql average_decay=0.99"]
    assert [row[0] for row in overview_table(tasks, METRIC, "final").rows] == [
        "iql",
        "iql average_decay=0.0",
        "iql average_decay=0.99",
    ]


def test_two_methods_that_were_given_one_name_are_told_apart(tmp_path: Path) -> None:
    store, names = FileStore(tmp_path), dict[str, str]()
    for run_id, width in enumerate((32, 64), start=1):
        one = config("iql", "bar", 1, f"hidden_dims=[{width}]")
        recorded.put(store, run_id, one, values=[width])
        names[identity(one.to_dict())] = "iql wide"
    _, (task,) = collect(store, store.list(), METRIC, names)
    assert [method.label for method in task.methods] == ["iql wide hidden_dims=[32]", "iql wide hidden_dims=[64]"]


def test_results_table(store: FileStore) -> None:
    table = results_table(tasks_of(store), METRIC)
    assert table.rows[0] == [
        "bar",
        "hmf n_groups=2",
        20,
        Estimate(4, 3, 5, 2),
        Estimate(2, 5 / 3, 7 / 3, 2),
        Estimate(4, 3, 5, 2),
        Estimate(2, 1.75, 2.25, 2),
    ]
    assert table.rows[1][3] == Estimate(0.0, None, None, 1)
    assert "mean over the initial agents" in table.caption
    assert "n is the number of seeds" in table.caption


def test_the_overview_has_methods_in_rows_and_tasks_in_columns(store: FileStore) -> None:
    recorded.put(store, 8, config("random", "bar_30", 1), values=[7])
    table = overview_table(tasks_of(store), METRIC, "final")
    assert table.head == ["method", "bar env_args.capacity=30", "bar env_args.capacity=60"]
    assert table.rows[0] == ["hmf n_groups=2", None, Estimate(4, 3, 5, 2)]
    assert table.rows[-1] == ["random", Estimate(7, None, None, 1), None]
    assert "last evaluation" in table.caption


def test_the_overview_says_who_is_at_an_equilibrium_where_that_was_measured(tmp_path: Path) -> None:
    """Tails of both, beside each other; reports on another metric have no such column."""
    store = FileStore(tmp_path / "sacred")
    recorded.put(store, 1, config("iql", "bar", 1), values=[1, 3], test_exploitability=[0.5, 0.25])
    recorded.put(store, 2, config("iql", "battle", 1), values=[5, 5])
    out = tmp_path / "out"
    for metric in ((), ("--metric", "test_exploitability")):
        assert main([f"--results={tmp_path}", f"--out={out}", "--score=tail", *metric]) == 0
        head, row = csv.reader((out / "overview.csv").open())
        found = dict(zip(head, row, strict=True))
        if metric:
            assert "bar: exploitability" not in found
            assert found["bar"] == "0.375"
        else:
            assert (found["bar"], found["battle"], found["bar: exploitability"]) == ("2.0", "5.0", "0.375")
            assert "0: a pure equilibrium" in (out / "overview.md").read_text()


def test_only_of_returns_the_highest_is_called_the_best(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "sacred")
    recorded.put(
        store, 1, config("iql", "spread", 1), values=[1, 3], test_collisions=[1, 0], test_online_return_mean=[1, 2]
    )
    for metric, name in ((METRIC, "best"), ("test_online_return_mean", "best"), ("test_collisions", "highest")):
        table = results_table(collect(store, store.list(), metric)[1], metric)
        assert table.head[5] == name
        assert f"{name}: highest evaluation of a run" in table.caption
        assert over_tasks_table(collect(store, store.list(), metric)[1], metric).head[3] == name


def test_what_may_be_worse_is_called_higher(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for run_id, name in enumerate(("iql", "vdn"), start=1):
        recorded.put(store, run_id, config(name, "bar", 1), test_collisions=[run_id])
    for metric, said in ((METRIC, "is better than"), ("test_collisions", "is higher than")):
        assert said in ablation_table(collect(store, store.list(), metric)[1], "iql", metric, "final").caption


def test_ablation_is_paired_by_seed(store: FileStore) -> None:
    """Means of 4 and 3 overlap, but every seed gains exactly 1."""
    rows = ablation_table(tasks_of(store), "iql", METRIC, "final").rows
    assert rows[0][:3] == ["bar", "hmf n_groups=2", Estimate(1.0, 1.0, 1.0, 2)]
    assert rows[0][4] == Estimate(0.75, 0.0, 1.0, 4)  # 3 and 5 against 2 and 4
    assert rows[1][2] == Estimate(-2.0, None, None, 1)


def test_methods_may_be_compared_by_their_tails(store: FileStore) -> None:
    """Three evaluations each: their mean."""
    rows = ablation_table(tasks_of(store), "iql", METRIC, "tail")
    assert rows.head == ["task", "method", "tail", "auc", "P(tail)"]
    difference = rows.rows[0][2]  # 5/3 and 7/3 less 2 and 4/3
    assert isinstance(difference, Estimate)
    assert (difference.value, difference.low, difference.high) == pytest.approx((1 / 3, -1 / 3, 1))
    assert "by the mean of the last 5 evaluations" in rows.caption
    overview = overview_table(tasks_of(store), METRIC, "tail")
    cell = overview.rows[0][1]
    assert isinstance(cell, Estimate)
    assert (cell.value, cell.low, cell.high) == pytest.approx((2, 5 / 3, 7 / 3))
    assert bars(tasks_of(store), "iql", "tail")["bar"]["hmf n_groups=2"].value == pytest.approx(1 / 3)


def test_tasks_are_pooled_only_when_all_methods_are_on_all(store: FileStore) -> None:
    tasks = tasks_of(store)
    assert not same_methods(tasks)
    assert same_methods([tasks[0], tasks[0]])
    assert not same_methods([tasks[0], Task("bar", "other", tasks[0].methods[:1])])
    pooled = over_tasks_table([tasks[0], tasks[0]], METRIC).rows[2][1]  # 2 and 4 of 0 to 5, twice
    assert isinstance(pooled, Estimate)
    assert (pooled.value, pooled.low, pooled.high, pooled.n) == (pytest.approx(0.6), 0.4, 0.8, 4)


def test_differences_are_pooled_over_tasks_in_scaled_scores(store: FileStore) -> None:
    """On the first task every seed gains 1 of a span of 5; on the second, three times as wide, 6 of 15."""
    recorded.put(store, 8, config("iql", "bar_30", 1), values=[0, 4])
    recorded.put(store, 9, config("iql", "bar_30", 2), values=[0, 4])
    recorded.put(store, 10, config("hmf", "bar_30", 1, "n_groups=2"), values=[0, 10])
    recorded.put(store, 11, config("hmf", "bar_30", 2, "n_groups=2"), values=[0, 10])
    recorded.put(store, 12, config("hmf", "bar_30", 1, "n_groups=5"), values=[0, -5])
    rows = over_tasks_ablation_table(tasks_of(store), "iql", METRIC, "final").rows
    assert rows[0][0] == "hmf n_groups=2"
    difference = rows[0][1]
    assert isinstance(difference, Estimate)
    assert difference.value == pytest.approx((0.2 + 0.4) / 2)  # of 0.2, 0.2, 0.4, 0.4 the two in the middle
    assert (difference.low, difference.high, difference.n) == (pytest.approx(0.3), pytest.approx(0.3), 4)


def test_points_are_every_evaluation_of_every_run(store: FileStore) -> None:
    rows = list(csv.DictReader(points(tasks_of(store)).splitlines()))
    assert len(rows) == 15  # five runs that count, three evaluations each
    assert rows[-1] == {"task": "bar", "method": "iql", "seed": "2", "t_env": "20", "value": "4.0"}


def test_runs_behind_a_report(store: FileStore) -> None:
    git = [{"commit": "a" * 40, "dirty": False}, {"commit": "b" * 40, "dirty": True}]
    host = {"machine": "x86_64", "cpu_count": 2, "gpus": []}
    records = [
        replace(record, entry={**record.entry, "git": git[record.id % 2], "host": host, "versions": {"torch": "2"}})
        for record in store.list(status="COMPLETED")
    ]
    without = replace(records[0], entry={**records[0].entry, "git": None})
    commits = "aaaaaaa; bbbbbbb with changes"
    row = ["bar", 7, "0.12", commits, "x86_64, 2 cores, no GPU", "torch 2"]  # seven runs of a minute
    assert runs_table([*records, without]).rows == [row]


def test_a_run_that_never_learned_is_a_level(store: FileStore) -> None:
    recorded.put(store, 8, config("random", "bar", 1), values=[1.5])
    recorded.put(store, 9, config("iql", "bar", 4), values=[0.0] * 200)
    figure = learning_curves(tasks_of(store), METRIC, "")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["hmf n_groups=2 (n=2)", "hmf n_groups=5 (n=1)", "iql (n=3)", "random (n=1)"]
    *_, iql, random = figure.axes[0].get_lines()
    assert (iql.get_linestyle(), random.get_linestyle()) == ("-", "--")
    assert random.get_color() == "0.2"
    assert iql.get_color() == colormaps["tab10"](2)
    assert np.asarray(random.get_xdata()).tolist() == [0, 1990]
    assert np.asarray(random.get_ydata()).tolist() == [1.5, 1.5]


def test_the_legend_of_several_tasks_says_how_many_seeds_there_are_at_least_and_at_most(store: FileStore) -> None:
    recorded.put(store, 8, config("iql", "bar_30", 1), values=[0, 4])
    names = [text.get_text() for text in learning_curves(tasks_of(store), METRIC, "").legends[0].get_texts()]
    assert "iql (n=1–2)" in names


def test_a_grid_shows_no_panel_without_a_task(store: FileStore) -> None:
    for run_id, capacity in ((8, 20), (9, 30), (10, 40)):
        recorded.put(store, run_id, config("iql", "bar", 1, f"env_args.capacity={capacity}"), values=[0, 4])
    figure = learning_curves(tasks_of(store), METRIC, "")
    assert [axis.axison for axis in figure.axes] == [True] * 4 + [False] * 2


def test_how_often_a_run_was_logged_and_saved_makes_no_method_of_its_own(store: FileStore) -> None:
    before = [method.label for task in tasks_of(store) for method in task.methods]
    often = ["log_interval=7", "save_model=false", "save_model_interval=9", "keep_checkpoints=5"]
    recorded.put(store, 8, config("iql", "bar", 9, *often), values=[0, 4])
    assert [method.label for task in tasks_of(store) for method in task.methods] == before


def test_a_key_that_a_resumed_run_recorded_later_makes_no_method_of_its_own(store: FileStore) -> None:
    """VDN never reads death_share; resumed, it records what runs did before that key existed."""
    recorded.put(store, 8, config("vdn", "bar", 1), values=[0, 4])
    recorded.put(store, 9, config("vdn", "bar", 2).to_dict() | {"death_share": False}, values=[0, 4])
    assert [(method.label, [*method.curves]) for task in tasks_of(store) for method in task.methods][-1] == (
        "vdn",
        [1, 2],
    )


def test_a_report_leaves_nothing_of_the_one_before_it_in_its_folder(store: FileStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [f"--results={tmp_path}", f"--out={out}"]
    out.mkdir()
    (out / "speed.png").write_text("somebody's own, no report was here")
    assert main(["env=bar", *words, "--reference=iql"]) == 0
    assert (out / "speed.png").exists()
    (out / "trials.md").write_text("of the search")
    (out / "curves_mine.pdf").write_text("somebody's own")
    assert (out / "ablation.md").exists()
    recorded.put(store, 8, config("iql", "spread", 1), values=[0, 4])
    assert main(["env=spread", *words]) == 0
    assert {path.name for path in out.iterdir()} >= {
        "curves_spread.png",
        "results.md",
        "trials.md",
        "curves_mine.pdf",
        "speed.png",
    }
    assert not {path.name for path in out.iterdir()} & {
        "curves_bar.png",
        "curves_bar.svg",
        "curves_bar.pdf",
        "ablation.md",
    }


def test_a_report_does_not_write_over_files_of_others(
    store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.md").write_text("somebody's own")
    assert main(["env=bar", f"--results={tmp_path}", f"--out={out}"]) == BAD_INPUT
    assert "expected an empty folder, or a report's, it holds another results.md" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["results.md"]
    assert (out / "results.md").read_text() == "somebody's own"


def test_bars_are_differences_with_intervals(store: FileStore) -> None:
    panels = bars(tasks_of(store), "iql", "final")
    assert panels == {"bar": {"hmf n_groups=2": Estimate(1, 1, 1, 2), "hmf n_groups=5": Estimate(-2, None, None, 1)}}
    axis = difference_bars(panels, METRIC, "iql", "").axes[0]
    assert axis.get_xlabel() == "test_return_mean minus that of iql"
    assert [bar.get_width() for bar in axis.patches if isinstance(bar, Rectangle)] == [1, -2]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["hmf n_groups=2 (n=2)", "hmf n_groups=5 (n=1)"]


def test_a_difference_of_0_is_marked() -> None:
    """Its bar has no width."""
    figure = difference_bars(
        {"bar": {"vdn": Estimate(0, None, None, 1), "hmf": Estimate(2, 0, 4, 8)}}, METRIC, "iql", ""
    )
    (dots, _) = figure.axes[0].get_lines()[-2:]
    assert dots.get_xydata().tolist() == [[0, 0], [2, 1]]  # type: ignore[union-attr]
    assert dots.get_marker() == "o"


@pytest.mark.filterwarnings("error")
def test_long_names_leave_the_panels_their_size(store: FileStore) -> None:
    """They stand above them, on several lines; and so do many."""
    tasks = tasks_of(store)

    def drawn(names: Sequence[str]) -> tuple[Figure, Bbox, Bbox]:
        methods = [replace(tasks[0].methods[0], label=name) for name in names]
        figure = learning_curves([replace(tasks[0], methods=methods)], METRIC, "caption " * 50)
        figure.draw_without_rendering()
        return figure, figure.axes[0].get_window_extent(), figure.legends[0].get_window_extent()

    _, short, beside = drawn(["hmf", "iql"])
    assert beside.x0 > short.x1
    for names in ([f"hmf {'key=value ' * 30}{i}" for i in range(9)], [f"hmf lr={i}" for i in range(60)]):
        figure, panel, above = drawn(names)
        assert above.y0 > panel.y1
        assert 0 <= above.x0 < above.x1 <= figure.bbox.x1
        assert above.y1 <= figure.bbox.y1
        assert panel.width > short.width
        assert panel.height == pytest.approx(short.height, rel=0.05)


def test_long_names_of_tasks_and_bars_are_wrapped(store: FileStore) -> None:
    long = "bar " + "env_args.key=value " * 9
    figure = learning_curves([replace(tasks_of(store)[0], label=long)], METRIC, "")
    lines = figure.axes[0].get_title().splitlines()
    assert max(map(len, lines)) <= 56
    assert lines[-1] == "(own parameters)"
    bars = difference_bars({"bar": {long: Estimate(1, 0, 2, 4)}}, METRIC, long, "")
    assert max(map(len, bars.axes[0].get_xlabel().splitlines())) <= 56
    bars.draw_without_rendering()
    assert bars.axes[0].get_window_extent().width > bars.bbox.width / 2


def test_figures_for_papers_have_no_caption_of_their_own(store: FileStore, tmp_path: Path) -> None:
    """Nor a date, nor fonts that journals refuse; what is written as PNG and SVG beside them does."""
    figure = learning_curves(tasks_of(store), METRIC, "a caption")
    write(figure, tmp_path / "a")
    assert "a caption" in (tmp_path / "a.svg").read_text()
    assert "(own parameters)" in (tmp_path / "a.svg").read_text()
    assert figure.get_supxlabel() == ""
    assert figure.axes[0].get_title() == "bar"
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    assert b"/Type3" not in pdf


def test_marl_eval_layout(store: FileStore) -> None:
    run = marl_eval(tasks_of(store), METRIC)["bar"]["bar"]["iql"]["seed_1"]
    assert run["step_2"] == {"step_count": 10, METRIC: [4]}
    assert run["absolute_metrics"] == {METRIC: [4]}
    assert set(run) == {"step_1", "step_2", "step_3", "absolute_metrics"}


def test_metrics_name_their_convention() -> None:
    assert described("return_sum") == "return_sum (an episode's summed rewards, sum over the agents)"
    assert described("test_win") == "test_win"


def test_a_cell_of_a_page_ends_where_it_should() -> None:
    *_, row = Table("", ["claim", "p"], [["a | b\nc\n", 1]]).markdown().splitlines()
    assert row == r"| a \| b c | 1 |"


def test_tables_are_written_in_three_formats(tmp_path: Path) -> None:
    table = Table("100 % of a_b", ["method", "final"], [["a_b", Estimate(1.5, 1.0, 2.0, 4)], ["c", None]])
    table.write(tmp_path / "t")
    assert (tmp_path / "t.md").read_text().splitlines()[2:] == [
        "| method | final |",
        "| --- | --- |",
        "| a_b | 1.5 [1, 2] (n=4) |",
        "| c | – |",
    ]
    rows = list(csv.reader((tmp_path / "t.csv").open()))
    assert rows == [
        ["method", "final", "final_low", "final_high", "final_n"],
        ["a_b", "1.5", "1.0", "2.0", "4"],
        ["c", "", "", "", ""],
    ]
    latex = (tmp_path / "t.tex").read_text()
    assert r"\begin{table}  % needs \usepackage{booktabs}" + "\n" in latex
    assert r"\begin{tabular}{ll}" in latex
    assert r"\caption{100 \% of a\_b}\label{tab:t}" in latex
    assert r"a\_b & 1.5 [1,~2] (n=4) \\" in latex


@pytest.mark.parametrize(
    ("plain", "latex"),
    [
        ("n < 4, hmf > iql", "n $<$ 4, hmf $>$ iql"),
        ("a|b", r"a\textbar{}b"),
        ("-1 [-2.5, -1e-05] (n=-3)", "$-$1 [$-$2.5, $-$1e-05] (n=$-$3)"),
        ("\u22121 \u2013", "$-$1 \u2013"),
        ("runs 1-4, 2026-01-02, hmf-3, top-k", "runs 1-4, 2026-01-02, hmf-3, top-k"),
    ],
)
def test_latex_prints_signs_as_they_are(plain: str, latex: str) -> None:
    """The usual fonts turn < and > into marks of quotation and of exclamation."""
    assert escaped(plain) == latex


def test_columns_of_latex_tables_wrap_where_a_line_does_not_hold_them(tmp_path: Path) -> None:
    """The widest ones, none narrower than its longest word or an interval; 90 letters, of which gaps take 9."""
    row: list[Cell] = ["bar", "w" * 30 + " of a claim" * 9, Estimate(1.25, -1.5, 2.75, 8)]
    Table("", ["task", "claim", "gain"], [row]).write(tmp_path / "t")
    latex = (tmp_path / "t.tex").read_text()
    wrapped = r">{\raggedright\arraybackslash}p{%s\linewidth}"
    assert rf"\begin{{tabular}}{{l{wrapped % '0.60'}l}}" in latex  # 81 less 4 and 23
    assert r"\usepackage{booktabs,array}" in latex
    assert column_types([["a" * 40, "b" * 41]]) == "ll"
    words = ["a" * 30, "b" * 30 + " c", unbroken("1.5 [-1.25, 2.5] (n=8)")]
    assert column_types([words, words]) == f"l{wrapped % '0.33'}{wrapped % '0.23'}"
    assert column_types([["a" * 200, ""]]) == "ll", "one word cannot wrap"


def test_report_writes_everything(tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["env=bar", "name!=vdn", f"--results={tmp_path}", f"--out={out}", "--reference=iql"]
    assert main(arguments) == 0
    names = {path.name for path in out.iterdir()}
    tables = {
        f"{name}{suffix}"
        for name in ("results", "overview", "ablation", "cost", "runs")
        for suffix in (".md", ".csv", ".tex")
    }
    pictures = {f"{name}{suffix}" for name in ("curves_bar", "ablation") for suffix in (".png", ".svg", ".pdf")}
    assert names == tables | pictures | {"curves.csv", "marl_eval.json"}
    assert "hmf n_groups=2 (n=2)" in (out / "curves_bar.svg").read_text()
    assert json.loads((out / "marl_eval.json").read_text())["bar"]
    assert "| bar | iql |" in capsys.readouterr().out
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(arguments) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before, "the same runs, the same bytes"


def test_several_tasks_share_a_figure_and_are_pooled(tmp_path: Path, store: FileStore) -> None:
    recorded.put(store, 8, config("iql", "bar_30", 1), values=[0, 4])
    recorded.put(store, 9, config("hmf", "bar_30", 1), values=[0, 2])
    out = tmp_path / "out"
    filters = ["name=iql", f"--results={tmp_path}", f"--out={out}"]
    assert main(filters) == 0
    assert {"curves.png", "curves.svg", "curves.pdf", "over_tasks.csv"} <= {path.name for path in out.iterdir()}
    assert not (out / "over_tasks_ablation.csv").exists()
    assert main([*filters, "--reference=iql"]) == 0
    assert {"over_tasks_ablation.csv"} <= {path.name for path in out.iterdir()}


def test_tasks_without_the_reference_are_left_out(
    tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.put(store, 8, config("random", "bar_30", 1), values=[0, 4])
    words = [f"--results={tmp_path}", f"--out={tmp_path / 'out'}", "--reference=iql"]
    assert main(["env=bar", *words]) == 0
    printed = capsys.readouterr().out
    assert "left out, no finished run of iql there: bar env_args.capacity=30" in printed
    assert "| bar env_args.capacity=60 | iql |" in printed
    assert "| bar env_args.capacity=30 |" not in printed


def test_panels_say_what_tells_agents_apart(store: FileStore) -> None:
    axis = learning_curves(tasks_of(store), METRIC, "").axes[0]
    assert axis.get_title() == "bar\n(own parameters)"
    recorded.put(store, 8, config("vdn", "bar", 1, "share_params=true", "obs_agent_id=true"), values=[0, 1, 2])
    assert learning_curves(tasks_of(store), METRIC, "").axes[0].get_title() == "bar"  # methods differ: labels tell
    recorded.put(store, 9, config("iql", "spread", 1), values=[0, 1])
    recorded.put(store, 10, config("iql", "pursuit", 1), values=[0, 1])
    assert [task.agents for task in tasks_of(store)] == ["", "shared parameters", "shared parameters with ids"]


def test_captions_say_that_the_interval_of_few_seeds_is_their_range(store: FileStore) -> None:
    for table in (results_table(tasks_of(store), METRIC), ablation_table(tasks_of(store), "iql", METRIC, "final")):
        assert "With two to four seeds the interval is the range from the worst to the best." in table.caption
    values = np.array([3.0, -1.0, 0.5, 7.0, 2.0])
    for n in (2, 3, 4):
        found = estimate([values[:n]])
        assert (found.low, found.high) == (values[:n].min(), values[:n].max())
    more = estimate([values])
    assert (more.low, more.high) != (values.min(), values.max())


def test_captions_of_figures_say_the_budget(store: FileStore) -> None:
    assert budget(tasks_of(store)) == "Budget in environment steps: bar 20."


def test_several_experiments_make_one_report(
    tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("algorithms: [iql]\nenvironments: [bar]\nseeds: [1, 2, 3]")
    (tmp_path / "b.yaml").write_text("algorithms: [hmf]\nenvironments: [bar]\nseeds: [1, 2]\noverrides: {n_groups: 2}")
    names = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    both = [f"--experiment={name}" for name in names]
    assert main([*both, "env=bar", f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 0
    printed = capsys.readouterr().out
    said = f"1 of 3 runs of {names[0]} are not finished, or do not meet the filters: python src/sweep.py {names[0]}"
    assert said in printed
    assert names[1] not in printed
    assert "| bar | iql |" in printed
    assert "| bar | hmf |" in printed


def test_methods_are_named_by_the_variants_of_their_experiment(
    tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that only one of them has could not tell two variants apart."""
    variants = ["few: {epochs: 4}", "many: {epochs: 8}", "none: {regime: replay}"]
    for run_id, words in ((8, ["epochs=4"]), (9, ["epochs=8"]), (10, ["regime=replay"])):
        recorded.put(store, run_id, config("iql", "bar", 1, *words), values=[run_id])
    (tmp_path / "v.yaml").write_text(
        f"algorithms: [iql]\nenvironments: [bar]\nseeds: [1]\nvariants: {{{', '.join(variants)}}}"
    )
    words = [f"--experiment={tmp_path / 'v.yaml'}", f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]
    assert main([*words, "--reference=iql none"]) == 0
    printed = capsys.readouterr().out
    for name, final in (("iql few", 8), ("iql many", 9), ("iql none", 10)):
        assert f"| bar | {name} | 0 | {final} [no interval] (n=1) |" in printed


def test_experiment_chooses_its_own_runs(tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.yaml").write_text("algorithms: [iql]\nenvironments: [bar]\nseeds: [1, 2, 3]")
    arguments = [f"--experiment={tmp_path / 'two.yaml'}", f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "1 of 3 runs" in printed
    assert "| bar | iql | 20 | 3 [2, 4] (n=2) |" in printed
    assert "hmf" not in printed


def test_mongodb_gives_the_same_report_as_files(tmp_path: Path, store: FileStore, embedded: Embedded) -> None:
    url = embedded.url("report")
    mongo = MongoStore(connect(url), "the test server")
    for run_id in store.ids():
        mongo.put(store.get(run_id), store.own_metrics(run_id), store.output(run_id))
    for source in (f"--results={tmp_path}", f"--mongo-url={url}"):
        assert main([source, "--reference=iql", f"--out={tmp_path / source[2:7]}"]) == 0
    for name in ("results.csv", "ablation.csv", "marl_eval.json"):
        assert (tmp_path / "resul" / name).read_text() == (tmp_path / "mongo" / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["name=nobody"], r"runs: no completed run in .* fits\. See: "),
        (["env=baar"], r"runs: no completed run in .* fits\. Did you mean 'env=bar'\? See: "),
        (["--reference=hmf"], "--reference 'hmf': not among these runs. .*Known: hmf n_groups=2, hmf n_groups=5, iql"),
        (["--metric=test_win"], "--metric 'test_win': none of these runs logged it"),
        (["--mongo-url=nonsense"], "expected mongodb://"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*arguments, f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(message, error)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([f"--results={tmp_path}", f"--out={tmp_path / 'file' / 'out'}"]) == 2
    message = f"--out: expected a folder that can be made, got '{tmp_path / 'file' / 'out'}' (Not a directory)."
    assert message in capsys.readouterr().err


def test_a_full_disk_is_one_line(
    tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def full(path: Path, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert main([f"--results={tmp_path}", f"--out={out}"]) == 2
    expected = f"error: --out: cannot write in {out} (No space left on device). Free space there, or choose another"
    assert f"{expected} place.\n" in capsys.readouterr().err


def test_a_run_without_the_metric_is_left_out_with_a_warning(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert collect(store, store.list(status="COMPLETED"), "loss") == ([], [])
    assert "the first is run 1: no metric 'loss'" in caplog.text
