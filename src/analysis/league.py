"""Ratings of a run's policies over its training, from the games of its league."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis import figures
from analysis.elo import RATED, Games, ratings
from analysis.statistics import Estimate
from analysis.tables import Cell, Table, make_folder
from records.files import RecordError


def write(games: Sequence[Sequence[int]], out: Path) -> Table:
    """Write ``league`` as a table and as a figure, in all their formats, into ``out``, which is made; return the table.

    Raises RecordError like `league_table`, before anything is written.
    """
    table, line = league_table(games)
    make_folder(out)
    table.write(out / "league")
    figures.write(figures.ratings_over_time({"learner": line}, table.caption), out / "league")
    return table


def league_table(games: Sequence[Sequence[int]]) -> tuple[Table, dict[int, Estimate]]:
    """Rate the policies between two steps, one row each, in the order of training; and step -> rating.

    ``games``: rows of the step that the learner had passed, the opponent's step, games won, drawn and lost, as
    info.json holds them. Raises RecordError when no policy met a past one.
    """
    met = [row for row in games if row[0] != row[1]]
    if not met:
        raise RecordError(
            "league: expected games against past policies, got none. Runs with env_args.opponent=league have some once "
            "they train past env_args.league_interval."
        )
    steps = sorted({step for row in met for step in row[:2]})
    pairings = [
        Games(steps.index(learner), steps.index(opponent), np.repeat([1.0, 0.5, 0.0], results))
        for learner, opponent, *results in met
    ]
    rated = dict(zip(steps, ratings(pairings, len(steps)), strict=True))
    rows: list[list[Cell]] = []
    for step, rating in rated.items():
        results = np.array([row[2:] for row in met if row[0] == step] or [[0, 0, 0]]).sum(axis=0)
        rows.append([str(step), rating, *(str(count) for count in results)])
    caption = (
        f"{RATED} of a run's policies, with bootstrap 95% interval over "
        "games. The learner counts, from one step to the next, as the policy of the first of the two; it explores, and "
        "so do past policies. Won, drawn and lost: the learner's games against past policies in that time; n: these "
        "and those it played as a past policy."
    )
    return Table(caption, ["from step", "elo", "won", "drawn", "lost"], rows), rated
