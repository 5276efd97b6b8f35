"""This project's tasks as PettingZoo environments, for use without its training code."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

from components.batch import Step, decode_obs
from config.loader import named_layer
from config.registry import Kind, config_keys, make, resolve
from config.schema import check_value
from config.trust import EVERYTHING, NOTHING
from envs import REGISTRY
from envs.base import Env, EnvError
from envs.opponents import TwoSidedEnv
from pictures.render import render
from utils.words import nearest

CPU = torch.device("cpu")


def to_parallel_env(name: str, **env_args: Any) -> ExportedEnv:
    """Make a task a PettingZoo ``ParallelEnv``: ``name`` is a file of src/config/envs, ``env_args`` change its values.

    Policies of files that play in it, as with ``opponent="checkpoint"``, load the training code; nothing else does.
    Raises ConfigError for an unknown name or a value of the wrong type, EnvError for an unknown argument.
    """
    layer = named_layer("envs", name)
    cls = resolve(Kind(Env, REGISTRY), layer.values["env"], "env", EVERYTHING)
    keys = config_keys(cls)
    for key in env_args:
        if key not in keys:
            raise EnvError(f"{name} has no argument '{key}'.{nearest(key, keys)} Known: {', '.join(keys)}.")
    values = {
        key: check_value(f"env_args.{key}", value, keys[key], layer.where)
        for key, value in {**layer.values["env_args"], **env_args}.items()
    }
    env: Env = make(cls, values, {"n_envs": 1, "device": CPU})
    if isinstance(env, TwoSidedEnv) and "checkpoint" in (env.opponent, getattr(env, "team", "")):
        from assembly.opponents import set_frozen

        set_frozen(env, CPU, NOTHING)
    return ExportedEnv(env)


class ExportedEnv(ParallelEnv):
    """One copy of a task. Observations are float32 in natural units; infos hold the episode's statistics so far, and
    ``action_mask`` (A,) int8 where not every action is always available.

    ``env`` is the task itself, for what PettingZoo has no word for (``set_opponent``, ``state_dict``).
    """

    render_mode = "rgb_array"

    def __init__(self, env: Env) -> None:
        self.env = env
        self.metadata = {"name": env.info.name, "render_modes": ["rgb_array"], "is_parallelizable": True}
        self.possible_agents = [f"agent_{slot}" for slot in range(env.info.n_agents)]
        self.agents: list[str] = []
        self._slot = {agent: slot for slot, agent in enumerate(self.possible_agents)}
        self._observation_space = Box(-np.inf, np.inf, env.info.obs_shape, np.float32)
        self._action_spaces = [Discrete(env.info.n_actions) for _ in self.possible_agents]  # each has its own stream
        self._seeds = np.random.default_rng()
        self._begun = False

    def observation_space(self, agent: str) -> Box:
        """Return the same space for all agents."""
        return self._observation_space

    def action_space(self, agent: str) -> Discrete:
        """Return ``Discrete(A)``."""
        return self._action_spaces[self._slot[agent]]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode; without ``seed`` it continues the stream that the last seed began. No options exist."""
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        row = self.env.reset(int(self._seeds.integers(2**31)))
        self._begun = True
        self.agents = self._living(row)
        return self._observations(row, self.agents), self._infos(row, self.agents)

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Play one step with an action of every agent in ``agents``; empty dictionaries when the episode is over.

        Returns observations, rewards, terminations (deaths, and the end of the game), truncations and infos; those who
        are born in this step have an observation and an info.
        """
        acting = self.agents
        if not acting:
            return {}, {}, {}, {}, {}
        row = self.env.step(self._joint(actions))
        slots = [self._slot[agent] for agent in acting]
        alive = row.alive[0, slots]
        terminated = (~alive | row.terminated).tolist()
        truncated = (alive & row.truncated).tolist()
        self.agents = [] if bool(row.done[0]) else self._living(row)
        seeing = list(dict.fromkeys([*acting, *self.agents]))
        return (
            self._observations(row, seeing),
            dict(zip(acting, row.reward[0, slots].tolist(), strict=True)),
            dict(zip(acting, terminated, strict=True)),
            dict(zip(acting, truncated, strict=True)),
            self._infos(row, seeing),
        )

    def render(self) -> np.ndarray:
        """Draw the game, (H, W, 3) uint8. Raises EnvError before the first `reset`."""
        if not self._begun:
            raise EnvError("render: expected a game that was begun. Call reset() first.")
        return render(self.env, 0)

    def close(self) -> None:
        """Release the engine."""
        self.env.close()

    def _living(self, row: Step) -> list[str]:
        return [agent for agent, alive in zip(self.possible_agents, row.alive[0].tolist(), strict=True) if alive]

    def _joint(self, actions: dict[str, int]) -> torch.Tensor:
        """Join the actions into (1, N) int64, 0 for the dead. Raises EnvError where an action is missing or none."""
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise EnvError(f"step: expected an action of every agent in env.agents, there is none of {missing[0]}.")
        joint = torch.zeros(1, len(self.possible_agents), dtype=torch.int64)
        slots = [self._slot[agent] for agent in self.agents]
        chosen = list[int]()
        for agent in self.agents:
            try:
                chosen.append(index(actions[agent]))
            except TypeError as error:
                raise EnvError(
                    f"step: expected a whole number below {self.env.info.n_actions} as the action of {agent}, got "
                    f"{actions[agent]!r}."
                ) from error
        joint[0, slots] = torch.tensor(chosen)
        return joint

    def _observations(self, row: Step, agents: list[str]) -> dict[str, np.ndarray]:
        obs = decode_obs(row.obs[0], self.env.info.obs_scale).numpy()
        return {agent: obs[self._slot[agent]] for agent in agents}

    def _infos(self, row: Step, agents: list[str]) -> dict[str, dict[str, Any]]:
        stats = {key: float(value[0]) for key, value in row.info.items()}
        if row.avail is None:
            return {agent: dict(stats) for agent in agents}
        mask = row.avail[0].to(torch.int8).numpy()
        return {agent: {**stats, "action_mask": mask[self._slot[agent]]} for agent in agents}
