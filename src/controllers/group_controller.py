"""HMF's controller: acts on Q_LOC alone and keeps each episode's groups for training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from components.batch import EnvInfo, Memory
from components.grouping import Grouping, GroupingInput
from components.selectors import ActionSelector
from controllers.basic_controller import BasicMAC
from modules.agents.base import Agent


class GroupMAC(BasicMAC):
    """Groups are assigned at an episode's first row (every ``regroup_interval`` steps if that is > 0); the dead leave.

    Execution never reads them (paper: agents act on local values with local information).
    """

    def __init__(
        self,
        info: EnvInfo,
        agent: Agent,
        selector: ActionSelector,
        grouping: Grouping,
        *,
        obs_last_action: bool,
        regroup_interval: int,
    ) -> None:
        super().__init__(info, agent, selector, obs_last_action=obs_last_action)
        self.grouping = grouping
        self.regroup_interval = regroup_interval

    def remember(
        self,
        memory: Memory,
        obs: Tensor,
        action: Tensor,
        alive: Tensor,
        position: Tensor | None,
        test_mode: bool,
        generator: torch.Generator,
    ) -> Memory:
        due = memory.age % self.regroup_interval == 0 if self.regroup_interval > 0 else memory.age == 0
        group = memory.group
        if due.any():
            rows = due.nonzero().squeeze(-1)
            features = GroupingInput(
                obs=obs[rows].flatten(2),
                action=one_hot(action[rows], self.info.n_actions).to(torch.float32),
                alive=alive[rows],
                position=None if position is None else position[rows],
            )
            group = group.index_copy(0, rows, self.grouping.assign(features, generator))
        return replace(memory, group=group.masked_fill(~alive, -1))
