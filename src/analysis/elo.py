"""Ratings of players from the games between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics import RESAMPLES, Array, Estimate, interval

MEAN = 1000.0
RATED = f"Elo (Bradley-Terry, mean {MEAN:.0f}, one draw added per pair)"  # for captions
SCALE = 400.0 / np.log(10.0)  # a difference of 400 points: expected score 10 / 11
TOLERANCE = 1e-7  # in log strength
STEPS = 1000  # Newton needs tens; rounding may keep steps above TOLERANCE where games are very many
RIDGE = 1e-4  # ratings of players whom no chain of games connects have no scale


@dataclass(frozen=True)
class Games:
    """Games of one pairing on one side: 1 where ``first`` won, 0 where ``second`` did, 0.5 for a draw."""

    first: int
    second: int
    scores: Array  # (n_games,)


def elo(wins: Array) -> Array:
    """Rate P players: (..., P) of mean 1000 from points (..., P, P), where ``wins[i, j]`` is what i scored against j.

    The ratings maximise Bradley and Terry's likelihood (1952), by Newton's method with steps so damped that it always
    climbs (Bach 2010, "Self-concordant analysis for logistic regression"). Every pair that met gets one additional
    draw, without which a player that never lost would have an infinite rating.
    """
    played = (wins + wins.swapaxes(-1, -2)) > 0
    wins = wins + 0.5 * played
    games = wins + wins.swapaxes(-1, -2)
    log_strength, identity = np.zeros(wins.shape[:-1]), np.eye(wins.shape[-1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(log_strength[..., None, :] - log_strength[..., :, None]))  # of i against j
        gradient = (wins - games * chance).sum(-1)
        weight = games * chance * chance.swapaxes(-1, -2)
        hessian = (weight.sum(-1)[..., None] + RIDGE) * identity - weight
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        widest = np.ptp(step, axis=-1, keepdims=True)
        log_strength = log_strength + step * np.log1p(widest) / np.maximum(widest, TOLERANCE)
        log_strength -= log_strength.mean(-1, keepdims=True)
        if not widest.max() > TOLERANCE:
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


def method_ratings(games: Sequence[Games], owners: Sequence[int]) -> list[Estimate]:
    """Estimate methods' Elo from games of their policies, with a bootstrap 95 % interval over policies and games.

    ``owners``: the method of every player; each draw resamples the policies of every method, then the games of every
    pairing and side. Games within a method say nothing about it. n is the number of policies.
    """
    who, n_methods = np.array(owners), max(owners) + 1
    between = [pairing for pairing in games if who[pairing.first] != who[pairing.second]]
    rng = np.random.default_rng(0)
    points = points_table(between, len(who), None, 1)
    draws = points_table(between, len(who), rng, RESAMPLES)
    times = np.zeros((RESAMPLES, len(who)))  # how often a draw has a policy
    for method in range(n_methods):
        own = np.flatnonzero(who == method)
        times[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), RESAMPLES)
    member = np.eye(n_methods)[who]  # (P, methods)
    values = elo(member.T @ points @ member)[0]
    low, high = interval(elo(member.T @ (draws * times[:, :, None] * times[:, None, :]) @ member))
    counts = np.bincount(who)
    return [Estimate(float(values[i]), float(low[i]), float(high[i]), int(counts[i])) for i in range(n_methods)]


def ratings(games: Sequence[Games], n_players: int) -> list[Estimate]:
    """Estimate every player's Elo with a bootstrap 95 % interval over games, resampled within pairings and sides.

    Every player must have met another; games of a player against itself say nothing and must not be among them.
    """
    values = elo(points_table(games, n_players, None, 1))[0]
    draws = elo(points_table(games, n_players, np.random.default_rng(0), RESAMPLES))
    low, high = interval(draws)
    n_games = [sum(len(g.scores) for g in games if player in (g.first, g.second)) for player in range(n_players)]
    return [Estimate(float(values[i]), float(low[i]), float(high[i]), n_games[i]) for i in range(n_players)]
