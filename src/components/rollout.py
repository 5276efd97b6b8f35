"""The rollout regime's memory: the last rows, learned from in order and overwritten."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from components.batch import Batch, Step
from components.rows import Rows, RowSpec
from components.sparse import SparseObs, joined


class Rollout(Rows):
    """The last T transitions of E environments, with the row before them (previous actions) and the one after."""

    def __init__(self, spec: RowSpec, rollout_length: int, generator: torch.Generator) -> None:
        super().__init__(spec, rollout_length + 2, generator)
        self.rollout_length = rollout_length
        self._lists: list[SparseObs | None] = [None] * self.n_rows  # observations of the rows, where they came as lists
        self._joined: SparseObs | None = None

    def insert(self, step: Step, action: Tensor, group: Tensor) -> None:
        """Store a row, as `Rows.insert` does; on a CPU also the lists that its observations may be."""
        head = self.head
        super().insert(step, action, group)
        self._lists[head] = None
        if isinstance(step.obs, SparseObs) and self.device.type == "cpu":
            self._lists[head] = step.obs.decoded(self.info.obs_scale)
        self._joined = None

    def _decoded(self, row: Tensor, env: Tensor) -> Tensor:
        """Decode what was stored, unless the lists that were acted on are still there (they are no part of a state)."""
        if self._joined is None:
            lists = [row_lists for row_lists in self._lists if row_lists is not None]
            if len(lists) < self.n_rows:
                return super()._decoded(row, env)
            self._joined = joined(lists)
        return self._joined.pick(self._index(row, env))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._lists, self._joined = [None] * self.n_rows, None

    @property
    def ready(self) -> bool:
        """T transitions were stored that `window` has not covered before."""
        return self.stored > self.rollout_length and (self.stored - 1) % self.rollout_length == 0

    def window(self) -> tuple[Tensor, Tensor]:
        """Return (row, environment) of the last T transitions, both (T, E) int64; junctions of episodes are among them.

        Only when ``ready``.
        """
        row_T = (self.stored - 1 - self.rollout_length + torch.arange(self.rollout_length)) % self.n_rows
        row_TE = row_T[:, None].expand(-1, self.n_envs)
        return row_TE, torch.arange(self.n_envs).expand_as(row_TE)

    def carry(self) -> Tensor:
        """Return (T, E) bool: the next transition of `window` goes on from this one, in the same episode and groups.

        An agent that dies does not change its group. Only when ``ready``.
        """
        row_TE, env_TE = self.window()
        next_TE = (row_TE + 1) % self.n_rows
        group_TEN, next_group_TEN = (self._read("group", row, env_TE) for row in (row_TE, next_TE))
        moved_TE = ((group_TEN != next_group_TEN) & (next_group_TEN >= 0)).any(-1)
        carry_TE = ~self.done[next_TE, env_TE] & ~self.done[row_TE, env_TE]
        carry_TE[-1] = False  # the next transition is another rollout's
        return carry_TE.to(self.device, non_blocking=True) & ~moved_TE

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw different transitions of those that are kept, ``batch_size`` if there are as many."""
        start = self.valid.nonzero()
        start = start[torch.randperm(len(start), generator=generator)[:batch_size]]
        return self.gather(start[:, 0], start[:, 1])
