"""Evaluation of played pairings: a matrix of scores, and ratings."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from analysis import figures
from analysis.elo import RATED, Games, method_ratings, ratings
from analysis.statistics import Array, Estimate, estimate
from analysis.tables import Cell, Table

POINTS = "A point: more kills than deaths; as many: half a point."
APART = (0.25, 0.5, 0.75)  # differences of mean scores
ALONE = ("score", "kills", "deaths")
STATS = ("win", "annihilation", "kills", "deaths", "survivors", "enemy_survivors", "return_mean")


@dataclass(frozen=True)
class Result:
    """Episodes of one pairing with the row on one side; arrays (n_episodes,) by statistic, from the row's view."""

    row: str
    column: str
    side: str
    values: dict[str, Array]

    @property
    def scores(self) -> Array:
        """Points (n_episodes,): 1 for more kills than deaths, 0 for fewer, 0.5 for as many."""
        return self.values["score"]


def score_matrix(
    results: Sequence[Result], methods: Mapping[str, str] = MappingProxyType({})
) -> tuple[Array, list[str], list[str]]:
    """Compute mean scores over both sides, (rows, columns); return them with the labels of either axis.

    A pair that met in one order only, as where both sides are alike, stands in both places. NaN: these did not meet.
    ``methods``: label -> method, by which the policies of one method are counted together.
    """
    who = {label: methods.get(label, label) for result in results for label in (result.row, result.column)}
    rows = list(dict.fromkeys(who[result.row] for result in results))
    columns = list(dict.fromkeys(who[result.column] for result in results))
    if not set(rows).isdisjoint(columns):  # whoever plays one side plays the other
        columns = list(dict.fromkeys([*rows, *columns]))
    met = {(result.row, result.column) for result in results}
    cells: dict[tuple[str, str], list[Array]] = defaultdict(list)
    for result in results:
        row, column = who[result.row], who[result.column]
        cells[row, column].append(result.scores)
        if (result.column, result.row) not in met:
            cells[column, row].append(1 - result.scores)
    matrix = np.full((len(rows), len(columns)), np.nan)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if (row, column) in cells:
                matrix[i, j] = np.concatenate(cells[row, column]).mean()
    return matrix, rows, columns


def elo_table(results: Sequence[Result]) -> Table:
    """Rate the policies that played against another one, the best first."""
    games, labels = _games(results)
    caption = (
        f"{RATED} with bootstrap 95% interval over episodes, "
        f"resampled within pairings and sides; n is the number of episodes. {POINTS}"
    )
    return _rated(caption, "policy", labels, ratings(games, len(labels)))


def method_table(results: Sequence[Result], methods: Mapping[str, str]) -> Table:
    """Rate methods by the games of their policies, the best first; ``methods``: label -> method."""
    games, labels = _games(results)
    names = list(dict.fromkeys(methods.get(label, label) for label in labels))
    owners = [names.index(methods.get(label, label)) for label in labels]
    caption = (
        f"{RATED} of methods by the games between their policies, with bootstrap 95% interval over policies and "
        f"episodes: resampled within methods, pairings and sides; n is the number of policies. {POINTS}"
    )
    return _rated(caption, "method", names, method_ratings(games, owners))


def side_table(results: Sequence[Result]) -> Table:
    """Count the pairings whose outcome depends on who is on the left."""
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for result in results:
        if result.row != result.column:
            scores[result.row, result.column].append(float(result.scores.mean()))
    apart = [max(of_pair) - min(of_pair) for of_pair in scores.values() if len(of_pair) > 1]
    caption = (
        "Pairings of two policies in which the row's mean score from the left and from the right differ by more than "
        f"this, of those that were played from both sides. {POINTS}"
    )
    rows: list[list[Cell]] = [
        [f"{limit}", f"{sum(difference > limit for difference in apart)} of {len(apart)}"] for limit in APART
    ]
    return Table(caption, ["scores apart by more than", "pairings"], rows)


def alone_table(results: Sequence[Result], methods: Mapping[str, str]) -> Table:
    """Tabulate how the policies of methods that have several fare against those that stand alone, from either side."""
    found: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    policies = Counter(methods.values())
    for result in (part for one in results for part in (one, from_the_other_side(one))):
        method, other = (methods.get(label, label) for label in (result.row, result.column))
        if policies[method] > 1 and policies[other] <= 1:
            found[method, other, result.side].append(result)
    rows: list[list[Cell]] = [
        [*who, *(estimate([np.array([result.values[name].mean() for result in of])]) for name in ALONE)]
        for who, of in sorted(found.items())
    ]
    caption = (
        "Policies of methods against single ones, such as a committed opponent or random play; side: of the method. "
        f"{POINTS} Interquartile mean over policies with bootstrap interval; of two to four the range from the worst "
        "to the best."
    )
    return Table(caption, ["method", "against", "side", *ALONE], rows)


def from_the_other_side(result: Result) -> Result:
    """Return the same games as the column saw them: its points, kills and deaths alone."""
    values = {
        "score": 1 - result.scores,
        "kills": result.values["deaths"],
        "deaths": result.values["kills"],
    }
    return Result(result.column, result.row, "right" if result.side == "left" else "left", values)


def write(results: Sequence[Result], methods: Mapping[str, str], out: Path) -> list[Table]:
    """Write matrices as CSV and PNG, ratings, and what sides matter, into the folder ``out``; return the tables.

    ``methods``: label -> method of the players, in their order. Where a method has several policies, methods have a
    matrix and ratings, too.
    """
    order = [*methods, *(result.column for result in results)]
    results = sorted(results, key=lambda result: (order.index(result.row), order.index(result.column), result.side))
    with open(out / "crossplay.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "column", "side", "n_episodes", "score", *STATS])
        for result in results:
            means = [float(result.values[name].mean()) for name in STATS]
            writer.writerow([result.row, result.column, result.side, len(result.scores), result.scores.mean(), *means])
    _draw(results, "policies", out / "crossplay")
    tables = {"elo": elo_table(results), "sides": side_table(results)}
    if len(set(methods.values())) < len(methods):
        tables["methods"] = method_table(results, methods)
        alone = alone_table(results, methods)
        tables |= {"alone": alone} if alone.rows else {}
        _draw(results, "methods", out / "methods", methods)
    for name, table in tables.items():
        table.write(out / name)
    return list(tables.values())


def _games(results: Sequence[Result]) -> tuple[list[Games], list[str]]:
    """Return the games of those that met another, and the players' labels."""
    met = [result for result in results if result.row != result.column]
    labels = list(dict.fromkeys(label for result in met for label in (result.row, result.column)))
    return [Games(labels.index(result.row), labels.index(result.column), result.scores) for result in met], labels


def _rated(caption: str, head: str, labels: Sequence[str], rated: Sequence[Estimate]) -> Table:
    best_first = sorted(zip(labels, rated, strict=True), key=lambda pair: -pair[1].value)
    return Table(caption, [head, "elo"], [[label, rating] for label, rating in best_first])


def _draw(results: Sequence[Result], who: str, stem: Path, methods: Mapping[str, str] = MappingProxyType({})) -> None:
    matrix, rows, columns = score_matrix(results, methods)
    caption = (
        "Mean score of the row against the column: 1 more kills than deaths, 0.5 as many; greedy episodes, half of "
        "them with the row on the left, half on the right."
    )
    figures.write(figures.matrix(matrix, rows, columns, f"Battle cross-play: {who}", caption), stem, (".png",))
