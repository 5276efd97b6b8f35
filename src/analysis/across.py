"""What a number in which runs differ does to scores and costs: the size of the population, the number of groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.collect import TAIL, Method, Task
from analysis.comparison import OVER_SEEDS, described
from analysis.statistics import Estimate, estimate, paired_difference
from analysis.tables import Cell, Table
from records.files import RecordError
from utils.words import parted

SCORE = "tail"
Line = Mapping[float, Method]  # number -> the runs with it


@dataclass(frozen=True)
class Panel:
    """Methods over one number, on a task or on the tasks of one environment."""

    label: str
    lines: Mapping[str, Line]  # method -> its scores
    costs: Mapping[str, Line]  # method -> CPU seconds of its runs without a GPU, where recorded
    methods: Mapping[str, Method]  # label -> its scores, where methods differ in the number and not tasks

    def cost(self, name: str, number: float) -> Estimate | None:
        """Estimate the CPU seconds of a method's whole runs; None where they were not recorded."""
        found = self.costs.get(name, {}).get(number)
        return None if found is None else estimate([found.array("final")])


def panels(tasks: Sequence[Task], costs: Sequence[Task], key: str) -> list[Panel]:
    """Sort methods by the number ``key`` in which tasks or methods differ; ``costs``: CPU seconds of the same runs.

    Methods that do not have the key are left out. Raises RecordError where nothing differs in it, where it is no
    number, and where two sets of runs of one method have the same.
    """
    scores, seconds = _lines(tasks, key), _lines(costs, key)
    if not scores:
        raise RecordError(
            f"--across {key}: expected runs that differ in it and are called by it, these are not (variants of an "
            "experiment have names of their own). Choose another key."
        )
    methods = {task.label: {method.label: method for method in task.methods} for task in tasks}
    return [Panel(label, lines, seconds.get(label, {}), methods.get(label, {})) for label, lines in scores.items()]


def across_table(found: Sequence[Panel], key: str, metric: str, reference: str | None) -> Table:
    """Tabulate scores and CPU seconds of every method at every number, and how far ``reference`` is above it there.

    A reference with one number, or without any, is the same at every number.
    """
    rows: list[list[Cell]] = []
    for panel in found:
        base, alone = panel.lines.get(reference or "", {}), panel.methods.get(reference or "")
        for name, line in panel.lines.items():
            for number, method in line.items():
                score, other = estimate([method.array(SCORE)]), base.get(number, alone)
                row: list[Cell] = [panel.label, name, f"{number:g}", score, panel.cost(name, number)]
                if other is not None and other is not method:
                    row.append(paired_difference(other.scores(SCORE), method.scores(SCORE)))
                elif reference:
                    row.append(None)
                rows.append(row)
    margin = f" {reference} above: its {SCORE} minus the method's, runs of the same seed." if reference else ""
    caption = (
        f"{described(metric)} across {key}. {SCORE}: mean of the last {TAIL} evaluations. CPU s: of training alone, "
        f"all threads of the process together, of runs without a GPU.{margin} {OVER_SEEDS}"
    )
    head = ["task", "method", key, SCORE, "CPU s", *([f"{reference} above"] if reference else [])]
    return Table(caption, head, rows)


def _lines(tasks: Sequence[Task], key: str) -> dict[str, dict[str, dict[float, Method]]]:
    """Return panel -> method -> number -> its runs, by the labels, which hold what differs."""
    found: dict[str, dict[str, dict[float, Method]]] = defaultdict(lambda: defaultdict(dict))
    for task in tasks:
        of_task = parted(task.label)[1].get(key)
        panel = task.label if of_task is None else task.env  # what else belongs to a size differs with it
        for method in task.methods:
            own = parted(method.label)[1].get(key)
            text = of_task if own is None else own
            if text is None:
                continue
            name = method.label.replace(f" {key}={own}", "", 1)
            line, number = found[panel][name], _number(text, key)
            if number in line:
                raise RecordError(
                    f"--across {key}: expected runs that differ in nothing else, two sets of {name} on {panel} have "
                    f"{key}={text}. Choose one by filters."
                )
            line[number] = method
    return {
        panel: {name: dict(sorted(line.items())) for name, line in sorted(lines.items())}
        for panel, lines in sorted(found.items())
    }


def _number(text: str, key: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RecordError(f"--across {key}: expected numbers, got {key}={text}. Choose another key.") from None
