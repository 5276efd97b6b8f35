"""The network that acts in execution, alone: Q_LOC with what its controller adds to observations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from assembly.saved import mac_of_policy
from components.batch import EnvInfo, decode_obs
from components.selectors import RandomSelector
from config.trust import Trust
from controllers.basic_controller import BasicMAC
from policies.base import Inputs, PolicyError, Values
from records.checkpoint import one_line
from utils.errors import InputError


class ActingNetwork(nn.Module):
    """Q-values from observations in natural units; neither mixers nor groups: execution reads none."""

    def __init__(self, mac: BasicMAC) -> None:
        """Raise PolicyError for a controller whose greedy actions are not those of its network."""
        super().__init__()
        if isinstance(mac.selector, RandomSelector):
            raise PolicyError("export: a run with selector=random plays at random; there is no network to take away.")
        if type(mac).select_actions is not BasicMAC.select_actions:
            raise PolicyError(
                f"export: {type(mac).__name__} chooses actions in a method of its own (select_actions), which no file "
                "holds. Take away a run whose controller only adds inputs (extra)."
            )
        self.agent = mac.agent
        self.info: EnvInfo = mac.info
        self.n_agents = mac.agent.n_agents  # None: any number
        self.hidden_dim = mac.agent.hidden_dim
        self._extra = mac.extra
        self._has_extra = mac.extra_dim(mac.info, mac.obs_last_action) > 0

    def forward(
        self,
        obs: Tensor,
        prev_action: Tensor | None = None,
        alive: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Compute q (B, N, A), and the next hidden state (B, N, H) of a recurrent network; see `inputs`."""
        extra_BNX = self._extra(prev_action, alive) if self._has_extra else None  # type: ignore[arg-type]
        q_BNA, next_hidden = self.agent(obs, extra_BNX, hidden)
        return (q_BNA,) if next_hidden is None else (q_BNA, next_hidden)

    def inputs(self) -> list[dict[str, Any]]:
        """List what `forward` takes, as a card says it; B games, N agents."""
        meanings = {
            "obs": ("float32", ["B", "N", *self.info.obs_shape], "observations in natural units, zeros for the dead"),
            "prev_action": ("int64", ["B", "N"], "the agents' last actions, -1 in an episode's first step"),
            "alive": ("bool", ["B", "N"], "who lives"),
            "hidden": (
                "float32",
                ["B", "N", self.hidden_dim],
                "the last next_hidden, zeros at first",
            ),
        }
        names = ["obs", *(["prev_action", "alive"] * self._has_extra), *(["hidden"] * bool(self.hidden_dim))]
        found = []
        for name in names:
            dtype, shape, meaning = meanings[name]
            found.append({"name": name, "dtype": dtype, "shape": shape, "meaning": meaning})
        return found

    def outputs(self) -> list[str]:
        """List the names of what `forward` returns."""
        return ["q", *(["next_hidden"] * bool(self.hidden_dim))]

    def noise(self, n_games: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw inputs of any meaning, for comparing two forms of this network: the whole range of stored integers."""
        info, n_agents = self.info, self.n_agents or max(2, self.info.n_agents)
        shape = (n_games, n_agents, *info.obs_shape)
        if info.obs_dtype.is_floating_point or info.obs_dtype == torch.bool:
            stored = torch.randn(shape, generator=generator)
        else:
            top = torch.iinfo(info.obs_dtype).max
            stored = torch.randint(0, min(top, 255) + 1, shape, generator=generator).to(info.obs_dtype)
        drawn = {
            "obs": decode_obs(stored, info.obs_scale),
            "prev_action": torch.randint(-1, info.n_actions, shape[:2], generator=generator),
            "alive": torch.rand(shape[:2], generator=generator) < 0.9,
            "hidden": torch.rand(*shape[:2], self.hidden_dim, generator=generator) * 2.0 - 1.0,
        }
        return {given["name"]: drawn[given["name"]] for given in self.inputs()}

    def games_at_once(self, n_observations: int) -> int:
        """Return how many games hold ``n_observations`` observations, or as many as fit into 64 MiB."""
        n_agents = self.n_agents or max(2, self.info.n_agents)
        return max(2, min(-(-n_observations // n_agents), 2**24 // (n_agents * math.prod(self.info.obs_shape))))


def values_of(network: nn.Module) -> Values:
    """Return ``network``, an `ActingNetwork` in whatever form, as a function of numpy arrays."""

    def values(inputs: Inputs) -> list[np.ndarray]:
        with torch.no_grad():
            found = network(**{name: torch.from_numpy(value) for name, value in inputs.items()})
        return [value.numpy() for value in found]

    return values


def rebuilt(path: Path, trust: Trust) -> ActingNetwork:
    """Make the network again whose tensors and description a safetensors file holds. Raises PolicyError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})["policy"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
        network = ActingNetwork(mac_of_policy(description, trust))
        network.agent.load_state_dict(tensors)
    except (InputError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise PolicyError(f"policy: {path} is no policy that can be loaded ({one_line(error)}).") from error
    return network.requires_grad_(False).eval()
