"""The setting of the C library's allocator that suits training: freed memory is kept for the next request."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3), from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE = 2**30  # bytes


def keep_freed_memory() -> None:
    """Keep freed blocks of up to 1 GiB in the process, whose memory then stays at its peak.

    By default glibc gives blocks of megabytes back, and every update faults in all its pages again: up to a fifth of
    its time (docs/performance.md). Does nothing where the C library has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, LARGE)
