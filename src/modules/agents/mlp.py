"""Multi-layer perceptron over the flattened observation."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from modules.agents.base import HeadedAgent


class MLPAgent(HeadedAgent):
    """Shared weights, or one network per agent (Algorithm 1's theta_k) evaluated in one batched product."""

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        extra_dim: int,
        n_agents: int,
        n_actions: int,
        **keys: Any,
    ) -> None:
        super().__init__(n_agents, n_actions, **keys)
        self.add_head(math.prod(obs_shape) + extra_dim)

    def forward(self, obs: Tensor, extra: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.head(obs, extra), None
