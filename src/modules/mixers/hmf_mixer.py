"""HMF's mixer: from local values to group values and a team value (paper Eq. 9, 11, 13, 15; docs/equations.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from components.mean_field import attention_weight, group_mean, group_sum, membership, uniform_weight
from modules.nets import mlp, stacked_mlp

MeanFieldAction = Literal["expected", "none", "softmax", "taken"]
TopLevel = Literal["own_head", "group_sum", "central", "gmf_sum", "none"]


@dataclass(frozen=True)
class GroupValues:
    """What the mixer says about B joint observations and actions; empty groups hold zeros."""

    q_group: Tensor  # (B, m) Q_GRP^i = sum of lambda_k Q_LOC^k + gmf_coef * Q_GMF^i (Eq. 11)
    q_gmf: Tensor  # (B, m) Q_GMF^i(mu_i)
    q_top: Tensor | None  # (B, m) parts whose sum is Q_TOT, by top_level; (B, 1) for ``central``; None without one
    mean_field: Tensor  # (B, m, O + A) mu_i (Eq. 9)
    weight: Tensor  # (B, m, N) lambda, zero outside the group
    member: Tensor  # (B, m, N) zeros and ones
    occupied: Tensor  # (B, m) bool, the group has a living member


class GroupNet(nn.Module):
    """A scalar function of each group's mean field: one network per group, or one for all."""

    def __init__(self, in_dim: int, n_groups: int, hidden_dims: list[int], shared: bool) -> None:
        super().__init__()
        sizes = [in_dim, *hidden_dims, 1]
        self.net = mlp(sizes) if shared else stacked_mlp(n_groups, sizes)

    def forward(self, mean_field_BmF: Tensor) -> Tensor:
        """Map (B, m, F) to (B, m)."""
        return self.net(mean_field_BmF).squeeze(-1)


class HMFMixer(nn.Module):
    """Attention over group members, group mean field, group value, and the top level.

    ``top_level`` decides what Q_TOT is: ``own_head`` (ours) value networks of its own on the same mu; ``group_sum``
    (ours) the sum of Q_GRP; ``central`` (Eq. 15) one network over all mu; ``gmf_sum`` (Eq. 13 as printed) the sum of
    Q_GMF; ``none``.
    """

    def __init__(
        self,
        obs_dim: int,
        n_actions: int,
        *,
        n_groups: int,
        mean_field_action: MeanFieldAction,
        gmf_coef: float,
        gmf_hidden_dims: list[int],
        share_gmf: bool,
        attention: Literal["learned", "uniform"],
        attention_dim: int,
        attention_input: Literal["obs", "obs_action"],
        top_level: TopLevel,
    ) -> None:
        super().__init__()
        self.n_groups = n_groups
        self.gmf_coef = gmf_coef
        self.attend_action = attention_input == "obs_action"
        self.top_level: TopLevel = top_level
        field_dim = obs_dim if mean_field_action == "none" else obs_dim + n_actions
        attention_in = field_dim if self.attend_action else obs_dim
        learned = attention == "learned"
        self.query = nn.Linear(attention_in, attention_dim, bias=False) if learned else None
        self.key = nn.Linear(attention_in, attention_dim, bias=False) if learned else None
        self.gmf = GroupNet(field_dim, n_groups, gmf_hidden_dims, share_gmf)
        self.top: nn.Module | None = None
        if top_level == "own_head":
            self.top = GroupNet(field_dim, n_groups, gmf_hidden_dims, share_gmf)
        elif top_level == "central":
            self.top = mlp([n_groups * field_dim, *gmf_hidden_dims, 1])

    def forward(self, q_BN: Tensor, obs_BNO: Tensor, action_BNA: Tensor, group_BN: Tensor) -> GroupValues:
        """Mix local values (B, N) of the taken actions in groups.

        Also given: flattened observations (B, N, O), action vectors (B, N, A) (as ``mean_field_action`` says; A = 0
        under ``none``), groups (B, N) int64 with -1 for the dead.
        """
        member_BmN = membership(group_BN, self.n_groups, obs_BNO.dtype)
        occupied_Bm = member_BmN.any(-1)
        x_BNF = torch.cat((obs_BNO, action_BNA), dim=-1)
        weight_BmN = self._weight(x_BNF if self.attend_action else obs_BNO, member_BmN)
        mean_field_BmF = torch.bmm(weight_BmN, x_BNF)  # Eq. 9
        q_gmf = self.gmf(mean_field_BmF).masked_fill(~occupied_Bm, 0.0)
        q_group = group_sum(q_BN, weight_BmN) + self.gmf_coef * q_gmf  # Eq. 11
        q_top = self._top_value(mean_field_BmF, occupied_Bm, q_gmf, q_group)
        return GroupValues(q_group, q_gmf, q_top, mean_field_BmF, weight_BmN, member_BmN, occupied_Bm)

    def _weight(self, x_BNI: Tensor, member_BmN: Tensor) -> Tensor:
        if self.query is None or self.key is None:
            return uniform_weight(member_BmN)
        return attention_weight(self.query(group_mean(x_BNI, member_BmN)), self.key(x_BNI), member_BmN)

    def _top_value(self, mean_field_BmF: Tensor, occupied_Bm: Tensor, q_gmf: Tensor, q_group: Tensor) -> Tensor | None:
        if self.top_level == "none":
            return None
        if self.top_level == "group_sum":
            return q_group
        if self.top_level == "gmf_sum":
            return q_gmf  # Eq. 13
        assert self.top is not None
        if self.top_level == "central":
            return self.top(mean_field_BmF.flatten(1))  # Eq. 15
        return self.top(mean_field_BmF).masked_fill(~occupied_Bm, 0.0)
