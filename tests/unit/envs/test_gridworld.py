"""The engine's rules, as facts that the rest of Battle rests on."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.paths import SRC

from components.batch import decode_obs
from envs.base import EnvError
from envs.battle.library import import_engine
from envs.battle.views import OBS_SCALE
from envs.battle.worlds import MAX_SEED, GridWorld, Rewards, UnitType, circle_offsets

HALF = UnitType(view_radius=3, speed=1, attack_radius=1, hp=10, damage=2, step_recover=0.1)
FULL = UnitType(view_radius=6, speed=2, attack_radius=1.5, hp=10, damage=2, step_recover=0.1)
GLASS = UnitType(view_radius=3, speed=1, attack_radius=1, hp=1, damage=2, step_recover=0)  # one hit kills
REWARDS = Rewards(step_reward=-0.005, attack_penalty=-0.1, hit_reward=0.2, kill_reward=5, dead_penalty=-0.1)
UP, LEFT, STAY, RIGHT, DOWN, HIT_UP, HIT_LEFT, HIT_RIGHT, HIT_DOWN = range(9)  # speed 1, attack 1


def world_of(own: Any, other: Any, units: tuple[UnitType, UnitType] = (HALF, FULL), map_size: int = 40) -> GridWorld:
    world = GridWorld(1, map_size, (len(own), len(other)), units, REWARDS)
    world.reset(0, 1, (np.array(own), np.array(other)))
    return world


def play(world: GridWorld, own: list[int], other: list[int], first: int = 0) -> np.ndarray:
    rewards = (np.zeros((1, len(own)), np.float32), np.zeros((1, len(other)), np.float32))
    actions = (np.array([own], np.int64), np.array([other], np.int64))
    world.step(actions, np.array([first]), np.array([True]), rewards)
    return rewards[0][0]


def look(world: GridWorld, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Everybody's view and place, written over what must not shine through; whole tensors give the same views."""
    n, views = world.sides[side].n_agents, world.views[side]
    position = np.full((world.n_envs, n, 2), -9, np.float32)
    compact = torch.full((world.n_envs, 3, views.compact_dim // 3), -9, dtype=torch.int16)
    world.look(side, compact.numpy(), position)
    lists = views.lists(compact.flatten(1))
    obs = lists.write(torch.full(lists.shape, 255, dtype=torch.uint8))
    assert torch.equal(views.gather(compact), obs)
    assert torch.equal(views(compact.flatten(1)), decode_obs(obs, OBS_SCALE))
    rows = obs.flatten(0, 1).flatten(1)
    assert (lists.end - lists.begin).tolist() == rows.count_nonzero(1).tolist()
    assert lists.column.tolist() == rows.nonzero()[:, 1].tolist()
    return obs.numpy(), position


def cells(world: GridWorld, side: int) -> np.ndarray:
    return look(world, side)[1][0]


@pytest.mark.parametrize(
    ("speed", "attack", "n_actions"), [(1, 1, 9), (2, 1.5, 21), (4, 3, 77), (0, 1, 5), (1.5, 1, 13)]
)
def test_action_and_view_sizes(speed: float, attack: float, n_actions: int) -> None:
    unit = UnitType(6, speed, attack, 10, 2, 0.1)
    world = world_of([[5, 5]], [[20, 20]], (unit, HALF))
    side = world.sides[0]
    assert side.n_actions == n_actions
    assert world.views[0].obs_shape == (13, 13, 5)
    assert len(circle_offsets(speed, True)) + len(circle_offsets(attack, False)) == n_actions


@pytest.mark.parametrize("speed", [1, 1.5, 2, 4])
def test_moves_follow_the_circle(speed: float) -> None:
    offsets = circle_offsets(speed, with_centre=True)
    n = len(offsets)
    start = [[6 + 12 * (i % 8), 6 + 12 * (i // 8)] for i in range(n)]
    world = world_of(start, [[98, 98]], (UnitType(6, speed, 1, 10, 2, 0.1), HALF), map_size=100)
    play(world, list(range(n)), [STAY])
    np.testing.assert_array_equal(cells(world, 0) - start, offsets)


@pytest.mark.parametrize("radius", [1, 1.5, 3])
def test_attacks_follow_the_circle(radius: float) -> None:
    offsets = circle_offsets(radius, with_centre=False)
    n = len(offsets)
    start = np.array([[6 + 10 * (i % 8), 6 + 10 * (i // 8)] for i in range(n)])
    world = world_of(start, start + offsets, (UnitType(6, 1, radius, 10, 2, 0.1), HALF), map_size=100)
    reward = play(world, [5 + i for i in range(n)], [STAY] * n)
    np.testing.assert_allclose(reward, 0.2 - 0.1 - 0.005, atol=1e-6)


def test_six_hits_kill_and_pay_at_most_5_4() -> None:
    world = world_of([[5, 5]], [[6, 5]])
    rewards = [float(play(world, [HIT_RIGHT], [6])[0]) for _ in range(5)]  # 6: the enemy stays (13 moves)
    assert world.sides[1].alive[0].all()
    rewards.append(float(play(world, [HIT_RIGHT], [6])[0]))
    assert not world.sides[1].alive[0].any()
    np.testing.assert_allclose(rewards, [0.095] * 5 + [4.895], atol=1e-6)
    assert sum(rewards) + 6 * 0.005 == pytest.approx(5.4, abs=1e-5)


def test_death_replaces_the_reward_and_blank_attacks_cost() -> None:
    world = world_of([[6, 5], [20, 20]], [[5, 5]], (GLASS, HALF))
    np.testing.assert_allclose(play(world, [STAY, HIT_UP], [HIT_RIGHT]), [-0.1, -0.105], atol=1e-6)
    np.testing.assert_allclose(play(world, [STAY, STAY], [STAY]), [0, -0.005], atol=1e-6)


def test_attacks_do_not_hurt_the_own_side_or_walls() -> None:
    world = world_of([[1, 1], [2, 1]], [[20, 20]], (GLASS, HALF))
    np.testing.assert_allclose(play(world, [HIT_RIGHT, HIT_UP], [STAY]), -0.105, atol=1e-6)
    assert world.sides[0].alive[0].all()


@pytest.mark.parametrize(("first", "winner"), [(0, 0), (1, 1)])
def test_who_moves_first_wins_a_contested_cell(first: int, winner: int) -> None:
    world = world_of([[5, 5]], [[7, 5]], (HALF, HALF))
    play(world, [RIGHT], [LEFT], first)
    assert [cells(world, side)[0].tolist() == [6, 5] for side in (0, 1)] == [winner == 0, winner == 1]


def test_actions_reach_their_slots_after_deaths() -> None:
    own = [[5, 5], [5, 10], [5, 15], [5, 20], [5, 25], [5, 30]]
    enemies = [[6, 5], [6, 20]]  # next to slots 0 and 3
    world = world_of(own, enemies, (GLASS, HALF))
    play(world, [STAY] * 6, [HIT_LEFT, HIT_LEFT])
    np.testing.assert_array_equal(world.sides[0].alive[0], [False, True, True, False, True, True])
    play(world, [99, UP, LEFT, -7, RIGHT, DOWN], [STAY, STAY])  # what the dead ask for reaches nobody
    moved = cells(world, 0)
    np.testing.assert_array_equal(moved, [[0, 0], [5, 9], [4, 15], [0, 0], [6, 25], [5, 31]])
    obs = look(world, 0)[0][0]
    np.testing.assert_array_equal(obs[:, 3, 3, 1], [0, 100, 100, 0, 100, 100])
    assert obs[[0, 3]].max() == 0
    reward = play(world, [HIT_UP, STAY, HIT_UP, HIT_UP, STAY, HIT_UP], [STAY, STAY])
    np.testing.assert_allclose(reward, [0, -0.005, -0.105, 0, -0.005, -0.105], atol=1e-6)


def test_observation_axes_and_channels() -> None:
    world = world_of([[1, 10], [2, 10]], [[1, 12]], (HALF, UnitType(3, 1, 1, 20, 2, 0)))
    play(world, [STAY, STAY], [STAY])
    view = look(world, 0)[0][0]
    assert view[0, 3, 2, 0] == 100  # the wall, one cell to the left: axis 1 is y, axis 2 is x
    assert view[0, 3, 4].tolist() == [0, 100, 100, 0, 0]  # a friend to the right
    assert view[0, 5, 3].tolist() == [0, 0, 0, 100, 100]  # the enemy, two cells below
    assert view[0, 0, 0].max() == 0  # corners lie outside the circle
    enemy = look(world, 1)[0][0]
    assert enemy[0, 3, 3].tolist() == [0, 100, 100, 0, 0]  # the observer's own side comes first for both
    assert enemy[0, 1, 3].tolist() == [0, 0, 0, 100, 100]


@pytest.mark.parametrize(("radius", "enemy_radius"), [(1, 6), (3, 3), (1.5, 2.3), (3.61, 7)])
def test_views_equal_the_engines_cell_by_cell(radius: float, enemy_radius: float) -> None:
    """Both sides' views, near walls and corners and among the dying, against the engine's own."""
    units = (UnitType(radius, 1, 1, 5, 2, 0.1), UnitType(enemy_radius, 2, 1, 4, 2, 0.2))
    world = GridWorld(1, 14, (30, 30), units, REWARDS, engine_views=True)
    cells = np.array(list(itertools.product(range(1, 13), repeat=2)))
    rng = np.random.default_rng(0)
    for seed in range(1, 6):
        places = rng.permutation(cells)
        world.reset(0, seed, (places[:30], places[30:60]))
        for _ in range(30):
            for index, side in enumerate(world.sides):
                out = look(world, index)[0][0]
                seen, _ = world.engines[0].get_observation(world.engines[0].get_handles()[index])
                np.testing.assert_allclose(out[side.slots(0)] / 100, seen, rtol=0, atol=5e-6)
                assert not out[~side.alive[0]].any()
            if not all(side.survivors[0] for side in world.sides):
                break
            play(world, *(rng.integers(side.n_actions, size=30).tolist() for side in world.sides))
        assert any(side.survivors[0] < 30 for side in world.sides)


class Slowly:
    """One world by magent2's own Python calls, agent by agent."""

    def __init__(self, world: GridWorld, env: int, n_agents: tuple[int, int]) -> None:
        self.engine, self.handles = world.engines[env], world.engines[env].get_handles()
        self.slots = [list(range(n)) for n in n_agents]
        self.n_agents = n_agents

    def step(self, actions: tuple[np.ndarray, np.ndarray], first: int) -> list[dict[int, float]]:
        """Both sides' rewards by slot, of those who were alive."""
        for side in (first, 1 - first):
            chosen = np.array([actions[side][slot] for slot in self.slots[side]], np.int32)
            self.engine.set_action(self.handles[side], chosen)
        self.engine.step()
        rewards = [
            dict(zip(slots, self.engine.get_reward(handle).tolist(), strict=True))
            for slots, handle in zip(self.slots, self.handles, strict=True)
        ]
        for side in (0, 1):
            alive = self.engine.get_alive(self.handles[side])
            self.slots[side] = [slot for slot, lives in zip(self.slots[side], alive, strict=True) if lives]
        self.engine.clear_dead()
        return rewards

    def cells(self, side: int) -> dict[int, list[int]]:
        """Of the living, by slot."""
        return dict(zip(self.slots[side], self.engine.get_pos(self.handles[side]).tolist(), strict=True))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_worlds_step_together_as_each_alone(n_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards, deaths and places of four worlds, one of which waits at times, on any number of threads."""
    monkeypatch.setattr("envs.battle.worlds.WORTH_A_THREAD", 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: n_threads)
    n_agents = (14, 9)
    units = (UnitType(3, 1, 1, 1, 2, 0.02), UnitType(4, 2, 1.5, 2, 2, 0))
    together, alone = (GridWorld(4, 9, n_agents, units, REWARDS) for _ in range(2))
    places = np.array(list(itertools.product(range(1, 8), repeat=2)))
    rng = np.random.default_rng(0)
    references = []
    for env in range(4):
        order = rng.permutation(places)
        for world in (together, alone):
            world.reset(env, env + 1, (order[:14], order[14:23]))
        references.append(Slowly(alone, env, n_agents))
    for _ in range(200):
        actions = tuple(rng.integers(side.n_actions, size=(4, side.n_agents)) for side in together.sides)
        first, moving = rng.integers(2, size=4), rng.random(4) < 0.8
        rewards = (np.full((4, 14), 7, np.float32), np.full((4, 9), 7, np.float32))
        together.step(actions, first, moving, rewards)  # type: ignore[arg-type]
        for env, reference in enumerate(references):
            paid = reference.step((actions[0][env], actions[1][env]), first[env]) if moving[env] else [{}, {}]
            for reward, by_slot in zip(rewards, paid, strict=True):
                expected = np.full(reward.shape[1], 7, np.float32)
                for slot, value in by_slot.items():
                    expected[slot] = value
                np.testing.assert_array_equal(reward[env], expected)
            for side in (0, 1):
                here = together.sides[side]
                np.testing.assert_array_equal(here.slots(env), reference.slots[side])
                np.testing.assert_array_equal(here.alive[env].nonzero()[0], reference.slots[side])
                np.testing.assert_array_equal(here.cells(env), [*reference.cells(side).values()] or np.zeros((0, 2)))
    assert any(not side.survivors.all() for side in together.sides), "a side was wiped out"


def test_threads_draw_the_same_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.battle.worlds.WORTH_A_THREAD", 1)
    monkeypatch.setattr("envs.battle.views.WORTH_A_THREAD", 1)
    seen = []
    for n_threads in (1, 2, 3):
        monkeypatch.setattr("torch.get_num_threads", lambda n=n_threads: n)
        world = GridWorld(3, 20, (5, 4), (HALF, FULL), REWARDS)
        cells = np.random.default_rng(0).permutation(list(itertools.product(range(1, 19), repeat=2)))
        for env in range(3):
            world.reset(env, 1, (cells[9 * env : 9 * env + 5], cells[9 * env + 5 : 9 * env + 9]))
        seen.append([*look(world, 0), *look(world, 1)])
    for other in seen[1:]:
        for part, expected in zip(other, seen[0], strict=True):
            np.testing.assert_array_equal(part, expected)


def test_health_is_read_from_the_view() -> None:
    world = world_of([[5, 5]], [[6, 5]])
    play(world, [HIT_RIGHT], [6])
    assert world.sides[0].health(0) == pytest.approx([1])
    assert world.sides[1].health(0) == pytest.approx([0.81])


def test_the_seed_decides_who_strikes_first() -> None:
    world = world_of([[5, 5]], [[6, 5]], (GLASS, GLASS))

    def own_survives(seed: int) -> bool:
        world.reset(0, seed, (np.array([[5, 5]]), np.array([[6, 5]])))
        play(world, [HIT_RIGHT], [HIT_LEFT])
        return bool(world.sides[0].alive[0, 0])

    seeds = [100_003 * k for k in range(1, 31)] + [MAX_SEED]
    outcomes = [own_survives(seed) for seed in seeds]
    assert set(outcomes) == {True, False}
    assert [own_survives(seed) for seed in reversed(seeds)] == outcomes[::-1]  # whatever was played before


def test_placements_that_the_engine_drops_are_an_error() -> None:
    world = GridWorld(1, 40, (3, 1), (HALF, FULL), REWARDS)
    for bad in ([5, 5], [0, 5], [39, 5], [-4, 5]):
        with pytest.raises(EnvError, match=r"placed 2 of 3 agents.*occupied"):
            world.reset(0, 1, (np.array([[5, 5], [6, 6], bad]), np.array([[20, 20]])))


def test_more_agents_than_the_engine_has_id_bits() -> None:
    own = [[1 + i % 40, 1 + i // 40] for i in range(1200)]
    world = world_of(own, [[60, 60]], (HALF, HALF), map_size=70)
    moves = np.full(1200, STAY)
    moves[-1], moves[1199 - 1024] = DOWN, STAY  # their ids agree in the lowest 10 bits
    play(world, moves.tolist(), [STAY])
    assert np.flatnonzero((cells(world, 0) != own).any(axis=1)).tolist() == [1199]


def test_reset_in_the_middle_of_an_episode_revives_all() -> None:
    world = world_of([[6, 5]], [[5, 5]], (GLASS, HALF))
    play(world, [STAY], [HIT_RIGHT])
    assert world.sides[0].survivors == [0]
    assert [part.max() for part in look(world, 0)] == [0, 0]  # nobody left
    world.reset(0, 1, (np.array([[6, 5]]), np.array([[5, 5]])))
    assert world.sides[0].alive[0].all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack_radius": 4}, r"env_args\.enemy_attack_radius: 4 exceeds enemy_view_radius \(3\)"),
        ({"hp": 0}, r"env_args\.enemy_hp: expected more than 0"),
        ({"hp": math.nan}, r"env_args\.enemy_hp: expected a finite number of at least 0, got nan"),
        ({"damage": -1}, r"env_args\.enemy_damage: expected a finite number of at least 0, got -1"),
        ({"view_radius": 41}, r"env_args\.enemy_view_radius: expected at most map_size \(40 cells\), got 41"),
        ({"speed": 1e9}, r"env_args\.enemy_speed: expected at most map_size"),
        ({"attack_radius": 0}, r"env_args\.enemy_attack_radius: expected at least 1 cell, got 0"),
        ({"step_recover": 0.05}, r"step_recover \(0\.05\) is 0\.5 % of enemy_hp \(10\).*whole percent"),
        ({"hp": 3}, r"the opponent's damage \(2\) is 66\.6667 % of enemy_hp \(3\)"),
    ],
)
def test_attributes_are_checked(change: dict[str, float], message: str) -> None:
    unit = UnitType(**({**HALF.__dict__} | change))
    with pytest.raises(EnvError, match=message):
        unit.check("enemy_", opponent_damage=2, map_size=40)


def test_rewards_are_checked() -> None:
    with pytest.raises(EnvError, match=r"env_args\.kill_reward: expected a finite number, got inf"):
        Rewards(0, 0, 0, math.inf, 0).check()


def test_missing_package_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "magent2", None)
    with pytest.raises(EnvError, match=r"needs the package magent2.*pip install magent2==0\.3\.4"):
        import_engine()


def test_import_order_and_threads() -> None:
    """Importing environments needs no engine; the engine comes after torch and leaves the thread count alone."""
    code = (
        "import os, sys; import envs; assert 'magent2' not in sys.modules\n"
        "from envs.battle.library import import_engine\n"
        "assert 'torch' in sys.modules; import_engine(); assert 'OMP_NUM_THREADS' not in os.environ"
    )
    environ = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    src = str(SRC)
    subprocess.run([sys.executable, "-c", code], check=True, env=environ | {"PYTHONPATH": src})
