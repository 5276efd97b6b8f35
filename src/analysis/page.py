"""Generated tables inside a page of Markdown, so that no number of theirs is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path

from records.files import RecordError
from utils.atomic import write_atomic

MARK = "<!-- file:"
PLACE = re.compile(rf"^({MARK} (\S+) -->\n)((?:(?!{MARK}).)*?)(^<!-- end -->$)", re.DOTALL | re.MULTILINE)


def check(path: Path) -> str:
    """Read a page. Raises RecordError unless each of its places has a beginning and an end."""
    page = _read(path, path)
    marks, places = page.count(MARK), len(PLACE.findall(page))
    if marks == 0 or marks != places:
        raise RecordError(
            f"--page {path}: expected places of the form '<!-- file: PATH -->' and, further down, '<!-- end -->', each "
            f"on a line of its own; {places} of its {marks} places are whole."
        )
    return page


def fill(path: Path) -> None:
    """Put files between ``<!-- file: PATH -->`` and ``<!-- end -->``, paths relative to the page.

    Raises RecordError when the page is not whole or a file cannot be read.
    """

    def filled(match: re.Match[str]) -> str:
        return f"{match.group(1)}\n{_read(path.parent / match.group(2), path).strip()}\n\n{match.group(4)}"

    write_atomic(path, PLACE.sub(filled, check(path)).encode())


def _read(path: Path, page: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"--page {page}: {path} cannot be read: {error}") from error
