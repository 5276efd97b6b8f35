"""Values and targets: pure functions of tensors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.selectors import greedy_action

Aggregation = Literal["sum", "mean"]


def gather_action(q: Tensor, action: Tensor) -> Tensor:
    """Q-values (..., A) of actions (...) int64 -> (...)."""
    return q.gather(-1, action[..., None]).squeeze(-1)


def double_q_value(q_select: Tensor, q_evaluate: Tensor, avail: Tensor | None) -> Tensor:
    """``q_evaluate`` at the action that ``q_select`` likes best (van Hasselt et al. 2016).

    Both (..., A) -> (...). Plain Q-learning passes the same values twice.
    """
    return gather_action(q_evaluate, greedy_action(q_select, avail))


def expected_value(probabilities: Tensor, q: Tensor) -> Tensor:
    """Sum over actions of pi(a) Q(a): (..., A), (..., A) -> (...). MFQ's v_MF (Yang et al. 2018; paper Eq. 3)."""
    return (probabilities * q).sum(-1)


def td_target(reward: Tensor, ended: Tensor, next_value: Tensor, gamma: float) -> Tensor:
    """One-step target ``r + gamma * next_value``, without the bootstrap where ``ended``.

    All of one shape, ``ended`` bool. A next value that is masked out may be anything finite or not.
    """
    return reward + gamma * next_value.masked_fill(ended, 0.0)


def team_reward(reward: Tensor, aggregation: Aggregation) -> Tensor:
    """Rewards (B, N) -> (B,): the sum over agents, or that sum divided by N.

    The divisor is the number of slots, not of survivors, so that both forms have the same optimum.
    """
    return reward.sum(-1) if aggregation == "sum" else reward.mean(-1)


def weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``value`` weighted by ``weight`` (same shape, >= 0); 0 where nothing weighs."""
    return (value * weight).sum() / weight.sum().clamp(min=torch.finfo(value.dtype).tiny)
