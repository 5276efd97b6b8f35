"""Statistics of episodes, by hand: formulas, deaths, junction rows, environments that end at different times."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from components.batch import EnvInfo, Step
from runners.episodes import EpisodeLog, EpisodeStats, action_entropy, gini

INFO = EnvInfo("test", 2, 4, (1,), torch.float32, 1.0, 3, stats=("kills",))


def row(reward: list[list[float]], alive: list[list[bool]], done: list[bool], kills: list[float]) -> Step:
    """One instant."""
    ended, living = torch.tensor(done), torch.tensor(alive)
    obs, never = torch.zeros(*living.shape, 1), torch.zeros_like(ended)
    return Step(obs, living, torch.tensor(reward), ended, never, {"kills": tensor(kills)})


def tensor(values: list[float]) -> Tensor:
    return torch.tensor(values)


ALIVE = [[True, True], [True, True]]
START = row([[0.0, 0.0], [0.0, 0.0]], ALIVE, [False, False], [0.0, 0.0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0], 0.0),
        ([0.0, 0.0, 0.0, 8.0], 0.75),  # one has everything: 1 - 1 / N
        ([0.0, 1.0, 2.0, 3.0], 5 / 12),  # sum of |x_i - x_j| / (2 N^2 mean) = 20 / (2 * 16 * 1.5)
        ([-3.0, -2.0, -1.0, 0.0], 5 / 12),  # shifted
        ([7.0], 0.0),
    ],
)
def test_gini(values: list[float], expected: float) -> None:
    assert float(gini(tensor(values)[None])) == pytest.approx(expected, abs=1e-6)


def test_gini_does_not_depend_on_order_and_keeps_environments_apart() -> None:
    both = gini(torch.tensor([[3.0, 0.0, 1.0, 2.0], [5.0, 5.0, 5.0, 5.0]]))
    torch.testing.assert_close(both, torch.tensor([5 / 12, 0.0]))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        ([5.0, 5.0, 5.0, 5.0], 1.0),
        ([9.0, 0.0, 0.0, 0.0], 0.0),
        ([2.0, 2.0, 0.0, 0.0], 0.5),  # log 2 / log 4
        ([0.0, 0.0, 0.0, 0.0], 0.0),  # nobody acted
        ([3.0], 0.0),  # nothing to choose
    ],
)
def test_action_entropy(count: list[float], expected: float) -> None:
    assert float(action_entropy(tensor(count)[None])) == pytest.approx(expected, abs=1e-6)


def test_an_episode_by_hand_with_a_death() -> None:
    """Environment 0: agent 1 dies in the first step; the action of its slot in the second does not count."""
    stats = EpisodeStats(INFO, 2)
    middle = row([[1.0, -4.0], [0.0, 0.0]], [[True, False], [True, True]], [False, False], [1.0, 0.0])
    last = row([[2.0, 0.0], [0.0, 0.0]], [[True, False], [True, True]], [True, False], [3.0, 0.0])
    assert stats.update(START, torch.tensor([[0, 1], [0, 0]]), middle) == {}
    found = stats.update(middle, torch.tensor([[2, 3], [0, 0]]), last)
    assert {name: value.tolist() for name, value in found.items() if name not in {"action_entropy", "return_gini"}} == {
        "return_mean": [-0.5],
        "return_sum": [-1.0],
        "return_q10": pytest.approx([-3.3]),  # linear between -4 and 3
        "return_q50": [-0.5],
        "return_q90": pytest.approx([2.3]),
        "ep_length": [2.0],
        "kills": [3.0],
    }
    assert float(found["return_gini"]) == pytest.approx(0.5)  # one of two has everything above the worst-off
    assert float(found["action_entropy"]) == pytest.approx(math.log(3) / math.log(4))  # actions 0, 1, 2 once each


def test_the_junction_between_episodes_counts_for_neither() -> None:
    """Environment 0 ends, resets, and plays one more step of reward 1; environment 1 plays on with reward 1 a step."""
    stats = EpisodeStats(INFO, 2)
    action = torch.zeros(2, 2, dtype=torch.int64)
    end = row([[5.0, 5.0], [1.0, 1.0]], [[False, False], [True, True]], [True, False], [2.0, 0.0])
    first = row([[0.0, 0.0], [1.0, 1.0]], ALIVE, [False, False], [0.0, 0.0])
    both = row([[1.0, 1.0], [1.0, 1.0]], ALIVE, [True, True], [1.0, 4.0])
    assert stats.update(START, action, end)["return_sum"].tolist() == [10.0]
    assert stats.update(end, torch.tensor([[3, 3], [0, 0]]), first) == {}
    found = stats.update(first, action, both)
    assert found["return_sum"].tolist() == [2.0, 6.0]
    assert found["ep_length"].tolist() == [1.0, 3.0]
    assert found["kills"].tolist() == [1.0, 4.0]
    assert found["action_entropy"].tolist() == [0.0, 0.0], "the ignored actions of the junction were counted"


def test_totals_equal_a_slow_loop() -> None:
    """Random steps of seven environments in which agents die; nothing but the totals is looked at."""
    info = replace(INFO, n_agents=5, n_actions=3)
    stats, draw = EpisodeStats(info, 7), torch.Generator().manual_seed(0)
    returns, length, actions = np.zeros((7, 5), np.float32), np.zeros(7), np.zeros((7, 3))
    for _ in range(30):
        reward = torch.randn(7, 5, generator=draw)
        alive = torch.rand(7, 5, generator=draw) < 0.7
        done = torch.rand(7, generator=draw) < 0.3
        action = torch.randint(3, (7, 5), generator=draw)
        before = row(reward.tolist(), alive.tolist(), done.tolist(), [0.0] * 7)
        stats.update(before, action, replace(before, terminated=torch.zeros(7, dtype=torch.bool)))  # nobody ends
        for e in range(7):
            if done[e]:
                continue
            length[e] += 1
            for n in range(5):
                returns[e, n] += np.float32(reward[e, n])
                if alive[e, n]:
                    actions[e, action[e, n]] += 1
    np.testing.assert_array_equal(stats.returns, returns)
    np.testing.assert_array_equal(stats.length, length)
    np.testing.assert_array_equal(stats.actions, actions)


def test_running_totals_continue() -> None:
    whole, half, rest = (EpisodeStats(INFO, 2) for _ in range(3))
    action = torch.ones(2, 2, dtype=torch.int64)
    middle = row([[1.0, 2.0], [3.0, 4.0]], ALIVE, [False, False], [0.0, 0.0])
    last = row([[1.0, 2.0], [3.0, 4.0]], ALIVE, [True, True], [1.0, 1.0])
    for stats in (whole, half):
        stats.update(START, action, middle)
    rest.load_state_dict(half.state_dict())
    half.update(middle, action, middle)  # what was loaded is a copy
    expected, found = (stats.update(middle, action, last) for stats in (whole, rest))
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in expected.items()
    }


def test_log_means_over_episodes_and_empties() -> None:
    log = EpisodeLog()
    assert log.flush() == {}
    log.add({"return_mean": tensor([1.0, 3.0]), "kills": tensor([0.0, 1.0])})
    log.add({"return_mean": tensor([5.0]), "kills": tensor([5.0])})
    means = log.flush()
    assert means == {
        "return_mean": 3.0,
        "kills": 2.0,
        "return_std": pytest.approx(math.sqrt(8 / 3)),
        "n_episodes": 3.0,
    }
    assert log.flush() == {}
