"""Learning curves, differences and matrices as PNG and SVG, and as PDF for papers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from analysis.across import SCORE, Panel
from analysis.collect import Task
from analysis.factors import Grid, percent
from analysis.speed import Speed
from analysis.statistics import Array, Estimate, curve_band, estimate, on_common_steps
from utils.words import by_numbers

COLUMNS = 3  # panels side by side
LABEL_LENGTH = 32  # characters of an axis label
DISTINCT = [colormaps["tab10"](index) for index in range(10) if index != 7]  # without grey
LETTER, NAME = 0.07, 0.19  # inches of a letter's width and of a name's height in a legend
BESIDE = 40  # letters of a name in a legend beside the panels
TITLE = 56  # letters in a line of a panel's title
FILES = (".png", ".svg", ".pdf")  # of a figure
UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
LEVEL_SHARE = 0.01  # of the longest run's steps: shorter runs are drawn as levels


def learning_curves(tasks: Sequence[Task], metric: str, caption: str) -> Figure:
    """Draw a panel per task with a line per method over t_env: the IQM of its seeds, with its interval where n > 1.

    A method has one colour in all panels. Runs far shorter than the longest (random play) are a grey level.
    """
    names = sorted({method.label for task in tasks for method in task.methods}, key=by_numbers)
    colour = palette(tasks, names)
    n_columns = min(len(tasks), COLUMNS)
    n_rows = -(-len(tasks) // n_columns)
    figure = Figure(figsize=(5 * n_columns, 4 * n_rows + 1), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    handles = {}
    for axis, task in zip(axes, tasks, strict=False):
        longest = longest_run(task)
        for method in task.methods:
            runs = [(curve.steps, curve.values) for curve in method.curves.values()]
            handles[method.label] = draw(axis, runs, colour[method.label], longest)
        label = textwrap.fill(task.label, TITLE)
        title = f"{label}\n({task.agents})" if task.agents else label
        axis.set(title=title, xlabel="t_env (environment steps)", ylabel=metric)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))  # 160k: long numbers would run into one another
    for axis in axes[len(tasks) :]:
        axis.set_axis_off()
    legend(figure, {f"{name} (n={seeds(tasks, name)})": handles[name] for name in names})
    return captioned(figure, caption)


def legend(figure: Figure, handles: Mapping[str, Any]) -> None:
    """Put the legend, name -> what was drawn, beside the panels; above them where names are long or many.

    The figure grows by it: panels keep their size.
    """
    width, height = figure.get_size_inches()
    longest = max(map(len, handles))
    width += max(2.0, LETTER * min(longest, BESIDE))
    figure.set_size_inches(width, height)
    if longest <= BESIDE and NAME * len(handles) <= height:
        figure.legend(handles.values(), handles, loc="outside right upper", fontsize="small")
        return
    names = [wrapped(name, int(width / LETTER) - 8) for name in handles]
    above = figure.legend(handles.values(), names, loc="outside upper left", fontsize="small")
    figure.set_size_inches(width, height + above.get_window_extent().height / figure.dpi)


def wrapped(name: str, length: int) -> str:
    """Return a name in lines of ``length`` letters, all but the first indented."""
    return textwrap.fill(name, length, subsequent_indent="    ")


def draw(
    axis: Axes, runs: Sequence[tuple[Sequence[float], Sequence[float] | Array]], colour: Any, longest: float
) -> Line2D:
    """Draw the IQM of runs, (x, values) each, with its interval; a level if they are far shorter than ``longest``."""
    x, values = on_common_steps(runs)
    middle, low, high = curve_band(values)
    style = "-"
    if x[-1] < LEVEL_SHARE * longest:
        style, x = "--", np.array([0, longest])
        middle, low, high = (np.full(2, bound[-1]) for bound in (middle, low, high))
    mark = "o" if len(x) == 1 else None  # a single point has no line
    (line,) = axis.plot(x, middle, style, marker=mark, color=colour)
    if len(values) > 1:
        axis.fill_between(x, low, high, alpha=0.2, color=colour, linewidth=0)
    return line


def speed_curves(speed: Speed, metric: str, caption: str) -> Figure:
    """Draw a task's methods over environment steps and over CPU seconds, with a dotted line at the level."""
    names = list(speed.runs)
    colour = palette([speed.task], names)
    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    longest = max(run.seconds[-1] for runs in speed.runs.values() for run in runs)
    for name, runs in speed.runs.items():
        draw(left, [(run.steps, run.values) for run in runs], colour[name], longest_run(speed.task))
        draw(right, [(run.seconds, run.values) for run in runs], colour[name], longest)
    left.set(title=speed.task.label, xlabel="t_env (environment steps)", ylabel=metric)
    left.xaxis.set_major_formatter(EngFormatter(sep=""))
    right.set(title=speed.task.label, xlabel="CPU seconds of training")
    names_n = [f"{name} (n={len(speed.runs[name])})" for name in names]
    legend(figure, dict(zip(names_n, left.get_lines(), strict=True)))
    for axis in (left, right):
        axis.axhline(speed.level, color="0.5", linestyle=":", linewidth=1)
    return captioned(figure, caption)


def across_lines(panels: Sequence[Panel], key: str, metric: str, caption: str) -> Figure:
    """Draw scores and CPU seconds of methods over the number ``key``, a row per panel, with intervals."""
    names = sorted({name for panel in panels for name in panel.lines}, key=by_numbers)
    colour = {name: DISTINCT[index % len(DISTINCT)] for index, name in enumerate(names)}
    figure = Figure(figsize=(10, 4 * len(panels) + 1), layout="constrained")
    handles = {}
    for (left, right), panel in zip(figure.subplots(len(panels), 2, squeeze=False), panels, strict=True):
        numbers = sorted({number for line in panel.lines.values() for number in line})
        for name, line in panel.lines.items():
            scores = {number: estimate([method.array(SCORE)]) for number, method in line.items()}
            handles[name] = error_bars(left, scores, colour[name])
            costs = {number: panel.cost(name, number) for number in line}
            error_bars(right, {number: cost for number, cost in costs.items() if cost is not None}, colour[name])
        for axis, what in ((left, f"{SCORE} of {metric}"), (right, "CPU seconds of training")):
            if numbers[0] > 0 and numbers[-1] >= 4 * numbers[0]:
                axis.set_xscale("log")
            axis.set(title=panel.label, xlabel=key, ylabel=what)
            axis.set_xticks(numbers, [f"{number:g}" for number in numbers])
            axis.minorticks_off()
    legend(figure, {name: handles[name] for name in names})
    return captioned(figure, caption)


def factor_lines(grid: Grid, label: str, metric: str, caption: str) -> Figure:
    """Draw what crossed factors do: by themselves on the diagonal, two at a time elsewhere, with intervals.

    A panel has the levels of its column's factor along the x-axis, and a line for each level of its row's.
    """
    factors = list(grid.levels)
    n = len(factors)
    figure = Figure(figsize=(3.6 * n + 2.5, 3.0 * n + 1), layout="constrained")
    panels = figure.subplots(n, n, sharex="col", sharey=True, squeeze=False)
    for row, column in product(range(n), repeat=2):
        axis, alone = panels[row][column], row == column
        names = [""] if alone else grid.levels[factors[row]]
        scores = grid.mean([column])[None] if alone else grid.mean([row, column])
        shift = 0.06 * (np.arange(len(names)) - (len(names) - 1) / 2)  # intervals beside one another
        for index, line in enumerate(scores):
            points = {place + shift[index]: estimate([score]) for place, score in enumerate(line)}
            error_bars(axis, points, "black" if alone else DISTINCT[index % len(DISTINCT)]).set_label(names[index])
        levels = [textwrap.fill(level, 12) for level in grid.levels[factors[column]]]
        axis.set_xticks(range(len(levels)), levels, fontsize="x-small")
        share = percent(grid.share([row] if alone else sorted([row, column])))
        axis.set_title(f"{factors[column]}{'' if alone else f' x {factors[row]}'}: {share}", fontsize="small")
    for row in range(n):
        lines = panels[row][0 if row > 0 else 1].get_legend_handles_labels()  # not of the diagonal
        panels[row][-1].legend(*lines, title=factors[row], loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
        panels[row][0].set_ylabel(metric, fontsize="small")
    figure.suptitle(label)
    how = "Columns: the factor along the x-axis; rows: the factor of the lines; on the diagonal each by itself."
    return captioned(figure, f"{caption} {how}")


def ratings_over_time(lines: Mapping[str, Mapping[int, Estimate]], caption: str) -> Figure:
    """Draw Elo ratings over steps, a line per name of ``lines``, with intervals."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.add_subplot()
    handles = [error_bars(axis, points, DISTINCT[index % len(DISTINCT)]) for index, points in enumerate(lines.values())]
    axis.set(xlabel="t_env (environment steps)", ylabel="Elo")
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    if len(lines) > 1:
        axis.legend(handles, list(lines), fontsize="small")
    return captioned(figure, caption)


def error_bars(axis: Axes, points: Mapping[int, Estimate] | Mapping[float, Estimate], colour: Any) -> Any:
    """Draw estimates over numbers as a line with their intervals; return the line."""
    ordered = sorted(points.items())
    value, error = bounds([found for _, found in ordered])
    return axis.errorbar([number for number, _ in ordered], value, yerr=error, marker="o", capsize=3, color=colour)


def bounds(found: Sequence[Estimate]) -> tuple[Array, Array]:
    """Return values (n,) and how far their intervals reach below and above them (2, n); 0 without an interval."""
    value = np.array([one.value for one in found])
    low = np.array([one.value if one.low is None else one.low for one in found])
    high = np.array([one.value if one.high is None else one.high for one in found])
    # A percentile interval need not contain the value; error bars must not be negative.
    return value, np.stack([value - low, high - value]).clip(min=0)


def longest_run(task: Task) -> int:
    """Return the number of steps of the longest run."""
    return max(curve.steps[-1] for method in task.methods for curve in method.curves.values())


def palette(tasks: Sequence[Task], names: Sequence[str]) -> dict[str, Any]:
    """Choose name -> colour: greys for methods that are a level in all panels, colours for the rest."""
    learns = {
        method.label for task in tasks for method in task.methods if method.last_step >= LEVEL_SHARE * longest_run(task)
    }
    levels = [name for name in names if name not in learns]
    coloured = [name for name in names if name in learns]
    colours = DISTINCT if len(coloured) <= len(DISTINCT) else [colormaps["tab20"](index) for index in range(20)]
    greys = {name: str(0.2 + 0.5 * index / len(levels)) for index, name in enumerate(levels)}
    return greys | {name: colours[index % len(colours)] for index, name in enumerate(coloured)}


def seeds(tasks: Sequence[Task], name: str) -> str:
    """Count a method's seeds: one number, or the smallest and the largest over tasks."""
    counts = {len(method.curves) for task in tasks for method in task.methods if method.label == name}
    return "–".join(str(count) for count in sorted({min(counts), max(counts)}))


def difference_bars(panels: Mapping[str, Mapping[str, Estimate]], metric: str, reference: str, caption: str) -> Figure:
    """Draw a panel per task (name -> method -> difference to ``reference``): bars with their intervals.

    A dot marks each difference, also one of 0, whose bar nobody sees.
    """
    names = {
        task: [wrapped(f"{name} (n={bar.n})", BESIDE) for name, bar in bars.items()] for task, bars in panels.items()
    }
    heights = [sum(name.count("\n") + 1 for name in of_task) for of_task in names.values()]
    figure = Figure(figsize=(8, 1.5 + 0.32 * sum(heights) + 0.7 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights).flat
    for axis, (task, bars) in zip(axes, panels.items(), strict=True):
        place = np.arange(len(bars))
        value, error = bounds(list(bars.values()))
        axis.barh(place, value, xerr=error, capsize=3, color=np.where(value < 0, "tab:red", "tab:green"), alpha=0.7)
        axis.plot(value, place, "o", color="black", markersize=5)
        axis.set_yticks(place, names[task], fontsize="small")
        axis.invert_yaxis()
        axis.axvline(0, color="black", linewidth=1)
        axis.set_title(task, fontsize="medium")
    axis.set_xlabel(wrapped(f"{metric} minus that of {reference}", TITLE))
    return captioned(figure, caption)


def captioned(figure: Figure, caption: str) -> Figure:
    """Write the caption below the axes, as wide as the figure, and return the figure."""
    figure.supxlabel(textwrap.fill(caption, int(15 * figure.get_figwidth())), fontsize="x-small")
    return figure


def matrix(values: Array, rows: Sequence[str], columns: Sequence[str], title: str, caption: str) -> Figure:
    """Draw numbers in [0, 1], (rows, columns), as a coloured table; nothing where they are NaN."""
    figure = Figure(figsize=(4.5 + 0.9 * len(columns), 3.5 + 0.6 * len(rows)), layout="constrained")
    axis = figure.add_subplot()
    image = axis.imshow(values, vmin=0.0, vmax=1.0, cmap="RdYlGn", aspect="auto")
    axis.set_xticks(range(len(columns)), [shortened(label) for label in columns], rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), [shortened(label) for label in rows])
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            axis.text(j, i, "" if np.isnan(value) else f"{value:.2f}", ha="center", va="center")
    axis.set_title(title)
    figure.colorbar(image)
    return captioned(figure, caption)


def shortened(label: str) -> str:
    """Cut the middle out of a long label (a path)."""
    return label if len(label) <= LABEL_LENGTH else f"{label[:12]}…{label[13 - LABEL_LENGTH :]}"


def write(figure: Figure, stem: Path, suffixes: Sequence[str] = FILES) -> None:
    """Write the figure to ``stem`` with each suffix: the same figure, the same bytes.

    A PDF is `for_a_paper`, and so is the figure from there on: its suffix comes last.
    """
    # Else every SVG has other ids, and the time; journals refuse the fonts that PDF has by default.
    with rc_context({"svg.hashsalt": "hmf", "pdf.fonttype": 42}):
        for suffix in suffixes:
            if suffix == ".pdf":
                for_a_paper(figure)
            figure.savefig(stem.with_name(stem.name + suffix), dpi=150, metadata=UNDATED.get(suffix))


def for_a_paper(figure: Figure) -> None:
    """Remove the caption and the lines in brackets under titles: a paper has a caption of its own."""
    figure.supxlabel("")
    for axis in figure.axes:
        axis.title.set_text(axis.get_title().partition("\n(")[0])
