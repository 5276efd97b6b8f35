"""What the weights that outside_team.py saves are the weights of: ``--outside FILE outside_adapter:Network``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Network(nn.Module):
    """The value network of Stable-Baselines3's DQN, with ``MlpPolicy``: linear layers with ReLU between them."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """Raise KeyError or RuntimeError where ``state`` holds other layers."""
        super().__init__()
        weights = [weight for name, weight in state.items() if name.endswith("weight")]
        layers = [part for weight in weights for part in (nn.Linear(weight.shape[1], weight.shape[0]), nn.ReLU())]
        self.q_net = nn.Sequential(*layers[:-1])
        self.load_state_dict(dict(state))

    def forward(self, obs: Tensor) -> Tensor:
        """Compute values (n, 21) float32 of observations (n, 13, 13, 5) float32."""
        values: Tensor = self.q_net(obs.flatten(1))
        return values
