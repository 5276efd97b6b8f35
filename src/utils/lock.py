"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def this_host() -> bytes:
    """Return what tells this machine, since it started, from all others; no name."""
    return BOOT_ID.read_bytes().strip() if BOOT_ID.exists() else str(uuid.getnode()).encode()


class Lock:
    """A file that one process holds, with the children that inherit its ``descriptor``, until it ends or releases it.

    On a file system without locks nothing is held, and the file does not stay.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Keep what `take` has locked."""
        self._path, self._file = path, os.fdopen(descriptor, "rb")

    @property
    def descriptor(self) -> int:
        """What a child inherits to share the lock."""
        return self._file.fileno()

    @classmethod
    def take(cls, path: Path, wait: bool = False) -> Lock | None:
        """Make and lock ``path``; return None when another process holds it, unless told to ``wait`` for it.

        Raises OSError when the file cannot be made.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError:  # no locks here
                path.unlink(missing_ok=True)
                return cls(path, descriptor)
            if _is_at(path, descriptor):
                with contextlib.suppress(OSError):  # on a full disk `is_held` knows less
                    os.pwrite(descriptor, this_host(), 0)
                return cls(path, descriptor)
            os.close(descriptor)  # the process that held it has removed it meanwhile

    def release(self) -> None:
        """Remove the file and give up the lock."""
        self._path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Let the lock go as if the process had been killed: its file stays."""
        self._file.close()


def is_held(path: Path) -> bool | None:
    """Return whether a living process holds the lock ``path``.

    None where that cannot be told: there is no such file, or it was locked on another machine, whose locks may not
    reach this one.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False if os.read(descriptor, 100) == this_host() else None
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
