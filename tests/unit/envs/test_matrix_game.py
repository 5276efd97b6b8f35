"""Matrix games: payoffs by hand, equilibrium, ends, bad arguments."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from envs.base import EnvError
from envs.matrix_game import MatrixGame


def matrix_game(game: Any, n_agents: int = 2, episode_limit: int = 1, n_envs: int = 1) -> MatrixGame:
    return MatrixGame(n_envs, torch.device("cpu"), game=game, n_agents=n_agents, episode_limit=episode_limit)


def payoffs(game: str, joint_actions: list[list[int]]) -> torch.Tensor:
    """(number of joint actions, N) rewards of one decision."""
    env = matrix_game(game, n_agents=len(joint_actions[0]), n_envs=len(joint_actions))
    env.reset(seed=0)
    return env.step(torch.tensor(joint_actions)).reward


def test_non_monotonic_matrix() -> None:
    rewards = payoffs("non_monotonic", [list(pair) for pair in itertools.product(range(3), repeat=2)])
    matrix = [8.0, -12.0, -12.0, -12.0, 0.0, 0.0, -12.0, 0.0, 0.0]
    assert rewards[:, 0].tolist() == matrix
    assert rewards[:, 1].tolist() == matrix


def test_non_monotonic_among_three() -> None:
    rewards = payoffs("non_monotonic", [[0, 0, 0], [0, 0, 1], [1, 2, 0], [1, 2, 1]])
    assert rewards[:, 0].tolist() == [8.0, -12.0, -12.0, 0.0]


def test_additive_is_a_shared_sum() -> None:
    assert payoffs("additive", [[0, 1, 2, 2], [2, 2, 2, 2]]).tolist() == [[5.0] * 4, [8.0] * 4]
    assert payoffs("additive", [[2]]).tolist() == [[2.0]]


def test_hawk_dove_between_two() -> None:
    rewards = payoffs("hawk_dove", [[0, 0], [0, 1], [1, 0], [1, 1]])
    assert rewards.tolist() == [[1.0, 1.0], [0.0, 2.0], [2.0, 0.0], [-1.0, -1.0]]


def test_hawk_dove_equilibrium_has_half_hawks() -> None:
    """Against half hawks among the others, hawk and dove earn the same; with fewer a hawk earns more."""
    rewards = payoffs("hawk_dove", [[0, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 1, 0, 0, 0], [1, 1, 0, 0, 0]])[:, 0]
    assert rewards[0] == rewards[1] == 0.5
    assert rewards[2] < rewards[3]


@pytest.mark.parametrize(("game", "n_actions"), [("additive", 3), ("non_monotonic", 3), ("hawk_dove", 2)])
@pytest.mark.parametrize("n_agents", [1, 2, 4])
def test_exploitability_equals_a_loop_over_agents_and_actions(game: str, n_actions: int, n_agents: int) -> None:
    if game == "hawk_dove" and n_agents == 1:
        pytest.skip("nobody to meet")
    joint = [list(actions) for actions in itertools.product(range(n_actions), repeat=n_agents)]
    env = matrix_game(game, n_agents=n_agents, n_envs=len(joint))
    env.reset(seed=0)
    row = env.step(torch.tensor(joint))
    rewards = {tuple(actions): reward for actions, reward in zip(joint, row.reward.tolist(), strict=True)}
    for actions, measured in zip(rewards, row.info["exploitability"].tolist(), strict=True):
        gains = []
        for agent in range(n_agents):
            others = [(*actions[:agent], a, *actions[agent + 1 :]) for a in range(n_actions)]
            gains.append(max(rewards[other][agent] for other in others) - rewards[actions][agent])
        assert measured == pytest.approx(sum(gains) / n_agents)


def test_nobody_gains_by_leaving_an_equilibrium() -> None:
    env = matrix_game("non_monotonic", n_envs=3)
    env.reset(seed=0)
    assert env.step(torch.tensor([[0, 0], [1, 2], [0, 1]])).info["exploitability"].tolist() == [0.0, 0.0, 16.0]


def test_repeated_game_terminates_and_reports_the_mean_payoff() -> None:
    env = matrix_game("additive", episode_limit=2)
    env.reset(seed=0)
    row = env.step(torch.tensor([[2, 2]]))
    assert not row.done.item()
    row = env.step(torch.tensor([[0, 1]]))
    assert row.terminated.item()
    assert not row.truncated.item()
    assert row.info["payoff"].item() == 2.5
    assert env.step(torch.tensor([[2, 2]])).info["payoff"].item() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"game": "hawk_dove", "n_agents": 1}, "env_args.n_agents: expected at least 2, got 1"),
        ({"game": "additive", "n_agents": 0}, "env_args.n_agents: expected at least 1, got 0"),
        ({"game": "additive", "episode_limit": 0}, "env_args.episode_limit: expected at least 1, got 0"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        matrix_game(**arguments)
