"""The one runner: E environments in step, for training and for evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from components.batch import Step, to_device
from components.rows import Rows
from controllers.basic_controller import BasicMAC
from envs.base import Env, announced, require_announced
from runners.episodes import EpisodeLog, EpisodeStats
from utils import seeding


class VectorRunner:
    """Plays ``env`` with ``mac``; keeps the current row, the controller's memory and running statistics."""

    def __init__(self, env: Env, mac: BasicMAC, generator: torch.Generator, seed: int) -> None:
        """Start E episodes, whose random stream depends on ``seed`` alone."""
        self.env = env
        self.form = announced(env.info, env.n_envs)
        self.mac = mac
        self.generator = generator
        self.log = EpisodeLog()
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Start E new episodes."""
        self.row: Step = self.env.reset(seed)
        require_announced(self.row, self.form, self.env.info.name)
        self.memory = self.mac.init_memory(self.env.n_envs)
        self.stats = EpisodeStats(self.env.info, self.env.n_envs)

    def advance(self, t_env: int, test_mode: bool, rows: Rows | None = None) -> tuple[int, dict[str, Tensor]]:
        """Advance every environment by one step.

        Returns the number of transitions made (environments that only reset make none) and the statistics of the
        episodes that ended.
        """
        action, memory = self.mac.select_actions(self.row, self.memory, t_env, test_mode, self.generator)
        if rows is not None:
            rows.insert(self.row, action, memory.group)
        after = self.env.step(action.to(self.env.device))
        require_announced(after, self.form, self.env.info.name)
        ended = self.stats.update(self.row, action, after)
        made = self.env.n_envs - int(self.row.done.count_nonzero())
        self.row, self.memory = after, memory
        return made, ended

    def collect(self, t_env: int, rows: Rows) -> int:
        """Make one training step of every environment into ``rows``; return the number of transitions made."""
        made, ended = self.advance(t_env, test_mode=False, rows=rows)
        self.log.add(ended)
        return made

    def evaluate(self, seed: int, n_episodes: int, stop: Callable[[], bool]) -> dict[str, float]:
        """Return the means over the greedy episodes that `play` plays; empty when it gave up."""
        return self.log.flush() if self.play(seed, n_episodes, stop) else {}

    def play(self, seed: int, n_episodes: int, stop: Callable[[], bool]) -> bool:
        """Play greedy episodes into ``log``; every environment plays as many, so that short ones are not favoured.

        Plays ``n_episodes`` rounded up to a multiple of E; gives up and returns False when ``stop()`` says so. Networks
        of one's own that draw from torch's random stream draw what depends on ``seed`` alone.
        """
        with seeding.apart(seeding.derive_seed(seed, "evaluation networks"), self.mac.device):
            return self._play(seed, n_episodes, stop)

    def _play(self, seed: int, n_episodes: int, stop: Callable[[], bool]) -> bool:
        self.reset(seed)
        self.memory = self.mac.bare_memory(self.env.n_envs, self.env.info.n_agents)  # nobody learns from these
        self.log = EpisodeLog()
        self.generator.manual_seed(seeding.derive_seed(seed, "evaluation actions"))  # not that of first states
        quota = math.ceil(n_episodes / self.env.n_envs)
        played = torch.zeros(self.env.n_envs, dtype=torch.int64)
        while int(played.min()) < quota:
            if stop():
                return False
            before = self.row
            _, ended = self.advance(t_env=0, test_mode=True)
            finished = self.row.done.cpu() & ~before.done.cpu()
            wanted = (played < quota)[finished]
            self.log.add({name: value[wanted] for name, value in ended.items()})
            played += finished
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the environments, the row, the memory, the random stream and the running statistics."""
        return {
            "env": self.env.state_dict(),
            "row": self.row,
            "memory": self.memory,
            "generator": self.generator.get_state(),
            "stats": self.stats.state_dict(),
            "log": dict(self.log.values),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.env.load_state_dict(state["env"])
        self.row = to_device(state["row"], self.env.device)
        self.memory = to_device(state["memory"], self.mac.device)
        self.generator.set_state(state["generator"])
        self.stats.load_state_dict(state["stats"])
        self.log.values.update(state["log"])
