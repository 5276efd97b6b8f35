"""Networks of others as controllers: teams that were trained on MAgent2's ``battle_v4``.

Battle shows its agents what ``battle_v4`` shows, cell for cell, and numbers actions as it does (tests/unit/envs), so an
adapter only makes the network again: a module, constructed from what a file holds, that maps observations
(n, 13, 13, 5) float32 (obstacle, own presence, own health, other presence, other health) to values or logits (n, 21),
of 13 moves and 8 attacks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from components.batch import EnvInfo
from components.selectors import EpsilonGreedySelector
from controllers.basic_controller import BasicMAC
from modules.agents.base import Agent


class PlainNetwork(nn.Sequential):
    """Convolutions without padding, then linear layers, with ReLU between them, as a state dict's tensors say.

    Weights with four axes are convolutions, those with two are linear, in the dict's order. Channels come first.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """Raise ValueError for tensors of other layers."""
        parts: list[nn.Module] = []
        for name in dict.fromkeys(key.rpartition(".")[0] for key in state):
            own = {key.rpartition(".")[2]: value for key, value in state.items() if key.rpartition(".")[0] == name}
            shape = tuple(own["weight"].shape) if own.keys() <= {"weight", "bias"} and "weight" in own else ()
            if len(shape) == 4:
                layer: nn.Module = nn.Conv2d(shape[1], shape[0], shape[2:], bias="bias" in own)
            elif len(shape) == 2:
                parts += [nn.Flatten()] * (not parts or isinstance(parts[-2], nn.Conv2d))
                layer = nn.Linear(shape[1], shape[0], bias="bias" in own)
            else:
                raise ValueError(f"{name}: expected a convolution or a linear layer, got {', '.join(own)} {shape}")
            layer.load_state_dict(own)
            parts += [layer, nn.ReLU()]
        super().__init__(*parts[:-1])

    def forward(self, obs: Tensor) -> Tensor:
        """Compute values (n, A) of observations (n, height, width, channels)."""
        return super().forward(obs.permute(0, 3, 1, 2))


class OutsideAgent(Agent):
    """A network of others as one that acts; any number of agents."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, obs: Tensor, extra: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        q_BNA = self.network(obs.flatten(0, 1)).unflatten(0, obs.shape[:2])
        return q_BNA, None


def outside_controller(network: nn.Module, info: EnvInfo) -> BasicMAC:
    """Make the controller that plays ``network`` greedily. Raises ValueError where it gives no value of each action."""
    network = network.eval().requires_grad_(False)
    values = network(torch.zeros(2, *info.obs_shape))
    if values.shape != (2, info.n_actions):
        raise ValueError(
            f"expected values of shape {(2, info.n_actions)} for observations of shape {(2, *info.obs_shape)}, got "
            f"{tuple(values.shape)}"
        )
    greedy = EpsilonGreedySelector(epsilon_start=0.0, epsilon_finish=0.0, epsilon_anneal_time=1)
    return BasicMAC(info, OutsideAgent(network), greedy, obs_last_action=False)
