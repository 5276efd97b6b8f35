"""Curves of runs that are chosen by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.collect import grouped
from analysis.comparison import CURVE
from analysis.figures import draw
from analysis.statistics import Array
from config.schema import BOOKKEEPING
from records.files import Curve
from records.presets import set_keys
from records.query import titled
from records.store import RunRecord

LEGEND_WIDTH = 100  # characters


def picture(
    records: Sequence[RunRecord],
    curves: Sequence[dict[str, Curve]],
    names: Sequence[str],
    each: bool = False,
    smooth: int = 1,
) -> Figure:
    """Draw one panel per metric with one line per group of `over_seeds`, and the legend below all of them.

    Runs are averaged over ``smooth`` points each, before the IQM over seeds. ``each``: a line per run.
    """
    groups = [[record] for record in records] if each else over_seeds(records)
    keys = set_keys([record.flat_config for record in records])
    labels = [textwrap.fill(label(group, keys), LEGEND_WIDTH, subsequent_indent="    ") for group in groups]
    averaged = [CURVE] if any(len(group) > 1 for group in groups) else []
    title = textwrap.fill(". ".join([*shared(records, keys), *averaged]), LEGEND_WIDTH)
    n_lines = sum(len(text.splitlines()) for text in [title, *labels])
    found = {record.id: own for record, own in zip(records, curves, strict=True)}
    figure = Figure(figsize=(8, 4 * len(names) + 0.2 * n_lines), layout="constrained")
    for row, name in enumerate(names, start=1):
        axis = figure.add_subplot(len(names), 1, row)
        for index, (text, group) in enumerate(zip(labels, groups, strict=True)):
            own = [found[record.id][name] for record in group]
            runs = [(curve.steps, smoothed(curve.values, smooth)) for curve in own]
            draw(axis, runs, f"C{index}", longest=0).set_label(text)
        axis.set(
            xlabel="t_env (environment steps)", ylabel=name if smooth == 1 else f"{name}\n(mean of {smooth} points)"
        )
    figure.legend(
        handles=axis.lines,
        loc="outside lower left",
        fontsize="small",
        title=title or None,
        title_fontsize="small",
        alignment="left",
    )
    return figure


def over_seeds(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Group runs that differ in nothing but the seed; where a seed comes twice, each run stands alone."""
    groups = []
    for group in grouped(records, lambda key: key not in ("seed", *BOOKKEEPING)):
        seeds = {record.config.get("seed") for record in group}
        groups += [group] if len(seeds) == len(group) else [[record] for record in group]
    return groups


def smoothed(values: Sequence[float], n_points: int) -> Array:
    """Average every value with those before it, ``n_points`` in all and fewer at the start: (n,) -> (n,)."""
    return np.array([np.mean(values[max(0, end - n_points) : end]) for end in range(1, len(values) + 1)])


def shared(records: Sequence[RunRecord], keys: Iterable[str]) -> list[str]:
    """Name the method and the task of all runs, as far as lines do not differ in them (``keys``)."""
    config = titled(records[0].flat_config)
    said = [str(config[key]) for key in ("name", "env") if key not in keys]
    return [" on ".join(said)] if said else []


def label(group: Sequence[RunRecord], keys: Iterable[str]) -> str:
    """Name the runs of a line, and their values of the differing keys that they share."""
    configs = [titled(record.flat_config) for record in group]
    values = ", ".join(
        f"{key}={shown(configs[0][key])}"
        for key in keys
        if key in configs[0] and all(config.get(key) == configs[0][key] for config in configs)
    )
    runs = f"run{'s' * (len(group) > 1)} {', '.join(str(record.id) for record in group)}"
    return f"{runs}: {values}" if values else runs


def shown(value: Any) -> Any:
    """Return a number that a search may have drawn with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else value
