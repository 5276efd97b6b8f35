"""The contract of networks that act."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from modules.nets import mlp, stacked_mlp


class Agent(nn.Module, ABC):
    """Q-values of every agent from its own observation, and from ``extra`` inputs that a controller adds."""

    n_agents: int | None = None  # that it can serve; None: any number (no parameter belongs to one agent)
    hidden_dim: int = 0  # of a recurrent state; 0: feed-forward
    window: tuple[int, int] | None = None  # (burn-in rows, learned transitions) of replayed sequences; recurrent only

    @abstractmethod
    def forward(self, obs: Tensor, extra: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, N, *O) float32, (B, N, X) or None, (B, N, H) or None -> q (B, N, A), next hidden state."""


class QHead(nn.Module):
    """The layers after the features: shared or per agent, with an optional id, plain or dueling.

    The id enters as a learned offset of the first layer, which equals a one-hot id appended to the input.
    """

    def __init__(
        self,
        in_dim: int,
        n_agents: int,
        n_actions: int,
        hidden_dims: list[int],
        share_params: bool,
        obs_agent_id: bool,
        dueling: bool,
    ) -> None:
        super().__init__()
        first, out_dim = hidden_dims[0], n_actions + (1 if dueling else 0)
        sizes = [*hidden_dims, out_dim]
        self.first = mlp([in_dim, first]) if share_params else stacked_mlp(n_agents, [in_dim, first])
        self.rest = mlp(sizes) if share_params else stacked_mlp(n_agents, sizes)
        self.id_offset = nn.Parameter(torch.randn(n_agents, first) / in_dim**0.5) if obs_agent_id else None
        self.dueling = dueling
        self.n_agents = None if share_params and not obs_agent_id else n_agents

    def forward(self, x_BNI: Tensor) -> Tensor:
        h_BNH = self.first(x_BNI)
        if self.id_offset is not None:
            h_BNH = h_BNH + self.id_offset
        out = self.rest(torch.relu(h_BNH))
        if not self.dueling:
            return out
        advantage, value = out[..., 1:], out[..., :1]
        return value + advantage - advantage.mean(-1, keepdim=True)


def join_extra(x_BNF: Tensor, extra_BNX: Tensor | None) -> Tensor:
    """Features with the controller's extra inputs appended."""
    return x_BNF if extra_BNX is None else torch.cat((x_BNF, extra_BNX), dim=-1)
