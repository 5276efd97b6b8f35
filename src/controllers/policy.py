"""A controller as an opponent: plays rows, remembers what its controller remembers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from components.batch import Memory, Step, to_device
from controllers.basic_controller import BasicMAC

FULLY_ANNEALED = 2**62  # environment steps after which every exploration schedule has ended


class Playing:
    """What a controller that plays as an opponent says of the game that it learned."""

    def __init__(self, mac: BasicMAC) -> None:
        self.mac = mac
        self.learned = mac.info
        self.any_number = mac.agent.n_agents is None


class MACPolicy(Playing):
    """The `envs.opponents.Policy`, and `TeamPolicy`, of a controller, frozen or still learning.

    Greedy, or with the exploration that remains when its schedule has ended.
    """

    def __init__(self, mac: BasicMAC, greedy: bool) -> None:
        super().__init__(mac)
        self.greedy = greedy
        self.memory: Memory | None = None

    def __call__(self, step: Step, first: Tensor, generator: torch.Generator) -> Tensor:
        """Choose actions (E, N) int64 for a row; memory restarts in environments where ``first`` (E,) bool."""
        if self.memory is None:
            self.memory = self.mac.bare_memory(*step.alive.shape)
        memory = self.mac.restart(self.memory, first.to(self.mac.device))
        action, self.memory = self.mac.select_actions(step, memory, FULLY_ANNEALED, self.greedy, generator)
        return action

    def acted(self, action: Tensor) -> None:
        """Remember that the agents did ``action`` (E, N) int64, instead of all that the last call chose."""
        assert self.memory is not None
        chosen = self.memory.prev_action
        self.memory = replace(self.memory, prev_action=torch.where(chosen < 0, chosen, action.to(chosen.device)))

    def state_dict(self) -> dict[str, Any]:
        """Return the memory; the weights belong to the controller."""
        return {"memory": self.memory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        memory = state["memory"]
        self.memory = None if memory is None else to_device(memory, self.mac.device)
