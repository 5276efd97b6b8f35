"""Battle: two blocks of agents that fight on a grid, on MAgent2's engine.

Source: MAgent (Zheng et al. 2018), the task of mean-field reinforcement learning (Yang et al. 2018); the asymmetric
default, where enemies see, move and hit twice as far as the learners, is our reading of HMF (AAAI 2023).
"""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from components.batch import EnvInfo, Step, same_kind
from envs.base import EnvError, require_at_least
from envs.battle.views import OBS_SCALE, Views
from envs.battle.worlds import MAX_SEED, GridWorld, Rewards, Side, UnitType, circle_offsets
from envs.opponents import TwoSidedEnv
from envs.scenes import BattleScene
from utils.memory import check_fits
from utils.seeding import generator

SPACING = 2  # cells from one agent of a block to the next
GAP = 6  # cells kept free between the blocks
MAX_MAP = 2**15  # `views.COMPACT` numbers cells as int16
ENGINE_BYTES = 16  # of a cell of the engine's map, at least

STATS = ("kills", "deaths", "survivors", "enemy_survivors", "win", "annihilation")


def block_rows(map_size: int, n: int) -> int | None:
    """Count the rows of a block of ``n`` agents on one half of the map, as square as fits; None when none fits."""
    middle = map_size // 2
    max_columns = min(middle - GAP // 2 - 1, map_size - 1 - middle - GAP // 2) // SPACING
    max_rows = (map_size - 2) // SPACING
    if max_columns < 1:
        return None
    rows = max(math.ceil(math.sqrt(n)), math.ceil(n / max_columns))
    return rows if rows <= max_rows else None


def facing_blocks(map_size: int, n_left: int, n_right: int) -> tuple[np.ndarray, np.ndarray]:
    """Place two blocks that face each other, column by column from the front: (n_left, 2), (n_right, 2) int32, (x, y).

    Equal squares of agents get the cells of MAgent2's own ``battle_v4``. Raises EnvError when the map is too small.
    """
    blocks = []
    for n, left in ((n_left, True), (n_right, False)):
        rows = block_rows(map_size, n)
        if rows is None:
            raise EnvError(
                f"env_args.map_size: {n_left} and {n_right} agents do not fit on {map_size} x {map_size} cells; "
                f"they need map_size >= {smallest_map(n_left, n_right)}. Enlarge the map or lower n_agents, n_enemies."
            )
        column, row = np.divmod(np.arange(n), rows)
        height = np.minimum(rows, n - column * rows)
        front = map_size // 2 + (-GAP // 2 - SPACING if left else GAP // 2)
        x = front + (-SPACING if left else SPACING) * column
        y = (map_size - SPACING * height) // 2 + SPACING * row
        blocks.append(np.stack([x, y], axis=1).astype(np.int32))
    return blocks[0], blocks[1]


def smallest_map(n_left: int, n_right: int) -> int:
    """Find the smallest map side that holds both blocks."""
    largest = max(n_left, n_right)
    return next(size for size in itertools.count(1) if block_rows(size, largest) is not None)


class Battles:
    """Running episodes of E worlds. Engines cannot be copied, so past actions are kept for a replay."""

    def __init__(self, world: GridWorld, episode_limit: int) -> None:
        self.world = world
        self.episode_limit = episode_limit
        n_envs, (n, m) = world.n_envs, (side.n_agents for side in world.sides)
        self.t = np.zeros(n_envs, dtype=np.int64)
        self.terminated = np.zeros(n_envs, dtype=bool)  # a side is wiped out
        self.truncated = np.zeros(n_envs, dtype=bool)  # the time limit came first
        self._blocks = (facing_blocks(world.map_size, n, m), facing_blocks(world.map_size, m, n)[::-1])
        self._history = np.zeros((n_envs, episode_limit, n + m), dtype=np.int32)
        self._begin = np.tile([1, 0, 0], (n_envs, 1))  # seed, swapped, leader

    @property
    def done(self) -> np.ndarray:
        """Which episodes have ended, (E,) bool."""
        return self.terminated | self.truncated

    def stats(self) -> np.ndarray:
        """Return the statistics STATS as (len(STATS), E) float32."""
        own, other = self.world.sides
        deaths, kills = own.n_agents - own.survivors, other.n_agents - other.survivors
        totals = (kills, deaths, own.survivors, other.survivors, kills > deaths, other.survivors == 0)
        return np.array(totals, dtype=np.float32)

    def start(self, env: int, seed: int, swapped: int, leader: int) -> None:
        """Start an episode; ``swapped`` 1: learners on the right; ``leader``: the side to move first in even steps."""
        self._begin[env] = seed, swapped, leader
        self.t[env] = 0
        self.terminated[env] = self.truncated[env] = False
        self.world.reset(env, seed, self._blocks[swapped])

    def advance(
        self, actions: tuple[np.ndarray, np.ndarray], moving: np.ndarray, rewards: tuple[np.ndarray, np.ndarray]
    ) -> None:
        """Advance the episodes that are ``moving`` (E,) bool, which must not be done, by one step.

        ``actions``: (E, n) int64 of either side. Theirs, too, are ``rewards`` (E, n), which are written.
        """
        self._history[moving, self.t[moving]] = np.concatenate(actions, axis=1)[moving]
        self.world.step(actions, (self.t + self._begin[:, 2]) % 2, moving, rewards)
        self.t += moving
        own, other = self.world.sides
        self.terminated = (own.survivors == 0) | (other.survivors == 0)
        self.truncated = (self.t >= self.episode_limit) & ~self.terminated

    def end(self, where: np.ndarray) -> None:
        """Mark the episodes ``where`` (E,) bool as ended, as if a side were wiped out."""
        self.terminated |= where
        self.truncated &= ~where

    def last_action(self, env: int, side: int) -> np.ndarray:
        """Return the actions (n,) int32 of the step that led here; the row must not be an episode's first."""
        n = self.world.sides[0].n_agents
        return self._history[env, self.t[env] - 1][slice(n) if side == 0 else slice(n, None)]

    def state_dict(self) -> list[dict[str, Any]]:
        """Return how every episode began, and both sides' actions since."""
        return [
            {"begin": tuple(begin.tolist()), "history": torch.from_numpy(history[:t].copy())}
            for begin, history, t in zip(self._begin, self._history, self.t, strict=True)
        ]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Play the recorded episodes again. Raises EnvError when they are not of such battles."""
        n, m = (side.n_agents for side in self.world.sides)
        for saved in state:
            length, recorded = saved["history"].shape
            if recorded != n + m or length > self.episode_limit:
                raise EnvError(
                    f"Battle state: it records {length} steps of {recorded} agents, but this environment has "
                    f"{n} + {m} agents and at most {self.episode_limit} steps. Resume with the run's own env_args."
                )
        unused = (np.zeros((self.world.n_envs, n), np.float32), np.zeros((self.world.n_envs, m), np.float32))
        lengths = np.array([len(saved["history"]) for saved in state])
        own, other = (np.zeros((lengths.max(initial=0), self.world.n_envs, k), dtype=np.int64) for k in (n, m))
        for env, saved in enumerate(state):
            self.start(env, *saved["begin"])
            own[: lengths[env], env], other[: lengths[env], env] = np.split(saved["history"].numpy(), [n], axis=1)
        for t, actions in enumerate(zip(own, other, strict=True)):
            self.advance(actions, t < lengths, unused)


class BattleEnv(TwoSidedEnv):
    """E battles of ``n_agents`` learners against ``n_enemies`` opponents that live inside the environment.

    Observations: (height, width, 5) uint8 in units of 0.01, circular; channels wall, own presence, own health, other
    presence, other health. Actions: moves in a circle of ``speed`` (row by row, the middle one stays), then attacks on
    the cells within ``attack_radius``. Position: the agent's cell (x, y). An agent dies when its health falls below 0.
    Statistics of the running episode: kills, deaths, survivors, enemy_survivors, win (more kills than deaths),
    annihilation (no enemy left), the last two as 0 or 1, and score, the same as win but for as many kills as deaths,
    0.5. Raises EnvError on every request the engine cannot honour.

    n_agents, n_enemies: population of either side at the start.
    map_size: side of the square map in cells, border walls included.
    episode_limit: steps after which an episode is truncated.
    view_radius, speed, attack_radius, hp, damage, step_recover: the learners' attributes; enemy_*: the enemies'.
    step_reward, attack_penalty, hit_reward, kill_reward, dead_penalty: rewards per agent; the penalty of death
        replaces what the victim earned earlier in that step, and a killing blow earns kill_reward, not hit_reward.
    swap_sides: the learners start on the left (never), on the right (always), or on either at random per episode.
    keys: those of `TwoSidedEnv`, which say who plays the enemies.
    """

    meanings: ClassVar = {
        "win": "more kills than deaths",
        "annihilation": "no enemy left",
        "score": "1 for more kills than deaths, 0.5 for as many, 0 for fewer",
    }

    def __init__(
        self,
        n_envs: int,
        device: torch.device,
        *,
        n_agents: int,
        n_enemies: int,
        map_size: int,
        episode_limit: int,
        view_radius: float,
        speed: float,
        attack_radius: float,
        hp: float,
        damage: float,
        step_recover: float,
        enemy_view_radius: float,
        enemy_speed: float,
        enemy_attack_radius: float,
        enemy_hp: float,
        enemy_damage: float,
        enemy_step_recover: float,
        step_reward: float,
        attack_penalty: float,
        hit_reward: float,
        kill_reward: float,
        dead_penalty: float,
        swap_sides: Literal["random", "never", "always"],
        **keys: Any,
    ) -> None:
        host = torch.device("cpu")  # where the engine writes, and the replay keeps its rows
        super().__init__(n_envs, host, **keys)
        self._pin = device.type != "cpu"  # pinned rows reach the controller's device without waiting
        for key, value in (("n_agents", n_agents), ("n_enemies", n_enemies), ("episode_limit", episode_limit)):
            require_at_least(key, value, 1)
        if map_size > MAX_MAP:
            raise EnvError(
                f"env_args.map_size: expected at most {MAX_MAP:,}, whose cells a row can number, got {map_size:,}."
            )
        check_fits(
            f"battle: {n_envs:,} environments of {episode_limit:,} steps of {n_agents + n_enemies:,} agents on "
            f"{map_size:,} x {map_size:,} cells",
            n_envs * (4 * episode_limit * (n_agents + n_enemies) + ENGINE_BYTES * map_size**2),
            "Lower env_args.episode_limit, the population, env_args.map_size or batch_size_run.",
        )
        facing_blocks(map_size, n_agents, n_enemies)
        unit = UnitType(view_radius, speed, attack_radius, hp, damage, step_recover)
        enemy = UnitType(
            enemy_view_radius, enemy_speed, enemy_attack_radius, enemy_hp, enemy_damage, enemy_step_recover
        )
        unit.check("", enemy_damage, map_size)
        enemy.check("enemy_", damage, map_size)
        rewards = Rewards(step_reward, attack_penalty, hit_reward, kill_reward, dead_penalty)
        rewards.check()
        counts = (n_agents, n_enemies)
        self._battles = Battles(GridWorld(n_envs, map_size, counts, (unit, enemy), rewards), episode_limit)
        self.info, self._enemies = (
            EnvInfo(
                name="battle",
                n_agents=side.n_agents,
                n_actions=side.n_actions,
                obs_shape=views.obs_shape,
                obs_dtype=torch.uint8,
                obs_scale=OBS_SCALE,
                episode_limit=episode_limit,
                stats=stats,
                has_position=True,
                compact_dim=views.compact_dim,
                meaning=tuple(
                    f"{key} = {getattr(side.unit, key):g}" for key in ("view_radius", "speed", "attack_radius")
                ),
            )
            for side, views, stats in zip(self._sides, self._views, ((*STATS, "score"), ()), strict=True)
        )
        self._rewards = self._no_rewards()  # of the step that led here
        self._swap_sides = swap_sides
        self._streams = [torch.Generator() for _ in range(n_envs)]  # how each copy's episodes start

    @property
    def even(self) -> bool:
        """Whether both sides are as many and can do the same."""
        own, enemy = self._sides
        return (own.n_agents, own.unit) == (enemy.n_agents, enemy.unit)

    @property
    def _views(self) -> list[Views]:
        return self._battles.world.views

    @property
    def _sides(self) -> tuple[Side, ...]:
        return self._battles.world.sides

    @property
    def others(self) -> dict[str, EnvInfo]:
        return {"": self._enemies}

    def reset(self, seed: int) -> Step:
        if seed < 0:
            raise EnvError(f"reset: expected a seed of at least 0, got {seed}.")
        self._begin_opponent(seed, "battle opponent")
        self._begin_streams(seed)
        for env, stream in enumerate(self._streams):
            self._start(env, stream)
        self._rewards = self._no_rewards()
        return self._row()

    def step(self, action: Tensor) -> Step:
        """Advance every battle. Raises EnvError on actions that do not fit, before any battle has moved."""
        learners, enemies = self._joint_action(action)
        self._rewards = self._no_rewards()
        done = self._battles.done
        own, other = self._rewards
        self._battles.advance((learners, enemies), ~done, (own.numpy(), other.numpy()))
        for env in done.nonzero()[0]:
            self._start(int(env), self._streams[env])
        return self._row()

    def observations(self, compact: Tensor) -> Tensor:
        return self._views[0](compact)

    def enemy_observations(self, compact: Tensor) -> Tensor:
        return self._views[1](compact)

    def state_dict(self) -> dict[str, Any]:
        """Return streams, the opponent's memory, and per battle its beginning and actions."""
        return super().state_dict() | {
            "episode_streams": [stream.get_state() for stream in self._streams],
            "battles": self._battles.state_dict(),
            "enemy_reward": self._rewards[1],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the running episodes (milliseconds each). Raises EnvError when the state is not of these arguments."""
        super().load_state_dict(state)
        self._require_copies(len(state["battles"]))
        self._battles.load_state_dict(state["battles"])
        own, other = self._no_rewards()
        paid = state.get("enemy_reward", other)  # before enemies could learn, nobody kept it
        if not same_kind(paid, other):
            raise EnvError(
                f"Battle state: expected an enemy_reward of shape {tuple(other.shape)}, got {paid!r:.80}. Resume with "
                "the run's own env_args."
            )
        self._rewards = own, paid.clone()
        if "episode_streams" not in state:  # one for all copies, before each had its own
            shared = torch.Generator()
            shared.set_state(state["episode_stream"])
            self._begin_streams(int(torch.randint(MAX_SEED, (), generator=shared)))
            return
        for stream, saved in zip(self._streams, state["episode_streams"], strict=True):
            stream.set_state(saved)

    def scene(self, env_index: int) -> BattleScene:
        battles = self._battles
        position, attack = [], []
        for index, side in enumerate(self._sides):
            position.append(side.cells(env_index).copy())
            if battles.t[env_index] > 0:
                offset = np.concatenate(
                    [
                        move := circle_offsets(side.unit.speed, with_centre=True),
                        circle_offsets(side.unit.attack_radius, with_centre=False),
                    ]
                )
                action = battles.last_action(env_index, index)[side.slots(env_index)]
                attack.append(np.where((action >= len(move))[:, None], position[-1] + offset[action], -1))
        n, m = (side.n_agents for side in self._sides)
        return BattleScene(
            t=int(battles.t[env_index]),
            population=(n, m),
            map_size=battles.world.map_size,
            position=np.concatenate(position),
            hp=np.concatenate([side.health(env_index) for side in self._sides]),
            side=np.repeat(np.arange(2, dtype=np.int32), [side.survivors[env_index] for side in self._sides]),
            slot=np.concatenate([side.slots(env_index) for side in self._sides]),
            attack=np.concatenate(attack) if attack else None,
        )

    def _begin_streams(self, seed: int) -> None:
        self._streams = [generator(seed, "battle episodes", index=env) for env in range(self.n_envs)]

    def _start(self, env: int, stream: torch.Generator) -> None:
        seed = int(torch.randint(1, MAX_SEED + 1, (), generator=stream))
        swapped, leader = torch.randint(2, (2,), generator=stream).tolist()
        self._battles.start(env, seed, {"random": swapped, "never": 0, "always": 1}[self._swap_sides], leader)

    def _acting(self, side: int) -> np.ndarray:
        return self._sides[side].alive & ~self._battles.done[:, None]

    def _lead(self) -> np.ndarray:
        kills, deaths = self._battles.stats()[:2]
        return kills - deaths

    def _no_rewards(self) -> tuple[Tensor, Tensor]:
        own, other = (torch.zeros(self.n_envs, side.n_agents) for side in self._sides)
        return own, other

    def _look(self, index: int, info: dict[str, Tensor]) -> Step:
        """Make the present row as side ``index`` sees it."""
        views, reward = self._views[index], self._rewards[index]
        alive = torch.from_numpy(self._sides[index].alive.copy())
        compact = torch.empty(self.n_envs, views.compact_dim, dtype=torch.int16)
        position = torch.empty(*reward.shape, 2)
        rows = compact.view(self.n_envs, 3, -1)
        self._battles.world.look(index, rows.numpy(), position.numpy())
        lists = views.lists(compact)
        pinned = torch.empty(lists.shape, dtype=torch.uint8, pin_memory=True) if self._pin else None
        return Step(
            obs=lists if pinned is None else lists.write(pinned),
            alive=alive,
            reward=reward,
            terminated=torch.from_numpy(self._battles.terminated.copy()),
            truncated=torch.from_numpy(self._battles.truncated.copy()),
            info=info,
            position=position,
            compact=compact,
        )

    def _look_as(self, team: str) -> tuple[Step, Tensor]:
        return self._look(1, {}), torch.from_numpy(self._battles.t == 0)

    def _row(self) -> Step:
        stats = torch.from_numpy(self._battles.stats())
        return self._look(0, {**dict(zip(STATS, stats.unbind(0), strict=True)), "score": self._score()})
