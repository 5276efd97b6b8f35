"""QMIX: the team value is a monotone function of local values (Rashid et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import elu

from modules.mixers.base import TeamMixer
from modules.nets import mlp, refuse_above


class QMIXMixer(TeamMixer):
    """Two layers whose weights hypernetworks make non-negative from the state.

    The state is each agent's flattened observation and alive flag, in the order of slots. The dead enter with value 0.
    """

    def __init__(
        self, obs_dim: int, n_agents: int, *, mixing_embed_dim: int, hypernet_embed: int, max_agents: int
    ) -> None:
        super().__init__()
        refuse_above(max_agents, n_agents, "mixer=qmix", "Its hypernetworks read all observations at once")
        state_dim = n_agents * (obs_dim + 1)
        self.weight_shape = (n_agents, mixing_embed_dim)
        self.first_weight = mlp([state_dim, hypernet_embed, n_agents * mixing_embed_dim])
        self.first_bias = mlp([state_dim, mixing_embed_dim])
        self.last_weight = mlp([state_dim, hypernet_embed, mixing_embed_dim])
        self.last_bias = mlp([state_dim, mixing_embed_dim, 1])

    def forward(self, q_BN: Tensor, alive_BN: Tensor, obs_BNO: Tensor) -> Tensor:
        state_BS = torch.cat((obs_BNO, alive_BN[..., None].to(obs_BNO.dtype)), dim=-1).flatten(1)
        weight_BNM = self.first_weight(state_BS).abs().unflatten(-1, self.weight_shape)
        hidden_BM = elu(torch.einsum("bn,bnm->bm", q_BN * alive_BN, weight_BNM) + self.first_bias(state_BS))
        return (hidden_BM * self.last_weight(state_BS).abs()).sum(-1) + self.last_bias(state_BS).squeeze(-1)
