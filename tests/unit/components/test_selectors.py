"""Exploration: the distributions by hand, and samples that follow them."""

from __future__ import annotations

import math

import pytest
import torch

from components.schedules import LinearSchedule
from components.selectors import (
    ActionSelector,
    BoltzmannSelector,
    EpsilonGreedySelector,
    RandomSelector,
    greedy_action,
)

Q = torch.tensor([[1.0, 5.0, 3.0, 2.0], [4.0, 4.0, 2.0, 4.0]])
AVAIL = torch.tensor([[True, False, True, True], [False, False, False, False]])
SELECTORS = {
    "epsilon_greedy": EpsilonGreedySelector(epsilon_start=1.0, epsilon_finish=0.2, epsilon_anneal_time=100),
    "boltzmann": BoltzmannSelector(temperature_start=2.0, temperature_finish=1.0, temperature_anneal_time=100),
}
RANDOM = RandomSelector()
both = pytest.mark.parametrize("selector", SELECTORS.values(), ids=SELECTORS.keys())


def test_a_zero_drawn_chooses_nothing_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))
    q, avail = torch.zeros(1, 3), torch.tensor([[False, True, True]])
    greedy = EpsilonGreedySelector(epsilon_start=0.0, epsilon_finish=0.0, epsilon_anneal_time=1)
    assert greedy.select(q, avail, 0, False, torch.Generator()).tolist() == [1]
    assert greedy.select(torch.tensor([[0.0, 0.0, 1.0]]), None, 0, False, torch.Generator()).tolist() == [2]


def test_linear_schedule() -> None:
    schedule = LinearSchedule(1.0, 0.2, 100)
    assert [schedule.value(t) for t in (0, 25, 100, 1000)] == pytest.approx([1.0, 0.8, 0.2, 0.2])
    assert LinearSchedule(1.0, 0.2, 0).value(0) == 0.2


def test_greedy_takes_the_first_best_available_action() -> None:
    assert greedy_action(Q, None).tolist() == [1, 0]
    assert greedy_action(Q, AVAIL).tolist() == [2, 0], "who has no available action is dead and may say anything"


def test_epsilon_greedy_by_hand() -> None:
    selector = SELECTORS["epsilon_greedy"]
    torch.testing.assert_close(
        selector.probabilities(Q, None, 50),  # epsilon 0.6
        torch.tensor([[0.15, 0.55, 0.15, 0.15], [0.55, 0.15, 0.15, 0.15]]),
    )
    torch.testing.assert_close(
        selector.probabilities(Q, AVAIL, 10**6),  # epsilon 0.2 over three actions
        torch.tensor([[0.2 / 3, 0.0, 0.8 + 0.2 / 3, 0.2 / 3], [0.85, 0.05, 0.05, 0.05]]),
    )


def test_boltzmann_by_hand_prefers_larger_values() -> None:
    """The paper's Eq. 4 prints the opposite sign."""
    found = SELECTORS["boltzmann"].probabilities(Q, AVAIL, 0)[0]
    weights = [math.exp(1 / 2), 0.0, math.exp(3 / 2), math.exp(2 / 2)]
    assert found.tolist() == pytest.approx([weight / sum(weights) for weight in weights])


@both
def test_distributions_are_whole_and_never_nan(selector: ActionSelector) -> None:
    for q in (Q, Q * 1e6, torch.zeros(2, 4)):
        for avail in (None, AVAIL):
            probabilities = selector.probabilities(q, avail, 30)
            torch.testing.assert_close(probabilities.sum(-1), torch.ones(2))
            assert (probabilities >= 0).all()


@both
def test_test_mode_is_greedy(selector: ActionSelector) -> None:
    generator = torch.Generator().manual_seed(0)
    assert selector.select(Q, AVAIL, 0, True, generator).tolist() == [2, 0]


@both
def test_samples_follow_the_distribution(selector: ActionSelector) -> None:
    """20,000 draws: a share's standard error is below 0.004."""
    generator = torch.Generator().manual_seed(0)
    avail = AVAIL[:1].expand(20_000, -1)
    action = selector.select(Q[:1].expand(20_000, -1), avail, 40, False, generator)
    share = torch.bincount(action, minlength=4) / 20_000
    assert share[1] == 0.0, "an unavailable action was taken"
    torch.testing.assert_close(share, selector.probabilities(Q[:1], AVAIL[:1], 40)[0], atol=0.015, rtol=0.0)


@both
def test_an_action_is_the_first_whose_cumulative_probability_reaches_a_uniform_number(selector: ActionSelector) -> None:
    q = torch.randn(50, 9, generator=torch.Generator().manual_seed(1))
    uniform = torch.rand(50, generator=torch.Generator().manual_seed(2)).tolist()
    expected = []
    for row, number in zip(selector.probabilities(q, None, 40).cumsum(-1).tolist(), uniform, strict=True):
        expected.append(next(action for action, total in enumerate(row) if total >= number * row[-1]))
    assert selector.select(q, None, 40, False, torch.Generator().manual_seed(2)).tolist() == expected


@pytest.mark.parametrize("shape", [(50,), (7, 30), (1, 1)])
@pytest.mark.parametrize("n_actions", [1, 2, 9, 77])
def test_compiled_epsilon_greedy_equals_the_form_in_torch(shape: tuple[int, ...], n_actions: int) -> None:
    """Exploring a little and a lot, with ties, infinities and NaN; the streams stay in step too."""
    selector = EpsilonGreedySelector(epsilon_start=1.0, epsilon_finish=0.0, epsilon_anneal_time=7)
    draw, slow, fast = (torch.Generator().manual_seed(seed) for seed in (0, 1, 1))
    for t_env in range(9):
        q = torch.randn(*shape, n_actions, generator=draw).round(decimals=1)
        q[torch.rand(q.shape, generator=draw) < 0.05] = torch.nan
        q[torch.rand(q.shape, generator=draw) < 0.05] = -torch.inf
        expected = ActionSelector.select(selector, q, None, t_env, False, slow)
        assert torch.equal(selector.select(q, None, t_env, False, fast), expected)
    assert torch.equal(slow.get_state(), fast.get_state())


@both
def test_the_generator_decides(selector: ActionSelector) -> None:
    q = torch.zeros(50, 4)
    first, again, other = (
        selector.select(q, None, 0, False, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("test_mode", [False, True])
def test_random_play_is_uniform_over_available_actions_in_test_mode_too(test_mode: bool) -> None:
    torch.testing.assert_close(RANDOM.probabilities(Q, AVAIL, 0)[0], torch.tensor([1 / 3, 0.0, 1 / 3, 1 / 3]))
    torch.testing.assert_close(RANDOM.probabilities(Q, AVAIL, 0)[1], torch.full((4,), 0.25))
    action = RANDOM.select(Q[:1].expand(20_000, -1), None, 0, test_mode, torch.Generator().manual_seed(0))
    share = torch.bincount(action, minlength=4) / 20_000
    torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.015, rtol=0.0)
