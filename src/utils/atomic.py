"""Files that are whole at every instant: a killed process or a full disk leaves the last good state."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: temporary file beside it, fsync, rename.

    Raises OSError with ``path`` unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class AppendFile:
    """A file that only grows. The rest of a failed write is cut off by the next one, so repeating it is safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0  # bytes known to be on disk

    def append(self, data: bytes) -> None:
        """Add ``data`` and fsync. Raises OSError; the file then may end in a part of ``data``."""
        with open(self.path, "ab") as file:
            file.truncate(self._size)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(data)
