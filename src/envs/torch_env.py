"""The base of environments written in torch: the random stream, the clock, autoreset, exact continuation."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from components.batch import EnvInfo, Step
from envs.base import Env, EnvError, require_at_least
from utils.memory import check_fits

State = dict[str, Tensor]  # every tensor begins with the axis E


class TorchEnv(Env):
    """E copies of a game as one dictionary of tensors, on any device.

    A game defines ``_start``, ``_play``, ``_observe`` and ``_stats`` as functions from tensors to new tensors; never in
    place, so that a returned Step stays what it was. In a game where agents die the state has an entry ``alive`` (E, N)
    bool: ``_play`` then gets action 0 for the dead, their observations and what they would earn from then on become 0,
    their masks allow every action, and a copy where all are dead has terminated. Every step draws new episodes for all
    copies and keeps those of the copies that need one: nothing waits for the device, and the random stream does not
    depend on which copies end.
    """

    def __init__(self, n_envs: int, device: torch.device, info: EnvInfo) -> None:
        super().__init__(n_envs, device)
        require_at_least("n_agents", info.n_agents, 1)
        require_at_least("episode_limit", info.episode_limit, 1)
        check_fits(
            f"{info.name}: observations of {info.n_agents:,} agents in {n_envs:,} environments",
            4 * n_envs * info.n_agents * math.prod(info.obs_shape),
            "Lower env_args.n_agents or batch_size_run.",
        )
        self.info = info
        self._generator = torch.Generator(device)
        self._state: State = {}
        self._all = torch.ones(n_envs, info.n_agents, dtype=torch.bool, device=device)

    @abstractmethod
    def _start(self) -> State:
        """Draw E first states from ``self._generator``."""

    @abstractmethod
    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        """Return the next state, reward (E, N) float32 and terminated (E,) bool."""

    @abstractmethod
    def _observe(self, state: State) -> Tensor:
        """Return observations (E, N, *O) in EnvInfo.obs_dtype."""

    @abstractmethod
    def _stats(self, state: State) -> dict[str, Tensor]:
        """Return the statistics of EnvInfo.stats by name, each (E,) float32."""

    def _position(self, state: State) -> Tensor | None:
        """Return positions (E, N, 2) float32 where EnvInfo.has_position."""
        return None

    def _avail(self, state: State) -> Tensor | None:
        """Return the actions that may be chosen next, (E, N, A) bool, where EnvInfo.has_avail."""
        return None

    def reset(self, seed: int) -> Step:
        self._generator.manual_seed(seed)
        no_time = torch.zeros(self.n_envs, dtype=torch.int64, device=self.device)
        not_done = torch.zeros(self.n_envs, dtype=torch.bool, device=self.device)
        no_reward = torch.zeros(self.n_envs, self.info.n_agents, device=self.device)
        start = self._start()
        self._check_alive(start)
        self._state = start | {"t": no_time, "done": not_done}
        return self._row(no_reward, terminated=not_done, truncated=not_done)

    def step(self, action: Tensor) -> Step:
        action = self._checked(action)
        first, alive = self._state["done"], self._alive(self._state)
        played, reward, terminated = self._play(self._state, action)
        new = self._start()
        self._check_played(new, played, reward, terminated)
        if "alive" in played:
            reward, terminated = reward.masked_fill(~alive, 0.0), terminated | ~played["alive"].any(dim=1)
        t = torch.where(first, 0, self._state["t"] + 1)
        terminated = terminated & ~first
        truncated = (t >= self.info.episode_limit) & ~terminated
        self._state = {key: _where(first, new[key], played[key]) for key in new}
        self._state |= {"t": t, "done": terminated | truncated}
        return self._row(reward.masked_fill(first.unsqueeze(1), 0.0), terminated, truncated)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self._generator.get_state(), "state": dict(self._state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        expected = _shapes(self._start()) | {"t": (self.n_envs,), "done": (self.n_envs,)}
        saved = _shapes(state["state"])
        if saved != expected:
            raise EnvError(
                f"{self.info.name}: expected a state of tensors {expected}, got {saved}. "
                "Load it into an environment built with the same arguments."
            )
        self._generator.set_state(state["generator"].cpu())
        self._state = {key: value.to(self.device) for key, value in state["state"].items()}

    def _row(self, reward: Tensor, terminated: Tensor, truncated: Tensor) -> Step:
        state = self._state
        obs, alive, avail = self._observe(state), self._alive(state), self._avail(state)
        if "alive" in state:
            obs = obs.masked_fill(~alive.view(*alive.shape, *[1] * len(self.info.obs_shape)), 0)
            avail = None if avail is None else avail.masked_fill(~alive.unsqueeze(2), True)
        return Step(
            obs=obs,
            alive=alive,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            info=self._stats(state),
            avail=avail,
            position=self._position(state),
        )

    def _alive(self, state: State) -> Tensor:
        """Return who lives, (E, N) bool."""
        return state.get("alive", self._all)

    def _check_alive(self, state: State) -> None:
        """Raise EnvError for an entry ``alive`` that does not say of every agent whether it lives."""
        alive = self._alive(state)
        if (alive.shape, alive.dtype) != (self._all.shape, torch.bool):
            raise EnvError(
                f"{self.info.name}: expected state['alive'] of shape {tuple(self._all.shape)} (environments, agents) "
                f"and dtype torch.bool, got {tuple(alive.shape)} and {alive.dtype}."
            )

    def _check_played(self, start: State, played: State, reward: Tensor, terminated: Tensor) -> None:
        """Raise EnvError for what `_play` forgot, or made of another shape."""
        missing = start.keys() - played.keys()
        if missing:
            raise EnvError(
                f"{self.info.name}: expected _play() to return every key of _start(), got none for "
                f"{', '.join(sorted(missing))}. Return them all, also those that stay."
            )
        self._check_alive(played)
        shapes = {"rewards": (reward, (self.n_envs, self.info.n_agents)), "terminated": (terminated, (self.n_envs,))}
        for name, (tensor, expected) in shapes.items():
            if tuple(tensor.shape) != expected:
                raise EnvError(
                    f"{self.info.name}: expected {name} of shape {expected} from _play() (environments, agents), got "
                    f"{tuple(tensor.shape)}."
                )

    def _checked(self, action: Tensor) -> Tensor:
        """Return ``action`` with 0 for the dead. Raises EnvError for actions that do not fit."""
        name, expected = self.info.name, (self.n_envs, self.info.n_agents)
        if not self._state:
            raise EnvError(f"{name}: step() came before reset(). Call reset(seed) once first.")
        if tuple(action.shape) != expected or action.dtype != torch.int64:
            raise EnvError(
                f"{name}: expected actions of shape {expected} (environments, agents) and dtype torch.int64, "
                f"got {tuple(action.shape)} and {action.dtype}."
            )
        if "alive" in self._state:
            action = action.masked_fill(~self._state["alive"], 0)
        if action.device.type != "cpu":  # reading the values would make the host wait for the device
            return action
        low, high = (int(bound) for bound in action.aminmax())
        if low < 0 or high >= self.info.n_actions:
            raise EnvError(f"{name}: expected actions in [0, {self.info.n_actions}), got values from {low} to {high}.")
        return action


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Choose as ``torch.where`` does, with a condition (E,) over tensors (E, ...)."""
    return torch.where(condition.view(-1, *[1] * (yes.ndim - 1)), yes, no)


def relative_to_agents(objects: Tensor, agents: Tensor) -> Tensor:
    """Subtract each agent's place from those of objects (E, K, 2), and then of the other agents among (E, N, 2).

    Places are complex numbers meanwhile: arithmetic over a last axis of length 2 is several times slower.

    Returns (E, N, K + N - 1, 2).
    """
    own = torch.view_as_complex(agents).unsqueeze(2)
    entities = torch.view_as_complex(torch.cat([objects, agents], dim=1))
    difference = (entities.unsqueeze(1) - own).flatten(1)
    # An agent's difference to itself is entry K of the flat axis, and from there on every (K + N + 1)-th.
    (n_envs, n), m, k = agents.shape[:2], entities.shape[1], objects.shape[1]
    others = torch.empty(n_envs, n * (m - 1), dtype=difference.dtype, device=difference.device)
    others[:, :k] = difference[:, :k]
    others[:, k:].view(n_envs, n - 1, m).copy_(difference[:, k + 1 :].view(n_envs, n - 1, m + 1)[:, :, :-1])
    return torch.view_as_real(others.view(n_envs, n, m - 1))
