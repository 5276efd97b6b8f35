"""How soon methods learn, in environment steps and in CPU seconds of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import REFERENCE
from analysis.collect import Task, matched
from analysis.comparison import OVER_SEEDS, described
from analysis.statistics import estimate
from analysis.tables import Cell, Table
from records.files import Curve, RecordError

NEVER = math.inf


@dataclass(frozen=True)
class Timed:
    """A run's evaluations: the step, the CPU seconds of training up to there, the value."""

    steps: Sequence[float]
    seconds: Sequence[float]
    values: Sequence[float]

    def first_at(self, level: float) -> tuple[float, float]:
        """Return step and CPU seconds of the first evaluation at ``level`` or above; NEVER, NEVER without one."""
        reached = (i for i, value in enumerate(self.values) if value >= level)
        return next(((self.steps[i], self.seconds[i]) for i in reached), (NEVER, NEVER))


@dataclass(frozen=True)
class Speed:
    """How a task's methods learned over time."""

    task: Task
    reference: str  # method
    level: float  # of the metric
    runs: Mapping[str, Sequence[Timed]]  # of each method, by seed

    def costs(self, method: str) -> tuple[float, float, float]:
        """Return medians over runs: steps and CPU seconds until the level, and CPU seconds of the whole run."""
        costs = [(*run.first_at(self.level), run.seconds[-1]) for run in self.runs[method]]
        steps, seconds, in_all = np.median(costs, axis=0)
        return float(steps), float(seconds), float(in_all)

    def n_there(self, method: str) -> int:
        """Count the runs that ever reach the level."""
        return sum(run.first_at(self.level)[0] < NEVER for run in self.runs[method])


def measured(tasks: Sequence[Task], cpu: Sequence[Task], reference: str, reach: str) -> list[Speed]:
    """Join evaluations to CPU seconds; the level is the number in ``reach``, or REFERENCE.

    REFERENCE is the mean last evaluation of the reference's runs. ``cpu``: the same runs with CPU seconds as their
    curves. Raises RecordError where these were not recorded.
    """
    seconds = {(task.label, method.label): other.curves for task, method, other in matched(tasks, cpu)}
    found = []
    for task in tasks:
        runs = {}
        for method in task.methods:
            known = seconds.get((task.label, method.label), {})
            if not method.curves.keys() <= known.keys():
                raise RecordError(
                    f"--reach: {method.label} on {task.label} has runs that recorded no CPU seconds, or used a GPU "
                    "beside them (older ones recorded none). Run them again, or leave them out by filters."
                )
            runs[method.label] = [_timed(curve, known[seed]) for seed, curve in sorted(method.curves.items())]
        base = next(method for method in task.methods if method.label == reference)
        level = float(base.array("final").mean()) if reach == REFERENCE else float(reach)
        found.append(Speed(task, reference, level, runs))
    return found


def speed_table(speeds: Sequence[Speed], metric: str) -> Table:
    """Tabulate what every method needs until its evaluations first reach the level, and in all."""
    rows: list[list[Cell]] = []
    for speed in speeds:
        _, base, base_in_all = speed.costs(speed.reference)
        for method in speed.task.methods:
            steps, seconds, in_all = speed.costs(method.label)
            rows.append(
                [
                    speed.task.label,
                    method.label,
                    f"{speed.level:.4g}",
                    f"{speed.n_there(method.label)} of {len(method.curves)}",
                    f"{steps:,.0f}" if steps < NEVER else "not reached",
                    f"{seconds:.4g}" if seconds < NEVER else "not reached",
                    _ratio(base, seconds),
                    estimate([method.array("final")]),
                    f"{in_all:.4g}",
                    _ratio(base_in_all, in_all),
                ]
            )
    reference = speeds[0].reference
    caption = (
        f"{described(metric)}: environment steps and CPU seconds of training, without those of evaluations, until the "
        "first evaluation at the level or above. Steps, seconds: medians over seeds, where a run that is never there "
        f"counts as later than all others. Ratio: seconds of {reference} over the method's own. Final: the last "
        f"evaluation. {OVER_SEEDS}"
    )
    head = [
        "task",
        "method",
        "level",
        "seeds there",
        "steps",
        "CPU s",
        "ratio",
        "final",
        "CPU s in all",
        "ratio in all",
    ]
    return Table(caption, head, rows)


def _timed(curve: Curve, cpu: Curve) -> Timed:
    return Timed(curve.steps, np.interp(curve.steps, cpu.steps, cpu.values).tolist(), curve.values)


def _ratio(reference: float, own: float) -> str | None:
    return f"{reference / own:.3g}" if reference < NEVER and 0 < own < NEVER else None
