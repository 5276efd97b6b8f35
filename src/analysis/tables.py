"""Tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analysis.statistics import Estimate
from records.files import RecordError

LATEX_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX_SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}
LATEX_SPECIAL |= {"<": "$<$", ">": "$>$", "|": r"\textbar{}", "\u2212": "$-$", "\u00a0": "~"}
LINE = 90  # letters in a line of a page
GAP = 3  # letters that fit between two columns

Cell = str | int | Estimate | None
FILES = (".md", ".csv", ".tex")  # of a table


@dataclass(frozen=True)
class Table:
    """``rows`` of cells under ``head``; the caption says what the numbers are."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def markdown(self) -> str:
        """Return a pipe table under its caption."""
        head, *rows = ([cell_of_a_page(cell) for cell in row] for row in (self.head, *self.rows))
        lines = [head, ["---"] * len(head), *rows]
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
        """Return a table environment with booktabs rules and the label ``tab:NAME``; see `column_types`."""
        rows = [[unbroken(text(cell)) for cell in row] for row in [self.head, *self.rows]]
        lines = [" & ".join(map(escaped, row)) + r" \\" for row in rows]
        types = column_types(rows)
        wraps = "p" in types
        return "\n".join(
            [
                rf"\begin{{table}}  % needs \usepackage{{booktabs{',array' if wraps else ''}}}",
                r"\centering",
                rf"\caption{{{escaped(self.caption)}}}\label{{tab:{name}}}",
                *([r"\small"] if wraps else []),
                rf"\begin{{tabular}}{{{types}}}",
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
        """Write ``stem`` with the suffixes .md, .csv and .tex, put behind whatever dots its name has."""
        for suffix, content in zip(FILES, (self.markdown(), self.csv(), self.latex(stem.name)), strict=True):
            stem.with_name(stem.name + suffix).write_text(content)


def cell_of_a_page(cell: Cell) -> str:
    """Return a cell's `text` on one line, with what would end the cell escaped."""
    return " ".join(text(cell).split("\n")).strip().replace("|", r"\|")


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
    """Escape what LaTeX would not print as it stands; the sign of a number becomes a minus."""
    signed = re.sub(r"(?<![\w.)-])-(?=\d)", "\u2212", plain)
    return "".join(LATEX_SPECIAL.get(character, character) for character in signed)


def unbroken(plain: str) -> str:
    """Put a space that does not break a line into intervals."""
    return re.sub(r"(\[\S+,) (\S+\])", "\\1\u00a0\\2", plain)


def column_types(rows: Sequence[Sequence[str]]) -> str:
    """Return LaTeX's types of the columns of a table: all ``l`` where a line of text holds them.

    Else the widest ones wrap: they share the room that the others leave, none narrower than its longest word.
    """
    columns = list(zip(*rows, strict=True))
    whole = [max(map(len, column)) for column in columns]
    words = [max(len(word) for cell in column for word in cell.split(" ")) for column in columns]
    room = LINE - GAP * len(columns)

    def widths(share: int) -> list[int]:
        return [min(width, max(share, word)) for width, word in zip(whole, words, strict=True)]

    share = next((share for share in range(max(whole), 0, -1) if sum(widths(share)) <= room), 0)
    wrapped = r">{\raggedright\arraybackslash}p{%.2f\linewidth}"
    return "".join(
        "l" if found == width else wrapped % (found / LINE) for found, width in zip(widths(share), whole, strict=True)
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise RecordError, naming ``path``, where the disk refuses what is written there."""
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"--out: cannot write in {path} ({error.strerror}). Free space there, or choose another place."
        ) from error


def make_folder(path: Path) -> None:
    """Make the folder of a report. Raises RecordError, naming it, when that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"--out: expected a folder that can be made, got '{path}' ({error.strerror}). Give another one."
        ) from error
