"""MFQ's controller: every agent also sees the mean action (Yang et al. 2018)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from components.batch import EnvInfo
from components.mean_field import mean_action_of_others, mean_action_of_team
from components.selectors import ActionSelector
from controllers.basic_controller import BasicMAC
from modules.agents.base import Agent


class MeanFieldMAC(BasicMAC):
    """Appends the mean action of the previous step; zeros on an episode's first row.

    The paper writes Q(s_t, a_t, mean of a_t), but a policy can only know the mean of a_{t-1}. Here that is the input at
    t in acting, in learning and in the target alike (the authors' code does the same), so that Q is asked about nothing
    that it was not trained on: Q(o_t, a_t, mean of a_{t-1}) learns from v_MF(o_{t+1}, mean of a_t).

    ``mean_action``: ``others``, the other agents alive now that acted, as in the paper; ``team``, one mean over
    all that acted, the agent itself included, as in the authors' code.
    """

    def __init__(
        self,
        info: EnvInfo,
        agent: Agent,
        selector: ActionSelector,
        *,
        mean_action: Literal["others", "team"],
        **keys: Any,
    ) -> None:
        super().__init__(info, agent, selector, **keys)
        self.mean_action = mean_action

    @classmethod
    def extra_dim(cls, info: EnvInfo, obs_last_action: bool) -> int:
        return info.n_actions + super().extra_dim(info, obs_last_action)

    def extra(self, prev_action: Tensor, alive: Tensor) -> Tensor:
        if self.mean_action == "others":
            mean_BNA = mean_action_of_others(prev_action, alive, self.info.n_actions)
        else:
            mean_BNA = mean_action_of_team(prev_action, self.info.n_actions)
        last_BNA = super().extra(prev_action, alive)
        return mean_BNA if last_BNA is None else torch.cat((mean_BNA, last_BNA), dim=-1)
