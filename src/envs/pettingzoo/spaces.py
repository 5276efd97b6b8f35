"""How the agents of a PettingZoo team see and act, as arrays of one shape."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from gymnasium.spaces.utils import flatten, flatten_space
from pettingzoo import ParallelEnv

from envs.base import EnvError

MASK = "action_mask"  # PettingZoo's name of what says which actions are legal, in observations or in infos
MASKED = {"observation", MASK}


def stem(agent: str) -> str:
    """Return the agent's name without its number."""
    return agent.rstrip("0123456789").rstrip("_")


def action_space(env: ParallelEnv, agent: str) -> Discrete:
    """Return the agent's action space. Raises EnvError for one that is not Discrete."""
    space = env.action_space(agent)
    if not isinstance(space, Discrete):
        raise EnvError(
            f"{agent} has the action space {space}; expected a Discrete one. Where the environment has a switch, set "
            "it: env_args.kwargs.continuous=false, or env_args.kwargs.continuous_actions=false."
        )
    return space


@dataclass(frozen=True)
class View:
    """One agent's observations as arrays: boxes as they are, everything else as gymnasium flattens it."""

    agent: str
    space: Space
    box: Box
    masked: bool  # an action mask stands beside each observation
    downscale: int  # side of the squares of cells whose mean is one cell; 1: none

    @classmethod
    def of(cls, env: ParallelEnv, agent: str, downscale: int) -> View:
        """Describe what ``agent`` sees. Raises EnvError for what is no array, or cannot be made smaller."""
        space = env.observation_space(agent)
        masked = isinstance(space, Dict) and MASK in space.spaces
        if masked:
            if set(space.spaces) != MASKED:
                raise EnvError(
                    f"{agent}: expected observations of the two parts observation and action_mask, got "
                    f"{', '.join(space.spaces)}. Put the rest into observation with a wrapper."
                )
            space = space["observation"]
        box = space if isinstance(space, Box) and space.shape else flatten_space(space)  # a scalar has one cell
        if not isinstance(box, Box):
            raise EnvError(
                f"{agent} has the observation space {space}, which is no array of a fixed size. Flatten it with a "
                "wrapper."
            )
        if downscale > 1 and (len(box.shape) < 2 or min(box.shape[:2]) < downscale):
            raise EnvError(
                f"env_args.downscale: expected pictures of at least {downscale} x {downscale} cells, but {agent} has "
                f"observations of shape {box.shape}. Use downscale=1."
            )
        return cls(agent, space, box, masked, downscale)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of an array."""
        if self.downscale == 1:
            return self.box.shape
        return (*(side // self.downscale for side in self.box.shape[:2]), *self.box.shape[2:])

    @cached_property
    def dtype(self) -> np.dtype:
        """The observations' own dtype, but uint8 for zeros and ones that were flattened.

        And float32 for wider floats, and for means of squares of whole numbers that are no pictures.
        """
        box = self.box
        if self.downscale > 1 and self.scale == 1.0 and not np.issubdtype(box.dtype, np.floating):
            return np.dtype(np.float32)
        binary = bool((box.low >= 0).all() and (box.high <= 1).all())
        if box is not self.space and np.issubdtype(box.dtype, np.integer) and binary:
            return np.dtype(np.uint8)
        wide = np.issubdtype(box.dtype, np.floating) and box.dtype.itemsize > np.dtype(np.float32).itemsize
        return np.dtype(np.float32) if wide else np.dtype(box.dtype)

    @cached_property
    def scale(self) -> float:
        """1/255 for pictures, that is uint8 from 0 to 255; otherwise 1."""
        box = self.box
        picture = box.dtype == np.uint8 and bool((box.low == 0).all() and (box.high == 255).all())
        return 1 / 255 if picture else 1.0

    def read(self, seen: Any) -> np.ndarray:
        """Make the array of what the environment hands out; pixels beyond the last whole square are left out.

        Raises EnvError for what is not of the observation space's shape, or holds numbers that ``dtype`` cannot: NaN,
        infinite ones, fractions where it is of integers.
        """
        try:
            own = seen["observation"] if self.masked else seen
            given = np.asarray(own if self.box is self.space else flatten(self.space, own))
            with np.errstate(over="ignore", invalid="ignore"):
                array = given.astype(self.dtype, copy=False)
            kept = np.isfinite(array) if np.issubdtype(self.dtype, np.floating) else array == given
        except (TypeError, ValueError, KeyError, IndexError, AttributeError):
            array, kept = np.empty(0), np.zeros(1)
        if array.shape != self.box.shape or not kept.all():
            raise EnvError(
                f"{self.agent}: expected observations of finite numbers in its space {self.space}, got {seen!r:.80}. "
                "Correct the environment, or wrap it."
            )
        if self.downscale == 1:
            return array
        side, (height, width) = self.downscale, self.shape[:2]
        squares = array[: height * side, : width * side].reshape(height, side, width, side, *array.shape[2:])
        mean = squares.mean(axis=(1, 3), dtype=np.float32)
        return mean.round() if np.issubdtype(array.dtype, np.integer) else mean


@dataclass(frozen=True)
class TeamSpaces:
    """The observations and actions of a team, equal for all its agents, or padded to be so.

    Padded observations are vectors: the agent's own numbers, zeros up to the longest of the team, then a one-hot kind
    if there are several. Agents are of one kind when their names differ only in a number, and their spaces do not.
    """

    views: tuple[View, ...]  # of every agent
    kinds: tuple[int, ...]  # of every agent, in the order of their first appearance
    n_actions: int  # of the agent that has most
    masked: bool  # not every agent may always choose each of ``n_actions``
    padded: bool
    first_action: int  # what the game calls action 0, where all agents' actions are alike

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        if not self.padded:
            return self.views[0].shape
        n_kinds = max(self.kinds) + 1
        return (self._longest + (n_kinds if n_kinds > 1 else 0),)

    @cached_property
    def dtype(self) -> np.dtype:
        """Dtype that holds every agent's observations."""
        dtype = np.result_type(*(view.dtype for view in self.views))
        return np.dtype(np.float32) if dtype == np.float64 else dtype

    @cached_property
    def scale(self) -> float:
        """1/255 where all observations are pictures; otherwise 1."""
        return max(view.scale for view in self.views)

    @cached_property
    def _longest(self) -> int:
        return max(math.prod(view.shape) for view in self.views)

    def write(self, row: np.ndarray, agent: int, seen: Any) -> None:
        """Put what the ``agent``-th of the team sees into its ``row`` of zeros."""
        array = self.views[agent].read(seen)
        if not self.padded:
            row[...] = array
            return
        row[: array.size] = array.ravel()
        if len(row) > self._longest:
            row[self._longest + self.kinds[agent]] = round(1 / self.scale)


def team_spaces(
    env: ParallelEnv, agents: list[str], pad: bool, downscale: int, info_masked: Collection[str] = ()
) -> TeamSpaces:
    """Return how ``agents`` see and act; those of ``info_masked`` have action masks in their infos.

    Raises EnvError, naming two agents whose spaces differ, unless ``pad``.
    """
    views = [View.of(env, agent, downscale) for agent in agents]
    actions = [action_space(env, agent) for agent in agents]
    looks = [(view.shape, view.dtype, view.scale) for view in views]
    if not pad:
        for what, spaces, compared in (
            ("observation", [view.space for view in views], looks),
            ("action", actions, actions),
        ):
            for agent, space, key in zip(agents, spaces, compared, strict=True):
                if key != compared[0]:
                    raise EnvError(
                        f"The agents of one team need equal {what} spaces, but {agents[0]} has {spaces[0]} and {agent} "
                        f"has {space}. Set env_args.pad=true, which pads observations and masks actions, or choose "
                        "one kind of agent with env_args.team."
                    )
    keys = [(stem(agent), look, space.n) for agent, look, space in zip(agents, looks, actions, strict=True)]
    order = list(dict.fromkeys(keys))
    return TeamSpaces(
        views=tuple(views),
        kinds=tuple(order.index(key) for key in keys),
        n_actions=max(int(space.n) for space in actions),
        masked=any(view.masked for view in views)
        or any(agent in info_masked for agent in agents)
        or len({space.n for space in actions}) > 1,
        padded=pad,
        first_action=0 if pad else int(actions[0].start),
    )
