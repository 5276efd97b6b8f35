"""Compiled loops over agents for what a rollout does at every step on a CPU, where a call costs more than its work.

Arrays are contiguous. Each loop equals, bit for bit, a form in torch or NumPy that its test spells out.
"""

from __future__ import annotations

import numpy as np

from utils.compiled import compiled


@compiled
def decode_rows(stored: np.ndarray, rows: np.ndarray, scale: np.float32, out: np.ndarray) -> None:
    """Write ``stored`` (R, K) in ``rows`` (n,) times ``scale`` into ``out`` (n, K) float32, in one pass over memory."""
    for i in range(len(rows)):
        source, target = stored[rows[i]], out[i]
        for k in range(len(source)):
            target[k] = np.float32(source[k]) * scale


@compiled
def epsilon_greedy(
    q: np.ndarray, share: np.float32, greedy: np.float32, uniform: np.ndarray, action: np.ndarray
) -> None:
    """Draw ``action`` (n,) int64 by inverse transform sampling of ``uniform`` (n,) float32 in [0, 1).

    Every action of ``q`` (n, A) float32 has the probability ``share``, the first best one (or the first NaN) ``greedy``
    more. Sums run in float64 and are rounded, as torch's.
    """
    n_actions = q.shape[1]
    for i in range(len(q)):
        best = 0
        for k in range(n_actions):
            if np.isnan(q[i, k]):
                best = k
                break
            if q[i, k] > q[i, best]:
                best = k
        total = np.float64(0)
        for k in range(n_actions):
            total += share + greedy if k == best else share
        wanted = uniform[i] * np.float32(total)
        total = np.float64(0)
        for k in range(n_actions):
            total += share + greedy if k == best else share
            action[i] = k
            if np.float32(total) >= wanted:
                break


@compiled
def tally(
    counted: np.ndarray,
    alive: np.ndarray,
    reward: np.ndarray,
    action: np.ndarray,
    returns: np.ndarray,
    length: np.ndarray,
    histogram: np.ndarray,
) -> None:
    """Add a step of the environments ``counted`` (E,) bool to running totals.

    alive (E, N) bool, reward (E, N) float32, action (E, N) int64 in [0, A) for the living; returns (E, N), length (E,)
    and the actions' histogram (E, A), all float32.
    """
    for e in range(len(counted)):
        if not counted[e]:
            continue
        length[e] += 1
        for n in range(alive.shape[1]):
            returns[e, n] += reward[e, n]
            if alive[e, n]:
                histogram[e, action[e, n]] += 1
