"""HMF's controller: acts on Q_LOC alone and keeps each episode's groups for training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from components.batch import EnvInfo, GroupHistory, Memory
from components.clustering import adjusted_rand_index, variance_between
from components.grouping import Assignment, Grouping, GroupingInput
from components.returns import weighted_mean
from components.selectors import ActionSelector
from controllers.basic_controller import BasicMAC
from modules.agents.base import Agent
from utils.geometry import around


class GroupMAC(BasicMAC):
    """Groups are assigned at an episode's first row (every ``regroup_interval`` steps if that is > 0); the dead leave.

    Those who are born later join the group of their slot, until new groups are made.
    Execution never reads them (paper: agents act on local values with local information).
    """

    def __init__(
        self,
        info: EnvInfo,
        agent: Agent,
        selector: ActionSelector,
        grouping: Grouping,
        *,
        regroup_interval: int,
        **keys: Any,
    ) -> None:
        super().__init__(info, agent, selector, **keys)
        self.grouping = grouping
        self.regroup_interval = regroup_interval

    def init_memory(self, n_envs: int) -> Memory:
        memory = super().init_memory(n_envs)
        return replace(memory, groups=GroupHistory(latest=memory.group, previous=memory.group))

    def remember(
        self,
        memory: Memory,
        *,
        obs: Tensor,
        action: Tensor,
        alive: Tensor,
        done: Tensor,
        position: Tensor | None,
        test_mode: bool,
        generator: torch.Generator,
    ) -> Memory:
        history = memory.groups
        if history is None:  # `bare_memory`: an opponent's
            return memory
        due = memory.age == 0
        if self.regroup_interval > 0:
            due |= (memory.age % self.regroup_interval == 0) & ~done  # nobody plays on from an episode's last row
        group = memory.group
        if due.any():
            rows = due.nonzero().squeeze(-1)
            features = GroupingInput(
                obs=obs[rows].flatten(2),
                action=one_hot(action[rows], self.info.n_actions).to(torch.float32),
                alive=alive[rows],
                position=None if position is None else position[rows],
                centre=history.centre,
            )
            if not test_mode:
                self.grouping.observe(features)
            assignment = self.grouping.checked(features, generator)
            group = group.index_copy(0, rows, assignment.group)
            history = _recorded(history, rows, assignment, self._locality(features, assignment.group))
        newborn = alive & (group < 0)
        group = torch.where(newborn, self.grouping.by_slot(group.device), group)
        return replace(memory, group=group.masked_fill(~alive, -1), groups=history)

    def _locality(self, features: GroupingInput, group: Tensor) -> Tensor | None:
        """Measure whether groups (K, N) are neighbourhoods: (K,) float32, NaN if unknown; None where no places are."""
        place = features.position
        if place is None:
            return None
        points = around(place, self.info.torus_side) if self.info.torus_side else place
        return variance_between(points, group, self.grouping.n_groups).float()

    def metrics(self, memory: Memory) -> dict[str, Tensor]:
        """Measure how far running episodes' groups differ from those before, among agents in both, and their tightness.

        ``group_rand_index`` does not depend on the groups' numbers, ``group_changed`` (share of agents) does.
        ``group_inertia`` is their tightness in what was clustered, ``group_locality`` in places, when they were made.
        """
        history = memory.groups
        assert history is not None  # init_memory
        metrics = {} if history.inertia is None else {"group_inertia": history.inertia.mean()}
        if history.locality is not None and history.locality.isfinite().any():
            metrics["group_locality"] = history.locality.nanmean()
        both = (history.latest >= 0) & (history.previous >= 0)
        if self.grouping.dynamic and both.any():
            latest, previous = (label.masked_fill(~both, -1) for label in (history.latest, history.previous))
            agreement = adjusted_rand_index(latest, previous, self.grouping.n_groups)
            metrics["group_rand_index"] = weighted_mean(agreement, both.any(-1).to(agreement.dtype))
            metrics["group_changed"] = (latest != previous).sum() / both.sum()
        return metrics

    def common(self, memory: Memory) -> dict[str, Any]:
        """Return what groupings learn about features, and the centres by which groups keep their numbers."""
        learned = self.grouping.state_dict()
        assert memory.groups is not None  # init_memory
        shared = learned or self.grouping.dynamic  # of processes the first alone may have centres as yet
        return {"grouping": learned, "centre": memory.groups.centre} if shared else {}

    def adopt(self, memory: Memory, common: dict[str, Any]) -> Memory:
        self.grouping.load_state_dict(common["grouping"])
        assert memory.groups is not None
        centre = None if common["centre"] is None else common["centre"].to(self.device)
        return replace(memory, groups=replace(memory.groups, centre=centre))


def _recorded(history: GroupHistory, rows: Tensor, new: Assignment, locality: Tensor | None) -> GroupHistory:
    """Return ``history`` (E environments) after a new assignment of the environments ``rows`` (K,) int64."""

    def updated(old: Tensor | None, value: Tensor | None) -> Tensor | None:
        if value is None:
            return old
        before = torch.zeros(len(history.latest), device=rows.device) if old is None else old
        return before.index_copy(0, rows, value)

    return GroupHistory(
        latest=history.latest.index_copy(0, rows, new.group),
        previous=history.previous.index_copy(0, rows, history.latest[rows]),
        centre=new.centre,
        inertia=updated(history.inertia, new.inertia),
        locality=updated(history.locality, locality),
    )
