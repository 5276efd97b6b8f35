"""Ratings of players from the games between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics import RESAMPLES, Array, Estimate, interval

MEAN = 1000.0
SCALE = 400.0 / np.log(10.0)  # a difference of 400 points: expected score 10 / 11
ITERATIONS = 10_000
TOLERANCE = 1e-9  # in log strength


@dataclass(frozen=True)
class Games:
    """Games of one pairing on one side: 1 where ``first`` won, 0 where ``second`` did, 0.5 for a draw."""

    first: int
    second: int
    scores: Array  # (n_games,)


def elo(wins: Array) -> Array:
    """Rate P players: (..., P) of mean 1000 from points (..., P, P), where ``wins[i, j]`` is what i scored against j.

    The ratings maximise Bradley and Terry's likelihood (1952), by Zermelo's iteration. Every pair that met gets one
    additional draw, without which a player that never lost would have an infinite rating.
    """
    played = (wins + wins.swapaxes(-1, -2)) > 0
    wins = wins + 0.5 * played
    games = wins + wins.swapaxes(-1, -2)
    points = wins.sum(-1)
    log_strength = np.zeros(points.shape)
    for _ in range(ITERATIONS):
        strength = np.exp(log_strength)
        expected = (games / (strength[..., :, None] + strength[..., None, :])).sum(-1)
        new = np.log(points / expected)
        new -= new.mean(-1, keepdims=True)
        change = np.abs(new - log_strength).max()
        log_strength = new
        if change < TOLERANCE:
            break
    return MEAN + SCALE * log_strength


def points_table(games: Sequence[Games], n_players: int, rng: np.random.Generator | None, n_draws: int) -> Array:
    """Add up points (n_draws, P, P); each draw resamples the games of every pairing, or takes them as they are."""
    points = np.zeros((n_draws, n_players, n_players))
    for pairing in games:
        n = len(pairing.scores)
        drawn = (
            np.broadcast_to(pairing.scores, (n_draws, n)) if rng is None else rng.choice(pairing.scores, (n_draws, n))
        )
        points[:, pairing.first, pairing.second] += drawn.sum(1)
        points[:, pairing.second, pairing.first] += n - drawn.sum(1)
    return points


def ratings(games: Sequence[Games], n_players: int) -> list[Estimate]:
    """Estimate every player's Elo with a bootstrap 95 % interval over games, resampled within pairings and sides.

    Every player must have met another; games of a player against itself say nothing and must not be among them.
    """
    values = elo(points_table(games, n_players, None, 1))[0]
    draws = elo(points_table(games, n_players, np.random.default_rng(0), RESAMPLES))
    low, high = interval(draws)
    n_games = [sum(len(g.scores) for g in games if player in (g.first, g.second)) for player in range(n_players)]
    return [Estimate(float(values[i]), float(low[i]), float(high[i]), n_games[i]) for i in range(n_players)]
