"""Tables inside a page of Markdown, so that nobody types their numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from analysis.tables import Table
from utils.atomic import write_atomic
from utils.recording.files import RecordError

PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, tables: Mapping[str, Table]) -> str:
    """``page`` with every table between ``<!-- table: NAME -->`` and ``<!-- end -->``, in place of what stood there.

    Raises RecordError for a name that is no table of this report.
    """

    def replacement(match: re.Match[str]) -> str:
        name = match.group(2)
        if name not in tables:
            raise RecordError(f"--page: no table '{name}' in this report. Known: {', '.join(tables)}.")
        return f"{match.group(1)}\n{tables[name].markdown()}\n{match.group(3)}"

    return PLACE.sub(replacement, page)


def fill(path: Path, tables: Mapping[str, Table]) -> None:
    """Bring the tables of a page up to date. Raises RecordError when it cannot be read or has no place for one."""
    try:
        page = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"--page {path}: cannot be read: {error}") from error
    if not PLACE.search(page):
        raise RecordError(f"--page {path}: expected at least one '<!-- table: NAME -->' ... '<!-- end -->'.")
    write_atomic(path, filled(page, tables).encode())
