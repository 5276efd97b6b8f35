"""Observations of which little is not zero, kept as lists of what is, and a linear layer's products with them.

Each product is a compiled loop over the lists on a CPU. Its threads share rows (forward) or outputs (weight gradient),
so every number is one sum in the lists' order: the same, bit for bit, whatever the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from utils.compiled import compiled
from utils.threads import share

WORTH_A_THREAD = 2**20  # multiplications, about a tenth of a millisecond


@dataclass(frozen=True)
class SparseObs:
    """Observations (B, N, *O) on a CPU, as the lists of what is not zero in each of the B * N flattened rows.

    Lossless: ``dense`` is what `components.batch.decode_obs` makes of the stored observations, bit for bit.
    """

    begin: Tensor  # (B * N + 1,) int64, row k's entries are begin[k] to begin[k + 1]
    column: Tensor  # (Z,) int32 in [0, O), ascending within a row
    value: Tensor  # (Z,) EnvInfo.obs_dtype
    scale: float  # decoded = value * scale
    shape: tuple[int, ...]  # (B, N, *O)

    @cached_property
    def dense(self) -> Tensor:
        """(B, N, *O) float32, decoded."""
        out = torch.empty(self.shape)
        scatter(*self.arrays, np.float32(self.scale), out.view(len(self.begin) - 1, -1).numpy())
        return out

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The lists, as the compiled loops want them."""
        return self.begin.numpy(), self.column.numpy(), self.value.numpy()


def dense(obs: Tensor | SparseObs) -> Tensor:
    """Decoded observations as a tensor, which they may be already."""
    return obs.dense if isinstance(obs, SparseObs) else obs


def sparse_linear(obs: SparseObs, weight_IH: np.ndarray, bias_H: np.ndarray) -> np.ndarray:
    """The rows (K, O) of ``obs`` times the first O rows of ``weight_IH``, plus ``bias_H``: (K, H) float32."""
    begin, column, value = obs.arrays
    out_KH = np.empty((len(begin) - 1, len(bias_H)), np.float32)
    worth = 1 + WORTH_A_THREAD * len(out_KH) // (1 + len(column) * len(bias_H))
    share(linear_rows, len(out_KH), worth, begin, column, value, np.float32(obs.scale), weight_IH, bias_H, out_KH)
    return out_KH


def add_weight_gradient(obs: SparseObs, grad_KH: np.ndarray, out_IH: np.ndarray) -> None:
    """Add the transposed rows of ``obs`` times ``grad_KH`` to the first O rows of ``out_IH``."""
    begin, column, value = obs.arrays
    worth = 1 + WORTH_A_THREAD // (1 + len(column))
    share(add_outer, grad_KH.shape[1], worth, begin, column, value, np.float32(obs.scale), grad_KH, out_IH)


@compiled
def scatter(begin: np.ndarray, column: np.ndarray, value: np.ndarray, scale: np.float32, out: np.ndarray) -> None:
    """``out`` (K, O) float32: the lists' values times ``scale``, and zeros."""
    for k in range(len(out)):
        row = out[k]
        row[:] = 0
        for z in range(begin[k], begin[k + 1]):
            row[column[z]] = np.float32(value[z]) * scale


@compiled
def linear_rows(
    first: int,
    last: int,
    begin: np.ndarray,
    column: np.ndarray,
    value: np.ndarray,
    scale: np.float32,
    weight: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
) -> None:
    """Rows ``first`` to ``last`` of `sparse_linear`."""
    width = out.shape[1]
    for k in range(first, last):
        row, z, end = out[k], begin[k], begin[k + 1]
        row[:] = bias
        while z + 1 < end:  # in pairs: the sum is then read and written half as often
            a, b = np.float32(value[z]) * scale, np.float32(value[z + 1]) * scale
            weight_a, weight_b = weight[column[z]], weight[column[z + 1]]
            for j in range(width):
                row[j] = row[j] + a * weight_a[j] + b * weight_b[j]
            z += 2
        if z < end:
            a, weight_a = np.float32(value[z]) * scale, weight[column[z]]
            for j in range(width):
                row[j] += a * weight_a[j]


@compiled
def add_outer(
    first: int,
    last: int,
    begin: np.ndarray,
    column: np.ndarray,
    value: np.ndarray,
    scale: np.float32,
    grad: np.ndarray,
    out: np.ndarray,
) -> None:
    """Outputs ``first`` to ``last`` of `add_weight_gradient`."""
    for k in range(len(grad)):
        row = grad[k, first:last]
        for z in range(begin[k], begin[k + 1]):
            a, target = np.float32(value[z]) * scale, out[column[z], first:last]
            for j in range(len(row)):
                target[j] += a * row[j]
