"""A game in which a group can waste a member: agent 0 decides at every step whether agent 1 lives on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from components.batch import EnvInfo
from envs.torch_env import State, TorchEnv

GUARD, LET_DIE = 0, 1


class Guard(TorchEnv):
    """Agent 0 earns 1 a step and agent 1, while it lives, 0.2; it dies after the step in which 0 plays LET_DIE.

    Observation (3,): is agent 0, is agent 1, agent 1 lives. Never a true end, only the time limit.
    """

    n_agents = 2

    def __init__(self, n_envs: int, device: torch.device, *, episode_limit: int) -> None:
        super().__init__(n_envs, device, EnvInfo("guard", self.n_agents, 2, (3,), torch.float32, 1.0, episode_limit))

    def _start(self) -> State:
        return {"alive": torch.ones(self.n_envs, self.info.n_agents, dtype=torch.bool, device=self.device)}

    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        alive = state["alive"]
        lives_on = alive[:, 1] & (action[:, 0] == GUARD)
        reward = torch.tensor([1.0, 0.2, *[0.5] * (self.info.n_agents - 2)], device=self.device) * alive
        lives = torch.cat((alive[:, :1], lives_on[:, None], alive[:, 2:]), dim=1)
        return {"alive": lives}, reward, torch.zeros_like(lives_on)

    def _observe(self, state: State) -> Tensor:
        alive = state["alive"]
        who = torch.eye(self.info.n_agents, 2, device=self.device).expand(self.n_envs, -1, 2)
        return (
            torch.cat((who, alive[:, 1:2, None].expand(-1, self.info.n_agents, 1).float()), dim=-1) * alive[..., None]
        )

    def _stats(self, state: State) -> dict[str, Any]:
        return {}


class GuardAmongOthers(Guard):
    """Two more, who earn 0.5 a step and never die."""

    n_agents = 4
