"""A linear layer that reads dense observations, or only what is not zero of sparse ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from components.sparse import SparseObs, add_weight_gradient, sparse_linear


class SparseLinear(nn.Linear):
    """`nn.Linear` on observations and further inputs: same parameters, same result within float32's rounding.

    Observations receive no gradient where they are sparse.
    """

    def forward(self, obs: Tensor | SparseObs, extra: Tensor | None = None) -> Tensor:
        """Observations (B, N, *O) and dense inputs (B, N, X) or None, in_features = O + X -> (B, N, out_features)."""
        if isinstance(obs, SparseObs):
            return _SparseProduct.apply(self.weight, self.bias, obs, extra)
        x_BNI = obs.flatten(2)
        return linear(x_BNI if extra is None else torch.cat((x_BNI, extra), dim=-1), self.weight, self.bias)


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, obs: SparseObs, extra: Tensor | None) -> Tensor:
        weight_IH = np.ascontiguousarray(weight.numpy().T)  # torch's own way takes three times as long
        out_BNH = torch.from_numpy(sparse_linear(obs, weight_IH, bias.numpy())).view(*obs.shape[:2], -1)
        if extra is not None:
            out_BNH += linear(extra, weight[:, -extra.shape[-1] :])
        ctx.obs, ctx.extra, ctx.in_dim = obs, extra, weight.shape[1]
        return out_BNH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BNH: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_KH = grad_BNH.flatten(0, 1).contiguous()
        grad_IH = torch.zeros(ctx.in_dim, grad_KH.shape[1])
        add_weight_gradient(ctx.obs, grad_KH.numpy(), grad_IH.numpy())
        if ctx.extra is not None:
            extra_KX = ctx.extra.flatten(0, 1)
            torch.mm(extra_KX.t(), grad_KH, out=grad_IH[-extra_KX.shape[1] :])
        grad_weight = torch.from_numpy(np.ascontiguousarray(grad_IH.numpy().T))
        return grad_weight, grad_KH.sum(0), None, None
