"""Who plays the other side of a game: opponents live inside the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from components.batch import Step
from envs.base import EnvError

Look = Callable[[], tuple[Step, Tensor]]
"""Computes the opponents' own row and ``first`` (E,) bool, which is true where an episode begins with this row."""


class Policy(Protocol):
    """A trained policy as an opponent: ``build.py`` makes one from a checkpoint or from the learning controller."""

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """Of one observation."""

    @property
    def n_actions(self) -> int:
        """Number of actions."""

    @property
    def n_agents(self) -> int | None:
        """Number of agents that it can play; None: any."""

    def __call__(self, step: Step, first: Tensor, generator: torch.Generator) -> Tensor:
        """(E, N) int64 actions in [0, n_actions); those of the dead are ignored.

        ``step`` is the row as the opponents see it: ``obs`` (E, N, *obs_shape) in the stored dtype and scale,
        ``alive``, ``position``; its rewards are 0. ``first`` (E,) bool: forget what was carried over.
        """

    def state_dict(self) -> dict[str, Any]:
        """What the policy carries from one step to the next (not its weights); empty for one without memory."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""


class RandomOpponent:
    """Uniform random actions, without looking."""

    def __init__(self, n_envs: int, n_agents: int, n_actions: int) -> None:
        self._shape = (n_envs, n_agents)
        self._n_actions = n_actions

    def act(self, look: Look, generator: torch.Generator) -> Tensor:
        """(E, N) int64 actions."""
        return torch.randint(self._n_actions, self._shape, generator=generator)

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


class PolicyOpponent:
    """A policy that must fit the enemies' observations, actions and number, or EnvError."""

    def __init__(self, policy: Policy, obs_shape: tuple[int, ...], n_actions: int, n_agents: int) -> None:
        if (tuple(policy.obs_shape), policy.n_actions) != (tuple(obs_shape), n_actions):
            raise EnvError(
                f"Opponent policy: it acts on observations of shape {tuple(policy.obs_shape)} with {policy.n_actions} "
                f"actions, but this environment's enemies have shape {tuple(obs_shape)} and {n_actions} actions. "
                "Give the enemies what it was trained with (Battle: env_args.enemy_view_radius, enemy_speed, "
                "enemy_attack_radius), or choose another checkpoint."
            )
        if policy.n_agents not in (None, n_agents):
            raise EnvError(
                f"Opponent policy: it has parameters of their own for each of {policy.n_agents} agents "
                f"(share_params=false or obs_agent_id=true), but this environment has {n_agents} enemies. "
                "Train it with shared parameters and without ids, or make the numbers equal (Battle: "
                "env_args.n_enemies)."
            )
        self._policy = policy

    def act(self, look: Look, generator: torch.Generator) -> Tensor:
        """(E, N) int64 actions."""
        return self._policy(*look(), generator)

    def state_dict(self) -> dict[str, Any]:
        """The policy's memory."""
        return self._policy.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._policy.load_state_dict(state)


def check_opponent(opponent: str, opponent_checkpoint: str) -> None:
    """The keys fit together: only a frozen policy needs its path, which other opponents ignore. Raises EnvError."""
    if opponent == "checkpoint" and not opponent_checkpoint:
        raise EnvError(
            "env_args.opponent is 'checkpoint' and env_args.opponent_checkpoint is empty: expected the path of a "
            "policy file, such as opponents/battle.pt."
        )
