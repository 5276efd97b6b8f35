"""Policy consistency: each group's mean policy and the divergence from it (paper Eq. 18; docs/algorithms.md)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 1e-12  # probabilities below it count as this in logarithms


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of distributions (..., A) -> (...), in nats. Finite in value and gradient where entries are zero."""
    return (p * (p.clamp(min=FLOOR).log() - q.clamp(min=FLOOR).log())).sum(-1)


class MeanPolicy(nn.Module):
    """pi_bar_i: running average over updates of the group's mean policy; uniform at first (ours). Never a gradient."""

    policy: Tensor  # (m, A)

    def __init__(self, n_groups: int, n_actions: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("policy", torch.full((n_groups, n_actions), 1.0 / n_actions))

    def of_own_group(self, group_BN: Tensor) -> Tensor:
        """Each agent's group's mean policy: (B, N) int64 -> (B, N, A); nobody's members read group 0."""
        return self.policy[group_BN.clamp(min=0)]

    @torch.no_grad()
    def update(self, policy_BNA: Tensor, weight_BmN: Tensor) -> None:
        """Move towards the weighted mean of policies (B, N, A); groups without weight (B, m, N) stay."""
        total_mA = torch.einsum("bmn,bna->ma", weight_BmN, policy_BNA)
        size_m1 = weight_BmN.sum((0, 2))[:, None]
        moved_mA = self.policy.lerp(total_mA / size_m1.clamp(min=FLOOR), 1.0 - self.decay)
        self.policy.copy_(torch.where(size_m1 > 0, moved_mA, self.policy))
