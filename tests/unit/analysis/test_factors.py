"""Crossed factors: means over all others, and shares of variance that add up."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from tests.support.recorded import METRIC, config, put

from analysis.collect import Method, Task
from analysis.factors import Grid, factors_table, grid, grids, split
from analysis.figures import factor_lines
from analysis.statistics import Estimate
from records.files import Curve, RecordError
from records.store import FileStore
from report import main


def method(label: str, scores: dict[int, float]) -> Method:
    return Method(label, {seed: Curve.of([score]) for seed, score in scores.items()})


def crossed() -> Task:
    """Two forms x three widths x two levels of lr, two seeds: forms differ by 10, widths by 1, seeds by 0.1."""
    methods = [
        method(
            f"hmf {form} lr={lr} n_groups={width}",
            {seed: 10.0 * number + width + 0.1 * seed for seed in (1, 2)},
        )
        for (number, form), width, lr in itertools.product(enumerate(["as is", "other"]), (1, 2, 3), (0.1, 0.01))
    ]
    return Task("bar", "bar", methods)


def test_a_label_is_its_name_and_keys() -> None:
    assert split("hmf all shared gmf_coef=0.0 grouping=ipc") == {
        "method": "hmf all shared",
        "gmf_coef": "0.0",
        "grouping": "ipc",
    }
    assert split("iql") == {"method": "iql"}
    assert split("hmf hidden_dims=[256, 128] lr=0.1 note='a b'") == {
        "method": "hmf",
        "hidden_dims": "[256, 128]",
        "lr": "0.1",
        "note": "'a b'",
    }
    assert split("hmf x=[[1], [2, 3]] wide y={a: 1, b: [2]}") == {
        "method": "hmf wide",
        "x": "[[1], [2, 3]]",
        "y": "{a: 1, b: [2]}",
    }


def test_every_level_is_averaged_over_all_others_seed_by_seed() -> None:
    rows = {(row[1], row[2]): row[3:] for row in factors_table(grids([crossed()], "final"), METRIC, "final").rows}
    found = rows["method", "hmf other"]
    assert isinstance(found[0], Estimate)
    assert (found[0].value, found[0].n) == (pytest.approx(12.15), 2)
    assert [level for factor, level in rows if factor == "n_groups"] == ["1", "2", "3"]
    # 36 x (5² for forms, 2/3 for widths, 0.05² for seeds); nothing else
    total = 25 + 2 / 3 + 0.0025
    assert found[1] == ""
    assert rows["method", "hmf as is"][1] == f"{100 * 25 / total:.1f} %"
    assert rows["n_groups", "1"][1] == f"{100 * 2 / 3 / total:.1f} %"
    assert rows["lr", "0.1"][1] == rows["method x lr", ""][1] == "0.0 %"
    assert rows["all else", ""][1] == "0.0 %"


def test_means_over_all_others_keep_the_order_asked_for() -> None:
    scores = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    found = Grid({"a": ["0"] * 2, "b": ["0"] * 3, "c": ["0"] * 4}, scores)
    assert np.allclose(found.mean([1]), scores.mean((0, 2)))
    assert np.allclose(found.mean([2, 0]), scores.mean(1).transpose(1, 0, 2))


def test_the_figure_crosses_every_two_factors() -> None:
    found = grid(crossed(), "final")
    figure = factor_lines(found, "bar", METRIC, "words")
    panels = {axis.get_title(): axis for axis in figure.axes}
    assert len(panels) == 9
    widths = panels["n_groups x method: 0.0 %"]
    assert [np.asarray(line.get_ydata())[0] for line in widths.get_lines()[::3]] == pytest.approx([1.15, 11.15])
    assert panels["lr: 0.0 %"].get_lines()[0].get_color() == "black"
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["1", "2", "3"]
    legends = [axis.get_legend() for axis in figure.axes[2::3]]
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends if legend] == [
        ["hmf as is", "hmf other"],
        ["0.1", "0.01"],
        ["1", "2", "3"],
    ]


def test_the_figure_has_a_colour_for_any_number_of_levels() -> None:
    levels = [method(f"hmf a={a} b={b}", {1: float(a + b)}) for a, b in itertools.product(range(12), range(2))]
    figure = factor_lines(grid(Task("bar", "bar", levels), "final"), "bar", METRIC, "")
    assert len(figure.axes[1].containers) == 12


def test_effects_of_all_sets_of_axes_add_up() -> None:
    """The slow form: effects are orthogonal, and together they are the scores and their variance."""
    scores = np.random.default_rng(1).normal(size=(2, 3, 2, 4))
    found = Grid({"a": ["0", "1"], "b": ["0", "1", "2"], "c": ["0", "1"]}, scores)
    sets = [axes for size in range(5) for axes in itertools.combinations(range(4), size)]
    assert np.allclose(sum(found.effect(axes) for axes in sets), scores)
    assert sum(found.share(axes) for axes in sets if axes) == pytest.approx(1.0)
    ab = scores.mean((2, 3))
    by_hand = ab - ab.mean(1, keepdims=True) - ab.mean(0, keepdims=True) + ab.mean()
    assert np.allclose(found.effect((0, 1))[:, :, 0, 0], by_hand)


def test_equal_scores_have_no_shares() -> None:
    task = Task("bar", "bar", [method(f"hmf a={a} b={b}", {1: 1.0}) for a in (1, 2) for b in (1, 2)])
    assert {row[-1] for row in factors_table(grids([task], "final"), METRIC, "final").rows} == {"–", ""}


def test_what_is_no_number_has_no_shares() -> None:
    scores = {(1, 1): 1.0, (1, 2): 2.0, (2, 1): np.nan, (2, 2): 4.0}
    task = Task("bar", "bar", [method(f"hmf a={a} b={b}", {1: scores[a, b]}) for a, b in scores])
    assert {row[-1] for row in factors_table(grids([task], "final"), METRIC, "final").rows} == {"–", ""}


@pytest.mark.parametrize(
    ("labels", "seeds", "message"),
    [
        (["hmf a=1", "hmf a=2"], (1,), "expected methods that differ in two keys at least on bar, these do in a"),
        (["hmf"], (1,), "these do in none"),
        (["hmf a=1 b=1", "hmf a=1 b=2", "hmf a=2 b=1"], (1,), "1 are missing or lack some, the first is 2 2"),
    ],
)
def test_what_is_not_crossed_is_refused(labels: list[str], seeds: tuple[int, ...], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        grid(Task("bar", "bar", [method(label, dict.fromkeys(seeds, 0.0)) for label in labels]), "final")


def test_a_seed_that_is_missing_is_refused() -> None:
    methods = [method(f"hmf a={a} b={b}", {1: 0.0} | ({} if a == b == 2 else {2: 0.0})) for a in (1, 2) for b in (1, 2)]
    with pytest.raises(RecordError, match="with the seeds 1, 2; 1 are missing or lack some, the first is 2 2"):
        grid(Task("bar", "bar", methods), "final")


def test_the_command_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = FileStore(tmp_path / "sacred")
    values = itertools.product((0.1, 0.2), (0.5, 0.6), (1, 2))
    for run_id, (lr, gamma, seed) in enumerate(values, start=1):
        put(store, run_id, config("iql", "bar", seed, f"lr={lr}", f"gamma={gamma}"), values=[lr])
    assert main(["--factors", "--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "| bar | lr | 0.1 | 0.1 [0.1, 0.1] (n=2) | 100.0 % |" in (tmp_path / "out" / "factors.md").read_text()
    assert {"factors_bar.png", "factors_bar.svg"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert "share: of the variance" in capsys.readouterr().out
