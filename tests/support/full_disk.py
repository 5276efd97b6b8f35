"""A disk that refuses to write, for a while or for ever."""

from __future__ import annotations

import errno
import itertools
import os

import pytest


def refuse(patch: pytest.MonkeyPatch, calls: range) -> None:
    """Let these calls of fsync, counted from 0, find a full disk."""
    fsync, count = os.fsync, itertools.count()

    def wrapped(descriptor: int) -> None:
        if next(count) in calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    patch.setattr(os, "fsync", wrapped)
