"""What every agent of a grid world sees, cut out of one map by compiled loops.

Cell for cell what MAgent2's ``get_observation`` gives (tests/unit/test_gridworld.py), in a fraction of its time
(docs/performance.md).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.gridworld import N_CHANNELS, OBS_SCALE

FULL = round(1 / OBS_SCALE)

# nogil: battles may be looked at from several threads. cache: compiled once per machine.
compiled = njit(cache=True, nogil=True)


def empty_board(map_size: int, margin: int) -> np.ndarray:
    """The map with its border walls and ``margin`` cells of nothing around them, uint8; a row's cells are
    N_CHANNELS bytes each.
    """
    board = np.zeros((map_size, map_size, N_CHANNELS), dtype=np.uint8)
    board[:, :, 0] = FULL
    board[1:-1, 1:-1, 0] = 0
    around = ((margin, margin), (margin, margin), (0, 0))
    return np.pad(board, around).reshape(map_size + 2 * margin, -1)


@compiled
def paint(board: np.ndarray, margin: int, channel: int, cell: np.ndarray, health: np.ndarray) -> None:
    """Put agents on ``cell`` (n, 2) integer, (x, y), with ``health`` (n,) as a fraction, into two channels."""
    for i in range(len(cell)):
        at = N_CHANNELS * (cell[i, 0] + margin) + channel
        board[cell[i, 1] + margin, at] = FULL
        board[cell[i, 1] + margin, at + 1] = np.uint8(np.rint(np.float32(FULL) * health[i]))


@compiled
def cut(board: np.ndarray, mask: np.ndarray, cell: np.ndarray, slot: np.ndarray, out: np.ndarray) -> None:
    """What surrounds ``cell`` (n, 2) goes to ``out[slot]`` (n_slots, height, height * N_CHANNELS), zeros to the rest.

    ``slot`` (n,) rises.
    """
    i = 0
    for place in range(len(out)):
        if i == len(slot) or slot[i] != place:
            out[place] = 0
            continue
        left, top = N_CHANNELS * cell[i, 0], cell[i, 1]
        for row in range(len(mask)):
            # Slices of equal length, and a mask instead of spans: the compiler then copies 64 bytes at once.
            source, target, shown = board[top + row, left : left + mask.shape[1]], out[place, row], mask[row]
            for byte in range(mask.shape[1]):
                target[byte] = source[byte] & shown[byte]
        i += 1
