"""Groups of agents: labels in [0, m), -1 for the dead. Assigned at an episode's first step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GroupingInput:
    """What a grouping may look at, for E episodes that begin."""

    obs: Tensor  # (E, N, F) float32, flattened
    action: Tensor  # (E, N, A) float32 one-hot of the first behaviour action
    alive: Tensor  # (E, N) bool
    position: Tensor | None  # (E, N, 2) float32


class Grouping(ABC):
    """Assigns agents to groups."""

    dynamic: bool  # members differ between episodes, so that nothing may be tied to a group's number

    def __init__(self, n_agents: int, *, n_groups: int) -> None:
        if not 1 <= n_groups <= n_agents:
            raise ValueError(
                f"n_groups: expected between 1 and the number of agents ({n_agents}), got {n_groups}. "
                "Set n_groups, or env_args.n_agents."
            )
        self.n_agents = n_agents
        self.n_groups = n_groups

    @abstractmethod
    def labels(self, features: GroupingInput, generator: torch.Generator) -> Tensor:
        """(E, N) int64 in [0, m)."""

    def assign(self, features: GroupingInput, generator: torch.Generator) -> Tensor:
        """(E, N) int64 in [0, m), -1 for the dead."""
        return self.labels(features, generator).masked_fill(~features.alive, -1)

    def _contiguous(self, device: torch.device) -> Tensor:
        """(N,) int64: m runs of slots whose lengths differ by at most one."""
        return torch.arange(self.n_agents, device=device) * self.n_groups // self.n_agents


class ContiguousGrouping(Grouping):
    """Runs of neighbouring slots; never changes (the paper's fixed groups)."""

    dynamic = False

    def labels(self, features: GroupingInput, generator: torch.Generator) -> Tensor:
        return self._contiguous(features.obs.device).expand(features.alive.shape)


class RandomGrouping(Grouping):
    """Equal groups at random, new in every episode."""

    dynamic = True

    def labels(self, features: GroupingInput, generator: torch.Generator) -> Tensor:
        shape, device = features.alive.shape, features.obs.device
        order = torch.rand(shape, generator=generator, device=device).argsort(-1)
        return self._contiguous(device)[order]


class SpatialGrouping(Grouping):
    """Equal groups of neighbours: agents cut into strips by position along the longer side of their bounding box."""

    dynamic = True

    def labels(self, features: GroupingInput, generator: torch.Generator) -> Tensor:
        if features.position is None:
            raise ValueError(
                "grouping=spatial needs an environment with positions. Use grouping=contiguous, random or ipc."
            )
        position = features.position
        low = position.masked_fill(~features.alive[..., None], torch.inf).amin(1)
        high = position.masked_fill(~features.alive[..., None], -torch.inf).amax(1)
        axis = (high - low).argmax(-1)
        coordinate = position.gather(-1, axis[:, None, None].expand(-1, position.shape[1], 1)).squeeze(-1)
        # The dead sort last, so that the living fill the strips evenly.
        rank = coordinate.masked_fill(~features.alive, torch.inf).argsort(-1, stable=True).argsort(-1)
        living = features.alive.sum(-1, keepdim=True).clamp(min=1)
        return (rank * self.n_groups // living).clamp(max=self.n_groups - 1)


REGISTRY: dict[str, type] = {
    "contiguous": ContiguousGrouping,
    "random": RandomGrouping,
    "spatial": SpatialGrouping,
}
