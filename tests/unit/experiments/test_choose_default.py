"""The rule by which the default of HMF is chosen (docs/protocol.md)."""

from __future__ import annotations

from pathlib import Path

from tools import choose_default
from tools.choose_default import best_scores, ranking, ranks


def test_the_better_trial_of_a_pair_counts_and_other_methods_do_not(tmp_path: Path) -> None:
    trials = tmp_path / "trials.csv"
    trials.write_text(
        "method,trial,score,keys\n"
        'hmf,0,-3,"lr=0.1 hidden_dims=[64, 64] td_level=group mean_field_action=none gmf_coef=2.0"\n'
        'hmf,1,-1,"lr=0.2 hidden_dims=[64, 64] td_level=group mean_field_action=none gmf_coef=0.0"\n'
        'hmf,2,,"lr=0.2 hidden_dims=[64, 64] td_level=agent mean_field_action=none gmf_coef=0.0"\n'
        'hmf_ipc,0,9,"lr=0.2 hidden_dims=[64, 64] td_level=agent mean_field_action=none gmf_coef=0.0"\n'
    )
    assert best_scores(trials) == {("group", "none"): -1.0}


def test_ties_share_their_rank_and_pairs_without_a_trial_are_last() -> None:
    scores = {("group", "expected"): 2.0, ("agent", "none"): 2.0, ("group", "none"): 1.0}
    found = ranks(scores)
    assert [found[pair] for pair in scores] == [1.5, 1.5, 3.0]
    assert {found[pair] for pair in found.keys() - scores.keys()} == {5.0}


def test_the_best_mean_rank_comes_first() -> None:
    one, two = ("group", "expected"), ("agent", "none")
    table = ranking({"bar": {one: 1.0, two: 2.0}, "battle": {one: 2.0}})
    assert table.rows[0] == ["group", "expected", "2", "1", "1.5"]
    assert table.rows[1] == ["agent", "none", "1", "4", "2.5"]


def test_every_searched_task_counts() -> None:
    searched = [task for task in choose_default.TASKS if (choose_default.FINAL / task / "trials.csv").exists()]
    assert f"Searched: {len(searched)} of 4 tasks." in (choose_default.FINAL / "default.md").read_text()
