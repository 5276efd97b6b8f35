"""Convolutions over grid observations (MAgent's views are height x width x channels)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from modules.agents.base import HeadedAgent
from modules.nets import NetworkError


class ConvAgent(HeadedAgent):
    """3 x 3 convolutions without padding, shared by all agents, then the same head as the MLP agent."""

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        extra_dim: int,
        n_agents: int,
        n_actions: int,
        *,
        conv_channels: list[int],
        **keys: Any,
    ) -> None:
        super().__init__(n_agents, n_actions, **keys)
        if len(obs_shape) != 3 or min(obs_shape[:2]) <= 2 * len(conv_channels):
            raise NetworkError(
                f"agent=conv: expected observations of shape (height, width, channels) of at least "
                f"{2 * len(conv_channels) + 1} cells a side for {len(conv_channels)} layers, got {obs_shape}. "
                "Use agent=mlp, or fewer conv_channels."
            )
        height, width, channels = obs_shape
        layers: list[nn.Module] = []
        for out_channels in conv_channels:
            layers += [nn.Conv2d(channels, out_channels, 3), nn.ReLU()]
            height, width, channels = height - 2, width - 2, out_channels
        self.torso = nn.Sequential(*layers)
        self.add_head(height * width * channels + extra_dim)

    def forward(self, obs: Tensor, extra: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        image = obs.flatten(0, 1).permute(0, 3, 1, 2)
        features_BNF = self.torso(image).flatten(1).unflatten(0, obs.shape[:2])
        return self.head(features_BNF, extra), None
