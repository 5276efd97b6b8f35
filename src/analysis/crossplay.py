"""Evaluation of played pairings: a matrix of scores, and ratings."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis import figures
from analysis.elo import MEAN, Games, ratings
from analysis.statistics import Array
from analysis.tables import Table

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


def score_matrix(results: Sequence[Result]) -> tuple[Array, list[str], list[str]]:
    """Compute mean scores over both sides, (rows, columns); return them with the labels of either axis."""
    rows = list(dict.fromkeys(result.row for result in results))
    columns = list(dict.fromkeys(result.column for result in results))
    matrix = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            cell = [result.scores for result in results if (result.row, result.column) == (row, column)]
            matrix[i, j] = np.concatenate(cell).mean()
    return matrix, rows, columns


def elo_table(results: Sequence[Result]) -> Table:
    """Rate the policies that played against another one, the best first."""
    met = [result for result in results if result.row != result.column]
    labels = list(dict.fromkeys(label for result in met for label in (result.row, result.column)))
    games = [Games(labels.index(result.row), labels.index(result.column), result.scores) for result in met]
    rated = sorted(zip(labels, ratings(games, len(labels)), strict=True), key=lambda pair: -pair[1].value)
    caption = (
        f"Elo (Bradley-Terry, mean {MEAN:.0f}, one draw added per pair) with bootstrap 95% interval over episodes, "
        "resampled within pairings and sides; n is the number of episodes. A point: more kills than deaths; "
        "as many: half a point."
    )
    return Table(caption, ["policy", "elo"], [[label, rating] for label, rating in rated])


def write(results: Sequence[Result], out: Path) -> Table:
    """Write the matrix as CSV and PNG, and the ratings, into the folder ``out``; return the ratings."""
    with open(out / "crossplay.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "column", "side", "n_episodes", "score", *STATS])
        for result in results:
            means = [float(result.values[name].mean()) for name in STATS]
            writer.writerow([result.row, result.column, result.side, len(result.scores), result.scores.mean(), *means])
    matrix, rows, columns = score_matrix(results)
    caption = (
        "Mean score of the row (learners' side) against the column (enemies' side): 1 more kills than deaths, "
        f"0.5 as many; {len(results[0].scores)} greedy episodes on the left and as many on the right."
    )
    figures.write(figures.matrix(matrix, rows, columns, "Battle cross-play", caption), out / "crossplay", (".png",))
    table = elo_table(results)
    table.write(out / "elo")
    return table
