"""What each of several crossed factors does to a score: means over all others, and shares of the variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from analysis.collect import Method, Task
from analysis.comparison import FEW_SEEDS, INTERVAL, IQM, MEANT, described
from analysis.statistics import Array, estimate
from analysis.tables import Cell, Table
from records.files import RecordError
from utils.words import parted

REST = "method"  # what a label holds beside keys: the algorithm, the variant
SEED = "seed"


@dataclass(frozen=True)
class Grid:
    """Scores of a task's methods, every level of every factor with every other, each with the same seeds."""

    levels: Mapping[str, Sequence[str]]  # factor -> its levels, for the axes of ``scores``
    scores: Array  # (levels of each factor ..., seeds)

    def mean(self, axes: Sequence[int]) -> Array:
        """Return the scores averaged over all factors but these, in order: (levels of each ..., seeds)."""
        first: Array = np.moveaxis(self.scores, axes, range(len(axes)))
        return first.mean(axis=tuple(range(len(axes), first.ndim - 1)))

    def effect(self, axes: Sequence[int]) -> Array:
        """Return what the factors of these axes do together, beyond what fewer of them do; other axes have size 1.

        Effects of all sets of axes add up to the scores, and their sums of squares to that of the scores.
        """
        others = tuple(axis for axis in range(self.scores.ndim) if axis not in axes)
        found: Array = self.scores.mean(axis=others, keepdims=True)
        for size in range(len(axes)):
            for part in combinations(axes, size):
                found = found - self.effect(part)
        return found

    def share(self, axes: Sequence[int]) -> float:
        """Return the share of the scores' variance that `effect` makes; NaN where they have none, or are no numbers."""
        total = ((self.scores - self.scores.mean()) ** 2).sum()
        made = (np.broadcast_to(self.effect(axes), self.scores.shape) ** 2).sum()
        return float(made / total) if total > 0 else np.nan


def split(label: str) -> dict[str, str]:
    """Return factor -> level of a method's label; REST is what is no ``key=value``."""
    rest, keys = parted(label)
    return {REST: rest, **keys}


def grid(task: Task, score: str) -> Grid:
    """Arrange a task's methods by the factors in which their labels differ.

    Raises RecordError where less than two differ, or a combination or a seed of one is missing.
    """
    found = {tuple(split(method.label).items()): method for method in task.methods}
    every: dict[str, dict[str, None]] = {}  # levels in order of appearance
    for factor, level in (pair for pairs in found for pair in pairs):
        every.setdefault(factor, {})[level] = None
    levels = {factor: list(names) for factor, names in every.items() if len(names) > 1}
    if len(levels) < 2:
        raise RecordError(
            f"--factors: expected methods that differ in two keys at least on {task.label}, these do in "
            f"{', '.join(levels) or 'none'}. Use --reference for differences between methods."
        )
    places = {tuple(dict(pairs).get(factor, "") for factor in levels): method for pairs, method in found.items()}
    seeds = sorted({seed for method in task.methods for seed in method.curves})
    missing = [
        " ".join(place) for place in product(*levels.values()) if place not in places or not _has(places[place], seeds)
    ]
    if missing:
        raise RecordError(
            f"--factors: expected every combination of {', '.join(levels)} on {task.label} with the seeds "
            f"{', '.join(map(str, seeds))}; {len(missing)} are missing or lack some, the first is {missing[0]}. Finish "
            "the experiment, or choose one by filters."
        )
    scores = [list(places[place].array(score)) for place in product(*levels.values())]
    return Grid(levels, np.array(scores).reshape(*(len(names) for names in levels.values()), len(seeds)))


def _has(method: Method, seeds: Sequence[int]) -> bool:
    return sorted(method.curves) == list(seeds)


def grids(tasks: Sequence[Task], score: str) -> dict[str, Grid]:
    """Arrange every task, by its label. Raises RecordError: see `grid`."""
    return {task.label: grid(task, score) for task in tasks}


def factors_table(found: Mapping[str, Grid], metric: str, score: str) -> Table:
    """Tabulate every level's mean over all other factors, and shares of variance, of each task's grid."""
    rows: list[list[Cell]] = []
    for label, one in found.items():
        names = [*one.levels, SEED]
        shares = {axes: one.share(axes) for size in (1, 2) for axes in combinations(range(len(names)), size)}
        for axis, (factor, levels) in enumerate(one.levels.items()):
            by_level = one.mean([axis])
            for number, level in enumerate(levels):
                share = percent(shares[axis,]) if number == 0 else ""
                rows.append([label, factor, level, estimate([by_level[number]]), share])
        for axes, share_of in shares.items():
            if len(axes) == 2:
                rows.append([label, " x ".join(names[axis] for axis in axes), "", None, percent(share_of)])
        rows.append([label, SEED, "", None, percent(shares[len(names) - 1,])])
        rows.append([label, "all else", "", None, percent(1 - sum(shares.values()))])
    caption = (
        f"{described(metric)}: {MEANT[score]}, in every combination of the factors. {score}: of all runs with that "
        f"level, averaged over the other factors seed by seed; {IQM} with {INTERVAL}. share: of the variance between "
        "all runs, what the factor makes by itself; of two, what they make together beyond that; of seeds, what all "
        f"combinations of a seed share; all else: three and more together. {FEW_SEEDS}"
    )
    return Table(caption, ["task", "factor", "level", score, "share"], rows)


def percent(share: float) -> str:
    """Write a share as a percentage; what rounding left of nothing, of either sign, is 0, and NaN a dash."""
    return "–" if np.isnan(share) else f"{100 * max(share, 0.0):.1f} %"
