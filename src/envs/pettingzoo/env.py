"""Any PettingZoo ``ParallelEnv`` with discrete actions, as E copies with fixed agent slots.

A death belongs to an agent, a time limit to an episode: an agent that terminates dies, and agents that are truncated
together end the episode. docs/pettingzoo.md says what cannot be imported, and why.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from components.batch import EnvInfo, Step
from envs.base import Env, EnvError
from envs.opponents import Policy, PolicyOpponent, check_opponent
from envs.pettingzoo.game import Game, TeamSpaces, make_parallel_env, split_teams, team_spaces
from utils.seeding import derive_seed, generator


class PettingZooEnv(Env):
    """E copies of a PettingZoo parallel environment, of which one team learns.

    Slots follow ``possible_agents``; agents that are dead or not yet born are masked (not alive, observation 0).
    Observations keep their dtype (float64 becomes float32); an ``action_mask`` beside them becomes ``Step.avail``.
    Stats: ``survivors``, and where some agents do not learn ``opponent_return_sum``, the sum of their rewards.

    entry: ``module`` that holds ``parallel_env``, or ``module:callable``.
    kwargs: arguments of that callable.
    team: agents whose name starts so learn; empty: all of them.
    opponent: who plays the rest: uniform random legal actions, or the policy given to ``set_opponent``.
    opponent_checkpoint: where that policy was saved, for opponent: checkpoint; otherwise empty.
    episode_limit: steps after which an episode that still runs is truncated.

    Raises EnvError for environments whose spaces or endings do not fit.
    """

    def __init__(
        self,
        n_envs: int,
        device: torch.device,
        *,
        entry: str,
        kwargs: dict[str, Any],
        team: str,
        opponent: Literal["random", "checkpoint"],
        opponent_checkpoint: str,
        episode_limit: int,
    ) -> None:
        super().__init__(n_envs, torch.device("cpu"))  # other people's environments are dictionaries on the host
        if episode_limit < 1:
            raise EnvError(f"env_args.episode_limit: expected at least 1, got {episode_limit}.")
        check_opponent(opponent, opponent_checkpoint)
        envs = [make_parallel_env(entry, kwargs) for _ in range(n_envs)]
        learners, self._others = split_teams(envs[0].possible_agents, team)
        if opponent == "checkpoint" and not self._others:
            raise EnvError(
                "env_args.opponent is 'checkpoint', but all agents learn. "
                f"Choose the learners with env_args.team; the agents are {', '.join(learners)}."
            )
        self._spaces = team_spaces(envs[0], learners)
        self._slots, self._enemy_slots = slice(len(learners)), slice(len(learners), None)
        self._games = [Game(env, learners + self._others, len(learners), episode_limit) for env in envs]
        self._opponent_kind = opponent
        self._opponent: PolicyOpponent | None = None
        self._opponent_stream = torch.Generator()
        self.info = EnvInfo(
            name=entry,
            n_agents=len(learners),
            n_actions=self._spaces.n_actions,
            obs_shape=self._spaces.observation.shape,
            obs_dtype=torch.from_numpy(np.empty(0, self._spaces.dtype)).dtype,
            obs_scale=self._spaces.scale,
            episode_limit=episode_limit,
            stats=("survivors", "opponent_return_sum") if self._others else ("survivors",),
            has_avail=self._spaces.masked,
        )

    @property
    def enemy_obs_shape(self) -> tuple[int, ...]:
        """Shape of what one agent that does not learn observes. Raises EnvError when theirs differ."""
        return self._enemy_spaces.observation.shape

    @property
    def enemy_n_actions(self) -> int:
        """Number of their actions."""
        return self._enemy_spaces.n_actions

    def set_opponent(self, policy: Policy) -> None:
        """Let ``policy`` play the agents that do not learn. Raises EnvError when it does not fit or is not wanted."""
        if self._opponent_kind == "random":
            raise EnvError("env_args.opponent is 'random', which takes no policy; choose checkpoint.")
        self._opponent = PolicyOpponent(policy, self.enemy_obs_shape, self.enemy_n_actions, len(self._others))

    def reset(self, seed: int) -> Step:
        """E new episodes. The opponent draws from a stream of its own: starts do not depend on who plays."""
        self._require_opponent()
        self._opponent_stream = generator(seed, "pettingzoo opponent")
        for index, game in enumerate(self._games):
            game.begin(derive_seed(seed, "pettingzoo episodes", index), episode=1)
        return self._row()

    def step(self, action: Tensor) -> Step:
        """Advance every copy. Raises EnvError on actions that do not fit, before any copy has moved."""
        joint = self._checked(action)
        if self._others:
            joint = np.concatenate([joint, self._opponent_action()], axis=1)
        for game, chosen in zip(self._games, joint, strict=True):
            if game.done:
                game.next_episode()
            else:
                game.step(chosen)
        return self._row()

    def state_dict(self) -> dict[str, Any]:
        """The opponent's stream and memory, and per copy its beginning and actions; ``obs`` to check a replay by."""
        return {
            "opponent_stream": self._opponent_stream.get_state(),
            "opponent": self._opponent.state_dict() if self._opponent else {},
            "games": [game.state_dict() for game in self._games],
            "obs": self._observe(self._slots, self._spaces),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play the running episodes again. Raises EnvError when the environment does not repeat itself."""
        self._require_opponent()
        if len(state["games"]) != self.n_envs:
            raise EnvError(
                f"{self.info.name}: the state holds {len(state['games'])} copies, this environment has {self.n_envs}. "
                "Resume with the same batch_size_run."
            )
        self._opponent_stream.set_state(state["opponent_stream"])
        if self._opponent:
            self._opponent.load_state_dict(state["opponent"])
        for game, saved in zip(self._games, state["games"], strict=True):
            game.load_state_dict(saved)
        if not torch.equal(self._observe(self._slots, self._spaces), state["obs"]):
            raise EnvError(
                f"{self.info.name}: seed and actions of the saved episode led to other observations this time, so it "
                "cannot be continued exactly. The environment must take all its randomness from reset(seed)."
            )

    def picture(self, env_index: int) -> np.ndarray:
        """(H, W, 3) uint8, drawn by the environment itself. Raises EnvError when it was not made to draw."""
        picture = self._games[env_index].env.render()
        if not isinstance(picture, np.ndarray):
            raise EnvError(
                f"{self.info.name}: expected render() to return an array, got {type(picture).__name__}. "
                "Make the environment with env_args.kwargs.render_mode=rgb_array, if it has that mode."
            )
        return picture

    def close(self) -> None:
        for game in self._games:
            game.env.close()

    @cached_property
    def _enemy_spaces(self) -> TeamSpaces:
        return team_spaces(self._games[0].env, self._others)

    def _require_opponent(self) -> None:
        if self._opponent_kind == "checkpoint" and self._opponent is None:
            raise EnvError(
                "env_args.opponent is 'checkpoint', but nobody plays the others: "
                "call set_opponent(policy) first, or choose opponent: random."
            )

    def _checked(self, action: Tensor) -> np.ndarray:
        """``action`` (E, N) int64 with 0 where nobody acts; EnvError for what the engines may not survive."""
        expected = (self.n_envs, self.info.n_agents)
        if tuple(action.shape) != expected or action.dtype != torch.int64:
            raise EnvError(f"action: expected {expected} int64, got {tuple(action.shape)} {action.dtype}.")
        acts = self._alive(self._slots) & ~np.array([[game.done] for game in self._games])
        used = np.where(acts, action.cpu().numpy(), 0)
        if used.min() < 0 or used.max() >= self.info.n_actions:
            raise EnvError(f"action: expected 0 .. {self.info.n_actions - 1}, got {used.min()} .. {used.max()}.")
        return used

    def _opponent_action(self) -> np.ndarray:
        """(E, M) int64 actions of the M agents that do not learn."""
        if self._opponent:
            return self._opponent.act(self._look_as_enemies, self._opponent_stream).cpu().numpy()
        legal = torch.from_numpy(np.stack([game.legal()[self._enemy_slots] for game in self._games]))
        return torch.rand(legal.shape, generator=self._opponent_stream).masked_fill(~legal, -1).argmax(-1).numpy()

    def _alive(self, slots: slice) -> np.ndarray:
        """(E, n) bool, a copy."""
        return np.stack([game.alive[slots] for game in self._games])

    def _observe(self, slots: slice, spaces: TeamSpaces) -> Tensor:
        """(E, n, *O), 0 for the absent."""
        return torch.from_numpy(np.stack([game.observe(slots, spaces) for game in self._games]))

    def _look(self, slots: slice, spaces: TeamSpaces, reward: np.ndarray, info: dict[str, Tensor]) -> Step:
        """The present row as the agents of ``slots`` see it."""
        legal = None
        if spaces.masked:
            legal = torch.from_numpy(np.stack([game.legal()[slots, : spaces.n_actions] for game in self._games]))
        return Step(
            obs=self._observe(slots, spaces).to(self.device),
            alive=torch.from_numpy(self._alive(slots)).to(self.device),
            reward=torch.from_numpy(reward).to(self.device),
            terminated=torch.tensor([game.terminated for game in self._games], device=self.device),
            truncated=torch.tensor([game.truncated for game in self._games], device=self.device),
            info=info,
            avail=None if legal is None else legal.to(self.device),
        )

    def _look_as_enemies(self) -> tuple[Step, Tensor]:
        first = torch.tensor([not game.actions for game in self._games], device=self.device)
        no_reward = np.zeros((self.n_envs, len(self._others)), dtype=np.float32)
        return self._look(self._enemy_slots, self._enemy_spaces, no_reward, {}), first

    def _row(self) -> Step:
        survivors = self._alive(self._slots).sum(axis=1)
        opponent_return = [game.returns[self._enemy_slots].sum() for game in self._games]
        values = (torch.tensor(value, dtype=torch.float32) for value in (survivors, opponent_return))
        info = {key: value.to(self.device) for key, value in zip(self.info.stats, values, strict=False)}
        reward = np.stack([game.reward[self._slots] for game in self._games])
        return self._look(self._slots, self._spaces, reward, info)
