"""Battle: layout, rows, ends, statistics, exact resume, and every refusal."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from components.batch import EnvInfo, Step
from config.loader import available, named_layer
from config.registry import config_keys
from envs.base import EnvError
from envs.battle.env import SPACING, BattleEnv, Battles, block_rows, facing_blocks, smallest_map

PRESETS = [name for name in available("envs") if named_layer("envs", name).values["env"] == "battle"]
CPU = torch.device("cpu")
STAY, HIT_LEFT, HIT_RIGHT = 2, 6, 7  # for speed 1, attack 1


def env_args(preset: str = "battle", **changes: Any) -> dict[str, Any]:
    return named_layer("envs", preset).values["env_args"] | {"opponent": "random"} | changes


def small(n_envs: int = 1, **changes: Any) -> BattleEnv:
    """Half-sighted learners against the same enemies, 6 against 5."""
    values = {"n_agents": 6, "n_enemies": 5, "map_size": 20, "episode_limit": 30}
    values |= {"enemy_view_radius": 3, "enemy_speed": 1, "enemy_attack_radius": 1}
    return BattleEnv(n_envs, CPU, **env_args(**(values | changes)))


def bloody(n_envs: int, **changes: Any) -> BattleEnv:
    """A crowd in which one hit kills, so that random play is full of deaths."""
    glass = {"hp": 1, "speed": 3, "attack_radius": 3, "step_recover": 0}
    enemy = {f"enemy_{key}": value for key, value in glass.items()}
    return small(n_envs, **(glass | enemy | {"n_agents": 9, "n_enemies": 9, "map_size": 16} | changes))


def random_action(env: BattleEnv, stream: torch.Generator) -> torch.Tensor:
    return torch.randint(env.info.n_actions, (env.n_envs, env.info.n_agents), generator=stream)


def assert_same(a: Step, b: Step) -> None:
    for name in ("obs", "alive", "reward", "terminated", "truncated", "position"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert all(torch.equal(a.info[key], b.info[key]) for key in a.info)


class Idle:
    """Enemies that stay where they are."""

    learned, any_number = EnvInfo("battle", 1, 9, (7, 7, 5), torch.uint8, 0.01, 400, has_position=True), True

    def __call__(self, step: Step, first: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.full(step.alive.shape, STAY)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Repeating(Idle):
    """Enemies with MAgent's defaults that all do the same."""

    learned, action = replace(Idle.learned, obs_shape=(13, 13, 5), n_actions=21), 0

    def __call__(self, step: Step, first: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.full(step.alive.shape, self.action)


def duel(n_envs: int = 1, **changes: Any) -> BattleEnv:
    """One learner against one idle enemy on the cell to its right, from the first row on."""
    env = small(n_envs, n_agents=1, n_enemies=1, map_size=12, opponent="self_play", swap_sides="never", **changes)
    env.set_opponent(Idle())
    env.reset(0)
    for index in range(n_envs):
        env._battles.world.reset(index, 1, (np.array([[5, 5]]), np.array([[6, 5]])))
    return env


# ---- configuration and layout


def test_base_preset_holds_exactly_the_keys() -> None:
    assert set(env_args()) == set(config_keys(BattleEnv))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build_and_run(preset: str) -> None:
    values = env_args(preset)
    env = BattleEnv(1, CPU, **values)
    row = env.step(torch.zeros(1, values["n_agents"], dtype=torch.int64)) if env.reset(0) else None
    assert row is not None
    assert row.info["enemy_survivors"].item() == values["n_enemies"]


def test_presets_are_the_papers() -> None:
    env = BattleEnv(1, CPU, **env_args())
    assert (env.info.obs_shape, env.info.n_actions) == ((7, 7, 5), 9)
    assert (env.enemies.obs_shape, env.enemies.n_actions, env.enemies.n_agents) == ((13, 13, 5), 21, 100)
    env = BattleEnv(1, CPU, **env_args("battle_symmetric"))
    assert env.info.obs_shape == env.enemies.obs_shape == (13, 13, 5)
    assert env.info.n_actions == env.enemies.n_actions == 21
    for preset in PRESETS:
        values = env_args(preset)
        density = (values["n_agents"] + values["n_enemies"]) / values["map_size"] ** 2
        assert 0.075 < density <= 0.08


def test_layout_is_magents_own() -> None:
    from magent2.environments.battle.battle import parallel_env

    original = parallel_env(map_size=40)
    original.reset()
    for block, handle in zip(facing_blocks(40, 64, 64), original.handles, strict=True):
        assert {tuple(cell) for cell in block} == {tuple(cell) for cell in original.env.get_pos(handle)}


def test_battle_v4_is_magents_own_game() -> None:
    """Cells, views, rewards and the numbers of actions, until some have been hit; both play the same actions."""
    from magent2.environments.battle.battle import parallel_env

    right, left, hit_right, hit_left = 7, 5, 17, 16  # of 13 moves and 8 attacks
    original = parallel_env()  # not reset: after that, blue's first actions would be red's (0.3.4 counts no agents)
    theirs = original._compute_observations()
    env = BattleEnv(1, CPU, **env_args("battle_v4", swap_sides="never", opponent="self_play"))
    blue = Repeating()
    env.set_opponent(blue)
    row = env.reset(0)
    assert len(original.agents) == env.info.n_agents + env.enemies.n_agents == 162
    paid = dict.fromkeys(original.agents, 0.0)
    for own, other in [(right, left)] * 3 + [(right, 6)] + [(hit_right, hit_left)] * 2:
        cells = {
            tuple(cell): original.possible_agents[number]
            for handle in original.handles
            for cell, number in zip(original.env.get_pos(handle), original.env.get_agent_id(handle), strict=True)
        }
        assert row.position is not None
        places = [tuple(cell) for cell in row.position[0].int().tolist()]
        assert all(cells[place].startswith("red") for place in places)
        seen = np.stack([theirs[cells[place]] for place in places])
        np.testing.assert_allclose(row.obs[0].double() * env.info.obs_scale, seen, rtol=0, atol=5e-6)
        np.testing.assert_allclose(row.reward[0], [paid[cells[place]] for place in places], atol=1e-6)
        blue.action = other
        theirs, paid, *_ = original.step({agent: own if "red" in agent else other for agent in original.agents})
        row = env.step(torch.full((1, 81), own))
    assert {round(reward, 3) for reward in row.reward[0].tolist()} == {-0.105, 0.095}
    assert env.info.episode_limit == original.max_cycles


@pytest.mark.parametrize("n", [1, 2, 3, 10, 63, 200, 333, 667])
@pytest.mark.parametrize("extra", [0, 1, 7])
def test_blocks_fit_and_face_each_other(n: int, extra: int) -> None:
    size = smallest_map(n, 5) + extra
    left, right = facing_blocks(size, n, 5)
    for block, count in ((left, n), (right, 5)):
        assert len({tuple(cell) for cell in block}) == count
        assert block.min() >= 1
        assert block.max() <= size - 2
        assert (np.diff(np.unique(block[:, 0])) == SPACING).all()
    assert right[:, 0].min() - left[:, 0].max() == 8  # MAgent's: 2 x 3 cells, and the left block's own spacing
    assert block_rows(smallest_map(n, 5) - 1, max(n, 5)) is None


def test_sides_are_swapped_on_request_and_at_random() -> None:
    def starts(mode: str) -> set[str]:
        row = small(32, swap_sides=mode).reset(0)
        assert row.position is not None
        return {"left" if x < 10 else "right" for x in row.position[:, :, 0].mean(1).tolist()}

    assert starts("never") == {"left"}
    assert starts("always") == {"right"}
    assert starts("random") == {"left", "right"}


# ---- rows


def test_observations_equal_the_engines_cell_by_cell() -> None:
    env = BattleEnv(1, CPU, **env_args("battle_symmetric", n_agents=40, n_enemies=40, map_size=32, hp=5, enemy_hp=5))
    env._battles = Battles(env._battles.world.with_engine_views(), 400)
    row, stream = env.reset(1), torch.Generator().manual_seed(1)
    engine = env._battles.world.engines[0]
    deaths = 0
    for _ in range(400):
        plain, _ = engine.get_observation(engine.get_handles()[0])
        rows = row.alive[0].nonzero()[:, 0]
        decoded = row.obs[0, rows].double() * env.info.obs_scale
        # The engine adds 0.1 health per step in float32 and drifts by some 1e-7 each time; ours are the true values.
        np.testing.assert_allclose(decoded.numpy(), plain.astype(np.float64), rtol=0, atol=5e-6)
        assert row.obs[0, ~row.alive[0]].sum() == 0
        assert row.position is not None
        np.testing.assert_array_equal(row.position[0, rows], engine.get_pos(engine.get_handles()[0]))
        deaths = int(row.info["deaths"])
        if row.done:
            break
        row = env.step(random_action(env, stream))
    assert deaths > 3


def test_rows_of_a_bloody_battle() -> None:
    env, stream = bloody(4, episode_limit=60), torch.Generator().manual_seed(0)
    row, ends, deaths = env.reset(3), 0, 0
    for _ in range(300):
        after = env.step(random_action(env, stream))
        fresh = row.done
        died = row.alive & ~after.alive & ~fresh[:, None]
        deaths += int(died.sum())
        assert after.reward.dtype == torch.float32
        assert torch.isfinite(after.reward).all()
        assert (after.reward[~row.alive & ~fresh[:, None]] == 0).all()  # nothing after the step of death
        assert (after.reward[died] < 0).all()
        assert (after.reward[fresh] == 0).all()
        assert not after.done[fresh].any()
        assert after.alive[fresh].all()
        assert not (~row.alive & after.alive & ~fresh[:, None]).any()
        assert after.position is not None
        assert (after.position[~after.alive] == 0).all()
        assert (after.obs[~after.alive] == 0).all()
        info = after.info
        assert torch.equal(info["survivors"], after.alive.sum(1).float())
        assert torch.equal(info["deaths"], 9 - info["survivors"])
        assert torch.equal(info["kills"], 9 - info["enemy_survivors"])
        assert torch.equal(info["win"], (info["kills"] > info["deaths"]).float())
        assert torch.equal(info["annihilation"], (info["enemy_survivors"] == 0).float())
        wiped = (info["survivors"] == 0) | (info["enemy_survivors"] == 0)
        assert torch.equal(after.terminated, wiped)
        ends += int(after.done.sum())
        row = after
    assert ends > 3
    assert deaths > 20


def test_time_limit_truncates_and_the_next_step_restarts() -> None:
    env = small(2, episode_limit=3)
    env.reset(0)
    stay = torch.full((2, 6), STAY)
    rows = [env.step(stay) for _ in range(3)]
    assert [row.truncated.tolist() for row in rows] == [[False] * 2, [False] * 2, [True] * 2]
    assert not rows[-1].terminated.any()
    fresh = env.step(torch.full((2, 6), 10**12))  # ignored, whatever it holds
    assert not fresh.done.any()
    assert (fresh.reward == 0).all()
    assert not env.step(stay).done.any()


def test_a_duel_is_won_by_six_hits() -> None:
    env = duel()
    rows = [env.step(torch.tensor([[HIT_RIGHT]])) for _ in range(6)]
    assert [bool(row.terminated) for row in rows] == [False] * 5 + [True]
    assert sum(float(row.reward) for row in rows) == pytest.approx(5.4 - 6 * 0.005, abs=1e-5)
    assert {key: float(value) for key, value in rows[-1].info.items()} == {
        "kills": 1, "deaths": 0, "survivors": 1, "enemy_survivors": 0, "win": 1, "annihilation": 1, "score": 1
    }  # fmt: skip
    assert not rows[-1].truncated.any()
    fresh = env.step(torch.tensor([[HIT_RIGHT]]))
    assert float(fresh.info["kills"]) == 0


def test_a_wiped_out_side_ends_the_episode_even_at_the_time_limit() -> None:
    env = duel(episode_limit=6)
    rows = [env.step(torch.tensor([[HIT_RIGHT]])) for _ in range(6)]
    assert rows[-1].terminated.all()
    assert not rows[-1].truncated.any()


def test_everybody_dead_is_a_plain_row() -> None:
    env = duel(hp=1, enemy_hp=1)
    env.set_opponent(type("Hit", (Idle,), {"__call__": lambda *_: torch.tensor([[HIT_LEFT]])})())
    row = env.step(torch.tensor([[STAY]]))
    assert not row.alive.any()
    assert row.terminated.all()
    assert float(row.reward) == pytest.approx(-0.1)
    assert float(row.info["annihilation"]) == float(row.info["win"]) == 0
    assert row.obs.sum() == 0


class Mirror(Idle):
    """Hits to the left and keeps what it sees."""

    def __init__(self) -> None:
        self.rows: list[Step] = []

    def __call__(self, step: Step, first: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.rows.append(step)
        return torch.tensor([[HIT_LEFT]])


def test_enemies_are_paid_as_learners_are() -> None:
    """Two that hit one another from equal health: at any moment both sides' last rewards are those of the same deed."""
    env, mirror = duel(step_recover=0.0, enemy_step_recover=0.0), Mirror()
    env.set_opponent(mirror)
    own = [env.step(torch.tensor([[HIT_RIGHT]])) for _ in range(5)]
    assert [float(row.reward) for row in mirror.rows[1:]] == [float(row.reward) for row in own[:4]]
    assert len({float(row.reward) for row in own}) == 1, "hit, not yet killed"
    assert float(own[0].reward) > 0
    assert float(mirror.rows[0].reward) == 0
    for row, seen in zip(own, mirror.rows[1:], strict=False):
        assert torch.equal(row.terminated, seen.terminated)
        assert torch.equal(row.truncated, seen.truncated)


def test_a_reward_of_enemies_survives_a_resume() -> None:
    """The next row that they see holds what the step before the save earned them."""
    env, mirror = duel(), Mirror()
    env.set_opponent(mirror)
    env.step(torch.tensor([[STAY]]))
    resumed, again = duel(), Mirror()
    resumed.set_opponent(again)
    resumed.load_state_dict(env.state_dict())
    for battle in (env, resumed):
        battle.step(torch.tensor([[STAY]]))
    assert float(again.rows[0].reward) == float(mirror.rows[1].reward) > 0
    with pytest.raises(EnvError, match=r"expected an enemy_reward of shape \(1, 1\), got"):
        resumed.load_state_dict(env.state_dict() | {"enemy_reward": torch.zeros(2)})


# ---- seeds and exact resume


def test_same_seed_same_trajectory() -> None:
    def run(seed: int) -> list[Step]:
        env, stream = bloody(2), torch.Generator().manual_seed(7)
        return [env.reset(seed)] + [env.step(random_action(env, stream)) for _ in range(80)]

    first, again, other = run(4), run(4), run(5)
    for a, b in zip(first, again, strict=True):
        assert_same(a, b)
    assert any(not torch.equal(a.obs, b.obs) for a, b in zip(first, other, strict=True))
    assert any(not torch.equal(row.obs[0], row.obs[1]) for row in first)  # the copies differ among themselves


def test_the_sides_take_turns_in_moving_first(monkeypatch: pytest.MonkeyPatch) -> None:
    env = small(16)
    env.reset(0)
    leaders: list[np.ndarray] = []
    monkeypatch.setattr(env._battles.world, "step", lambda actions, first, moving, reward: leaders.append(first))
    for _ in range(3):
        env.step(torch.full((16, 6), STAY))
    assert {tuple(seen) for seen in np.array(leaders).T.tolist()} == {(0, 1, 0), (1, 0, 1)}


def test_reset_starts_over() -> None:
    env, stream = bloody(2), torch.Generator()
    before = env.reset(4)
    for _ in range(20):
        env.step(random_action(env, stream))
    assert_same(env.reset(4), before)


@pytest.mark.parametrize(
    ("steps", "in_battle"), [(0, False), (1, False), (20, True), (30, True), (31, False), (47, True)]
)  # 30: the time limit's row, 31: the first row of the next episode
def test_resume_is_bit_equal(steps: int, in_battle: bool) -> None:
    def actions(seed: int, count: int, env: BattleEnv) -> list[torch.Tensor]:
        stream = torch.Generator().manual_seed(seed)
        return [random_action(env, stream) for _ in range(count)]

    env = bloody(3)
    row = env.reset(2)
    for action in actions(0, steps, env):
        row = env.step(action)
    assert not in_battle or (row.info["deaths"].any() and row.info["kills"].any())
    stored = io.BytesIO()
    torch.save(env.state_dict(), stored)
    stored.seek(0)
    resumed = bloody(3)
    resumed.load_state_dict(torch.load(stored, weights_only=True))
    for action in actions(1, 70, env):
        assert_same(env.step(action), resumed.step(action))


def test_states_of_other_arguments_are_refused() -> None:
    env = small(2)
    env.reset(0)
    env.step(torch.zeros(2, 6, dtype=torch.int64))
    with pytest.raises(EnvError, match=r"holds 2 parallel environments, this one has 3.*batch_size_run"):
        small(3).load_state_dict(env.state_dict())
    with pytest.raises(EnvError, match=r"1 steps of 11 agents, but this environment has 7 \+ 5 agents"):
        small(2, n_agents=7).load_state_dict(env.state_dict())


# ---- scenes


def test_scene() -> None:
    env = duel()
    scene = env.scene(0)
    assert scene.attack is None
    assert scene.map_size == 12
    env.step(torch.tensor([[HIT_RIGHT]]))
    scene = env.scene(0)
    assert scene.position.tolist() == [[5, 5], [6, 5]]
    assert scene.hp.tolist() == pytest.approx([1, 0.81])
    assert scene.side.tolist() == [0, 1]
    assert scene.slot.tolist() == [0, 0]
    assert scene.attack is not None
    assert scene.attack.tolist() == [[6, 5], [-1, -1]]


def test_scene_after_deaths() -> None:
    env, stream = bloody(2, episode_limit=200), torch.Generator().manual_seed(0)
    row = env.reset(3)
    for _ in range(100):
        row = env.step(random_action(env, stream))
        if row.info["deaths"][1] > 1 and row.info["kills"][1] > 1:
            break
    assert row.info["deaths"][1] > 1
    assert row.info["kills"][1] > 1
    scene = env.scene(1)
    own = scene.side == 0
    assert scene.slot[own].tolist() == row.alive[1].nonzero()[:, 0].tolist()
    assert row.position is not None
    np.testing.assert_array_equal(scene.position[own], row.position[1, row.alive[1]])
    assert (~own).sum() == row.info["enemy_survivors"][1]
    assert len(scene.hp) == len(scene.position)


# ---- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_agents": 0}, r"env_args\.n_agents: expected at least 1, got 0"),
        ({"n_enemies": -1}, r"env_args\.n_enemies: expected at least 1, got -1"),
        ({"episode_limit": 0}, r"env_args\.episode_limit: expected at least 1, got 0"),
        ({"n_agents": 64, "n_enemies": 64, "map_size": 27}, r"do not fit on 27 x 27 cells; they need map_size >= 28"),
        ({"map_size": 3}, r"6 and 5 agents do not fit on 3 x 3 cells"),
        ({"map_size": -3}, r"do not fit on -3 x -3 cells"),
        ({"attack_radius": 4}, r"env_args\.attack_radius: 4 exceeds view_radius"),
        ({"enemy_hp": 7}, r"env_args\.enemy_hp: the opponent's damage"),
        ({"hit_reward": float("nan")}, r"env_args\.hit_reward: expected a finite number, got nan"),
        (
            {"opponent": "checkpoint", "opponent_checkpoint": ""},
            r"opponent is 'checkpoint' and env_args\.opponent_checkpoint is empty",
        ),
    ],
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        small(**changes)


def test_the_smallest_map_is_named_right() -> None:
    small(n_agents=64, n_enemies=64, map_size=28).reset(0)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (torch.zeros(1, 6, dtype=torch.int64), r"action: expected \(2, 6\) int64, got \(1, 6\)"),
        (torch.zeros(2, 6), r"action: expected \(2, 6\) int64, got \(2, 6\) torch\.float32"),
        (torch.full((2, 6), 9), r"action: expected 0 \.\. 8, got 9 \(copy 0, agent 0\)"),
        (torch.tensor([[0] * 6, [0, 0, -1, 0, 0, 0]]), r"action: expected 0 \.\. 8, got -1 \(copy 1, agent 2\)"),
        (torch.full((2, 6), 2**32), r"action: expected 0 \.\. 8, got 4294967296"),
    ],
)
def test_bad_actions_move_nobody(action: torch.Tensor, message: str) -> None:
    env, untouched = small(2), small(2)
    env.reset(0)
    untouched.reset(0)
    with pytest.raises(EnvError, match=message):
        env.step(action)
    assert env._battles.t.tolist() == [0, 0]


def test_calls_out_of_order() -> None:
    env = small()
    with pytest.raises(EnvError, match=r"step: call reset\(seed\) first"):
        env.step(torch.zeros(1, 6, dtype=torch.int64))
    with pytest.raises(EnvError, match=r"state_dict: call reset"):
        env.state_dict()
    with pytest.raises(EnvError, match=r"seed of at least 0, got -1"):
        env.reset(-1)
