"""A validated wrapper around MAgent2's C++ grid world for two sides that fight.

The engine ends the process on requests that it does not understand, so everything is checked here first. Its raw
functions are called with cached ctypes arguments and write into buffers that belong to the caller. Views are not the
engine's: it shows each agent its own cell only, which holds its health, and `envs.views` cuts the rest out of a map.
"""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch  # noqa: F401  (before magent2: torch reads OMP_NUM_THREADS once, and magent2 sets it)

from envs.base import EnvError

OBS_SCALE = 0.01  # presence is 0 or 1, health a multiple of 1 % (UnitType.check sees to it): uint8 holds both exactly
MAX_SEED = 2**31 - 2  # the engine's linear congruential generator takes 1 .. 2^31 - 2; it reads 0 as 1
N_CHANNELS = 5  # wall, own presence, own health, other presence, other health


def import_engine() -> tuple[ModuleType, Any]:
    """``(magent2.gridworld, its C library)``. Raises EnvError when the package is missing."""
    threads = os.environ.get("OMP_NUM_THREADS")
    try:
        from magent2 import c_lib, gridworld
    except (ImportError, OSError) as error:
        raise EnvError(
            f"Battle needs the package magent2, which cannot be imported ({error}). "
            "Install it with 'pip install magent2==0.3.4', or all requirements with ./install_dependencies.sh."
        ) from error
    if threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)  # magent2's guess would limit every child process to it
    return gridworld, c_lib._LIB


@dataclass(frozen=True)
class UnitType:
    """What one side's agents can do. Radii and speed in cells, the rest in the engine's health points per step."""

    view_radius: float
    speed: float
    attack_radius: float
    hp: float
    damage: float
    step_recover: float

    def check(self, prefix: str, opponent_damage: float, map_size: int) -> None:
        """Raises EnvError, naming ``env_args.<prefix><key>``, on what the engine or uint8 storage cannot represent."""
        for key, value in asdict(self).items():
            if not math.isfinite(value) or (value < 0 and key != "step_recover"):
                raise EnvError(f"env_args.{prefix}{key}: expected a finite number of at least 0, got {value}.")
        for key, value in {"view_radius": self.view_radius, "attack_radius": self.attack_radius}.items():
            if value < 1:
                raise EnvError(f"env_args.{prefix}{key}: expected at least 1 cell, got {value}.")
        for key, value in {"view_radius": self.view_radius, "speed": self.speed}.items():
            if value > map_size:
                raise EnvError(f"env_args.{prefix}{key}: expected at most map_size ({map_size} cells), got {value}.")
        if self.attack_radius > self.view_radius:
            raise EnvError(
                f"env_args.{prefix}attack_radius: {self.attack_radius} exceeds {prefix}view_radius "
                f"({self.view_radius}); agents cannot attack what they do not see. Lower the one or raise the other."
            )
        if self.hp == 0:
            raise EnvError(f"env_args.{prefix}hp: expected more than 0 health points, got 0.")
        for source, change in {"the opponent's damage": opponent_damage, "step_recover": self.step_recover}.items():
            percent = 100 * change / self.hp
            if abs(percent - round(percent)) > 1e-6:
                raise EnvError(
                    f"env_args.{prefix}hp: {source} ({change}) is {percent:g} % of {prefix}hp ({self.hp}); views "
                    "store whole percents of the health points. Choose values whose ratio is a whole percent."
                )


@dataclass(frozen=True)
class Rewards:
    """What an event adds to the reward of the agent it happens to; the same for both sides."""

    step_reward: float
    attack_penalty: float
    hit_reward: float
    kill_reward: float
    dead_penalty: float

    def check(self) -> None:
        """Raises EnvError on a value that is not finite."""
        for key, value in asdict(self).items():
            if not math.isfinite(value):
                raise EnvError(f"env_args.{key}: expected a finite number, got {value}.")


def circle_offsets(radius: float, with_centre: bool) -> np.ndarray:
    """(n, 2) int32, the (x, y) offsets of a circle's cells in the engine's order: rows of equal y, then x."""
    reach = int(radius + 1e-8)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = np.hypot(x, y) < radius + 1e-8
    inside[reach, reach] = with_centre
    return np.stack([x[inside], y[inside]], axis=1).astype(np.int32)


def circle_mask(radius: float, n_channels: int) -> np.ndarray:
    """(height, height * n_channels) uint8: all bits of the cells that a circular view shows, row by row."""
    reach = int(radius + 1e-8)
    inside = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)
    x, y = circle_offsets(radius, with_centre=True).T
    inside[y + reach, x + reach] = 255
    return np.repeat(inside, n_channels, axis=1)


class Side:
    """One side of a ``GridWorld``. Agents keep their slot for the whole episode; the engine lists the living only.

    The engine's row ``i`` is the agent of slot ``rows[i]``: its list keeps its order when the dead are removed.
    """

    def __init__(self, lib: Any, world: Any, handle: ctypes.c_int32, n_agents: int, unit: UnitType) -> None:
        self.unit = unit
        self.n_agents = n_agents
        self.mask = circle_mask(unit.view_radius, N_CHANNELS)
        self.obs_shape = (len(self.mask), len(self.mask), N_CHANNELS)
        self.n_actions = int(world.get_action_space(handle)[0])
        self.alive = np.zeros(n_agents, dtype=bool)
        self.rows = np.arange(0)
        self._lib = lib
        self._address = (world.game, handle)
        self._action = np.zeros(n_agents, dtype=np.int32)
        self._reward = np.zeros(n_agents, dtype=np.float32)
        self._living = np.zeros(n_agents, dtype=bool)
        self._position = np.zeros((n_agents, 2), dtype=np.int32)
        self._view = np.zeros((n_agents, *world.get_view_space(handle)), dtype=np.float32)
        self._feature = np.zeros((n_agents, *world.get_feature_space(handle)), dtype=np.float32)
        self._views = (ctypes.c_void_p * 2)(self._view.ctypes.data, self._feature.ctypes.data)
        self._pointer = {
            name: ctypes.c_void_p(buffer.ctypes.data)
            for name, buffer in {
                "action": self._action,
                "reward": self._reward,
                "alive": self._living,
                "pos": self._position,
            }.items()
        }

    def place(self, position: np.ndarray) -> None:
        """Put the agents on ``position`` (n_agents, 2) in slot order. Raises EnvError when the engine drops one."""
        x, y = np.ascontiguousarray(position.T, dtype=np.int32)
        direction = np.zeros(self.n_agents, dtype=np.int32)
        xyd = [ctypes.c_void_p(array.ctypes.data) for array in (x, y, direction)]
        self._lib.gridworld_add_agents(*self._address, len(position), b"custom", *xyd)
        placed = ctypes.c_int32()
        self._lib.env_get_info(*self._address, b"num", ctypes.byref(placed))
        if placed.value != self.n_agents:
            raise EnvError(
                f"The engine placed {placed.value} of {self.n_agents} agents: it drops those on a wall, outside the "
                "map or on an occupied cell. Give every agent its own cell inside the border."
            )
        self.alive[:] = True
        self.rows = np.arange(self.n_agents)

    def act(self, action: np.ndarray) -> None:
        """Set this step's actions, (n_agents,) int32 in [0, n_actions); those of the dead are ignored."""
        n = len(self.rows)
        action.take(self.rows, out=self._action[:n], mode="clip")
        self._lib.env_set_action(*self._address, self._pointer["action"])

    def read_reward(self, out: np.ndarray) -> None:
        """Write this step's rewards into ``out`` (n_agents,) float32, slots of the dead untouched."""
        self._lib.env_get_reward(*self._address, self._pointer["reward"])
        out[self.rows] = self._reward[: len(self.rows)]

    def read_alive(self) -> None:
        """Take note of this step's dead; the engine forgets them in ``GridWorld.step``."""
        self._lib.env_get_info(*self._address, b"alive", self._pointer["alive"])
        living = self._living[: len(self.rows)]
        if not living.all():
            self.alive[self.rows] = living
            self.rows = self.rows[living]

    def observe(self) -> None:
        """Ask the engine where the living are and how they fare: `cell` and `health` show it until the next call."""
        self._lib.env_get_observation(*self._address, self._views)
        self._lib.env_get_info(*self._address, b"pos", self._pointer["pos"])

    @property
    def cell(self) -> np.ndarray:
        """(living, 2) int32, (x, y)."""
        return self._position[: len(self.rows)]

    @property
    def health(self) -> np.ndarray:
        """(living,) float32, as a fraction of ``unit.hp``. The engine shows it in views only, the own at the centre."""
        centre = self._view.shape[1] // 2
        return self._view[: len(self.rows), centre, centre, 2]

    def read_position(self, out: np.ndarray) -> None:
        """Write the cells (x, y) into ``out`` (n_agents, 2) of any number type; those of the dead untouched."""
        out[self.rows] = self.cell


class GridWorld:
    """One engine with two sides: the learners' (0) and the enemies' (1).

    On maps over 99 x 99 cells the engine loses about 11 KB at every reset.
    """

    def __init__(
        self,
        map_size: int,
        n_agents: tuple[int, int],
        units: tuple[UnitType, UnitType],
        rewards: Rewards,
        engine_views: bool = False,
    ) -> None:
        """Build the engine; the caller has run the ``check`` methods of ``units`` and ``rewards``.

        ``engine_views``: the engine computes whole views too, which only comparisons with it need.
        """
        from envs import views  # compiles, which takes a second that only this environment shall cost

        engine, self._lib = import_engine()
        self._draw_views = views.draw_views
        config = engine.Config()
        config.set({"map_width": map_size, "map_height": map_size})
        config.set({"embedding_size": 1})  # the binary id, which nothing here reads; an empty one is undefined in C++
        groups = []
        for name, unit in zip(("learners", "enemies"), units, strict=True):
            attributes = {
                "width": 1,
                "length": 1,
                "hp": unit.hp,
                "speed": unit.speed,
                "view_range": engine.CircleRange(unit.view_radius if engine_views else 0),
                "attack_range": engine.CircleRange(unit.attack_radius),
                "damage": unit.damage,
                "step_recover": unit.step_recover,
                "step_reward": rewards.step_reward,
                "attack_penalty": rewards.attack_penalty,
                "kill_reward": rewards.kill_reward,
                "dead_penalty": rewards.dead_penalty,
            }
            groups.append(config.add_group(config.register_agent_type(name, attributes)))
        own, other = (engine.AgentSymbol(group, index="any") for group in groups)
        for attacker, victim in ((own, other), (other, own)):
            # A killing blow is not an "attack" to the engine: it pays kill_reward, and a kill rule would pay it twice.
            rule = engine.Event(attacker, "attack", victim)
            config.add_reward_rule(rule, receiver=attacker, value=rewards.hit_reward)
        self.map_size = map_size
        self._parts = (n_agents, units, rewards)
        self._world = engine.GridWorld(config)  # owns the engine and frees it
        self._done = ctypes.c_int32()
        self.sides = tuple(
            Side(self._lib, self._world, handle, n, unit)
            for handle, n, unit in zip(self._world.get_handles(), n_agents, units, strict=True)
        )
        self._empty = [views.empty_board(map_size, margin=len(side.mask) // 2) for side in self.sides]
        self._board = [board.copy() for board in self._empty]

    def with_engine_views(self) -> GridWorld:
        """Another world of the same kind whose engine computes whole views too."""
        return GridWorld(self.map_size, *self._parts, engine_views=True)

    def reset(self, seed: int, positions: tuple[np.ndarray, np.ndarray]) -> None:
        """Start an episode: ``seed`` in [1, MAX_SEED], ``positions`` one (n_agents, 2) integer array per side."""
        self._world.set_seed(seed)  # before the reset, which never seeds
        self._world.reset()
        for side, position in zip(self.sides, positions, strict=True):
            side.place(position)
        self._observe()

    def step(self, actions: tuple[np.ndarray, np.ndarray], first: int, reward: np.ndarray) -> None:
        """One step with ``actions``, one (n_agents,) int32 array per side; side 0's rewards go into ``reward``.

        Side ``first`` moves first and so wins the contested cells. The dead are removed before this returns.
        """
        for index in (first, 1 - first):
            self.sides[index].act(actions[index])
        self._lib.env_step(self._world.game, ctypes.byref(self._done))
        self.sides[0].read_reward(reward)
        for side in self.sides:
            side.read_alive()
        self._lib.gridworld_clear_dead(self._world.game)
        self._observe()

    def read_obs(self, index: int, out: np.ndarray) -> None:
        """Write what side ``index`` sees into ``out`` (n_agents, *obs_shape) uint8, in units of OBS_SCALE.

        Contiguous; zeros for the dead.
        """
        own, other = self.sides[index], self.sides[1 - index]
        self._draw_views(
            self._empty[index],
            self._board[index],
            own.mask,
            own.cell,
            own.health,
            own.rows,
            other.cell,
            other.health,
            out.reshape(own.n_agents, len(own.mask), -1),
        )

    def _observe(self) -> None:
        for side in self.sides:
            side.observe()
