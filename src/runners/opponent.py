"""The enemies of a game of two sides, where they learn too: played from inside the environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from components.batch import Memory, Step, to_device
from components.rows import Rows
from controllers.basic_controller import BasicMAC
from controllers.policy import Playing
from runners.episodes import EpisodeLog, EpisodeStats


class LearningOpponent(Playing):
    """The `envs.opponents.Policy` that explores, and keeps every row for its learner, as `VectorRunner` does.

    Counts environment steps like the run: its exploration ends when its own schedule says so.
    """

    def __init__(self, mac: BasicMAC, rows: Rows) -> None:
        super().__init__(mac)
        self.rows = rows
        self.t_env = 0
        self.memory: Memory = mac.init_memory(rows.n_envs)
        self.log = EpisodeLog()
        self.stats = EpisodeStats(mac.info, rows.n_envs)
        self.last: tuple[Step, Tensor] | None = None  # the row before, and what was done

    def __call__(self, step: Step, first: Tensor, generator: torch.Generator) -> Tensor:
        """Choose actions (E, M) int64 for a row, stored with them; memory restarts where ``first`` (E,) bool."""
        if self.last is not None:
            self.log.add(self.stats.update(*self.last, step))
        memory = self.mac.restart(self.memory, first.to(self.mac.device))
        action, self.memory = self.mac.select_actions(step, memory, self.t_env, False, generator)
        self.rows.insert(step, action, self.memory.group)
        self.t_env += len(first) - int(step.done.count_nonzero())
        self.last = (step, action)
        return action

    def state_dict(self) -> dict[str, Any]:
        """Return what is carried from one row to the next; the side keeps its rows and weights."""
        return {
            "t_env": self.t_env,
            "memory": self.memory,
            "last": self.last,
            "stats": self.stats.state_dict(),
            "log": dict(self.log.values),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.t_env = state["t_env"]
        self.memory = to_device(state["memory"], self.mac.device)
        if state["last"] is not None:
            step, action = state["last"]
            self.last = (step, action.to(self.mac.device))
        self.stats.load_state_dict(state["stats"])
        self.log.values.update(state["log"])
