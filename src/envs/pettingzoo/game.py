"""One copy of a PettingZoo environment: how it is made, what its teams share, and its running episode."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import ParallelEnv

from envs.base import EnvError
from utils.seeding import derive_seed

SEED_LIMIT = 2**31 - 1  # engines written in C take no larger seed
MASKED = {"observation", "action_mask"}  # PettingZoo's convention where not every action is always legal


def make_parallel_env(entry: str, kwargs: dict[str, Any]) -> ParallelEnv:
    """Call ``module.parallel_env(**kwargs)``, or for ``module:callable`` that callable.

    Raises EnvError when there is no such thing, when it refuses ``kwargs`` or when it makes something else (a class
    that would, before it is called).
    """
    module, _, attribute = entry.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute or "parallel_env")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise EnvError(
            f"env_args.entry: cannot import '{entry}' ({error}). Expected an installed module that holds parallel_env, "
            "such as mpe2.simple_spread_v3, or module:callable."
        ) from error
    if isinstance(factory, type) and not issubclass(factory, ParallelEnv):
        raise _no_parallel_env(entry, factory)
    try:
        env = factory(**kwargs)
    except TypeError as error:
        raise EnvError(f"env_args.kwargs: {entry} refuses {kwargs} ({error}).") from error
    if not isinstance(env, ParallelEnv):
        raise _no_parallel_env(entry, type(env))
    return env


def _no_parallel_env(entry: str, made: type) -> EnvError:
    return EnvError(f"env_args.entry: expected '{entry}' to make a ParallelEnv, got {made.__name__}.")


def split_teams(agents: list[str], team: str) -> tuple[list[str], list[str]]:
    """Return the agents whose name starts with ``team``, and the rest. Raises EnvError when no name does."""
    learners = [agent for agent in agents if agent.startswith(team)]
    if not learners:
        prefixes = sorted({agent.rstrip("0123456789").rstrip("_") for agent in agents})
        raise EnvError(f"env_args.team: no agent's name starts with '{team}'. Names start with {', '.join(prefixes)}.")
    return learners, [agent for agent in agents if not agent.startswith(team)]


@dataclass(frozen=True)
class TeamSpaces:
    """The one observation space and the one action space of a team."""

    observation: Box
    action: Discrete
    masked: bool  # the environment gives an action mask beside each observation

    @property
    def n_actions(self) -> int:
        """Number of actions."""
        return int(self.action.n)

    @property
    def dtype(self) -> np.dtype:
        """The observations' own dtype, but float32 for float64."""
        dtype = np.dtype(self.observation.dtype)
        return np.dtype(np.float32) if dtype == np.float64 else dtype

    @property
    def scale(self) -> float:
        """1/255 for pictures, that is uint8 from 0 to 255; otherwise 1."""
        box = self.observation
        picture = box.dtype == np.uint8 and bool((box.low == 0).all() and (box.high == 255).all())
        return 1 / 255 if picture else 1.0


def team_spaces(env: ParallelEnv, agents: list[str]) -> TeamSpaces:
    """Return the spaces that ``agents`` share. Raises EnvError, naming two agents whose spaces differ."""
    first = agents[0]
    spaces = _agent_spaces(env, first)
    for agent in agents[1:]:
        other = _agent_spaces(env, agent)
        for kind, a, b in (
            ("observation", spaces.observation, other.observation),
            ("action", spaces.action, other.action),
        ):
            if (a.shape, a.dtype) != (b.shape, b.dtype) or (kind == "action" and a != b):
                raise EnvError(
                    f"The agents of one team need equal {kind} spaces, but {first} has {a} and {agent} has {b}. Choose "
                    "one kind of agent with env_args.team, or pad the spaces with a wrapper (SuperSuit has them)."
                )
    return spaces


def action_space(env: ParallelEnv, agent: str) -> Discrete:
    """Return the agent's action space. Raises EnvError for one that is not Discrete."""
    space = env.action_space(agent)
    if not isinstance(space, Discrete):
        raise EnvError(f"{agent} has the action space {space}; only Discrete actions can be imported.")
    return space


def _agent_spaces(env: ParallelEnv, agent: str) -> TeamSpaces:
    space = env.observation_space(agent)
    masked = isinstance(space, Dict) and set(space.spaces) == MASKED
    observation = space["observation"] if masked else space
    if not isinstance(observation, Box):
        raise EnvError(
            f"{agent} has the observation space {space}; expected a Box, or a Dict of 'observation' (Box) and "
            "'action_mask'. Flatten it with a wrapper."
        )
    return TeamSpaces(observation, action_space(env, agent), masked)


class Game:
    """One copy's running episode. Arrays of P agents, the learners (first ``n_learners``) before the others.

    PettingZoo environments can neither be copied nor saved, so the episode's actions are kept for a replay.
    """

    def __init__(self, env: ParallelEnv, agents: list[str], n_learners: int, episode_limit: int) -> None:
        self.env = env
        self.agents = agents
        self.n_learners = n_learners
        self.episode_limit = episode_limit
        self.n_actions = np.array([action_space(env, agent).n for agent in agents])
        self._start = np.array([action_space(env, agent).start for agent in agents])
        self._slot = {agent: slot for slot, agent in enumerate(agents)}
        self.stream = 0  # seed of this copy's episode seeds
        self.episode = 0  # counts from 1

    def begin(self, stream: int, episode: int) -> None:
        """Start the ``episode``-th episode of the copy that draws its seeds from ``stream``."""
        self.stream, self.episode = stream, episode
        self.observations, _ = self.env.reset(seed=derive_seed(stream, "episode", episode) % SEED_LIMIT)
        self.actions: list[np.ndarray] = []  # (P,) int64 per step
        self.alive = self._among(self.env.agents)  # (P,) bool
        self.left = np.zeros(len(self.agents), dtype=bool)  # ended for good
        self.reward = np.zeros(len(self.agents), dtype=np.float32)  # of the step that led here
        self.returns = np.zeros(len(self.agents), dtype=np.float64)  # totals of the episode
        self.terminated = self.truncated = False

    @property
    def done(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated

    def next_episode(self) -> None:
        """Start the copy's next episode."""
        self.begin(self.stream, self.episode + 1)

    def step(self, action: np.ndarray) -> None:
        """Advance the episode. ``action``: (P,) int64 in [0, n_actions); those of the absent are ignored."""
        self.actions.append(action)
        acting = self.alive
        given = {self.agents[slot]: int(action[slot] + self._start[slot]) for slot in np.flatnonzero(acting)}
        self.observations, rewards, terminations, truncations, _ = self.env.step(given)
        earned = [rewards.get(agent, 0.0) for agent in self.agents]
        self.reward = np.where(acting, np.array(earned, dtype=np.float32), np.float32(0))
        self.returns += self.reward
        died = acting & self._among(agent for agent, flag in terminations.items() if flag)
        timed_out = acting & self._among(agent for agent, flag in truncations.items() if flag) & ~died
        self.left |= died | timed_out
        self.alive = self._among(self.env.agents) & ~self.left
        self._close(timed_out[: self.n_learners])

    def legal(self) -> np.ndarray:
        """Return the legal actions, (P, largest n_actions) bool; all of an agent's where there is no mask."""
        legal = np.arange(self.n_actions.max()) < self.n_actions[:, None]
        for slot in np.flatnonzero(self.alive):
            seen = self.observations[self.agents[slot]]
            if isinstance(seen, dict):
                legal[slot, : self.n_actions[slot]] = seen["action_mask"]
        return legal

    def observe(self, slots: slice, spaces: TeamSpaces) -> np.ndarray:
        """Return the observations of the agents of ``slots``, (n, *O) in ``spaces.dtype``; 0 for the absent."""
        agents, alive = self.agents[slots], self.alive[slots]
        obs = np.zeros((len(agents), *spaces.observation.shape), dtype=spaces.dtype)
        for index in np.flatnonzero(alive):
            seen = self.observations[agents[index]]
            obs[index] = seen["observation"] if spaces.masked else seen
        return obs

    def state_dict(self) -> dict[str, Any]:
        """Return how the episode began and all agents' actions since."""
        actions = np.array(self.actions, dtype=np.int64).reshape(-1, len(self.agents))
        return {"stream": self.stream, "episode": self.episode, "actions": torch.from_numpy(actions)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play the recorded episode again."""
        self.begin(state["stream"], state["episode"])
        for action in state["actions"].numpy():
            self.step(action)

    def _among(self, agents: Iterable[str]) -> np.ndarray:
        """Return a mask (P,) bool, true for ``agents``; names that are no agent's are left out."""
        mask = np.zeros(len(self.agents), dtype=bool)
        mask[[self._slot[agent] for agent in agents if agent in self._slot]] = True
        return mask

    def _close(self, timed_out: np.ndarray) -> None:
        """Decide whether the step ended the episode, and how; ``timed_out`` (n_learners,) bool: truncated in it."""
        if self.left[: self.n_learners].all() or not self.env.agents:
            self.truncated = bool(timed_out.any())
            self.terminated = not self.truncated
            self.alive[: self.n_learners] |= timed_out  # a time limit is no death
        elif timed_out.any():
            raise EnvError(
                f"{self.agents[int(timed_out.argmax())]} was truncated in step {len(self.actions)} while other "
                "learners play on. A time limit belongs to the whole episode here, and to store it as a death would "
                "teach that nothing follows it. Let the environment truncate all at once, or terminate that agent."
            )
        else:
            self.truncated = len(self.actions) >= self.episode_limit
