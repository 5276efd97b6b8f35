"""Target networks: frozen copies that follow softly (Algorithm 1, lines 15-17)."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """Copy a module; the copy's parameters never receive gradients."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def soft_update(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Set target <- tau * online + (1 - tau) * target, parameters only, in place; tau = 1 copies."""
    parameters: list[Tensor] = list(target.parameters())
    if parameters:  # a mixer may have none
        torch._foreach_lerp_(parameters, list(online.parameters()), tau)
