"""Any PettingZoo environment with discrete actions, as E copies with fixed agent slots.

A death belongs to an agent, a time limit to an episode: an agent that terminates dies, and agents that are truncated
together end the episode. docs/pettingzoo.md says what cannot be imported, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from components.batch import EnvInfo, Step
from envs.base import EnvError, require_at_least
from envs.opponents import TwoSidedEnv
from envs.pettingzoo.game import Game, agents_of, description, make_parallel_env, split_teams
from envs.pettingzoo.spaces import MASK, TeamSpaces, team_spaces
from utils.seeding import derive_seed


class PettingZooEnv(TwoSidedEnv):
    """E copies of a PettingZoo parallel environment, of which one team learns.

    Slots follow ``possible_agents``; agents that are dead or not yet born are masked (not alive, observation 0).
    Observations keep their dtype (float64 becomes float32); an ``action_mask`` beside them becomes ``Step.avail``.
    Stats: ``survivors``, and where some agents do not learn ``opponent_return_sum``, the sum of their rewards, and
    ``score``: 1 where learners earned more on average than they did, 0.5 as much, 0 less.

    entry: ``module`` that holds ``parallel_env``, or ``module:callable``.
    kwargs: arguments of that callable.
    team: agents whose name starts so learn; empty: all of them.
    teams: how the names of other teams start, which each have a policy of their own; empty: the rest is one team.
    pad: agents of one team may differ: `TeamSpaces` says how their observations and actions are made equal.
    downscale: pictures shrink to the means of squares of so many pixels a side; 1: not at all.
    episode_limit: steps after which an episode that still runs is truncated.
    keys: those of `TwoSidedEnv`, which say who plays the rest, the "enemies"; random actions are legal ones.

    Raises EnvError for environments whose spaces or endings do not fit.
    """

    imports = ("entry",)
    meanings: ClassVar = {"score": "1 where learners earned more on average than the others, 0.5 as much, 0 less"}

    @classmethod
    def about(cls, env_args: Mapping[str, Any]) -> str:
        """Return what the imported game says of itself."""
        return description(env_args["entry"])

    def __init__(
        self,
        n_envs: int,
        device: torch.device,
        *,
        entry: str,
        kwargs: dict[str, Any],
        team: str,
        teams: list[str],
        pad: bool,
        downscale: int,
        episode_limit: int,
        **keys: Any,
    ) -> None:
        host = torch.device("cpu")  # where the imported environments are, with their dictionaries
        super().__init__(n_envs, host, **keys)
        for key, value in (("episode_limit", episode_limit), ("downscale", downscale)):
            require_at_least(key, value, 1)
        envs = [make_parallel_env(entry, kwargs) for _ in range(n_envs)]
        learners, self._teams = split_teams(agents_of(entry, envs[0]), team, teams)
        if self.opponent != "random" and not self._teams:
            raise EnvError(
                f"env_args.opponent is '{self.opponent}', but all agents learn. "
                f"Choose the learners with env_args.team; the agents are {', '.join(learners)}."
            )
        if teams and self.opponent in ("self_play", "league"):
            raise EnvError(
                f"env_args.teams: expected an opponent that can be several, got opponent={self.opponent}. Choose "
                "learner, checkpoint or random, or leave teams out."
            )
        self._pad, self._downscale = pad, downscale
        _, infos = envs[0].reset(seed=0)  # its spaces do not say whether there are masks in infos
        self._info_masked = {agent for agent, info in infos.items() if MASK in info}
        self._spaces = team_spaces(envs[0], learners, pad, downscale, self._info_masked)
        self._slots, self._enemy_slots = slice(len(learners)), slice(len(learners), None)
        agents, all_learn = [*learners, *chain(*self._teams.values())], self.opponent == "learner"
        self._games = [Game(env, agents, len(learners), episode_limit, all_learn, self._info_masked) for env in envs]
        self._entry, self._episode_limit = entry, episode_limit
        stats = ("survivors", "opponent_return_sum", "score") if self._teams else ("survivors",)
        self.info = self._describe(self._spaces, len(learners), stats)

    @cached_property
    def others(self) -> dict[str, EnvInfo]:
        """The other agents' teams. Raises EnvError when spaces differ inside one and are not padded."""
        return {team: self._describe(self._team_spaces[team], len(agents), ()) for team, agents in self._teams.items()}

    def _describe(self, spaces: TeamSpaces, n_agents: int, stats: tuple[str, ...]) -> EnvInfo:
        return EnvInfo(
            name=self._entry,
            n_agents=n_agents,
            n_actions=spaces.n_actions,
            obs_shape=spaces.shape,
            obs_dtype=torch.from_numpy(np.empty(0, spaces.dtype)).dtype,
            obs_scale=spaces.scale,
            episode_limit=self._episode_limit,
            stats=stats,
            has_avail=spaces.masked,
            kinds=spaces.kinds,
            first_action=spaces.first_action,
        )

    def reset(self, seed: int) -> Step:
        self._begin_opponent(seed, "pettingzoo opponent")
        for index, game in enumerate(self._games):
            game.begin(derive_seed(seed, "pettingzoo episodes", index), episode=1)
        return self._row()

    def step(self, action: Tensor) -> Step:
        """Advance every copy. Raises EnvError on actions that do not fit, before any copy has moved."""
        joint = np.concatenate(self._joint_action(action), axis=1)
        self._require_own_actions(joint)
        for game, chosen in zip(self._games, joint, strict=True):
            if game.done:
                game.next_episode()
            else:
                game.step(chosen)
        return self._row()

    def state_dict(self) -> dict[str, Any]:
        """Return the opponent's part, each copy's beginning and actions, and ``obs``, to check a replay by."""
        return super().state_dict() | {
            "games": [game.state_dict() for game in self._games],
            "obs": self._observe(self._slots, self._spaces),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play the running episodes again. Raises EnvError when the environment does not repeat itself."""
        super().load_state_dict(state)
        self._require_copies(len(state["games"]))
        for game, saved in zip(self._games, state["games"], strict=True):
            game.load_state_dict(saved)
        if not torch.equal(self._observe(self._slots, self._spaces), state["obs"]):
            raise EnvError(
                f"{self.info.name}: seed and actions of the saved episode led to other observations this time, so it "
                "cannot be continued exactly. The environment must take all its randomness from reset(seed)."
            )

    def scene(self, env_index: int) -> np.ndarray:
        """Return the imported environment's own picture. Raises EnvError when it was not made to draw."""
        try:
            picture = self._games[env_index].env.render()
        except NotImplementedError:
            picture = None
        if not isinstance(picture, np.ndarray) or picture.ndim != 3:
            got = f"one of shape {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
            raise EnvError(
                f"{self.info.name}: expected render() to return an array of shape (H, W, 3), got {got}. "
                "Make the environment with env_args.kwargs.render_mode=rgb_array, if it has that mode."
            )
        return picture

    def close(self) -> None:
        for game in self._games:
            game.env.close()

    @cached_property
    def _team_spaces(self) -> dict[str, TeamSpaces]:
        env = self._games[0].env
        return {
            team: team_spaces(env, agents, self._pad, self._downscale, self._info_masked)
            for team, agents in self._teams.items()
        }

    def _team_slots(self, team: str) -> slice:
        """Return where the agents of another team are."""
        agents = self._teams[team]
        start = self._games[0].agents.index(agents[0])
        return slice(start, start + len(agents))

    def _random_action(self, stream: torch.Generator) -> Tensor:
        """Draw uniform random legal actions (E, M) int64 of the M agents that do not learn."""
        legal = torch.from_numpy(np.stack([game.legal()[self._enemy_slots] for game in self._games]))
        return torch.rand(legal.shape, generator=stream).masked_fill(~legal, -1).argmax(-1)

    def _acting(self, side: int) -> np.ndarray:
        slots = self._team_slots(list(self._teams)[side - 1]) if side else self._slots
        return self._alive(slots) & ~np.array([[game.done] for game in self._games])

    def _lead(self) -> np.ndarray:
        """Return what the learners earned in the episode so far, less what the others did, (E,); means over agents."""
        sides = (self._slots, self._enemy_slots)
        own, other = (np.array([game.returns[slots].mean() for game in self._games]) for slots in sides)
        return own - other

    def _require_own_actions(self, joint: np.ndarray) -> None:
        """Raise EnvError where an agent of a padded team is told (E, P) to do what only others can."""
        acting = self._alive(slice(None)) & ~np.array([[game.done] for game in self._games])
        game = self._games[0]
        for env, agent in np.argwhere(acting & (joint >= game.n_actions)):
            raise EnvError(
                f"action: expected 0 .. {game.n_actions[agent] - 1} for {game.agents[agent]}, got {joint[env, agent]} "
                f"(copy {env}). Step.avail says which actions an agent has."
            )

    def _alive(self, slots: slice) -> np.ndarray:
        """Return who lives, (E, n) bool; a copy."""
        return np.stack([game.alive[slots] for game in self._games])

    def _observe(self, slots: slice, spaces: TeamSpaces) -> Tensor:
        """Return observations (E, n, *O), 0 for the absent."""
        return torch.from_numpy(np.stack([game.observe(slots, spaces) for game in self._games]))

    def _look(self, slots: slice, spaces: TeamSpaces, info: dict[str, Tensor]) -> Step:
        """Make the present row as the agents of ``slots`` see it."""
        legal = None
        if spaces.masked:
            legal = torch.from_numpy(np.stack([game.legal()[slots, : spaces.n_actions] for game in self._games]))
        return Step(
            obs=self._observe(slots, spaces).to(self.device),
            alive=torch.from_numpy(self._alive(slots)).to(self.device),
            reward=torch.from_numpy(np.stack([game.reward[slots] for game in self._games])).to(self.device),
            terminated=torch.tensor([game.terminated for game in self._games], device=self.device),
            truncated=torch.tensor([game.truncated for game in self._games], device=self.device),
            info=info,
            avail=None if legal is None else legal.to(self.device),
        )

    def _look_as(self, team: str) -> tuple[Step, Tensor]:
        first = torch.tensor([not game.actions for game in self._games], device=self.device)
        return self._look(self._team_slots(team), self._team_spaces[team], {}), first

    def _row(self) -> Step:
        info = {"survivors": torch.from_numpy(self._alive(self._slots).sum(axis=1)).float().to(self.device)}
        if self._teams:
            earned = torch.tensor([game.returns[self._enemy_slots].sum() for game in self._games])
            info |= {"opponent_return_sum": earned.float().to(self.device), "score": self._score()}
        return self._look(self._slots, self._spaces, info)
