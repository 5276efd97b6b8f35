"""Compiled loops that call MAgent2's C library: many engines step with no Python in between.

The engine lists the living only, in an order that stays when the dead are removed: its row ``i`` is the agent of slot
``slot[i]``. Everything is per world, so worlds may be given to several threads; the loops hold no lock.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding
from numba import types

from envs.battle.library import import_engine
from utils.compiled import compiled

_LIB = import_engine()[1]
_POINTER, _INT = types.uintp, types.int32


def _external(name: str, *arguments: Any) -> Any:
    """Declare the C function ``name`` for compiled code."""
    binding.add_symbol(f"magent2_{name}", ctypes.cast(getattr(_LIB, name), ctypes.c_void_p).value)
    return types.ExternalFunction(f"magent2_{name}", types.int32(*arguments))


_set_action = _external("env_set_action", _POINTER, _INT, _POINTER)
_step = _external("env_step", _POINTER, _POINTER)
_get_reward = _external("env_get_reward", _POINTER, _INT, _POINTER)
_get_info = _external("env_get_info", _POINTER, _INT, _POINTER, _POINTER)
_clear_dead = _external("gridworld_clear_dead", _POINTER)
_get_observation = _external("env_get_observation", _POINTER, _INT, _POINTER)

_ALIVE = np.frombuffer(b"alive\0", np.uint8)
_POS = np.frombuffer(b"pos\0", np.uint8)


class Roster(NamedTuple):
    """One side of E worlds: which agents live, their cells and health. Per engine row, unless said otherwise."""

    alive: np.ndarray  # (E, n) bool, per slot
    living: np.ndarray  # (E,) int64, number of engine rows
    slot: np.ndarray  # (E, n) int64, rises
    cell: np.ndarray  # (E, n, 2) int32, (x, y)
    health: np.ndarray  # (E, n) float32, as a fraction of full health
    # What the engine reads and writes meanwhile.
    action: np.ndarray  # (E, n) int32
    reward: np.ndarray  # (E, n) float32
    survives: np.ndarray  # (E, n) bool
    seen: np.ndarray  # (E, n, height, width, channels) float32; its centre is the only place that shows health
    feature: np.ndarray  # (E, n, features) float32, which nothing reads
    buffer: np.ndarray  # (E, 2) uintp, the addresses of the last two

    @classmethod
    def empty(cls, n_envs: int, n_agents: int, view_shape: tuple[int, ...], feature_shape: tuple[int, ...]) -> Roster:
        """Make the roster before the first episode, in which no agent lives."""
        agents = (n_envs, n_agents)
        seen = np.zeros((*agents, *view_shape), np.float32)
        feature = np.zeros((*agents, *feature_shape), np.float32)
        return cls(
            alive=np.zeros(agents, bool),
            living=np.zeros(n_envs, np.int64),
            slot=np.zeros(agents, np.int64),
            cell=np.zeros((*agents, 2), np.int32),
            health=np.zeros(agents, np.float32),
            action=np.zeros(agents, np.int32),
            reward=np.zeros(agents, np.float32),
            survives=np.zeros(agents, bool),
            seen=seen,
            feature=feature,
            buffer=np.array([[seen[e].ctypes.data, feature[e].ctypes.data] for e in range(n_envs)], np.uintp),
        )


@compiled
def _act(game: int, handle: int, roster: Roster, e: int, action: np.ndarray) -> None:
    """Hand the engine the actions (n,) of the living; those of the dead are ignored."""
    for i in range(roster.living[e]):
        roster.action[e, i] = action[roster.slot[e, i]]
    _set_action(game, handle, roster.action[e].ctypes.data)


@compiled
def _read_reward(game: int, handle: int, roster: Roster, e: int, out: np.ndarray) -> None:
    """Write this step's rewards into ``out`` (n,); slots of the dead keep their values."""
    _get_reward(game, handle, roster.reward[e].ctypes.data)
    for i in range(roster.living[e]):
        out[roster.slot[e, i]] = roster.reward[e, i]


@compiled
def _strike_off(game: int, handle: int, roster: Roster, e: int) -> None:
    """Remove this step's dead from the roster."""
    _get_info(game, handle, _ALIVE.ctypes.data, roster.survives[e].ctypes.data)
    left = 0
    for i in range(roster.living[e]):
        slot = roster.slot[e, i]
        roster.alive[e, slot] = roster.survives[e, i]
        if roster.survives[e, i]:
            roster.slot[e, left] = slot
            left += 1
    roster.living[e] = left


@compiled
def observe(game: int, handle: int, roster: Roster, e: int) -> None:
    """Read cells and health of the living from the engine of world ``e``."""
    _get_observation(game, handle, roster.buffer[e].ctypes.data)
    _get_info(game, handle, _POS.ctypes.data, roster.cell[e].ctypes.data)
    centre = roster.seen.shape[2] // 2
    for i in range(roster.living[e]):
        roster.health[e, i] = roster.seen[e, i, centre, centre, 2]


@compiled
def step_worlds(
    begin: int,
    end: int,
    games: np.ndarray,
    moving: np.ndarray,
    first: np.ndarray,
    rosters: tuple[Roster, Roster],
    actions: tuple[np.ndarray, np.ndarray],
    rewards: tuple[np.ndarray, np.ndarray],
) -> None:
    """Advance the worlds ``begin`` to ``end`` that are ``moving`` (E,) bool by one step.

    games: (E,) uintp, the engines. first: (E,) int64, the side that moves first. actions: (E, n) int64 of either side.
    rewards: (E, n) float32 of either side, receive this step's.
    """
    done = np.zeros(1, np.int32)  # says that a side is wiped out, which the rosters say too
    for e in range(begin, end):
        if not moving[e]:
            continue
        game = games[e]
        if first[e] == 0:
            _act(game, 0, rosters[0], e, actions[0][e])
            _act(game, 1, rosters[1], e, actions[1][e])
        else:
            _act(game, 1, rosters[1], e, actions[1][e])
            _act(game, 0, rosters[0], e, actions[0][e])
        _step(game, done.ctypes.data)
        _read_reward(game, 0, rosters[0], e, rewards[0][e])
        _read_reward(game, 1, rosters[1], e, rewards[1][e])
        _strike_off(game, 0, rosters[0], e)
        _strike_off(game, 1, rosters[1], e)
        _clear_dead(game)
        observe(game, 0, rosters[0], e)
        observe(game, 1, rosters[1], e)


@compiled
def _describe(roster: Roster, e: int, i: int, full: int, compact: np.ndarray, column: int) -> None:
    compact[e, 0, column] = roster.cell[e, i, 0]
    compact[e, 1, column] = roster.cell[e, i, 1]
    compact[e, 2, column] = np.int16(np.rint(np.float32(full) * roster.health[e, i]))


@compiled
def describe_worlds(
    begin: int, end: int, own: Roster, other: Roster, full: int, compact: np.ndarray, position: np.ndarray
) -> None:
    """Describe the worlds ``begin`` to ``end`` for one side.

    full: full health in ``compact`` (E, 3, n + m) int16, `views.COMPACT` of its agents and then of the others.
    position: (E, n, 2) float32, (x, y) of its agents, zeros for the dead.
    """
    n = position.shape[1]
    for e in range(begin, end):
        compact[e] = -1
        position[e] = 0
        for i in range(own.living[e]):
            slot = own.slot[e, i]
            _describe(own, e, i, full, compact, slot)
            position[e, slot, 0], position[e, slot, 1] = own.cell[e, i, 0], own.cell[e, i, 1]
        for i in range(other.living[e]):
            _describe(other, e, i, full, compact, n + other.slot[e, i])
