"""Recurrent Q-network over the flattened observation (Hausknecht and Stone 2015)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from modules.agents.base import HeadedAgent
from modules.nets import NetworkError, join_extra, mlp, stacked_mlp


class RNNAgent(HeadedAgent):
    """A layer, a gated recurrent unit (Cho et al. 2014), then the same head as the MLP agent.

    Learns from replayed sequences of ``sequence_length`` transitions (R2D2, Kapturowski et al. 2019): the hidden state
    starts at zero ``burn_in`` rows before them, or at the episode's first row if that is later.
    """

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        extra_dim: int,
        n_agents: int,
        n_actions: int,
        *,
        rnn_hidden_dim: int,
        burn_in: int,
        sequence_length: int,
        share_params: bool,
        **keys: Any,
    ) -> None:
        super().__init__(n_agents, n_actions, share_params=share_params, **keys)
        if min(burn_in, sequence_length) < 1:
            raise NetworkError(
                f"agent=rnn: expected burn_in and sequence_length of at least 1, got {burn_in} and {sequence_length}. "
                "For no memory use agent=mlp."
            )
        self.hidden_dim = rnn_hidden_dim
        self.window = (burn_in, sequence_length)

        def layer(fan_in: int, fan_out: int) -> torch.nn.Module:
            return mlp([fan_in, fan_out]) if share_params else stacked_mlp(n_agents, [fan_in, fan_out])

        self.encoder = layer(math.prod(obs_shape) + extra_dim, rnn_hidden_dim)
        self.input_gates = layer(rnn_hidden_dim, 3 * rnn_hidden_dim)
        self.hidden_gates = layer(rnn_hidden_dim, 3 * rnn_hidden_dim)
        self.add_head(rnn_hidden_dim)

    def forward(self, obs: Tensor, extra: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        assert hidden is not None
        x_BNH = torch.relu(self.encoder(join_extra(obs.flatten(2), extra)))
        hidden = self._gru(x_BNH, hidden)
        return self.head(hidden), hidden

    def _gru(self, x_BNH: Tensor, hidden_BNH: Tensor) -> Tensor:
        """Compute the next hidden state."""
        reset, update, candidate = self.input_gates(x_BNH).chunk(3, dim=-1)
        hidden_reset, hidden_update, hidden_candidate = self.hidden_gates(hidden_BNH).chunk(3, dim=-1)
        reset = torch.sigmoid(reset + hidden_reset)
        update = torch.sigmoid(update + hidden_update)
        candidate = torch.tanh(candidate + reset * hidden_candidate)
        return candidate + update * (hidden_BNH - candidate)
