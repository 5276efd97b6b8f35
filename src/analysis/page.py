"""Generated tables inside a page of Markdown, so that nobody types their numbers."""

from __future__ import annotations

import re
from pathlib import Path

from utils.atomic import write_atomic
from utils.recording.files import RecordError

PLACE = re.compile(r"(<!-- file: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(path: Path, what: str) -> str:
    """A text file. Raises RecordError, naming ``what`` asked for it."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"--page {what}: {path} cannot be read: {error}") from error


def fill(path: Path) -> None:
    """Put files between ``<!-- file: PATH -->`` and ``<!-- end -->``, paths relative to the page.

    Raises RecordError when the page or a file cannot be read, or the page names none.
    """
    page = read(path, str(path))
    if not PLACE.search(page):
        raise RecordError(f"--page {path}: expected at least one '<!-- file: PATH -->' ... '<!-- end -->'.")

    def filled(match: re.Match[str]) -> str:
        return f"{match.group(1)}\n{read(path.parent / match.group(2), str(path)).strip()}\n\n{match.group(3)}"

    write_atomic(path, PLACE.sub(filled, page).encode())
