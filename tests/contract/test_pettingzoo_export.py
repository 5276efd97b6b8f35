"""Our tasks as PettingZoo environments: PettingZoo's own tests, deaths, first steps, and no training code."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test, parallel_seed_test
from tests.support.paths import SRC

from components.batch import decode_obs
from config.schema import ConfigError
from envs.base import EnvError
from export import ExportedEnv, to_parallel_env

RANDOM = {"opponent": "random"}
ONE_HIT = {"hp": 1, "enemy_hp": 1}
SMALL: dict[str, dict[str, Any]] = {
    "battle": {"n_agents": 30, "n_enemies": 30, "map_size": 24, "episode_limit": 60, **ONE_HIT, **RANDOM},
    "spread": {"n_agents": 3},
    "pursuit": {"n_agents": 4, "episode_limit": 30},
    "bar": {"n_agents": 8, "capacity": 5, "episode_limit": 10},
}


def small(name: str) -> ExportedEnv:
    return to_parallel_env(name, **SMALL[name])


def random_actions(env: ExportedEnv, rng: np.random.Generator) -> dict[str, int]:
    return {agent: int(rng.integers(env.action_space(agent).n)) for agent in env.agents}


@pytest.mark.parametrize("name", SMALL)
def test_pettingzoo_api(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        parallel_api_test(small(name), num_cycles=150)


@pytest.mark.parametrize("name", SMALL)
def test_pettingzoo_seeding(name: str) -> None:
    parallel_seed_test(lambda: small(name), num_cycles=50)


@pytest.mark.parametrize("name", SMALL)
def test_equals_the_task(name: str) -> None:
    """The same numbers as the array interface, for every living agent, until the episode ends."""
    exported, env = small(name), small(name).env
    exported.reset(seed=4)
    row = env.reset(int(np.random.default_rng(4).integers(2**31)))
    rng = np.random.default_rng(0)
    while exported.agents:
        actions = random_actions(exported, rng)
        joint = [actions.get(agent, 0) for agent in exported.possible_agents]
        obs, reward, terminated, truncated, infos = exported.step(actions)
        row = env.step(torch.tensor([joint]))
        for agent in actions:
            slot = exported.possible_agents.index(agent)
            np.testing.assert_array_equal(obs[agent], decode_obs(row.obs[0, slot], env.info.obs_scale))
            assert exported.observation_space(agent).contains(obs[agent])
            assert reward[agent] == row.reward[0, slot].item()
            assert terminated[agent] == bool(row.terminated[0] or not row.alive[0, slot])
            assert truncated[agent] == bool(row.truncated[0] and row.alive[0, slot])
            assert infos[agent] == {key: value.item() for key, value in row.info.items()}
    assert bool(row.done)


def test_the_dead_leave_and_the_living_stay() -> None:
    env = to_parallel_env("battle", **{**SMALL["battle"], "episode_limit": 300})
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    sizes = []
    while env.agents:
        acting = env.agents
        _, _, terminated, truncated, infos = env.step(random_actions(env, rng))
        assert env.agents == [agent for agent in acting if not terminated[agent] and not truncated[agent]]
        if env.agents:
            assert len(env.agents) == infos[acting[0]]["survivors"]
        sizes.append(len(env.agents))
    assert len({*sizes} - {0, 30}) >= 2, "some died while others lived"
    assert env.step({}) == ({}, {}, {}, {}, {})


@pytest.mark.parametrize("swap_sides", ["never", "always"])
def test_first_step_after_every_reset_moves_everybody_as_told(swap_sides: str) -> None:
    """MAgent2's own wrapper has the second team execute the first one's actions here."""
    env = to_parallel_env("battle", **{**SMALL["battle"], "map_size": 40, "swap_sides": swap_sides})
    for action, offset in enumerate([[0, -1], [-1, 0], [0, 0], [1, 0], [0, 1]]):  # moves of speed 1; 2 is to stay
        env.reset(seed=action)
        before = _positions(env)
        env.step({agent: 2 if slot % 2 else action for slot, agent in enumerate(env.agents)})
        moved = (_positions(env) - before).tolist()
        assert moved == [[0, 0] if slot % 2 else offset for slot in range(len(moved))]


def _positions(env: ExportedEnv) -> np.ndarray:
    scene = env.env.scene(0)
    return scene.position[scene.side == 0]


def test_battle_comes_with_its_frozen_opponent() -> None:
    """The enemies of the default configuration advance; where random ones stay, a trained policy seeks the fight."""
    env = to_parallel_env("battle", n_agents=20, n_enemies=10, map_size=30)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        env.step(random_actions(env, rng))
    assert len(env.agents) < 20


def test_resets_without_a_seed_continue_the_stream() -> None:
    a, b = small("pursuit"), small("pursuit")
    a.reset(seed=3)
    first, _ = a.reset()
    b.reset(seed=3)
    second, _ = b.reset()
    third, _ = b.reset()
    np.testing.assert_array_equal(first["agent_0"], second["agent_0"])
    assert not np.array_equal(second["agent_0"], third["agent_0"])


def test_imported_environment_hands_its_action_mask_on() -> None:
    env = to_parallel_env(
        "pettingzoo", entry="tests.unit.envs.test_pettingzoo_env:Roster", kwargs={"end": [9], "masked": True}
    )
    _, infos = env.reset(seed=0)
    assert infos["agent_0"]["action_mask"].tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", SMALL)
def test_draws_itself(name: str) -> None:
    env = small(name)
    env.reset(seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3


def test_missing_action_is_named() -> None:
    env = small("bar")
    with pytest.raises(EnvError, match=r"render: expected a game that was begun\. Call reset\(\) first"):
        env.render()
    env.reset(seed=0)
    with pytest.raises(EnvError, match="none of agent_1"):
        env.step({"agent_0": 0})
    for wrong in (1.7, math.nan, None, "left"):
        with pytest.raises(EnvError, match="expected a whole number below 2 as the action of agent_3, got "):
            env.step(dict.fromkeys(env.agents, 0) | {"agent_3": wrong})  # type: ignore[arg-type]


def test_the_late_born_join() -> None:
    kwargs = {"end": [9, 9, 3], "born": [0, 2, 0]}
    env = to_parallel_env("pettingzoo", entry="tests.unit.envs.test_pettingzoo_env:Roster", kwargs=kwargs)
    observations, _ = env.reset(seed=0)
    there = [["agent_0", "agent_2"]]
    assert (list(observations), env.agents) == (there[0], there[0])
    for _ in range(3):
        observations, rewards, terminated, _, infos = env.step(dict.fromkeys(env.agents, 1))
        assert set(rewards) == set(terminated) == set(there[-1])
        assert set(observations) == set(infos) == {*there[-1], *env.agents}
        there.append(env.agents)
    assert there[1:] == [["agent_0", "agent_2"], ["agent_0", "agent_1", "agent_2"], ["agent_0", "agent_1"]]


def test_policies_of_files_play_every_side() -> None:
    enemies_abilities = {"view_radius": 6, "speed": 2, "attack_radius": 1.5}
    env = to_parallel_env("battle_deviator", team_checkpoint="opponents/battle.pt", **enemies_abilities)
    env.reset(seed=1)
    env.step({"agent_0": 0})
    with pytest.raises(ConfigError, match="expected a checkpoint's folder, with a policy for every team, got 'opponen"):
        to_parallel_env(
            "pettingzoo",
            entry="mpe2.simple_crypto_v3",
            team="eve",
            teams=["alice", "bob"],
            opponent="checkpoint",
            opponent_checkpoint="opponents/battle.pt",
        )


def test_bad_names_and_values() -> None:
    with pytest.raises(ConfigError, match=r"no envs configuration 'battel'. Did you mean 'battle'"):
        to_parallel_env("battel")
    with pytest.raises(EnvError, match=r"bar has no argument 'n_agent'. Did you mean 'n_agents'"):
        to_parallel_env("bar", n_agent=3)
    with pytest.raises(ConfigError, match=r"env_args.capacity expects int, got 2.5"):
        to_parallel_env("bar", capacity=2.5)


def test_imports_no_training_code() -> None:
    program = (
        "import sys; from export import to_parallel_env;"
        f"to_parallel_env('battle', **{RANDOM}).reset(seed=0);"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'build', 'controllers', 'learners', 'modules', 'run', 'runners', 'sacred'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=SRC, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
