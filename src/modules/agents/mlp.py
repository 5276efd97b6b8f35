"""Multi-layer perceptron over the flattened observation."""

from __future__ import annotations

import math

from torch import Tensor

from modules.agents.base import Agent, QHead, join_extra


class MLPAgent(Agent):
    """Shared weights, or one network per agent (Algorithm 1's theta_k) evaluated in one batched product."""

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        extra_dim: int,
        n_agents: int,
        n_actions: int,
        *,
        hidden_dims: list[int],
        share_params: bool,
        obs_agent_id: bool,
        dueling: bool,
    ) -> None:
        super().__init__()
        in_dim = math.prod(obs_shape) + extra_dim
        self.head = QHead(in_dim, n_agents, n_actions, hidden_dims, share_params, obs_agent_id, dueling)
        self.n_agents = self.head.n_agents

    def forward(self, obs: Tensor, extra: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.head(join_extra(obs.flatten(2), extra)), None
