"""Stored observations to numbers, by a compiled loop."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def decode_rows(stored: np.ndarray, rows: np.ndarray, scale: np.float32, out: np.ndarray) -> None:
    """``out`` (n, K) float32 = ``stored`` (R, K) in ``rows`` (n,) times ``scale``, in one pass over memory."""
    for i in range(len(rows)):
        source, target = stored[rows[i]], out[i]
        for k in range(len(source)):
            target[k] = np.float32(source[k]) * scale
