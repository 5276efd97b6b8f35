"""What every agent of a grid world sees, cut out of one map.

A row of a world is told by three whole numbers an agent (`COMPACT`), tens of times fewer bytes than everybody's view;
views are cut out of the map when somebody wants to see them: to act, and again when a replayed row is learned
from. Cell for cell what MAgent2's ``get_observation`` gives (tests/unit/envs/test_gridworld.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from utils.compiled import compiled

N_CHANNELS = 5  # wall, own presence, own health, other presence, other health
OBS_SCALE = 0.01  # presence is 0 or 1, health a multiple of 1 % (UnitType.check sees to it): uint8 holds both exactly
FULL = round(1 / OBS_SCALE)
COMPACT = ("x", "y", "health")  # int16: cell, and percent of full health; x is -1 for the dead


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
def draw_views(
    begin: int,
    end: int,
    compact: np.ndarray,
    n_own: int,
    empty: np.ndarray,
    levels: np.ndarray,
    mask: np.ndarray,
    out: np.ndarray,
) -> None:
    """Everybody's view of the map as it stands in the rows ``begin`` to ``end``; zeros for the dead.

    compact: (R, 3, n) int16, COMPACT of the ``n_own`` agents that look and then of the others. mask: (height,
    height * N_CHANNELS) bool, what is shown. out: (R, n_own, *mask.shape), stored or decoded; of its dtype are also
    empty: `empty_board`, and levels: (FULL + 1,), what a percentage becomes.
    """
    board = np.empty_like(empty)
    margin, width = len(mask) // 2, mask.shape[1]
    for r in range(begin, end):
        x, y, health = compact[r, 0], compact[r, 1], compact[r, 2]
        board[:] = empty
        for i in range(len(x)):
            if x[i] >= 0:
                at = N_CHANNELS * (x[i] + margin) + (1 if i < n_own else 3)
                board[y[i] + margin, at] = levels[-1]
                board[y[i] + margin, at + 1] = levels[health[i]]
        for i in range(n_own):
            if x[i] < 0:
                out[r, i] = 0
                continue
            left, top = N_CHANNELS * x[i], y[i]
            for row in range(len(mask)):
                # Slices of equal length, and a mask instead of spans: the compiler then copies 64 bytes at once.
                source, target, shown = board[top + row, left : left + width], out[r, i, row], mask[row]
                for k in range(width):
                    target[k] = source[k] if shown[k] else 0


class Views:
    """What one side of a world sees, from compact rows wherever they are."""

    def __init__(self, map_size: int, n_own: int, n_other: int, mask: np.ndarray) -> None:
        """``mask``: (height, height * N_CHANNELS) bool, what is shown."""
        self.n_own = n_own
        self.compact_dim = len(COMPACT) * (n_own + n_other)
        self.mask = mask
        self.margin = len(mask) // 2
        self.empty = empty_board(map_size, self.margin)
        self.levels = np.arange(FULL + 1, dtype=np.uint8)
        self._decoded_levels = self.levels * np.float32(OBS_SCALE)
        self._decoded_empty = self._decoded_levels[self.empty]
        self.obs_shape = (len(mask), len(mask), N_CHANNELS)
        self._resident: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, compact: Tensor) -> Tensor:
        """(R, compact_dim) int16 -> decoded observations (R, n_own, *obs_shape) float32 on the same device."""
        rows = compact.unflatten(1, (len(COMPACT), -1))
        if compact.device.type != "cpu":
            return self.gather(rows).to(torch.float32).mul_(OBS_SCALE)
        out = torch.empty(len(rows), self.n_own, *self.mask.shape)
        palette = self._decoded_empty, self._decoded_levels
        draw_views(0, len(rows), rows.numpy(), self.n_own, *palette, self.mask, out.numpy())
        return out.view(*out.shape[:2], *self.obs_shape)

    def gather(self, rows: Tensor) -> Tensor:
        """Views as stored, uint8, of (R, 3, n) int16: in whole tensors, so that nothing waits for an accelerator."""
        device, (n_rows, _, n_agents) = rows.device, rows.shape
        if device not in self._resident:
            self._resident[device] = torch.from_numpy(self.empty).to(device), torch.from_numpy(self.mask).to(device)
        empty, mask = self._resident[device]
        x, y, health = rows.long().unbind(1)
        alive, width = x >= 0, self.empty.shape[1]
        # Two bytes more than the map, where the dead are put.
        board = torch.cat((empty.flatten().expand(n_rows, -1), empty.new_zeros(n_rows, 2)), dim=1)
        channel = torch.where(torch.arange(n_agents, device=device) < self.n_own, 1, 3)
        place = (y + self.margin) * width + N_CHANNELS * (x + self.margin) + channel
        place = torch.where(alive, place, self.empty.size)
        board.scatter_(1, place, FULL)
        board.scatter_(1, place + 1, health.to(torch.uint8))
        corner = (y * width + N_CHANNELS * x)[:, : self.n_own]
        height, view_width = self.mask.shape
        down, along = torch.arange(height, device=device), torch.arange(view_width, device=device)
        offset = (down[:, None] * width + along).flatten()
        index = (corner.clamp(min=0)[..., None] + offset).flatten(1)
        seen = board.gather(1, index).view(n_rows, self.n_own, -1)
        seen = seen * mask.flatten()
        return (seen * alive[:, : self.n_own, None]).view(n_rows, self.n_own, *self.obs_shape)
