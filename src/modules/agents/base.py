"""The contract of networks that act."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial

import torch
from torch import Tensor, nn

from modules.nets import Normalise, StackedLinear, mlp, stacked_mlp
from modules.sparse import SparseLinear


class Agent(nn.Module, ABC):
    """Q-values of every agent from its own observation, and from ``extra`` inputs that a controller adds."""

    n_agents: int | None = None  # that it can serve; None: any number (no parameter belongs to one agent)
    hidden_dim: int = 0  # of a recurrent state; 0: feed-forward
    window: tuple[int, int] | None = None  # (burn-in rows, learned transitions) of replayed sequences; recurrent only

    @abstractmethod
    def forward(self, obs: Tensor, extra: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map (B, N, *O) float32, (B, N, X) or None, (B, N, H) or None to q (B, N, A) and the next hidden state."""


class HeadedAgent(Agent):
    """An agent whose last layers are a `QHead`; subclasses add the features, then call ``add_head``."""

    def __init__(
        self,
        n_agents: int,
        n_actions: int,
        *,
        hidden_dims: list[int],
        share_params: bool,
        obs_agent_id: bool,
        dueling: bool,
        normalise: Normalise,
    ) -> None:
        super().__init__()
        self._make_head = partial(
            QHead,
            n_agents=n_agents,
            n_actions=n_actions,
            hidden_dims=hidden_dims,
            share_params=share_params,
            obs_agent_id=obs_agent_id,
            dueling=dueling,
            normalise=normalise,
        )

    def add_head(self, in_dim: int) -> None:
        """Put the head on features of ``in_dim`` entries."""
        self.head = self._make_head(in_dim)
        self.n_agents = self.head.n_agents


class QHead(nn.Module):
    """The layers after the features: shared or per agent, with an optional id, plain or dueling.

    The id enters as a learned offset of the first layer, which equals a one-hot id appended to the input.
    ``normalise: layer`` standardises every hidden layer (Ba et al. 2016), which does without target networks
    (Gallici et al. 2024).
    """

    def __init__(
        self,
        in_dim: int,
        n_agents: int,
        n_actions: int,
        *,
        hidden_dims: list[int],
        share_params: bool,
        obs_agent_id: bool,
        dueling: bool,
        normalise: Normalise,
    ) -> None:
        super().__init__()
        first, out_dim = hidden_dims[0], n_actions + (1 if dueling else 0)
        sizes = [*hidden_dims, out_dim]
        self.first = nn.Sequential(
            SparseLinear(in_dim, first) if share_params else StackedLinear(n_agents, in_dim, first)
        )
        self.norm = nn.LayerNorm(first) if normalise == "layer" else nn.Identity()
        self.rest = mlp(sizes, normalise) if share_params else stacked_mlp(n_agents, sizes, normalise)
        self.id_offset = nn.Parameter(torch.randn(n_agents, first) / in_dim**0.5) if obs_agent_id else None
        self.dueling = dueling
        self.n_agents = None if share_params and not obs_agent_id else n_agents

    def forward(self, x: Tensor, extra_BNX: Tensor | None = None) -> Tensor:
        """Map features or observations (B, N, ...) that are flattened, and what a controller adds, to (B, N, A)."""
        h_BNH = self.first[0](x, extra_BNX)
        if self.id_offset is not None:
            h_BNH = h_BNH + self.id_offset
        out = self.rest(torch.relu(self.norm(h_BNH)))
        if not self.dueling:
            return out
        advantage, value = out[..., 1:], out[..., :1]
        return value + advantage - advantage.mean(-1, keepdim=True)
