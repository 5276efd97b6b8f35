"""Learning curves and matrices as PNG and SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from analysis.collect import Task
from analysis.statistics import Array, curve_band, on_common_steps

LABEL_LENGTH = 32  # characters of an axis label


def learning_curves(task: Task, metric: str, caption: str) -> Figure:
    """One line per method over t_env: the IQM of its seeds, with its interval as a band where n > 1."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.add_subplot()
    for method in task.methods:
        steps, values = on_common_steps([(curve.steps, curve.values) for curve in method.curves.values()])
        middle, low, high = curve_band(values)
        mark = "o" if len(steps) == 1 else None  # a single point has no line
        (line,) = axis.plot(steps, middle, label=f"{method.label} (n={len(values)})", marker=mark)
        if len(values) > 1:
            axis.fill_between(steps, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
    axis.set(title=task.label, xlabel="t_env (environment steps)", ylabel=metric)
    axis.legend(fontsize="small")
    figure.supxlabel(textwrap.fill(caption, 110), fontsize="x-small")
    return figure


def matrix(values: Array, rows: Sequence[str], columns: Sequence[str], title: str, caption: str) -> Figure:
    """Numbers in [0, 1] as a coloured table."""
    figure = Figure(figsize=(4.5 + 0.9 * len(columns), 3.5 + 0.6 * len(rows)), layout="constrained")
    axis = figure.add_subplot()
    image = axis.imshow(values, vmin=0.0, vmax=1.0, cmap="RdYlGn", aspect="auto")
    axis.set_xticks(range(len(columns)), [shortened(label) for label in columns], rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), [shortened(label) for label in rows])
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            axis.text(j, i, f"{value:.2f}", ha="center", va="center")
    axis.set_title(title)
    figure.colorbar(image)
    figure.supxlabel(textwrap.fill(caption, 60 + 12 * len(columns)), fontsize="x-small")
    return figure


def shortened(label: str) -> str:
    """A long label (a path) without its middle."""
    return label if len(label) <= LABEL_LENGTH else f"{label[:12]}…{label[13 - LABEL_LENGTH :]}"


def write(figure: Figure, stem: Path, suffixes: Sequence[str] = (".png", ".svg")) -> None:
    """``stem`` with each suffix."""
    for suffix in suffixes:
        figure.savefig(stem.with_name(stem.name + suffix), dpi=150)
