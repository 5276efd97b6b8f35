"""Files that are whole at every instant: a killed process or a full disk leaves the last good state."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

TEMPORARY = ".{}.tmp"  # name of what a file is written as, by one process


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a temporary file beside ``path``, which it replaces at the end of the context: fsync, then rename.

    Whatever is raised inside, or by the disk (OSError), leaves ``path`` unchanged and no temporary file.
    """
    temporary = path.with_name(TEMPORARY.format(f"{path.name}.{secrets.token_hex(4)}"))
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``. Raises OSError with ``path`` unchanged."""
    with replacing(path) as file:
        file.write(data)


class AppendFile:
    """A file of lines that only grows. The rest of a failed write is cut off by the next one, so repeating it is safe.

    Where something else has shortened or removed it, it goes on after its last whole line; ``n_lost`` counts the bytes.
    """

    def __init__(self, path: Path) -> None:
        """Write nothing yet."""
        self.path = path
        self.n_lost = 0
        self._size = 0  # bytes known to be on disk

    def append(self, data: bytes) -> None:
        """Add ``data`` and fsync. Raises OSError; the file then may end in a part of ``data``."""
        with open(self.path, "ab") as file:
            if file.tell() < self._size:
                whole = self.path.read_bytes().rfind(b"\n") + 1
                self.n_lost += self._size - whole
                self._size = whole
            file.truncate(self._size)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(data)
