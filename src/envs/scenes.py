"""Scenes: what there is to see of one copy of a game as it stands, made on request, for pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BattleScene:
    """The n living agents of both sides, the learners (side 0) first."""

    t: int  # steps so far
    map_size: int  # cells, border walls included
    population: tuple[int, int]  # of either side at the start
    position: np.ndarray  # (n, 2) int32, (x, y)
    hp: np.ndarray  # (n,) float32, as a fraction of the side's full health
    side: np.ndarray  # (n,) int32, 0 learners, 1 enemies
    slot: np.ndarray  # (n,) int64, slot within the side
    attack: np.ndarray | None  # (n, 2) int32, cell attacked in the step that led here, (-1, -1) for none; None at t = 0


@dataclass(frozen=True)
class SpreadScene:
    """N agents and N landmarks on a plane."""

    t: int  # steps so far
    agent: np.ndarray  # (N, 2) float64
    landmark: np.ndarray  # (N, 2) float64
    nearest: np.ndarray  # (N,) int64, the agent nearest to each landmark
    distance: np.ndarray  # (N,) float64, from each landmark to that agent
    covered: np.ndarray  # (N,) bool, landmarks with an agent within ``reach``
    colliding: np.ndarray  # (N,) bool, agents that touch another
    collisions: int  # colliding pairs summed over the steps so far
    radius: float  # of an agent
    reach: float


@dataclass(frozen=True)
class PursuitScene:
    """N pursuers and an evader on a torus."""

    t: int  # steps so far
    world_size: float
    pursuer: np.ndarray  # (N, 2) float32
    heading: np.ndarray | None  # (N,) float32, radians; None where pursuers have none
    evader: np.ndarray  # (2,) float32
    nearest: np.ndarray  # (2,) float32, the shortest way from the evader to the nearest pursuer
    distance: float  # its length
    min_distance: float  # the smallest so far
    caught: bool


@dataclass(frozen=True)
class BarScene:
    """Attendance, and its statistics over the nights so far."""

    night: int  # nights so far
    episode_limit: int
    n_agents: int
    capacity: int
    attendance: int  # of the last night
    past: np.ndarray  # (k,) int64, of the last k nights: all so far, or one where some were not looked at
    mean: float
    deviation: float  # standard deviation
    payoff: float  # mean per agent and night
