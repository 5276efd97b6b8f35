"""Critics that see all agents (Lowe et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modules.nets import mlp, refuse_above, stacked_mlp


class CentralCritic(nn.Module):
    """Q_k(o_1, ..., o_N, a_1, ..., a_N) of every agent k: one network per agent, or one that knows k by an id.

    The first layer is split into observations and actions, which equals one layer on both, so that joint actions which
    differ from agent to agent do not copy the joint observation.
    """

    def __init__(
        self,
        obs_dim: int,
        n_agents: int,
        n_actions: int,
        hidden_dims: list[int],
        share_params: bool,
        max_agents: int,
    ) -> None:
        super().__init__()
        refuse_above(max_agents, n_agents, "maddpg", "Its critics read all observations and actions at once")
        self.n_agents = n_agents
        obs_sizes, action_sizes = [n_agents * obs_dim, hidden_dims[0]], [n_agents * n_actions, hidden_dims[0]]
        sizes = [*hidden_dims, 1]
        self.obs_layer = mlp(obs_sizes) if share_params else stacked_mlp(n_agents, obs_sizes)
        self.action_layer = mlp(action_sizes) if share_params else stacked_mlp(n_agents, action_sizes)
        offset = torch.randn(n_agents, hidden_dims[0]) / obs_sizes[0] ** 0.5
        self.id_offset = nn.Parameter(offset) if share_params else None
        self.rest = mlp(sizes) if share_params else stacked_mlp(n_agents, sizes)

    def forward(self, obs_BNO: Tensor, action_BKNA: Tensor) -> Tensor:
        """Map flattened observations and joint action vectors to values (B, N).

        All critics see the same actions (K = 1), or each has its own (K = N). The dead have zero observations and zero
        action vectors.
        """
        obs_BnJ, action_BnJ = obs_BNO.flatten(1)[:, None], action_BKNA.flatten(2)  # n = 1: the same for every critic
        if self.id_offset is None:
            obs_BnJ, action_BnJ = (x.expand(-1, self.n_agents, -1) for x in (obs_BnJ, action_BnJ))
        hidden_BnH = self.obs_layer(obs_BnJ) + self.action_layer(action_BnJ)
        if self.id_offset is not None:
            hidden_BnH = hidden_BnH + self.id_offset
        return self.rest(torch.relu(hidden_BnH)).squeeze(-1)
