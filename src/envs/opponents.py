"""Games of two sides: an environment plays the enemies itself, at random or by policies that it is given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from components.batch import EnvInfo, Step, misfit
from envs.base import Env, EnvError
from utils.seeding import generator

Opponent = Literal["random", "checkpoint", "self_play", "league", "learner"]
"""Who plays the enemies: uniform random actions, a frozen policy, the controller that is learning, its past, or a
controller of their own, which learns too."""


class Policy(Protocol):
    """A trained policy as an opponent: of a checkpoint or of the learning controller (``assembly/opponents.py``)."""

    @property
    def learned(self) -> EnvInfo:
        """The game that it learned."""

    @property
    def any_number(self) -> bool:
        """It can play any number of agents: no parameter belongs to one of them."""

    def __call__(self, step: Step, first: Tensor, generator: torch.Generator) -> Tensor:
        """Choose actions (E, N) int64 in [0, n_actions); those of the dead are ignored.

        ``step`` is the row as the enemies see it: ``obs`` (E, N, *obs_shape) in the stored dtype and scale,
        ``alive``, ``position``, their own rewards; ``info["score"]`` (E,) float32 is the learners' result where an
        episode ends: 1 won, 0.5 drawn, 0 lost. ``first`` (E,) bool: forget what was carried over.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what it carries from one step to the next, weights only if nobody else keeps them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""


class TeamPolicy(Policy, Protocol):
    """A trained policy as the teammates of a learner."""

    def acted(self, action: Tensor) -> None:
        """Remember that the agents did ``action`` (E, N) int64, instead of all that the last call chose."""


@runtime_checkable
class WithTeam(Protocol):
    """An environment that plays its learner's teammates itself, at random or by a policy that it is given."""

    team: Literal["random", "checkpoint"]
    team_checkpoint: str

    def set_team(self, policy: TeamPolicy) -> None:
        """Let ``policy`` play the teammates."""


class TwoSidedEnv(Env):
    """An environment of two sides: the learners' actions come from outside, the enemies' from an opponent inside.

    Enemies are one team, called "", or several, each with a name and a policy of its own.

    A game defines ``others``, ``_look_as``, ``_lead`` and ``_acting``, calls ``_begin_opponent`` in ``reset`` and
    ``_joint_action`` in ``step``, and adds its own part to ``state_dict`` and ``load_state_dict``. The opponent draws
    from a random stream of its own: how episodes start does not depend on who plays.

    opponent: who plays the enemies: random actions, or the policies given to ``set_opponent``.
    opponent_checkpoint: where that policy was saved, or the folder with those of several teams, for opponent:
        checkpoint; others ignore it.
    league_interval: environment steps of the run from one past policy to the next, for opponent: league.
    league_self_play: share of its episodes against the policy as it is now instead.

    Raises EnvError for a frozen policy without a path.
    """

    def __init__(
        self,
        n_envs: int,
        device: torch.device,
        *,
        opponent: Opponent,
        opponent_checkpoint: str,
        league_interval: int,
        league_self_play: float,
    ) -> None:
        super().__init__(n_envs, device)
        if league_interval < 1 or not 0 <= league_self_play <= 1:
            raise EnvError(
                "env_args: expected a league_interval of at least 1 and a league_self_play from 0 to 1, got "
                f"{league_interval} and {league_self_play}."
            )
        if opponent == "checkpoint" and not opponent_checkpoint:
            raise EnvError(
                "env_args.opponent is 'checkpoint' and env_args.opponent_checkpoint is empty: expected the path of a "
                "policy file, such as opponents/battle.pt."
            )
        self.opponent = opponent
        self.opponent_checkpoint = opponent_checkpoint
        self.league_interval = league_interval
        self.league_self_play = league_self_play
        self._policies: dict[str, Policy] = {}  # of the enemies' teams
        self._opponent_stream: torch.Generator | None = None

    @property
    @abstractmethod
    def others(self) -> Mapping[str, EnvInfo]:
        """Team -> the game as these enemies see it. Raises EnvError where no one policy could play it."""

    @property
    def enemies(self) -> EnvInfo:
        """The game as the only team of enemies sees it. Raises EnvError where there are several."""
        if list(self.others) != [""]:
            raise EnvError(
                f"{self.info.name}: expected a game of two sides, got {len(self.others)} teams beside the learners "
                f"({', '.join(self.others) or 'all agents learn'}). Choose env_args.team, and leave env_args.teams out."
            )
        return self.others[""]

    @abstractmethod
    def _look_as(self, team: str) -> tuple[Step, Tensor]:
        """Return the own row of these enemies, and ``first`` (E,) bool, true where an episode begins with this row."""

    def enemy_observations(self, compact: Tensor) -> Tensor:
        """Make what `observations` makes, of the enemies' rows, where their ``compact_dim`` is above 0."""
        raise EnvError(
            f"{type(self).__name__} announces a compact_dim above 0 in others, but has no method "
            "enemy_observations(compact). Write it, or announce 0."
        )

    @abstractmethod
    def _lead(self) -> np.ndarray:
        """Return by how much the learners are ahead of the enemies, (E,); whoever is ahead at the end has won."""

    def _score(self) -> Tensor:
        """Return the learners' result if episodes ended now, (E,) float32: 1 ahead, 0.5 level, 0 behind."""
        return torch.from_numpy(0.5 + 0.5 * np.sign(self._lead())).to(self.device, torch.float32)

    @abstractmethod
    def _acting(self, side: int) -> np.ndarray:
        """Return which learners (side 0) or enemies have their actions executed in this step: (E, n) bool.

        Sides of enemies count from 1, in the order of ``others``.
        """

    def _random_action(self, stream: torch.Generator) -> Tensor:
        """Draw uniform random actions (E, M) int64 of all enemies, without looking at the game."""
        return torch.randint(self.enemies.n_actions, (self.n_envs, self.enemies.n_agents), generator=stream)

    def set_opponent(self, policy: Policy, team: str = "") -> None:
        """Let ``policy`` play these enemies. Raises EnvError when it does not fit them or none is wanted."""
        if self.opponent == "random":
            raise EnvError(
                "env_args.opponent is 'random', which takes no policy; choose checkpoint, self_play, league or learner."
            )
        unlike = misfit(policy.learned, self.others[team], policy.any_number)
        if unlike:
            raise EnvError(
                f"Opponent policy: it learned with {unlike[0]}; this environment's enemies{team and ' '}{team} have "
                f"{unlike[1]}. Give the enemies what it was trained with (Battle: env_args.enemy_view_radius, "
                "enemy_speed, enemy_attack_radius), or choose another opponent; self_play and league need sides that "
                "are alike. Only a policy with share_params=true and obs_agent_id=false plays any number of agents."
            )
        self._policies[team] = policy

    def state_dict(self) -> dict[str, Any]:
        """Return the opponent's stream and memory. Raises EnvError before ``reset``."""
        stream = self._require_reset("state_dict")
        memories = {_memory_of(team): policy.state_dict() for team, policy in self._policies.items()}
        return {"opponent_stream": stream.get_state(), **memories}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`. Raises EnvError when a policy is wanted and not set yet."""
        self._require_opponent()
        self._opponent_stream = torch.Generator()
        self._opponent_stream.set_state(state["opponent_stream"])
        for team, policy in self._policies.items():
            policy.load_state_dict(state[_memory_of(team)])

    def _begin_opponent(self, seed: int, stream: str) -> None:
        """Start the opponent's random stream of that name. Raises EnvError when a policy is wanted and not set yet."""
        self._require_opponent()
        self._opponent_stream = generator(seed, stream)

    def _joint_action(self, action: Tensor) -> tuple[np.ndarray, ...]:
        """Check the learners' actions and choose the enemies': (E, N) and for each of their teams (E, M) int64.

        Random actions are those of all teams together.

        Raises EnvError before ``reset``, and on actions that do not fit: engines may not survive them.
        """
        stream = self._require_reset("step")
        own = self._own_action(action)
        if not self._policies:
            return own, self._random_action(stream).numpy()
        score = self._score()
        chosen = []
        for side, (team, info) in enumerate(self.others.items(), start=1):
            step, first = self._look_as(team)
            theirs = self._policies[team](replace(step, info={"score": score}), first, stream)
            chosen.append(self._checked(theirs, side, info.n_agents, info.n_actions))
        return own, *chosen

    def _own_action(self, action: Tensor) -> np.ndarray:
        """Check the learners' actions: (E, N) int64."""
        return self._checked(action, 0, self.info.n_agents, self.info.n_actions)

    def _checked(self, action: Tensor, side: int, n_agents: int, n_actions: int) -> np.ndarray:
        """Return ``action`` (E, n_agents) int64 on the host, in C order; agents that do not act may have any value."""
        whose, shape = "opponent's " if side else "", (self.n_envs, n_agents)
        if tuple(action.shape) != shape or action.dtype != torch.int64:
            raise EnvError(f"{whose}action: expected {shape} int64, got {tuple(action.shape)} {action.dtype}.")
        asked = action.cpu().contiguous().numpy()
        if asked.view(np.uint64).max() >= n_actions:  # negative numbers are large ones without a sign
            for env, agent in np.argwhere(self._acting(side) & ((asked < 0) | (asked >= n_actions))):
                got = f"{asked[env, agent]} (copy {env}, agent {agent})"
                raise EnvError(f"{whose}action: expected 0 .. {n_actions - 1}, got {got}.")
        return asked

    def _require_copies(self, count: int) -> None:
        """Raise EnvError for a state of another number of copies."""
        if count != self.n_envs:
            raise EnvError(
                f"{self.info.name}: the state holds {count} parallel environments, this one has {self.n_envs}. "
                "Resume with the same batch_size_run."
            )

    def _require_opponent(self) -> None:
        if self.opponent != "random":
            for team in self.others.keys() - self._policies.keys():
                raise EnvError(
                    f"env_args.opponent is '{self.opponent}', but nobody plays the enemies{team and ' '}{team}: "
                    "call set_opponent(policy) first, or choose opponent: random."
                )

    def _require_reset(self, what: str) -> torch.Generator:
        """Return the opponent's stream. Raises EnvError before the first episode."""
        if self._opponent_stream is None:
            raise EnvError(f"{what}: call reset(seed) first.")
        return self._opponent_stream


def _memory_of(team: str) -> str:
    """Name what the policy of this team carries along, in a state."""
    return f"opponent{team and ' '}{team}"
