"""Values, temporal-difference problems and their targets: pure functions of tensors.

A learner says what is learned, as `TDProblem`s and their `Outcome`s; the regime makes the targets (`td_target` from a
replay, `lambda_return` from a rollout). Units U are agents (N), groups (m) or the team (1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from components.batch import Batch
from components.mean_field import group_mean, group_sum, to_members
from components.selectors import greedy_action

Aggregation = Literal["sum", "mean"]


@dataclass(frozen=True)
class TDProblem:
    """Values that shall predict a return."""

    name: str
    value: Tensor  # (B, U) with gradient
    weight: Tensor  # (B, U) >= 0; (B, V) with ``unit_weight``, (B, 1) with ``total``
    coef: float = 1.0  # of its loss in the whole
    unit_weight: Tensor | None = None  # (B, V, U) gathers the squared errors of units into V sums, as HMF's lambda does
    total: bool = False  # only the sum over units is learned, of what each of them returns

    def loss(self, target_BU: Tensor) -> Tensor:
        """Compute the weighted mean of squared errors."""
        error_BU = self._learned(self.value - target_BU).square()
        gathered = error_BU if self.unit_weight is None else group_sum(error_BU, self.unit_weight)
        return weighted_mean(gathered, self.weight)

    def metrics(self, target_BU: Tensor) -> dict[str, Tensor]:
        """Compute ``td_error_abs`` and ``target_mean``, 0-dim, without gradient."""
        error_BU = self._learned(self.value.detach() - target_BU)
        found = {"td_error_abs": error_BU.abs(), "target_mean": self._learned(target_BU)}
        if self.unit_weight is not None:
            found = {name: group_sum(value_BU, self.unit_weight) for name, value_BU in found.items()}
        return {name: weighted_mean(value, self.weight) for name, value in found.items()}

    def _learned(self, value_BU: Tensor) -> Tensor:
        return value_BU.sum(-1, keepdim=True) if self.total else value_BU


@dataclass(frozen=True)
class Outcome:
    """What follows a transition, for the units of a `TDProblem`; without gradient."""

    reward: Tensor  # (B, U)
    discount: Tensor  # (B, U) gamma, 0 where nothing follows; carries the share of survivors where a mean is learned
    next_value: Tensor  # (B, U)


def gather_action(q: Tensor, action: Tensor) -> Tensor:
    """Gather Q-values (..., A) of actions (...) int64 -> (...)."""
    return q.gather(-1, action[..., None]).squeeze(-1)


def double_q_value(q_select: Tensor, q_evaluate: Tensor, avail: Tensor | None) -> Tensor:
    """Gather ``q_evaluate`` at the action that ``q_select`` likes best (van Hasselt et al. 2016).

    Both (..., A) -> (...). Plain Q-learning passes the same values twice.
    """
    return gather_action(q_evaluate, greedy_action(q_select, avail))


def expected_value(probabilities: Tensor, q: Tensor) -> Tensor:
    """Sum pi(a) Q(a) over actions: (..., A), (..., A) -> (...). MFQ's v_MF (Yang et al. 2018; paper Eq. 3)."""
    return (probabilities * q).sum(-1)


def td_target(outcome: Outcome) -> Tensor:
    """Compute the one-step target r + discount * v(s'), of any one shape.

    Next values that are discounted away may be anything.
    """
    return outcome.reward + outcome.discount * outcome.next_value.masked_fill(outcome.discount == 0.0, 0.0)


def lambda_return(outcome: Outcome, carry: Tensor, td_lambda: float) -> Tensor:
    """Compute Q(lambda)'s target over T consecutive transitions (Peng and Williams 1996; Gallici et al. 2024, PQN).

    target_t = r_t + discount_t ((1 - lambda) v_{t+1} + lambda target_{t+1}) where ``carry``, else the one-step target.
    ``outcome`` holds (T, E, U); ``carry`` (T, E, U) bool, or broadcast: the transition at t + 1 belongs to the same
    episode, unit and window. Its last row is never read. lambda = 0 is `td_target`, lambda = 1 the discounted sum.
    """
    next_TEU = outcome.next_value.masked_fill(outcome.discount == 0.0, 0.0)
    target = [outcome.reward[-1] + outcome.discount[-1] * next_TEU[-1]]
    for t in range(len(next_TEU) - 2, -1, -1):
        mixed_EU = torch.where(carry[t], (1.0 - td_lambda) * next_TEU[t] + td_lambda * target[-1], next_TEU[t])
        target.append(outcome.reward[t] + outcome.discount[t] * mixed_EU)
    return torch.stack(target[::-1])


def discount(gamma: float, goes_on: Tensor, dtype: torch.dtype) -> Tensor:
    """Return gamma where ``goes_on`` (bool), 0 elsewhere."""
    return gamma * goes_on.to(dtype)


def agent_outcome(batch: Batch, reward_BN: Tensor, next_value_BN: Tensor, gamma: float) -> Outcome:
    """Return what follows for each agent by itself: no bootstrap for those dead at t + 1, nor at a true end."""
    goes_on_BN = ~batch.terminated[:, None] & batch.next_alive
    return Outcome(reward_BN, discount(gamma, goes_on_BN, next_value_BN.dtype), next_value_BN)


def agent_weight(batch: Batch) -> Tensor:
    """Return (B, N) float32: the transition's weight for agents that acted, 0 for the dead."""
    return batch.alive * batch.weight[:, None]


def shared_reward(reward_BN: Tensor, member_BmN: Tensor, sharing: float) -> Tensor:
    """Blend rewards: (1 - sharing) r_k + sharing * mean reward of k's group (ours), (B, N) -> (B, N).

    Sharing 0 is selfish, 1 cooperative. ``member_BmN``: zeros and ones; agents of no group keep their own share only.
    """
    if sharing == 0.0:
        return reward_BN
    mean_Bm1 = group_mean(reward_BN[..., None], member_BmN)
    return (1.0 - sharing) * reward_BN + sharing * to_members(mean_Bm1, member_BmN).squeeze(-1)


def team_reward(reward: Tensor, aggregation: Aggregation) -> Tensor:
    """Sum rewards over agents, (B, N) -> (B,); or divide that sum by N.

    The divisor is the number of slots, not of survivors, so that both forms have the same optimum.
    """
    return reward.sum(-1) if aggregation == "sum" else reward.mean(-1)


def weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    """Compute the mean of ``value`` weighted by ``weight`` (same shape, >= 0); 0 where nothing weighs."""
    return (value * weight).sum() / weight.sum().clamp(min=torch.finfo(value.dtype).tiny)
