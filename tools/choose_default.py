"""``PYTHONPATH=src python tools/choose_default.py``: which td_level and mean_field_action the searches rank first.

The rule of docs/protocol.md, "The default of `hmf`": on each task the pairs are ranked by the better of their trials;
the one with the best mean rank over the tasks becomes the default once all four are searched.
"""

from __future__ import annotations

import csv
import itertools
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from scipy.stats import rankdata

from analysis.tables import Table

ROOT = Path(__file__).parents[1]
FINAL = ROOT / "results/paper"
LEVELS, ACTIONS = ("group", "agent"), ("expected", "softmax", "none")
TASKS = ("bar", "battle", "spread", "pursuit")
Pair = tuple[str, str]


def best_scores(trials: Path) -> dict[Pair, float]:
    """Return the best score of HMF's trials for every pair that has one."""
    found: dict[Pair, float] = defaultdict(lambda: -float("inf"))
    with trials.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["method"] == "hmf" and row["score"]:
                keys = dict(word.split("=", 1) for word in row["keys"].replace(", ", ",").split(" "))
                pair = keys["td_level"], keys["mean_field_action"]
                found[pair] = max(found[pair], float(row["score"]))
    return dict(found)


def ranks(scores: Mapping[Pair, float]) -> dict[Pair, float]:
    """Return the rank of every pair, 1 for the best; ties share their mean, pairs without a trial the last ones."""
    pairs = list(itertools.product(LEVELS, ACTIONS))
    return dict(zip(pairs, rankdata([-scores.get(pair, -float("inf")) for pair in pairs]).tolist(), strict=True))


def ranking(found: Mapping[str, Mapping[Pair, float]]) -> Table:
    """Tabulate ranks, and their means over tasks (name -> scores), best first."""
    by_task = {task: ranks(scores) for task, scores in found.items()}
    mean = {pair: sum(of[pair] for of in by_task.values()) / len(by_task) for pair in next(iter(by_task.values()))}
    rows = [
        [*pair, *(f"{of[pair]:g}" for of in by_task.values()), f"{mean[pair]:.3g}"]
        for pair in sorted(mean, key=mean.__getitem__)
    ]
    caption = (
        "Ranks of HMF's pairs of td_level and mean_field_action by the better of their trials (1: best), and the mean "
        "over tasks. Ties share their mean rank, pairs without a trial the last ones. Searched: "
        f"{len(by_task)} of {len(TASKS)} tasks."
    )
    return Table(caption, ["td_level", "mean_field_action", *by_task, "mean rank"], rows)


def main() -> None:
    """Write the ranking of all tasks that are searched."""
    found = {task: best_scores(path) for task in TASKS if (path := FINAL / task / "trials.csv").exists()}
    table = ranking(found)
    table.write(FINAL / "default")
    print(table.markdown())


if __name__ == "__main__":
    main()
