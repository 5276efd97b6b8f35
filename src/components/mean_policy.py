"""Policy consistency: each group's mean policy and the divergence from it (paper Eq. 18; docs/algorithms.md)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from utils.processes import ALONE, Processes

FLOOR = 1e-12  # probabilities below it count as this in logarithms


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Compute KL(p || q) of distributions (..., A) -> (...), in nats; value and gradient are finite for zeros too."""
    return (p * (p.clamp(min=FLOOR).log() - q.clamp(min=FLOOR).log())).sum(-1)


class MeanPolicy(nn.Module):
    """Running average pi_bar_i of each group's mean policy over updates; uniform at first (ours), without gradient.

    Several processes of one run average the policies of all.
    """

    policy: Tensor  # (m, A)

    def __init__(self, n_groups: int, n_actions: int, decay: float, processes: Processes = ALONE) -> None:
        super().__init__()
        self.decay = decay
        self.processes = processes
        self.register_buffer("policy", torch.full((n_groups, n_actions), 1.0 / n_actions))

    def of_own_group(self, group_BN: Tensor) -> Tensor:
        """Give each agent its group's mean policy: (B, N) int64 -> (B, N, A); agents in no group (-1) read group 0."""
        return self.policy[group_BN.clamp(min=0)]

    @torch.no_grad()
    def update(self, policy_BNA: Tensor, weight_BmN: Tensor) -> None:
        """Move towards the mean of policies (B, N, A) weighted by (B, m, N); groups without weight stay."""
        total_mA = torch.einsum("bmn,bna->ma", weight_BmN, policy_BNA)
        size_m1 = weight_BmN.sum((0, 2))[:, None]
        self.processes.add_up([total_mA, size_m1])
        moved_mA = self.policy.lerp(total_mA / size_m1.clamp(min=FLOOR), 1.0 - self.decay)
        self.policy.copy_(torch.where(size_m1 > 0, moved_mA, self.policy))
