"""Statistics over few seeds, after Agarwal et al. (2021): interquartile means, bootstrap intervals, P(improvement).

A seed is the unit: every array here has seeds on axis 0. Strata (tasks, methods) are resampled separately.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

Statistic = Callable[[Sequence[Array]], Any]
"""Function of strata of shape (n_seeds, ...); it reduces the seeds and keeps the axes that follow."""

RESAMPLES = 2000
LEVEL = 0.95
BAND_POINTS = 256  # of a curve that are resampled at a time: all draws of all points would fill the memory
EXACT = 12  # seeds, 4,096 flips


@dataclass(frozen=True)
class Estimate:
    """A value with its bootstrap interval; ``low`` and ``high`` are None when some stratum has a single seed."""

    value: float
    low: float | None
    high: float | None
    n: int  # seeds, in all strata together


def iqm(values: Array) -> Any:
    """Compute the interquartile mean over axis 0: floor(n / 4) values are cut at either end, the rest is averaged.

    n = 4 averages the two middle values, n = 5 the three middle ones; n < 4 cuts nothing and is the plain mean. Equal
    to scipy.stats.trim_mean, whose import takes longer than a plot. NaN where one is.
    """
    cut = len(values) // 4
    mean = np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0)
    return np.where(np.isnan(values).any(axis=0), np.nan, mean)[()]


def pooled_iqm(strata: Sequence[Array]) -> Any:
    """Compute `iqm` over the seeds of all strata together."""
    return iqm(np.concatenate(strata))


def resampled(strata: Sequence[Array], statistic: Statistic) -> Array:
    """Compute ``statistic`` of RESAMPLES draws with replacement of the seeds within each stratum: (RESAMPLES, ...)."""
    rng = np.random.default_rng(0)
    return statistic([values[rng.integers(len(values), size=(len(values), RESAMPLES))] for values in strata])


def interval(draws: Array, level: float = LEVEL) -> tuple[Any, Any]:
    """Return the ends of the central ``level`` of bootstrap draws (percentile method) along axis 0."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def estimate(strata: Sequence[Array], statistic: Statistic = pooled_iqm, level: float = LEVEL) -> Estimate:
    """Estimate ``statistic`` of strata of shape (n_seeds,) with its stratified bootstrap interval."""
    value, n = float(statistic(strata)), sum(map(len, strata))
    if any(len(values) < 2 for values in strata):
        return Estimate(value, None, None, n)
    low, high = interval(resampled(strata, statistic), level)
    return Estimate(value, float(low), float(high), n)


def probability_of_improvement(x: Array, y: Array) -> Any:
    """Compute P(X > Y) + P(X = Y) / 2 over all pairs of a seed of x and a seed of y (Mann-Whitney's U / (n m))."""
    return (0.5 + 0.5 * np.sign(x[:, None] - y[None, :])).mean((0, 1))


def improvement(x: Array, y: Array) -> Estimate:
    """Estimate `probability_of_improvement` with its interval; the seeds of x and y are resampled separately."""
    return estimate([x, y], lambda drawn: probability_of_improvement(drawn[0], drawn[1]))


def differences(x: dict[int, float], y: dict[int, float]) -> list[float]:
    """List x[seed] - y[seed] over common seeds, in their order."""
    return [x[seed] - y[seed] for seed in sorted(x.keys() & y.keys())]


def paired_difference(x: dict[int, float], y: dict[int, float], *, level: float = LEVEL) -> Estimate | None:
    """Estimate the IQM of `differences`, with its interval; None without a common seed."""
    found = differences(x, y)
    return estimate([np.array(found)], level=level) if found else None


def sign_flip_p(differences: Sequence[float]) -> float:
    """Compute the two-sided p-value of a mean paired difference, under flips of every sign (Fisher's randomisation).

    Exact up to EXACT seeds, RESAMPLES random flips beyond. Two equal methods give p <= x in a share x of cases at most.
    """
    found, n = np.asarray(differences, dtype=np.float64), len(differences)
    if np.isnan(found).any():
        return math.nan
    if n <= EXACT:
        flips = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        flips = np.random.default_rng(0).choice([-1.0, 1.0], size=(RESAMPLES, n))
        flips[0] = 1.0  # what was found is one of them
    # Sums in another order may differ in their last bits.
    return float((np.abs(flips @ found) >= abs(found.sum()) * (1 - 1e-9)).mean())


def holm(p: Sequence[float]) -> list[float]:
    """Compute p-values that hold for claims made together (Holm 1979): the k-th smallest of n times n - k + 1, never
    falling. NaN stays NaN, and is last.
    """
    order = np.argsort(p, kind="stable")
    corrected, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        highest = min(1.0, max(highest, p[index] * (len(p) - rank)))
        corrected[index] = math.nan if math.isnan(p[index]) else highest
    return corrected


def area_under_curve(steps: Sequence[float], values: Sequence[float]) -> float:
    """Compute a curve's mean height: the trapezoidal area over the span of steps, divided by the span."""
    if len(steps) < 2:
        return float(values[0])
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def on_common_steps(curves: Sequence[tuple[Sequence[float], Sequence[float] | Array]]) -> tuple[Array, Array]:
    """Interpolate curves of one metric, (steps, values) each, linearly where all of them have data.

    Returns steps (n_points,) of the curve with the fewest points, and values (n_curves, n_points).
    """
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    shortest = np.asarray(min((steps for steps, _ in curves), key=len), dtype=np.float64)
    grid = np.unique(shortest.clip(first, max(first, last)))
    return grid, np.stack([np.interp(grid, steps, values) for steps, values in curves])


def curve_band(values: Array) -> tuple[Array, Array, Array]:
    """Compute the IQM over seeds and both ends of its interval at each point: (n_seeds, n_points) -> (n_points,).

    A single seed has no interval: both ends are its values.
    """
    middle = iqm(values)
    if len(values) == 1:
        return middle, middle, middle
    parts = np.array_split(values, -(-values.shape[1] // BAND_POINTS), axis=1)
    bands = [interval(resampled([part], pooled_iqm)) for part in parts]
    return middle, np.concatenate([low for low, _ in bands]), np.concatenate([high for _, high in bands])


def min_max_scaled(per_method: dict[str, Array]) -> dict[str, Array]:
    """Map the scores of all methods on one task to [0, 1] by the worst and the best run; to 0.5 when all are equal."""
    everything = np.concatenate(list(per_method.values()))
    low, span = everything.min(), np.ptp(everything)
    if span == 0:
        return {method: np.full_like(scores, 0.5) for method, scores in per_method.items()}
    return {method: (scores - low) / span for method, scores in per_method.items()}
