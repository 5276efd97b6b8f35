"""A validated wrapper around MAgent2's C++ grid worlds for two sides that fight.

The engine ends the process on requests that it does not understand, so everything is checked here first. Steps run in
the compiled loops of `envs.battle.engine`. Views are not the engine's: it shows each agent its own cell only, which
holds its health, and `envs.battle.views` cuts the rest out of a map.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.base import EnvError
from envs.battle.library import import_engine
from envs.battle.views import FULL, N_CHANNELS, Views
from utils.threads import share

if TYPE_CHECKING:
    from envs.battle.engine import Roster

MAX_SEED = 2**31 - 2  # the engine's linear congruential generator takes 1 .. 2^31 - 2; it reads 0 as 1
WORTH_A_THREAD = 2000  # agents of both sides; fewer step faster than another thread wakes up (docs/performance.md)


@dataclass(frozen=True)
class UnitType:
    """Abilities of one side's agents. Radii and speed in cells, the rest in the engine's health points per step."""

    view_radius: float
    speed: float
    attack_radius: float
    hp: float
    damage: float
    step_recover: float

    def check(self, prefix: str, opponent_damage: float, map_size: int) -> None:
        """Raise EnvError, naming ``env_args.<prefix><key>``, on what the engine or uint8 storage cannot represent."""
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
    """Rewards that an event adds for the agent it happens to; the same for both sides."""

    step_reward: float
    attack_penalty: float
    hit_reward: float
    kill_reward: float
    dead_penalty: float

    def check(self) -> None:
        """Raise EnvError on a value that is not finite."""
        for key, value in asdict(self).items():
            if not math.isfinite(value):
                raise EnvError(f"env_args.{key}: expected a finite number, got {value}.")


def circle_offsets(radius: float, with_centre: bool) -> np.ndarray:
    """List the (x, y) offsets of a circle's cells in the engine's order, by y and then x: (n, 2) int32."""
    reach = int(radius + 1e-8)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = np.hypot(x, y) < radius + 1e-8
    inside[reach, reach] = with_centre
    return np.stack([x[inside], y[inside]], axis=1).astype(np.int32)


def circle_mask(radius: float, n_channels: int) -> np.ndarray:
    """Mark what a circular view shows, row by row: (height, height * n_channels) bool."""
    reach = int(radius + 1e-8)
    inside = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=bool)
    x, y = circle_offsets(radius, with_centre=True).T
    inside[y + reach, x + reach] = True
    return np.repeat(inside, n_channels, axis=1)


class Side:
    """One side of E worlds. Agents keep their slot for the whole episode."""

    def __init__(self, roster: Roster, unit: UnitType, n_actions: int) -> None:
        self.roster = roster
        self.unit = unit
        self.n_actions = n_actions

    @property
    def n_agents(self) -> int:
        """Number of agents at an episode's start."""
        return self.roster.alive.shape[1]

    @property
    def alive(self) -> np.ndarray:
        """Which agents live, (E, n) bool, changed by every step."""
        return self.roster.alive

    @property
    def survivors(self) -> np.ndarray:
        """Number of living agents, (E,) int64, changed by every step."""
        return self.roster.living

    def slots(self, env: int) -> np.ndarray:
        """Return the slots of the living of world ``env``, (living,) int64; `cells` and `health` have their order."""
        return self.roster.slot[env, : self.roster.living[env]]

    def cells(self, env: int) -> np.ndarray:
        """Return the cells (x, y) of the living of world ``env``, (living, 2) int32."""
        return self.roster.cell[env, : self.roster.living[env]]

    def health(self, env: int) -> np.ndarray:
        """Return the health of the living of world ``env``, (living,) float32, as a fraction of ``unit.hp``."""
        return self.roster.health[env, : self.roster.living[env]]


class GridWorld:
    """E worlds of one kind with two sides each: the learners' (0) and the enemies' (1).

    As many threads share the worlds as torch has, from WORTH_A_THREAD agents a thread on. They change nothing but the
    speed. On maps over 99 x 99 cells an engine loses about 11 KB at every reset.
    """

    def __init__(
        self,
        n_envs: int,
        map_size: int,
        n_agents: tuple[int, int],
        units: tuple[UnitType, UnitType],
        rewards: Rewards,
        engine_views: bool = False,
    ) -> None:
        """Build the engines; the caller has run the ``check`` methods of ``units`` and ``rewards``.

        ``engine_views``: the engines compute whole views too, which only comparisons with them need.
        """
        gridworld, _ = import_engine()
        from envs.battle import engine  # needs the package, which other environments do not

        self._engine = engine
        self.n_envs = n_envs
        self.map_size = map_size
        self._parts = (n_agents, units, rewards)
        self.engines = [  # they own their memory and free it
            gridworld.GridWorld(engine_config(gridworld, map_size, units, rewards, engine_views)) for _ in range(n_envs)
        ]
        self._games = np.array([world.game.value for world in self.engines], np.uintp)
        world = self.engines[0]
        self._handles = world.get_handles()
        self.sides = tuple(
            Side(
                engine.Roster.empty(n_envs, n, world.get_view_space(handle), world.get_feature_space(handle)),
                unit,
                int(world.get_action_space(handle)[0]),
            )
            for handle, n, unit in zip(self._handles, n_agents, units, strict=True)
        )
        self._rosters = tuple(side.roster for side in self.sides)
        self.views = [
            Views(map_size, own, other, circle_mask(unit.view_radius, N_CHANNELS))
            for unit, own, other in zip(units, n_agents, reversed(n_agents), strict=True)
        ]
        self._worth = math.ceil(WORTH_A_THREAD / sum(n_agents))

    def with_engine_views(self) -> GridWorld:
        """Make other worlds of the same kind whose engines compute whole views too."""
        return GridWorld(self.n_envs, self.map_size, *self._parts, engine_views=True)

    def reset(self, env: int, seed: int, positions: tuple[np.ndarray, np.ndarray]) -> None:
        """Start an episode of world ``env``: ``seed`` in [1, MAX_SEED], one (n, 2) integer array of cells per side.

        Raises EnvError when the engine does not place every agent.
        """
        world = self.engines[env]
        world.set_seed(seed)  # before the reset, which never seeds
        world.reset()
        for handle, side, position in zip(self._handles, self.sides, positions, strict=True):
            world.add_agents(handle, "custom", pos=position)
            placed = world.get_num(handle)
            if placed != side.n_agents:
                raise EnvError(
                    f"The engine placed {placed} of {side.n_agents} agents: it drops those on a wall, outside the "
                    "map or on an occupied cell. Give every agent its own cell inside the border."
                )
            side.roster.alive[env] = True
            side.roster.living[env] = side.n_agents
            side.roster.slot[env] = np.arange(side.n_agents)
        for index, roster in enumerate(self._rosters):
            self._engine.observe(self._games[env], index, roster, env)

    def step(
        self,
        actions: tuple[np.ndarray, np.ndarray],
        first: np.ndarray,
        moving: np.ndarray,
        rewards: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Advance the worlds that are ``moving`` (E,) bool by one step, and remove their dead.

        ``actions``: (E, n) int64 of either side, in [0, n_actions); those of the dead are ignored. ``first`` (E,)
        int64: the side that moves first and so wins the contested cells. ``rewards``: (E, n) float32 of either side
        receive this step's; entries of those who were dead before are left alone.
        """
        share(
            self._engine.step_worlds,
            self.n_envs,
            self._worth,
            self._games,
            moving,
            first,
            self._rosters,
            actions,
            rewards,
        )

    def look(self, index: int, compact: np.ndarray, position: np.ndarray) -> None:
        """Describe the worlds for side ``index``.

        ``compact``: (E, 3, n + m) int16, `views.COMPACT` of its agents and then of the others'. ``position``: (E, n, 2)
        float32, (x, y), zeros for the dead.
        """
        own, other = self._rosters[index], self._rosters[1 - index]
        share(self._engine.describe_worlds, self.n_envs, self._worth, own, other, FULL, compact, position)


def engine_config(
    gridworld: ModuleType, map_size: int, units: tuple[UnitType, UnitType], rewards: Rewards, engine_views: bool
) -> Any:
    """Describe such a world in the engine's own terms."""
    config = gridworld.Config()
    config.set({"map_width": map_size, "map_height": map_size})
    config.set({"embedding_size": 1})  # the binary id, which nothing here reads; an empty one is undefined in C++
    groups = []
    for name, unit in zip(("learners", "enemies"), units, strict=True):
        attributes = {
            "width": 1,
            "length": 1,
            "hp": unit.hp,
            "speed": unit.speed,
            "view_range": gridworld.CircleRange(unit.view_radius if engine_views else 0),
            "attack_range": gridworld.CircleRange(unit.attack_radius),
            "damage": unit.damage,
            "step_recover": unit.step_recover,
            "step_reward": rewards.step_reward,
            "attack_penalty": rewards.attack_penalty,
            "kill_reward": rewards.kill_reward,
            "dead_penalty": rewards.dead_penalty,
        }
        groups.append(config.add_group(config.register_agent_type(name, attributes)))
    own, other = (gridworld.AgentSymbol(group, index="any") for group in groups)
    for attacker, victim in ((own, other), (other, own)):
        # A killing blow is not an "attack" to the engine: it pays kill_reward, and a kill rule would pay it twice.
        rule = gridworld.Event(attacker, "attack", victim)
        config.add_reward_rule(rule, receiver=attacker, value=rewards.hit_reward)
    return config
