"""Views: what the agents of a grid world observe, cut out of one map.

A row of a world is stored as three whole numbers an agent (`COMPACT`), tens of times fewer bytes than all agents'
views; views are cut out of the map when they are used: to act, and again when a replayed row is learned from. Cell for
cell they are what MAgent2's ``get_observation`` gives (tests/unit/envs/test_gridworld.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from components.sparse import SparseObs
from utils.compiled import compiled
from utils.threads import share

N_CHANNELS = 5  # wall, own presence, own health, other presence, other health
OBS_SCALE = 0.01  # presence is 0 or 1, health a multiple of 1 % (UnitType.check sees to it): uint8 holds both exactly
FULL = round(1 / OBS_SCALE)
WALL, OWN, OTHER = 1, 256, 512  # what a cell of the board holds: a wall, or a side and the health of its agent
WORTH_A_THREAD = 2**17  # entries that views could have, a tenth of a millisecond or more
COMPACT = ("x", "y", "health")  # int16: cell, and percent of full health; x is -1 for the dead


def empty_board(map_size: int, margin: int) -> np.ndarray:
    """Make the map with its border walls and ``margin`` empty cells around them, uint8.

    It has one row of N_CHANNELS bytes a cell for each row of cells.
    """
    board = np.zeros((map_size, map_size, N_CHANNELS), dtype=np.uint8)
    board[:, :, 0] = FULL
    board[1:-1, 1:-1, 0] = 0
    around = ((margin, margin), (margin, margin), (0, 0))
    return np.pad(board, around).reshape(map_size + 2 * margin, -1)


@compiled
def cut_views(
    begin: int,
    end: int,
    compact: np.ndarray,
    n_own: int,
    ground: np.ndarray,
    margin: int,
    cell: np.ndarray,
    place: np.ndarray,
    count: np.ndarray,
    column: np.ndarray,
    value: np.ndarray,
) -> None:
    """List the entries of all agents' views that are not zero, in the rows ``begin`` to ``end``; none for the dead.

    compact: (R, 3, n) int16, COMPACT of the ``n_own`` agents that look and then of the others. ground: (height, width)
    int16, WALL or 0, with ``margin`` cells around the map. cell: (C,) int64, the cells of a view, counted along the
    ground from its upper left; place: (C,) int32, where their channels begin in a view. Into column, value: (R, ...),
    the entries of a row's agents, one after another; into count: (R, n_own) int64, the number of each agent's.
    """
    board, width = np.empty_like(ground), ground.shape[1]
    cells = board.reshape(-1)
    for r in range(begin, end):
        x, y, health = compact[r, 0], compact[r, 1], compact[r, 2]
        board[:] = ground
        for i in range(len(x)):
            if x[i] >= 0:
                board[y[i] + margin, x[i] + margin] = (OWN if i < n_own else OTHER) + health[i]
        at, columns, values = 0, column[r], value[r]
        for i in range(n_own):
            before = at
            if x[i] >= 0:
                corner = y[i] * width + x[i]
                for c in range(len(cell)):
                    found = cells[corner + cell[c]]
                    if found == 0:
                        continue
                    values[at] = FULL
                    if found == WALL:
                        columns[at] = place[c]
                        at += 1
                    else:
                        columns[at] = place[c] + (1 if found < OTHER else 3)
                        columns[at + 1] = columns[at] + 1
                        values[at + 1] = found & (OWN - 1)
                        at += 2 if values[at + 1] > 0 else 1
            count[r, i] = at - before


def _packed(padded: np.ndarray, filled: np.ndarray) -> Tensor:
    """Join the first ``filled`` (R,) numbers of each row (R, ...), one row after another."""
    return torch.from_numpy(
        np.concatenate([row[:n] for row, n in zip(padded, filled, strict=True)] or [padded.ravel()])
    )


class Views:
    """Views of one side of a world, made of compact rows on the device where these are."""

    def __init__(self, map_size: int, n_own: int, n_other: int, mask: np.ndarray) -> None:
        """Prepare the map; ``mask``: (height, height * N_CHANNELS) bool, what a view shows."""
        self.n_own = n_own
        self.compact_dim = len(COMPACT) * (n_own + n_other)
        self.mask = mask
        self.margin = len(mask) // 2
        self.empty = empty_board(map_size, self.margin)
        self.obs_shape = (len(mask), len(mask), N_CHANNELS)
        self._ground = np.where(self.empty[:, ::N_CHANNELS] > 0, WALL, 0).astype(np.int16)
        down, along = mask[:, ::N_CHANNELS].nonzero()
        self._cell = down * self._ground.shape[1] + along
        self._place = (N_CHANNELS * (down * len(mask) + along)).astype(np.int32)
        self._resident: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, compact: Tensor) -> Tensor:
        """Make decoded observations (R, n_own, *obs_shape) float32 of (R, compact_dim) int16, on the same device.

        They are lists on a CPU.
        """
        if compact.device.type == "cpu":
            return self.lists(compact).decoded(OBS_SCALE)
        return self.gather(compact.unflatten(1, (len(COMPACT), -1))).to(torch.float32).mul_(OBS_SCALE)

    def lists(self, compact: Tensor) -> SparseObs:
        """List the views of (R, compact_dim) int16 as stored, uint8."""
        rows = compact.unflatten(1, (len(COMPACT), -1)).numpy()
        most = 2 * self.n_own * len(self._cell)
        count = np.empty((len(rows), self.n_own), np.int64)
        column, value = np.empty((len(rows), most), np.int32), np.empty((len(rows), most), np.uint8)
        world = self.n_own, self._ground, self.margin, self._cell, self._place
        share(cut_views, len(rows), 1 + WORTH_A_THREAD // most, rows, *world, count, column, value)
        end, filled = count.cumsum(), count.sum(1)
        return SparseObs(
            begin=torch.from_numpy(end - count.ravel()),
            end=torch.from_numpy(end),
            column=_packed(column, filled),
            value=_packed(value, filled),
            shape=(len(rows), self.n_own, *self.obs_shape),
        )

    def gather(self, rows: Tensor) -> Tensor:
        """Gather the views of (R, 3, n) int16 as stored, uint8, in whole tensors: nothing waits for an accelerator."""
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
