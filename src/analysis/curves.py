"""Curves of single runs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from records.files import Curve
from records.presets import set_keys
from records.store import RunRecord

LEGEND_WIDTH = 100  # characters


def picture(records: Sequence[RunRecord], curves: Sequence[dict[str, Curve]], names: Sequence[str]) -> Figure:
    """Draw one panel per metric with one line per run, and the legend below all of them."""
    keys = set_keys([record.flat_config for record in records])
    labels = [textwrap.fill(label(record, keys), LEGEND_WIDTH, subsequent_indent="    ") for record in records]
    n_lines = sum(len(text.splitlines()) for text in labels)
    figure = Figure(figsize=(8, 4 * len(names) + 0.2 * n_lines), layout="constrained")
    for row, name in enumerate(names, start=1):
        axis = figure.add_subplot(len(names), 1, row)
        for text, found in zip(labels, curves, strict=True):
            curve = found[name]
            mark = "o" if len(curve.steps) == 1 else None  # a single point has no line
            axis.plot(curve.steps, curve.values, label=text, marker=mark)
        axis.set(xlabel="t_env (environment steps)", ylabel=name)
    figure.legend(handles=axis.lines, loc="outside lower left", fontsize="small")
    return figure


def label(record: RunRecord, keys: Iterable[str]) -> str:
    """Name a run and its values of the differing keys."""
    values = ", ".join(f"{key}={record.flat_config.get(key, '(none)')}" for key in keys)
    return f"run {record.id}: {values}" if values else f"run {record.id}"
