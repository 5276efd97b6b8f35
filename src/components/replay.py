"""The replay regime's memory: rows that are drawn again and again."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.batch import Batch
from components.rows import ReplayError, Rows, RowSpec


class Replay(Rows):
    """Ring buffer of ``buffer_size`` joint transitions of E environments; the stream that samples is its own."""

    def __init__(self, spec: RowSpec, buffer_size: int, generator: torch.Generator) -> None:
        n_rows, (burn_in, length) = math.ceil(buffer_size / spec.n_envs), spec.window or (1, 1)
        least = burn_in + length + 2  # two rows that may begin what is sampled, of which one ends no episode
        if n_rows < least:
            raise ReplayError(
                f"buffer_size: expected at least {least * spec.n_envs} joint transitions for "
                f"{spec.n_envs} parallel environments, got {buffer_size}. Raise buffer_size or lower batch_size_run."
            )
        super().__init__(spec, n_rows, generator)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Batch:
        """Draw ``batch_size`` transitions, uniformly; sequences of ``length`` transitions for recurrent agents.

        Uses the replay's own random stream, or ``generator``. Raises ReplayError when there are none.
        """
        n_starts = max(1, batch_size // self.length)
        row, env = self._sample_starts(n_starts, generator or self.generator)
        return self.gather(row, env)

    def _sample_starts(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        flat = self.valid.view(-1)
        if not flat.any():
            raise ReplayError(
                f"replay: nothing to sample yet, no row is followed by {self.length} others. Raise learning_starts."
            )
        filled = min(self.stored, self.n_rows) * self.n_envs

        def draw(n: int) -> Tensor:
            return torch.randint(filled, (n,), generator=generator)

        index = draw(count)
        while (wrong := ~flat[index]).any():  # a few per cent: junctions and the newest row
            index[wrong] = draw(int(wrong.sum()))
        return index // self.n_envs, index % self.n_envs
