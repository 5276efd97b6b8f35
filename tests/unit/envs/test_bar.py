"""Bar: anchors that are known in closed form, the statistics, and bad arguments."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.stats import binom

from components.batch import Step
from envs.bar import Bar
from envs.base import EnvError


def bar(n_envs: int = 2, n_agents: int = 100, capacity: int = 60, episode_limit: int = 50) -> Bar:
    return Bar(n_envs, torch.device("cpu"), n_agents=n_agents, capacity=capacity, episode_limit=episode_limit)


def attend(n_envs: int, n_agents: int, count: int) -> torch.Tensor:
    """The first ``count`` agents attend, in every copy."""
    return (torch.arange(n_agents) < count).to(torch.int64).repeat(n_envs, 1)


def one_night(env: Bar, count: int) -> Step:
    env.reset(seed=0)
    return env.step(attend(env.n_envs, env.info.n_agents, count))


@pytest.mark.parametrize(
    ("capacity", "count", "payoff"),
    [(60, 0, 0.0), (60, 60, 0.6), (60, 61, -0.61), (60, 100, -1.0), (30, 30, 0.3), (80, 80, 0.8), (100, 100, 1.0)],
)
def test_mean_payoff_of_known_attendances(capacity: int, count: int, payoff: float) -> None:
    row = one_night(bar(capacity=capacity), count)
    torch.testing.assert_close(row.reward.mean(dim=1), torch.full((2,), payoff))
    torch.testing.assert_close(row.info["payoff"], torch.full((2,), payoff))
    torch.testing.assert_close(row.obs, torch.full((2, 100, 1), count / 100))


def test_reward_goes_to_those_who_attend() -> None:
    row = one_night(bar(n_envs=1, n_agents=4, capacity=2), 2)
    assert row.reward.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    row = one_night(bar(n_envs=1, n_agents=4, capacity=2), 3)
    assert row.reward.tolist() == [[-1.0, -1.0, -1.0, 0.0]]


def random_payoff(p: float, n_agents: int = 100, capacity: int = 60) -> float:
    """Expected payoff when everybody attends with probability p: an attending agent meets Binomial(N - 1, p) others."""
    good = binom.cdf(capacity - 1, n_agents - 1, p)
    return float(p * (2 * good - 1))


def test_best_symmetric_random_policy() -> None:
    grid = np.linspace(0, 1, 1001)
    payoffs = [random_payoff(p) for p in grid]
    best = float(grid[int(np.argmax(payoffs))])
    assert max(payoffs) == pytest.approx(0.478, abs=5e-4)

    env = bar(n_envs=400)
    env.reset(seed=0)
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        row = env.step((torch.rand(400, 100, generator=generator) < best).to(torch.int64))
    assert row.info["payoff"].mean().item() == pytest.approx(max(payoffs), abs=0.005)


def test_statistics_cover_the_nights_so_far_and_restart_with_the_episode() -> None:
    env = bar(n_envs=1, n_agents=10, capacity=6, episode_limit=3)
    env.reset(seed=0)
    counts = [2, 7, 6]
    for night, count in enumerate(counts, start=1):
        row = env.step(attend(1, 10, count))
        assert row.info["attendance"].item() == pytest.approx(np.mean(counts[:night]))
        assert row.info["attendance_std"].item() == pytest.approx(np.std(counts[:night]))
    assert row.info["crowded"].item() == pytest.approx(1 / 3)
    assert row.info["payoff"].item() == pytest.approx((2 - 7 + 6) / 30)
    assert row.truncated.item()
    assert not row.terminated.item()

    first = env.step(attend(1, 10, 10))
    assert [value.item() for value in first.info.values()] == [0.0] * 5
    assert first.reward.abs().sum() == 0


@pytest.mark.parametrize("count", [0, 3, 5, 6, 7, 10])
def test_exploitability_is_what_agents_gain_by_deviating_one_by_one(count: int) -> None:
    action = attend(1, 10, count)
    everyone, gains = one_night(bar(n_envs=1, n_agents=10, capacity=6), count), []
    for agent in range(10):
        env, deviated = bar(n_envs=1, n_agents=10, capacity=6), action.clone()
        deviated[0, agent] = 1 - action[0, agent]
        env.reset(seed=0)
        gains.append(float(env.step(deviated).reward[0, agent] - everyone.reward[0, agent]))
    assert everyone.info["exploitability"].item() == pytest.approx(np.mean([max(gain, 0.0) for gain in gains]))
    assert (everyone.info["exploitability"].item() == 0) == (count == 6)


def test_spread_of_attendance_is_exact_for_large_populations() -> None:
    env = bar(n_envs=1, n_agents=20_000, capacity=12_000, episode_limit=50)
    env.reset(seed=0)
    for night in range(50):
        row = env.step(attend(1, 20_000, 12_000 + night % 2))
    assert row.info["attendance_std"].item() == 0.5


def test_first_observation_is_uniform_and_shared() -> None:
    obs = bar(n_envs=5000, n_agents=4, capacity=2).reset(seed=3).obs
    assert torch.equal(obs, obs[:, :1].expand_as(obs))
    values, counts = obs[:, 0, 0].unique(return_counts=True)
    assert values.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert counts.min() > 900  # 1000 expected, standard deviation 28


def test_one_agent() -> None:
    assert one_night(bar(n_envs=1, n_agents=1, capacity=1), 1).reward.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"capacity": 101},
            r"env_args.capacity: expected 1 to n_agents = 100, got 101. Set .* with env_args.n_agents",
        ),
        ({"capacity": 0}, r"env_args.capacity: expected 1 to n_agents = 100, got 0"),
        ({"n_agents": 0}, r"env_args.n_agents: expected at least 1, got 0"),
        ({"episode_limit": 0}, r"env_args.episode_limit: expected at least 1, got 0"),
        ({"n_envs": 0}, r"n_envs: expected at least 1 parallel environment, got 0"),
    ],
)
def test_bad_arguments(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        bar(**arguments)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (torch.zeros(2, 99, dtype=torch.int64), r"expected actions of shape \(2, 100\).*got \(2, 99\)"),
        (torch.zeros(2, 100), r"dtype torch.int64, got \(2, 100\) and torch.float32"),
        (torch.full((2, 100), 2), r"expected actions in \[0, 2\), got values from 2 to 2"),
        (torch.full((2, 100), -1), r"expected actions in \[0, 2\), got values from -1 to -1"),
    ],
)
def test_bad_actions(action: torch.Tensor, message: str) -> None:
    env = bar()
    env.reset(seed=0)
    with pytest.raises(EnvError, match=message):
        env.step(action)


def test_step_before_reset() -> None:
    with pytest.raises(EnvError, match=r"step\(\) came before reset\(\)"):
        bar().step(attend(2, 100, 0))


def test_state_of_another_environment() -> None:
    env = bar(n_envs=3)
    with pytest.raises(EnvError, match=r"expected a state of tensors .*'t': \(3,\).*, got \{\}"):
        env.load_state_dict(env.state_dict())  # nothing is running yet
    env.reset(seed=0)
    with pytest.raises(EnvError, match=r"'t': \(2,\).*got .*'t': \(3,\).*built with the same arguments"):
        bar(n_envs=2).load_state_dict(env.state_dict())


def test_state_with_every_nights_attendance_is_continued() -> None:
    """As versions up to 0.1 stored it."""
    env, resumed = bar(), bar()
    env.reset(seed=0)
    env.step(attend(2, 100, 30))
    state = env.state_dict()
    state["state"]["history"] = torch.zeros(2, 50, dtype=torch.int64)
    del state["state"]["deviations"]
    resumed.load_state_dict(state)
    ours, theirs = (one.step(attend(2, 100, 70)) for one in (env, resumed))
    assert torch.equal(ours.info["attendance"], theirs.info["attendance"])
    assert ours.info["attendance"].tolist() == [50.0, 50.0]


def test_scene() -> None:
    env = bar(n_agents=10, capacity=6, episode_limit=5)
    env.reset(seed=0)
    env.step(attend(2, 10, 4))
    env.scene(1)
    env.step(attend(2, 10, 8))
    wanted = {"night": 2, "episode_limit": 5, "n_agents": 10, "capacity": 6, "attendance": 8}
    seen = asdict(env.scene(1))
    assert (seen.pop("past").tolist(), env.scene(0).past.tolist()) == ([4, 8], [8]), "copy 0 was not looked at before"
    assert seen == pytest.approx({**wanted, "mean": 6, "deviation": 2, "payoff": (4 - 8) / 20})
