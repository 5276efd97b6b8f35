"""Bar: the El Farol problem (Arthur 1994) as played in the HMF paper: N agents, one bar of limited capacity."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.batch import EnvInfo
from envs.base import EnvError
from envs.scenes import BarScene
from envs.torch_env import State, TorchEnv


class Bar(TorchEnv):
    """Every night each agent stays at home (0) or attends (1).

    Attending pays +1 while at most ``capacity`` agents attend and -1 when more do; staying pays 0. The only
    observation is last night's attendance as a share of all agents, shape (1,); before the first night it is that of
    a random number of agents, uniform in 0..N. The best mean payoff is ``capacity / n_agents``.

    Stats over the nights so far: mean and standard deviation of attendance (agents), share of crowded nights, mean
    payoff per agent and night, and exploitability: what the best other action of one agent alone would have paid it
    more in that night, mean over agents and nights. 0: exactly ``capacity`` agents attend, nobody gains by deviating.
    """

    def __init__(self, n_envs: int, device: torch.device, *, n_agents: int, capacity: int, episode_limit: int) -> None:
        info = EnvInfo(
            name="bar",
            n_agents=n_agents,
            n_actions=2,
            obs_shape=(1,),
            obs_dtype=torch.float32,
            obs_scale=1.0,
            episode_limit=episode_limit,
            stats=("attendance", "attendance_std", "crowded", "payoff", "exploitability"),
        )
        super().__init__(n_envs, device, info)
        if not 1 <= capacity <= n_agents:
            raise EnvError(
                f"env_args.capacity: expected 1 to n_agents = {n_agents}, got {capacity}. Set env_args.capacity "
                "together with env_args.n_agents."
            )
        self.capacity = capacity
        self._seen: dict[int, list[int]] = {}  # copy -> attendance of the nights that scenes showed

    def scene(self, env_index: int) -> BarScene:
        """Return the nights so far too, if every one was looked at: the state keeps their sum alone."""
        stats = {key: float(value[env_index]) for key, value in self._stats(self._state).items()}
        night, attendance, total = (int(self._state[key][env_index]) for key in ("nights", "attendance", "sum"))
        past = [*self._seen.get(env_index, [])[: night - 1], attendance] if night else []
        if (len(past), sum(past)) != (night, total):  # nights of another episode, or too few
            past = [attendance]
        self._seen[env_index] = past
        return BarScene(
            night=night,
            episode_limit=self.info.episode_limit,
            n_agents=self.info.n_agents,
            capacity=self.capacity,
            attendance=attendance,
            past=np.array(past, dtype=np.int64),
            mean=stats["attendance"],
            deviation=stats["attendance_std"],
            payoff=stats["payoff"],
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; versions up to 0.1 also kept every night's attendance, which is left out, and
        did not count who gains by deviating: their running episodes count it from here on.
        """
        kept = {key: value for key, value in state["state"].items() if key != "history"}
        if "nights" in kept:
            kept.setdefault("deviations", torch.zeros_like(kept["nights"]))
        super().load_state_dict({**state, "state": kept})

    def _start(self) -> State:
        shape = (self.n_envs,)
        zero = torch.zeros(shape, dtype=torch.int64, device=self.device)
        attendance = torch.randint(self.info.n_agents + 1, shape, generator=self._generator, device=self.device)
        sums = dict.fromkeys(("nights", "sum", "sum_sq", "crowded", "payoff", "deviations"), zero)
        return {"attendance": attendance, **sums}

    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        attendance = action.sum(dim=1)
        crowded = attendance > self.capacity
        price = torch.where(crowded, -1, 1)
        # Who gains 1 by deviating alone: guests of a crowded bar, those at home while one more would find room.
        at_home = torch.where(attendance < self.capacity, self.info.n_agents - attendance, 0)
        played = {
            "attendance": attendance,
            "nights": state["nights"] + 1,
            "sum": state["sum"] + attendance,
            "sum_sq": state["sum_sq"] + attendance**2,
            "crowded": state["crowded"] + crowded,
            "payoff": state["payoff"] + price * attendance,
            "deviations": state["deviations"] + torch.where(crowded, attendance, at_home),
        }
        reward = (action * price.unsqueeze(1)).to(torch.float32)
        return played, reward, torch.zeros_like(crowded)

    def _observe(self, state: State) -> Tensor:
        share = state["attendance"] / self.info.n_agents
        return share.view(-1, 1, 1).repeat(1, self.info.n_agents, 1)

    def _stats(self, state: State) -> dict[str, Tensor]:
        nights = state["nights"].clamp(min=1)
        # The numerator is exact in integers, where the difference of two rounded means would not be.
        variance = (nights * state["sum_sq"] - state["sum"] ** 2) / nights**2
        return {
            "attendance": state["sum"] / nights,
            "attendance_std": variance.sqrt(),
            "crowded": state["crowded"] / nights,
            "payoff": state["payoff"] / (nights * self.info.n_agents),
            "exploitability": state["deviations"] / (nights * self.info.n_agents),
        }
