"""Tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.statistics import Estimate
from records.files import RecordError

LATEX_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX_SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}

Cell = str | int | Estimate | None


@dataclass(frozen=True)
class Table:
    """``rows`` of cells under ``head``; the caption says what the numbers are."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def markdown(self) -> str:
        """Return a pipe table under its caption."""
        lines = [self.head, ["---"] * len(self.head), *([text(cell) for cell in row] for row in self.rows)]
        return f"{self.caption}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def csv(self) -> str:
        """Return comma-separated values; an estimate takes four columns: value, low, high, n."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        wide = [any(isinstance(row[i], Estimate) for row in self.rows) for i in range(len(self.head))]
        head = (
            [name, f"{name}_low", f"{name}_high", f"{name}_n"] if w else [name]
            for name, w in zip(self.head, wide, strict=True)
        )
        writer.writerow([column for columns in head for column in columns])
        for row in self.rows:
            cells = (numbers(cell) if w else [cell] for cell, w in zip(row, wide, strict=True))
            writer.writerow([value for values in cells for value in values])
        return file.getvalue()

    def latex(self, name: str) -> str:
        """Return a table environment with booktabs rules and the label ``tab:NAME``."""
        lines = [" & ".join(escaped(text(cell)) for cell in row) + r" \\" for row in [self.head, *self.rows]]
        return "\n".join(
            [
                r"\begin{table}  % needs \usepackage{booktabs}",
                r"\centering",
                rf"\caption{{{escaped(self.caption)}}}\label{{tab:{name}}}",
                rf"\begin{{tabular}}{{{'l' * len(self.head)}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def write(self, stem: Path) -> None:
        """Write ``stem`` with the suffixes .md, .csv and .tex."""
        for suffix, content in ((".md", self.markdown()), (".csv", self.csv()), (".tex", self.latex(stem.name))):
            stem.with_suffix(suffix).write_text(content)


def text(cell: Cell) -> str:
    """Return a cell's text; that of an estimate is ``value [low, high] (n)``."""
    if cell is None:
        return "–"
    if not isinstance(cell, Estimate):
        return str(cell)
    return f"{cell.value:.4g} {bounds(cell)} (n={cell.n})"


def bounds(estimate: Estimate) -> str:
    """Return an estimate's interval in brackets."""
    if estimate.low is None or estimate.high is None:
        return "[no interval]"
    return f"[{estimate.low:.4g}, {estimate.high:.4g}]"


def numbers(cell: Cell) -> list[float | str]:
    """Return the four CSV columns of an estimate, empty for one that does not exist."""
    if not isinstance(cell, Estimate):
        return ["", "", "", ""]
    return [cell.value, "" if cell.low is None else cell.low, "" if cell.high is None else cell.high, cell.n]


def escaped(plain: str) -> str:
    """Escape what LaTeX would not print as it stands."""
    return "".join(LATEX_SPECIAL.get(character, character) for character in plain)


def make_folder(path: Path) -> None:
    """Make the folder of a report. Raises RecordError, naming it, when that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"--out: expected a folder that can be made, got '{path}' ({error.strerror}). Give another one."
        ) from error
