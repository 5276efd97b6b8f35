"""Mean fields: sums and means over the living members of groups, and the attention that weighs them.

Membership is a dense (B, m, N) matrix and every reduction one batched product: O(N m).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def live_group(group: Tensor, alive: Tensor) -> Tensor:
    """Return ``group`` (B, N) int64 with -1 for the dead."""
    return group.masked_fill(~alive, -1)


def membership(group: Tensor, n_groups: int, dtype: torch.dtype) -> Tensor:
    """Return W (B, m, N): 1 where agent k is in group i, else 0; an agent of ``group`` (B, N) int64 = -1 is in none."""
    labels = torch.arange(n_groups, device=group.device)
    return (group[:, None, :] == labels[:, None]).to(dtype)


def group_mean(value: Tensor, member: Tensor) -> Tensor:
    """Average over members: (B, N, F), W (B, m, N) -> (B, m, F), zero for empty groups (paper Eq. 17)."""
    size = member.sum(-1, keepdim=True).clamp(min=1.0)
    return torch.bmm(member, value) / size


def group_sum(value: Tensor, member: Tensor) -> Tensor:
    """Add up over members: (B, N), W (B, m, N) -> (B, m), zero for empty groups."""
    return torch.bmm(member, value[..., None]).squeeze(-1)


def of_own_group(value: Tensor, group: Tensor) -> Tensor:
    """Give each agent its group's value: (B, m), (B, N) int64 -> (B, N); agents in no group (-1) read group 0."""
    return value.gather(1, group.clamp(min=0))


def to_members(value: Tensor, member: Tensor) -> Tensor:
    """Give each agent its group's vector: (B, m, F), W (B, m, N) of zeros and ones -> (B, N, F); zeros in no group."""
    return torch.bmm(member.transpose(1, 2), value)


def uniform_weight(member: Tensor) -> Tensor:
    """Compute lambda = 1 / n_i over members, zero elsewhere: W (B, m, N) -> (B, m, N)."""
    return member / member.sum(-1, keepdim=True).clamp(min=1.0)


def attention_weight(query: Tensor, key: Tensor, member: Tensor) -> Tensor:
    """Compute lambda = softmax over members of query_i . key_k / sqrt(d), else 0 (paper Eq. 9; docs/equations.md).

    One query per group, (B, m, d); one key per agent, (B, N, d); W (B, m, N) -> (B, m, N). Rows of empty groups are
    zero.
    """
    score = torch.bmm(query, key.transpose(1, 2)) / key.shape[-1] ** 0.5
    return masked_softmax(score, member > 0)


def masked_softmax(score: Tensor, inside: Tensor) -> Tensor:
    """Compute the softmax over the last axis where ``inside`` (bool, broadcast), zero elsewhere and in empty rows."""
    # A finite floor instead of -inf: an empty row becomes uniform, then zero, and no gradient is NaN.
    score = score.masked_fill(~inside, torch.finfo(score.dtype).min)
    return torch.softmax(score, dim=-1).masked_fill(~inside, 0.0)


def weight_entropy(weight: Tensor, member: Tensor) -> Tensor:
    """Compute lambda's entropy in each group, over log n_i, 1 when uniform, 0 for n_i <= 1.

    lambda and W (B, m, N) -> (B, m).
    """
    entropy = -(weight * weight.clamp(min=1e-12).log()).sum(-1)
    size = member.sum(-1)
    return torch.where(size > 1, entropy / size.clamp(min=2).log(), torch.zeros_like(entropy))


def mean_action_of_others(action: Tensor, alive: Tensor, n_actions: int) -> Tensor:
    """Average the one-hot actions of the other living agents (Yang et al. 2018): (B, N) int64 -> (B, N, A).

    Only agents that are alive and have an action (>= 0) count; where there is no other one, the result is zero.
    """
    acting = alive & (action >= 0)
    onehot_BNA = one_hot(action.clamp(min=0), n_actions).to(torch.float32) * acting[..., None]
    others_BNA = onehot_BNA.sum(1, keepdim=True) - onehot_BNA
    count_BN1 = (acting.sum(1, keepdim=True) - acting.long())[..., None]
    return others_BNA / count_BN1.clamp(min=1)


def mean_action_of_team(action: Tensor, n_actions: int) -> Tensor:
    """Average the one-hot actions of all agents that have one (>= 0): (B, N) int64 -> (B, N, A), equal rows.

    As in the authors' code of MFQ, an agent's own action counts too. Where no agent has an action, the result is zero.
    """
    acted = (action >= 0)[..., None]
    total_B1A = (one_hot(action.clamp(min=0), n_actions).to(torch.float32) * acted).sum(1, keepdim=True)
    mean_B1A = total_B1A / acted.sum(1, keepdim=True).clamp(min=1)
    return mean_B1A.expand(-1, action.shape[1], -1)
