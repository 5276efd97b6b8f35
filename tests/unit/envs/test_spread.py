"""Spread: step by step equal to mpe2's simple_spread_v3; edge cases; bad arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mpe2 import simple_spread_v3

from components.batch import Step
from envs.base import EnvError
from envs.spread import Spread

CPU = torch.device("cpu")


def spread(n_envs: int = 1, n_agents: int = 3, **changes: Any) -> Spread:
    arguments: dict[str, Any] = {"local_ratio": 0.5, "communication_slots": True, "episode_limit": 25} | changes
    return Spread(n_envs, CPU, n_agents=n_agents, **arguments)


def set_state(env: Spread, **entities: Any) -> None:
    """Overwrite positions, velocities or landmarks of a running episode."""
    saved = env.state_dict()
    for key, value in entities.items():
        tensor = torch.as_tensor(np.asarray(value), dtype=torch.float64)
        saved["state"][key] = tensor.expand_as(saved["state"][key])
    env.load_state_dict(saved)


def entities_of(world: Any) -> dict[str, np.ndarray]:
    return {
        "position": np.stack([agent.state.p_pos for agent in world.agents]),
        "velocity": np.stack([agent.state.p_vel for agent in world.agents]),
        "landmark": np.stack([landmark.state.p_pos for landmark in world.landmarks]),
    }


def stay(env: Spread) -> Step:
    return env.step(torch.zeros(env.n_envs, env.info.n_agents, dtype=torch.int64))


@pytest.mark.parametrize(("n_agents", "spawn"), [(3, 1.0), (3, 0.2), (6, 1.0), (6, 0.3), (20, 1.0), (20, 0.6)])
@pytest.mark.parametrize("local_ratio", [0.5, 0.2])
def test_equal_to_mpe2_over_whole_episodes(n_agents: int, spawn: float, local_ratio: float) -> None:
    """``spawn`` below 1 crowds the agents, so that contacts are many."""
    theirs = simple_spread_v3.parallel_env(N=n_agents, local_ratio=local_ratio, max_cycles=25)
    ours = spread(n_agents=n_agents, local_ratio=local_ratio)
    rng = np.random.default_rng(n_agents)
    collisions = 0
    for seed in range(2):
        theirs.reset(seed=seed)
        world = theirs.unwrapped.world
        for agent in world.agents:
            agent.state.p_pos *= spawn
        ours.reset(seed=seed)
        set_state(ours, **entities_of(world))
        for t in range(25):
            action = rng.integers(5, size=n_agents)
            obs, reward, _, truncated, _ = theirs.step(dict(zip(theirs.possible_agents, action, strict=True)))
            row = ours.step(torch.from_numpy(action).unsqueeze(0))
            expected = entities_of(world)
            state = ours.state_dict()["state"]
            for key in ("position", "velocity"):
                np.testing.assert_allclose(state[key][0], expected[key], rtol=0, atol=1e-5, err_msg=f"{key} at {t}")
            names = theirs.possible_agents
            np.testing.assert_allclose(row.obs[0], np.stack([obs[name] for name in names]), rtol=0, atol=1e-5)
            np.testing.assert_allclose(row.reward[0], [reward[name] for name in names], rtol=0, atol=1e-5)
            assert row.truncated.item() == all(truncated.values()) == (t == 24)
        collisions += int(row.info["collisions"].item())
        benchmark = [theirs.unwrapped.scenario.benchmark_data(agent, world) for agent in world.agents]
        assert row.info["covered"].item() == benchmark[0][3]
        assert row.info["distance"].item() == pytest.approx(benchmark[0][2] / n_agents, abs=1e-5)
    assert collisions > 0 or spawn == 1.0


def test_observation_without_communication_slots_is_the_beginning_of_mpe2s() -> None:
    full, short = spread(n_agents=6).reset(seed=0).obs, spread(n_agents=6, communication_slots=False).reset(seed=0).obs
    assert full.shape[2] == short.shape[2] + 10
    assert torch.equal(full[..., : short.shape[2]], short)
    assert full[..., short.shape[2] :].abs().sum() == 0


def test_episodes_start_at_rest_uniformly_in_the_square() -> None:
    row = spread(n_envs=2000, n_agents=3).reset(seed=0)
    velocity, position, landmark = row.obs[..., :2], row.position, row.obs[..., 2:4] + row.obs[..., 4:6]
    assert velocity.abs().sum() == 0
    for point in (position, landmark):
        assert point is not None
        assert point.abs().max() <= 1
        # 12,000 uniform coordinates: standard error of the mean 0.0053, of the variance 1/3 about 0.003
        assert point.mean().abs() < 0.03
        assert point.var().item() == pytest.approx(1 / 3, abs=0.015)


def test_agents_in_the_same_place_stay_finite() -> None:
    env = spread(n_agents=4)
    env.reset(seed=0)
    set_state(env, position=[[0.0, 0.0]] * 4)
    row = stay(env)
    assert row.position is not None
    assert row.position.abs().max() == 0
    assert row.info["collisions"].item() == 6  # the pairs of four agents
    assert torch.isfinite(row.obs).all()


def test_collisions_cost_only_those_who_collide() -> None:
    env = spread(n_agents=3, local_ratio=1.0)
    env.reset(seed=0)
    set_state(env, position=[[0.0, 0.0], [0.29, 0.0], [0.9, 0.9]])
    assert stay(env).reward.tolist() == [[-1.0, -1.0, 0.0]]


def test_one_agent() -> None:
    env = spread(n_agents=1)
    row = env.reset(seed=0)
    assert row.obs.shape == (1, 1, 6)
    set_state(env, position=[[0.0, 0.0]], landmark=[[0.3, 0.4]])
    row = stay(env)
    assert row.reward.item() == pytest.approx(-0.25)  # half of the distance
    assert row.info["distance"].item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"local_ratio": 1.5}, r"env_args.local_ratio: expected a share in \[0, 1\], got 1.5"),
        ({"local_ratio": -0.1}, r"env_args.local_ratio: expected a share in \[0, 1\], got -0.1"),
        ({"n_agents": 0}, "env_args.n_agents: expected at least 1, got 0"),
        ({"episode_limit": 0}, "env_args.episode_limit: expected at least 1, got 0"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        spread(**changes)
