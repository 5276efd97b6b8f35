"""Games of one decision with known optima and equilibria: for tests, and for checking a method before a long run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from components.batch import EnvInfo
from envs.base import require_at_least
from envs.torch_env import State, TorchEnv


def additive(action_EN: Tensor) -> Tensor:
    """Pay every agent the sum of all actions in {0, 1, 2}: VDN represents it exactly; the best sum is 2N (ours)."""
    return action_EN.sum(dim=1, keepdim=True).expand_as(action_EN)


def non_monotonic(action_EN: Tensor) -> Tensor:
    """Pay every agent 8 when all play 0, -12 when only some do, 0 when none does.

    With two agents [[8, -12, -12], [-12, 0, 0], [-12, 0, 0]] (Son et al. 2019, QTRAN), which no monotonic mixer
    can represent.
    """
    zeros = (action_EN == 0).sum(dim=1, keepdim=True)
    payoff = torch.where(zeros == action_EN.shape[1], 8, torch.where(zeros > 0, -12, 0))
    return payoff.expand_as(action_EN)


def hawk_dove(action_EN: Tensor) -> Tensor:
    """Pay every agent its mean payoff as dove (0) or hawk (1) against each of the others (Maynard Smith 1982).

    Prize 2, cost of a fight 4: dove-dove 1, dove-hawk 0, hawk-dove 2, hawk-hawk -1. General-sum: all doves is best for
    the population (1 each), the symmetric equilibrium has half hawks (0.5 each).
    """
    hawk = action_EN.to(torch.float32)
    other_hawks = (hawk.sum(dim=1, keepdim=True) - hawk) / (action_EN.shape[1] - 1)
    return torch.where(action_EN == 1, 2 - 3 * other_hawks, 1 - other_hawks)


def gain_by_deviating(payoff: Callable[[Tensor], Tensor], action_EN: Tensor, n_actions: int) -> Tensor:
    """Return what each agent's best action, those of the others given, would pay it more: (E, N), 0 or above.

    Its mean over agents is a joint action's exploitability; 0 everywhere: a Nash equilibrium in pure strategies. In
    these games only numbers of agents count, so one agent speaks for all that play as it does: O(N), not O(N^2).
    """
    paid_EN = payoff(action_EN)
    gain_EN = torch.zeros_like(paid_EN)
    for own in range(n_actions):
        plays_EN = action_EN == own
        one_E1 = plays_EN.int().argmax(dim=1, keepdim=True)  # of them; any of them where nobody plays it
        paid_E1 = best_E1 = paid_EN.gather(1, one_E1)
        for other in range(n_actions):
            best_E1 = torch.maximum(best_E1, payoff(action_EN.scatter(1, one_E1, other)).gather(1, one_E1))
        gain_EN = torch.where(plays_EN, best_E1 - paid_E1, gain_EN)
    return gain_EN


# Name -> payoff (E, N) of the joint action (E, N), number of actions, fewest agents.
GAMES = {"additive": (additive, 3, 1), "non_monotonic": (non_monotonic, 3, 1), "hawk_dove": (hawk_dove, 2, 2)}


class MatrixGame(TorchEnv):
    """A simultaneous game, played ``episode_limit`` times; the last decision is a termination.

    The observation is the constant 1, shape (1,). Stats, over agents and decisions so far: mean payoff, and mean
    exploitability (`gain_by_deviating`).
    """

    def __init__(
        self,
        n_envs: int,
        device: torch.device,
        *,
        game: Literal["additive", "non_monotonic", "hawk_dove"],
        n_agents: int,
        episode_limit: int,
    ) -> None:
        self._payoff, n_actions, fewest_agents = GAMES[game]
        require_at_least("n_agents", n_agents, fewest_agents)
        info = EnvInfo(
            name=game,
            n_agents=n_agents,
            n_actions=n_actions,
            obs_shape=(1,),
            obs_dtype=torch.float32,
            obs_scale=1.0,
            episode_limit=episode_limit,
            stats=("payoff", "exploitability"),
        )
        super().__init__(n_envs, device, info)

    def _start(self) -> State:
        zero = torch.zeros(self.n_envs, device=self.device)
        return {"decisions": zero, "payoff": zero, "exploitability": zero}

    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        reward = self._payoff(action).to(torch.float32)
        gain = gain_by_deviating(self._payoff, action, self.info.n_actions).to(torch.float32)
        played = {
            "decisions": state["decisions"] + 1,
            "payoff": state["payoff"] + reward.mean(dim=1),
            "exploitability": state["exploitability"] + gain.mean(dim=1),
        }
        return played, reward, played["decisions"] >= self.info.episode_limit

    def _observe(self, state: State) -> Tensor:
        return torch.ones(self.n_envs, self.info.n_agents, 1, device=self.device)

    def _stats(self, state: State) -> dict[str, Tensor]:
        decisions = state["decisions"].clamp(min=1)
        return {name: state[name] / decisions for name in self.info.stats}
