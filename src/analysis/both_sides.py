"""Ratings over training of two sides that learned at once, from the games between their checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis import figures
from analysis.elo import RATED, Games, ratings
from analysis.statistics import Array
from analysis.tables import Cell, Table


@dataclass(frozen=True)
class Meeting:
    """Games between the learners and the enemies of two steps."""

    learners: int  # step
    enemies: int
    scores: Array  # (n_games,), the learners': 1 won, 0.5 drawn, 0 lost


def write(meetings: Sequence[Meeting], out: Path) -> Table:
    """Write ``sides`` as a table and as a figure, in all their formats, into the folder ``out``; return the table.

    Learners and enemies of one step are two players: a row has both ratings, and what the learners scored against the
    enemies of their own step, and of all steps.
    """
    steps = sorted({meeting.learners for meeting in meetings})
    players = [f"learners {step}" for step in steps] + [f"enemies {step}" for step in steps]
    games = [
        Games(players.index(f"learners {one.learners}"), players.index(f"enemies {one.enemies}"), one.scores)
        for one in meetings
    ]
    rated = dict(zip(players, ratings(games, len(players)), strict=True))
    lines = {side: {step: rated[f"{side} {step}"] for step in steps} for side in ("learners", "enemies")}
    rows: list[list[Cell]] = []
    for step in steps:
        own = [one for one in meetings if one.learners == step]
        now = next(one for one in own if one.enemies == step).scores.mean()
        of_all = np.concatenate([one.scores for one in own]).mean()
        rows.append([str(step), *(lines[side][step] for side in lines), f"{now:.2f}", f"{of_all:.2f}"])
    caption = (
        f"{RATED} of both sides' policies at every checkpoint, with "
        "bootstrap 95% interval over games; every policy of the learners met every policy of the enemies, "
        f"{len(meetings[0].scores)} greedy games each; n is a policy's number of games. Score: the learners' points, 1 "
        "a game won, 0.5 drawn."
    )
    head = ["step", "learners", "enemies", "score against enemies of this step", "of all steps"]
    table = Table(caption, head, rows)
    table.write(out / "sides")
    figures.write(figures.ratings_over_time(lines, caption), out / "sides")
    return table
