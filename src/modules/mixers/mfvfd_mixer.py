"""MFVFD's mixer: the part of an agent's value that the others make (Zhang et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from components.batch import EnvInfo
from components.mean_field import masked_softmax
from modules.nets import mlp
from utils.geometry import distances, torus_distances


class MFVFDMixer(nn.Module):
    """Q_MF^k: multi-head attention of agent k, who asks by o_k alone, over the OTHERS' (o_j, a_j).

    a_k is no input, so that argmax over a_k of Q_LOC + Q_MF is that of Q_LOC. Memory is O(N^2) per head;
    ``mf_neighbours`` > 0 attends to that many nearest others instead, O(N mf_neighbours).
    """

    def __init__(
        self,
        info: EnvInfo,
        obs_dim: int,
        n_actions: int,
        *,
        mf_heads: int,
        mf_head_dim: int,
        mf_hidden_dims: list[int],
        mf_neighbours: int,
    ) -> None:
        super().__init__()
        self.n_actions = n_actions
        self.head_shape = (mf_heads, mf_head_dim)
        self.neighbours, self.torus_side = mf_neighbours, info.torus_side
        width = mf_heads * mf_head_dim
        self.query = nn.Linear(obs_dim, width)
        self.key = nn.Linear(obs_dim + n_actions, width)
        self.value = nn.Linear(obs_dim + n_actions, width)
        self.out = mlp([width, *mf_hidden_dims, 1])

    def forward(self, obs_BNO: Tensor, action_BN: Tensor, alive_BN: Tensor, position_BN2: Tensor | None) -> Tensor:
        """Compute Q_MF (B, N) from flattened observations, actions int64, alive bool, and positions.

        Positions are None unless ``mf_neighbours``. Zero for the dead and for an agent without living others.
        """
        x_BNF = torch.cat((obs_BNO, one_hot(action_BN, self.n_actions).to(obs_BNO.dtype)), dim=-1)
        query_BNHD = self.query(obs_BNO).unflatten(-1, self.head_shape)
        key_BNHD = self.key(x_BNF).unflatten(-1, self.head_shape)
        value_BNHD = self.value(x_BNF).unflatten(-1, self.head_shape)
        other_BNJ = alive_BN[:, None, :] & ~torch.eye(alive_BN.shape[1], dtype=torch.bool, device=alive_BN.device)
        if self.neighbours == 0:
            # All look at the same J = N agents: one list, broadcast over n.
            key_BnJHD, value_BnJHD = key_BNHD[:, None], value_BNHD[:, None]
        else:
            assert position_BN2 is not None
            index_BNJ, other_BNJ = nearest(position_BN2, other_BNJ, self.neighbours, self.torus_side)
            key_BnJHD, value_BnJHD = take(key_BNHD, index_BNJ), take(value_BNHD, index_BNJ)
        score_BHNJ = torch.einsum("bnhd,bnjhd->bhnj", query_BNHD, key_BnJHD) / self.head_shape[1] ** 0.5
        weight_BHNJ = masked_softmax(score_BHNJ, other_BNJ[:, None])
        field_BNHD = torch.einsum("bhnj,bnjhd->bnhd", weight_BHNJ, value_BnJHD)
        lonely_BN = ~(other_BNJ.any(-1) & alive_BN)
        return self.out(field_BNHD.flatten(2)).squeeze(-1).masked_fill(lonely_BN, 0.0)


def nearest(position_BN2: Tensor, other_BNJ: Tensor, count: int, torus_side: float) -> tuple[Tensor, Tensor]:
    """Find the ``count`` nearest of those marked in ``other`` (B, N, N) bool; on a torus unless ``torus_side`` is 0.

    Their slots (B, N, K) int64 and which of these count (B, N, K) bool, false where there are fewer; K <= count.
    """
    both_BN2 = position_BN2, position_BN2
    distance_BNJ = torus_distances(*both_BN2, torus_side) if torus_side else distances(*both_BN2)
    distance_BNJ = distance_BNJ.masked_fill(~other_BNJ, torch.inf)
    found = distance_BNJ.topk(min(count, distance_BNJ.shape[-1]), largest=False)
    return found.indices, found.values.isfinite()


def take(x_BNHD: Tensor, index_BNJ: Tensor) -> Tensor:
    """Take what belongs to the agents in ``index``: (B, N, H, D), (B, N, J) int64 -> (B, N, J, H, D).

    One flat index, because the gradient of a nested one is slower.
    """
    first_B11 = torch.arange(0, index_BNJ.shape[0] * x_BNHD.shape[1], x_BNHD.shape[1], device=index_BNJ.device)
    flat = (index_BNJ + first_B11[:, None, None]).flatten()
    return x_BNHD.flatten(0, 1).index_select(0, flat).unflatten(0, index_BNJ.shape)
