"""Observations of few entries that are not zero, kept as lists of these, and a linear layer's products with them.

Each product is a compiled loop over the lists on a CPU. Its threads share rows (forward) or outputs (weight gradient),
so every number is one sum in the lists' order: the same, bit for bit, whatever the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from utils.compiled import compiled, compiled_fused
from utils.threads import share

TILE = 8
WORTH_A_THREAD = 2**20  # multiplications, about a tenth of a millisecond


class SparseObs(Tensor):
    """Observations (B, N, *O) on a CPU, as the lists of what is not zero in each of the B * N flattened rows.

    An ordinary tensor to code that does not read the lists: the first operation that needs all entries makes them, and
    keeps them for those that follow. It is only read, never written. The entries are bit for bit what they were before
    they became lists.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # results are plain tensors

    begin: Tensor  # (B * N,) int64, row k's entries are begin[k] to end[k]
    end: Tensor  # (B * N,) int64
    column: Tensor  # (Z,) int32 in [0, O), ascending within a row
    value: Tensor  # (Z,) EnvInfo.obs_dtype, as stored
    scale: float | None  # numbers are float32, value * scale; None: as stored

    @staticmethod
    def __new__(
        cls: type[SparseObs],
        begin: Tensor,
        end: Tensor,
        column: Tensor,
        value: Tensor,
        shape: Sequence[int],
        scale: float | None = None,
    ) -> SparseObs:
        """Make the tensor without storage; see `__init__`."""
        return Tensor._make_wrapper_subclass(cls, tuple(shape), dtype=value.dtype if scale is None else torch.float32)

    def __init__(
        self,
        begin: Tensor,
        end: Tensor,
        column: Tensor,
        value: Tensor,
        shape: Sequence[int],
        scale: float | None = None,
    ) -> None:
        """Keep the lists; ``shape``: (B, N, *O)."""
        self.begin, self.end, self.column, self.value, self.scale = begin, end, column, value, scale

    @cached_property
    def dense(self) -> Tensor:
        """The plain tensor of the same shape and entries."""
        if self.dim() > 3:
            return self._flat.dense.view(self.shape)
        return self.write(torch.empty(self.shape, dtype=self.dtype))

    @cached_property
    def _flat(self) -> SparseObs:
        """(B, N, O), which shares what `dense` makes."""
        shape = (*self.shape[:2], math.prod(self.shape[2:]))
        return self._with(shape=shape)

    def write(self, out: Tensor) -> Tensor:
        """Write the entries into ``out``, contiguous and of the same shape and dtype, and return it."""
        rows = out.view(len(self.begin), math.prod(self.shape[2:])).numpy()
        scatter(*self.lists, rows.dtype.type(self.scale or 1), rows)
        return out

    def decoded(self, scale: float) -> SparseObs:
        """Return the same lists in natural units, float32: what was stored times ``scale``."""
        return self._with(scale=scale)

    def pick(self, index: Tensor) -> SparseObs:
        """Return those of the B that ``index`` (S,) int64 names; the entries are shared."""
        begin, end = (bound.view(self.shape[:2])[index].flatten() for bound in (self.begin, self.end))
        return self._with(begin=begin, end=end, shape=(len(index), *self.shape[1:]))

    def _with(self, **changed: Any) -> SparseObs:
        kept = {name: getattr(self, name) for name in ("begin", "end", "column", "value", "shape", "scale")}
        return SparseObs(**{**kept, **changed})

    @property
    def lists(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``begin``, ``end``, ``column``, ``value``, as compiled loops want them."""
        return self.begin.numpy(), self.end.numpy(), self.column.numpy(), self.value.numpy()

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Flatten as any tensor does; the result is still lists where only the observations' own axes become one."""
        if (start_dim, end_dim) != (2, -1):
            return self.dense.flatten(start_dim, end_dim)
        return self._flat if self.dim() > 3 else self

    @property
    def n_entries(self) -> int:
        """Entries of all rows together."""
        return int((self.end - self.begin).sum())

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """Return the entries as any tensor does."""
        return self.dense.numpy(force=force)

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., SparseObs], tuple[Any, ...]]:
        return SparseObs, (self.begin, self.end, self.column, self.value, tuple(self.shape), self.scale)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation that does not read the lists on the plain tensor."""
        args, kwargs = tree_map(lambda value: value.dense if isinstance(value, cls) else value, (args, kwargs or {}))
        return func(*args, **kwargs)


def joined(parts: Sequence[SparseObs]) -> SparseObs:
    """Return observations of one kind, the first ones first."""
    offset = np.cumsum([0] + [len(part.column) for part in parts]).tolist()
    return parts[0]._with(
        begin=torch.cat([part.begin + before for part, before in zip(parts, offset, strict=False)]),
        end=torch.cat([part.end + before for part, before in zip(parts, offset, strict=False)]),
        column=torch.cat([part.column for part in parts]),
        value=torch.cat([part.value for part in parts]),
        shape=(sum(len(part) for part in parts), *parts[0].shape[1:]),
    )


def sparse_linear(obs: SparseObs, weight_IH: np.ndarray, bias_H: np.ndarray) -> np.ndarray:
    """Multiply the rows (K, O) of ``obs`` by the first O rows of ``weight_IH`` and add ``bias_H``: (K, H) float32."""
    out_KH = np.empty((len(obs.begin), len(bias_H)), np.float32)
    worth = 1 + WORTH_A_THREAD * len(out_KH) // (1 + obs.n_entries * len(bias_H))
    share(linear_rows, len(out_KH), worth, *obs.lists, np.float32(obs.scale or 1), weight_IH, bias_H, out_KH)
    return out_KH


def add_weight_gradient(obs: SparseObs, grad_KH: np.ndarray, out_IH: np.ndarray) -> None:
    """Add the transposed rows of ``obs`` times ``grad_KH`` to the first O rows of ``out_IH``."""
    worth = 1 + WORTH_A_THREAD // (1 + obs.n_entries)
    share(add_outer, grad_KH.shape[1], worth, *obs.lists, np.float32(obs.scale or 1), grad_KH, out_IH)


def transposed(matrix: np.ndarray) -> np.ndarray:
    """Return a contiguous copy of the transpose, float32; torch and NumPy take up to three times as long."""
    out = np.empty(matrix.shape[::-1], np.float32)
    transpose(matrix, out)
    return out


@compiled
def transpose(matrix: np.ndarray, out: np.ndarray) -> None:
    """Write the transpose into ``out``, tile by tile: addresses of a column may be a power of two apart, and then share
    few places in the cache.
    """
    height, width = matrix.shape
    inner_height, inner_width = height - height % TILE, width - width % TILE
    for j0 in range(0, inner_width, TILE):
        for i0 in range(0, inner_height, TILE):
            for j in range(TILE):
                for i in range(TILE):
                    out[j0 + j, i0 + i] = matrix[i0 + i, j0 + j]
    for i in range(height):
        for j in range(inner_width if i < inner_height else 0, width):
            out[j, i] = matrix[i, j]


@compiled
def scatter(
    begin: np.ndarray, end: np.ndarray, column: np.ndarray, value: np.ndarray, scale: np.generic, out: np.ndarray
) -> None:
    """Write the lists' values times ``scale``, which has the dtype of ``out``, and zeros into ``out`` (K, O)."""
    for k in range(len(out)):
        row = out[k]
        row[:] = 0
        for z in range(begin[k], end[k]):
            row[column[z]] = value[z] * scale


@compiled_fused
def linear_rows(
    first: int,
    last: int,
    begin: np.ndarray,
    end: np.ndarray,
    column: np.ndarray,
    value: np.ndarray,
    scale: np.float32,
    weight: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
) -> None:
    """Compute the rows ``first`` to ``last`` of `sparse_linear`."""
    width = out.shape[1]
    for k in range(first, last):
        row, z, stop = out[k], begin[k], end[k]
        row[:] = bias
        while z + 3 < stop:  # by fours: the sum is then read and written a quarter as often
            a, b = np.float32(value[z]) * scale, np.float32(value[z + 1]) * scale
            c, d = np.float32(value[z + 2]) * scale, np.float32(value[z + 3]) * scale
            weight_a, weight_b = weight[column[z]], weight[column[z + 1]]
            weight_c, weight_d = weight[column[z + 2]], weight[column[z + 3]]
            for j in range(width):
                row[j] = row[j] + a * weight_a[j] + b * weight_b[j] + c * weight_c[j] + d * weight_d[j]
            z += 4
        while z < stop:
            a, weight_a = np.float32(value[z]) * scale, weight[column[z]]
            for j in range(width):
                row[j] += a * weight_a[j]
            z += 1


@compiled_fused
def add_outer(
    first: int,
    last: int,
    begin: np.ndarray,
    end: np.ndarray,
    column: np.ndarray,
    value: np.ndarray,
    scale: np.float32,
    grad: np.ndarray,
    out: np.ndarray,
) -> None:
    """Compute the outputs ``first`` to ``last`` of `add_weight_gradient`."""
    for k in range(len(grad)):
        row, z, stop = grad[k, first:last], begin[k], end[k]
        while z + 1 < stop:
            a, b = np.float32(value[z]) * scale, np.float32(value[z + 1]) * scale
            out_a, out_b = out[column[z], first:last], out[column[z + 1], first:last]
            for j in range(len(row)):
                out_a[j] += a * row[j]
                out_b[j] += b * row[j]
            z += 2
        if z < stop:
            a, out_a = np.float32(value[z]) * scale, out[column[z], first:last]
            for j in range(len(row)):
                out_a[j] += a * row[j]
