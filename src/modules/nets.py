"""Building blocks: plain and stacked multi-layer perceptrons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from utils.errors import InputError


class NetworkError(InputError):
    """A network that does not fit what it shall serve."""


Normalise = Literal["layer", "none"]  # of hidden layers, before their ReLU


def mlp(sizes: Sequence[int], normalise: Normalise = "none") -> nn.Sequential:
    """Build linear layers of the given sizes with ReLU between them: (..., sizes[0]) -> (..., sizes[-1])."""
    return _perceptron(sizes, nn.Linear, normalise)


def _perceptron(sizes: Sequence[int], linear: Callable[[int, int], nn.Module], normalise: Normalise) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        layers.append(linear(fan_in, fan_out))
        if index < len(sizes) - 2:
            layers += [nn.LayerNorm(fan_out)] * (normalise == "layer") + [nn.ReLU()]
    return nn.Sequential(*layers)


def join_extra(x_BNF: Tensor, extra_BNX: Tensor | None) -> Tensor:
    """Append further inputs to features."""
    return x_BNF if extra_BNX is None else torch.cat((x_BNF, extra_BNX), dim=-1)


class StackedLinear(nn.Module):
    """``n`` independent linear layers in one batched product: (B, n, in) -> (B, n, out)."""

    def __init__(self, n: int, fan_in: int, fan_out: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(fan_in)  # nn.Linear's initial range
        self.weight = nn.Parameter(torch.empty(n, fan_in, fan_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n, 1, fan_out).uniform_(-bound, bound))

    def forward(self, x_BnI: Tensor, extra_BnX: Tensor | None = None) -> Tensor:
        """Apply the layer.

        ``extra_BnX``: further inputs; trailing axes of both are flattened, and count together as in.
        """
        x_BnI = join_extra(x_BnI.flatten(2), extra_BnX)
        return torch.baddbmm(self.bias, x_BnI.transpose(0, 1), self.weight).transpose(0, 1)


def stacked_mlp(n: int, sizes: Sequence[int], normalise: Normalise = "none") -> nn.Sequential:
    """Build ``n`` independent MLPs of the given sizes: (B, n, sizes[0]) -> (B, n, sizes[-1]).

    The scale and offset of normalised layers are common to all.
    """
    return _perceptron(sizes, partial(StackedLinear, n), normalise)


def refuse_above(max_agents: int, n_agents: int, component: str, reason: str) -> None:
    """Raise NetworkError when a network that is made for small teams would have to serve a larger one."""
    if n_agents > max_agents:
        raise NetworkError(
            f"{component}: expected at most max_agents = {max_agents} agents, got {n_agents}. {reason}, which does not "
            "scale. Use --config=vdn, mfq or hmf, fewer env_args.n_agents, or raise max_agents at your own cost."
        )
