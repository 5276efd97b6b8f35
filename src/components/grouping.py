"""Groupings: labels of agents in [0, m), -1 for the dead, assigned at an episode's first step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from components.batch import EnvInfo
from components.clustering import RunningMoments, farthest_first, lloyd, match_in_turn, points
from components.mean_field import group_mean, membership, to_members
from utils.errors import InputError
from utils.geometry import around

MAX_GROUPS = 2**15  # rows keep groups as int16


class GroupingError(InputError):
    """A grouping that gives no valid groups."""


@dataclass(frozen=True)
class GroupingInput:
    """Inputs of a grouping, for E episodes that begin."""

    obs: Tensor  # (E, N, F) float32, flattened
    action: Tensor  # (E, N, A) float32 one-hot of the first behaviour action
    alive: Tensor  # (E, N) bool
    position: Tensor | None  # (E, N, 2) float32
    centre: Tensor | None = None  # (m, F) of the last `Assignment`


@dataclass(frozen=True)
class Assignment:
    """Groups of E episodes, and the centres that a clustering found."""

    group: Tensor  # (E, N) int64 in [0, m), -1 for the dead
    centre: Tensor | None = None  # (m, F) float32, each group's last centre, inf for groups that never had members
    inertia: Tensor | None = None  # (E,) float32, mean squared distance of the living to their centre


class Grouping(nn.Module, ABC):
    """Assignment of agents to groups. A module, so that what it learns about features is part of checkpoints."""

    dynamic: bool  # members differ between episodes

    def __init__(self, info: EnvInfo, *, n_groups: int) -> None:
        super().__init__()
        if not hasattr(self, "dynamic"):
            raise GroupingError(
                f"grouping={type(self).__name__}: expected the class attribute dynamic, which says whether members "
                "differ between episodes, it is missing. Add dynamic = True or dynamic = False."
            )
        if n_groups > MAX_GROUPS:
            raise GroupingError(
                f"n_groups: expected at most {MAX_GROUPS:,}, which is what a row can number, got {n_groups:,}."
            )
        if not 1 <= n_groups <= info.n_agents:
            raise GroupingError(
                f"n_groups: expected between 1 and the number of agents ({info.n_agents}), got {n_groups}. "
                "Set n_groups."
            )
        self.n_agents = info.n_agents
        self.n_groups = n_groups

    def observe(self, features: GroupingInput) -> None:
        """Learn from the first rows of training episodes; never called in test mode."""

    @abstractmethod
    def assign(self, features: GroupingInput, generator: torch.Generator) -> Assignment:
        """Choose the groups of E episodes."""

    def checked(self, features: GroupingInput, generator: torch.Generator) -> Assignment:
        """Call `assign` and check its labels. Raises GroupingError."""
        assignment, alive = self.assign(features, generator), features.alive
        if not isinstance(assignment, Assignment):
            raise GroupingError(
                f"grouping={type(self).__name__}: expected assign() to return an Assignment, got a "
                f"{type(assignment).__name__}. Return Assignment(group)."
            )
        group = assignment.group
        if group.shape != alive.shape or group.dtype != torch.int64:
            raise GroupingError(
                f"grouping={type(self).__name__}: expected labels of shape {tuple(alive.shape)} and dtype torch.int64, "
                f"got {tuple(group.shape)} and {group.dtype}. Correct its assign()."
            )
        wrong = torch.where(alive, (group < 0) | (group >= self.n_groups), group != -1)
        if wrong.any():
            raise GroupingError(
                f"grouping={type(self).__name__}: expected labels from 0 to {self.n_groups - 1} for the living and -1 "
                f"for the dead, got {int(group[wrong][0])} for one of the {'living' if alive[wrong][0] else 'dead'}. "
                "Correct its assign()."
            )
        return assignment

    def by_slot(self, device: torch.device) -> Tensor:
        """Divide the slots into m runs whose lengths differ by at most one: (N,) int64."""
        return torch.arange(self.n_agents, device=device) * self.n_groups // self.n_agents


class ContiguousGrouping(Grouping):
    """Runs of neighbouring slots; never changes (the paper's fixed groups)."""

    dynamic = False

    def assign(self, features: GroupingInput, generator: torch.Generator) -> Assignment:
        label = self.by_slot(features.obs.device).expand(features.alive.shape)
        return Assignment(label.masked_fill(~features.alive, -1))


class KindGrouping(Grouping):
    """The kinds of agents that the environment announces; never changes."""

    dynamic = False

    def __init__(self, info: EnvInfo, *, n_groups: int) -> None:
        super().__init__(info, n_groups=n_groups)
        n_kinds = max(info.kinds, default=0) + 1
        if n_groups != n_kinds:
            raise GroupingError(
                f"grouping=kind: expected n_groups={n_kinds}, the number of kinds of agents in {info.name}, got "
                f"{n_groups}. Set it, or use another grouping."
            )
        self._kinds = torch.tensor(info.kinds or (0,) * info.n_agents)

    def by_slot(self, device: torch.device) -> Tensor:
        """Return every slot's kind, (N,) int64."""
        self._kinds = self._kinds.to(device)  # once: a copy in every step would wait for the accelerator
        return self._kinds

    def assign(self, features: GroupingInput, generator: torch.Generator) -> Assignment:
        label = self.by_slot(features.obs.device).expand(features.alive.shape)
        return Assignment(label.masked_fill(~features.alive, -1))


class RandomGrouping(Grouping):
    """Equal groups at random, new in every episode."""

    dynamic = True

    def assign(self, features: GroupingInput, generator: torch.Generator) -> Assignment:
        device = features.obs.device
        # An opponent's stream is on the CPU wherever the networks are.
        lot_EN = torch.rand(features.alive.shape, generator=generator, device=generator.device).to(device)
        return Assignment(dealt(lot_EN, features.alive, self.n_groups))


class SpatialGrouping(Grouping):
    """Equal groups of neighbours: agents cut into strips by position along the longer side of their bounding box.

    On a torus its seam is one of the borders, so that strips stay where they are while agents move.
    """

    dynamic = True

    def __init__(self, info: EnvInfo, *, n_groups: int) -> None:
        super().__init__(info, n_groups=n_groups)
        if not info.has_position:
            raise GroupingError(
                f"grouping=spatial needs an environment with positions, {info.name} has none. "
                "Use grouping=contiguous, random or ipc."
            )

    def assign(self, features: GroupingInput, generator: torch.Generator) -> Assignment:
        position = features.position
        assert position is not None  # EnvInfo.has_position
        low = position.masked_fill(~features.alive[..., None], torch.inf).amin(1)
        high = position.masked_fill(~features.alive[..., None], -torch.inf).amax(1)
        axis = (high - low).argmax(-1)
        coordinate = position.gather(-1, axis[:, None, None].expand(-1, position.shape[1], 1)).squeeze(-1)
        return Assignment(dealt(coordinate, features.alive, self.n_groups))


def dealt(key_EN: Tensor, alive_EN: Tensor, n_groups: int) -> Tensor:
    """Divide the living, in order of ``key_EN``, into equal groups: (E, N) int64 in [0, m), -1 for the dead."""
    # The dead sort last, so that the living fill the groups evenly.
    rank = key_EN.masked_fill(~alive_EN, torch.inf).argsort(dim=-1, stable=True).argsort(-1)
    living = alive_EN.sum(-1, keepdim=True).clamp(min=1)
    return (rank * n_groups // living).masked_fill(~alive_EN, -1)


class IPCGrouping(Grouping):
    """Clusters by observation and action (paper, "Information and Policy Consistency"; docs/algorithms.md).

    Farthest-first centres, then Lloyd; positions on a torus as points without a seam. A group keeps its number from
    episode to episode: new centres are matched to the last ones, so that a number's mean policy and value network go on
    with the nearest cluster.
    """

    dynamic = True
    lloyd_iterations = 10  # ours

    block_scale: Tensor  # (F,)

    def __init__(
        self, info: EnvInfo, *, n_groups: int, ipc_features: Literal["obs_action", "position", "position_action"]
    ) -> None:
        super().__init__(info, n_groups=n_groups)
        if ipc_features != "obs_action" and not info.has_position:
            raise GroupingError(
                f"ipc_features={ipc_features} needs an environment with positions, {info.name} has none. "
                "Use ipc_features=obs_action."
            )
        self.features, self.torus_side = ipc_features, info.torus_side
        place = 4 if info.torus_side else 2
        dims = {
            "obs_action": [math.prod(info.obs_shape), info.n_actions],
            "position": [place],
            "position_action": [place, info.n_actions],
        }[ipc_features]
        self.moments = RunningMoments(sum(dims))
        # Each block is divided by sqrt(dim), so that observations and actions weigh alike.
        self.register_buffer("block_scale", torch.cat([torch.full((dim,), dim**-0.5) for dim in dims]), False)

    def observe(self, features: GroupingInput) -> None:
        self.moments.update(self._raw(features)[features.alive])

    def assign(self, features: GroupingInput, generator: torch.Generator) -> Assignment:
        alive_EN, m = features.alive, self.n_groups
        x_ENF = self.moments.standardise(self._raw(features)) * self.block_scale
        seeds_Em = farthest_first(x_ENF, alive_EN, m, generator)
        cluster_EN = lloyd(x_ENF, points(x_ENF, seeds_Em), alive_EN, self.lloyd_iterations)

        member_EmN = membership(cluster_EN, m, x_ENF.dtype)
        centre_EmF, size_Em = group_mean(x_ENF, member_EmN), member_EmN.sum(-1)
        last_mF = features.centre if features.centre is not None else torch.full_like(centre_EmF[0], torch.inf)
        number_Em, centre_mF = match_in_turn(centre_EmF, size_Em > 0, last_mF)

        offset_ENF = x_ENF - to_members(centre_EmF, member_EmN)
        inertia = (offset_ENF.square().sum(-1) * alive_EN).sum(-1) / alive_EN.sum(-1).clamp(min=1)
        group_EN = number_Em.gather(1, cluster_EN.clamp(min=0)).masked_fill(~alive_EN, -1)
        return Assignment(group_EN, centre_mF, inertia)

    def _raw(self, features: GroupingInput) -> Tensor:
        """Join the chosen features: (E, N, F)."""
        seen = features.obs if self.features == "obs_action" else features.position
        assert seen is not None  # EnvInfo.has_position
        if self.torus_side and self.features != "obs_action":
            seen = around(seen, self.torus_side)
        return seen if self.features == "position" else torch.cat((seen, features.action), dim=-1)
