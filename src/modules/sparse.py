"""A linear layer that reads dense observations, or only what is not zero of sparse ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from components.sparse import SparseObs, add_weight_gradient, sparse_linear, transposed
from modules.nets import join_extra

MIN_ROWS: float = 100  # fewer are multiplied faster dense (measured; an infinite number: dense always)


class SparseLinear(nn.Linear):
    """`nn.Linear` on observations and further inputs: same parameters, same result within float32's rounding.

    Of observations that are lists, MIN_ROWS or more, it reads only what is not zero, and they receive no gradient.
    """

    def forward(self, obs: Tensor, extra: Tensor | None = None) -> Tensor:
        """Map observations (B, N, *O) and further inputs (B, N, X) or None to (B, N, out_features).

        in_features = O + X.
        """
        if isinstance(obs, SparseObs):
            if obs.shape[0] * obs.shape[1] >= MIN_ROWS:
                return _SparseProduct.apply(self.weight, self.bias, obs, extra)
            obs = obs.dense
        return super().forward(join_extra(obs.flatten(2), extra))


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, obs: SparseObs, extra: Tensor | None) -> Tensor:
        out_KH = torch.from_numpy(sparse_linear(obs, transposed(weight.numpy()), bias.numpy()))
        if extra is not None:
            extra = extra.flatten(0, 1)
            out_KH.addmm_(extra, weight[:, -extra.shape[1] :].t())
        ctx.obs, ctx.extra, ctx.in_dim = obs, extra, weight.shape[1]
        return out_KH.unflatten(0, obs.shape[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BNH: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_KH = grad_BNH.flatten(0, 1).contiguous()
        grad_IH = torch.zeros(ctx.in_dim, grad_KH.shape[1])
        add_weight_gradient(ctx.obs, grad_KH.numpy(), grad_IH.numpy())
        if ctx.extra is not None:
            torch.mm(ctx.extra.t(), grad_KH, out=grad_IH[-ctx.extra.shape[1] :])
        return torch.from_numpy(transposed(grad_IH.numpy())), grad_KH.sum(0), None, None
