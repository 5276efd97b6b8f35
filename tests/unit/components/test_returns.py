"""Values and targets, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from components.mean_field import membership
from components.returns import (
    Outcome,
    TDProblem,
    double_q_value,
    expected_value,
    gather_action,
    lambda_return,
    shared_reward,
    td_target,
    team_reward,
    weighted_mean,
)

Q = torch.tensor([[1.0, 5.0, 3.0], [4.0, 0.0, 2.0]])


def test_gather_action() -> None:
    assert gather_action(Q, torch.tensor([2, 0])).tolist() == [3.0, 4.0]


def test_double_q_values_one_networks_choice_with_the_other() -> None:
    select = torch.tensor([[9.0, 0.0, 1.0], [0.0, 9.0, 1.0]])
    assert double_q_value(select, Q, None).tolist() == [1.0, 0.0]
    assert double_q_value(Q, Q, None).tolist() == [5.0, 4.0]


def test_double_q_chooses_among_available_actions() -> None:
    avail = torch.tensor([[True, False, True], [False, True, True]])
    assert double_q_value(Q, Q, avail).tolist() == [3.0, 2.0]


def test_expected_value() -> None:
    pi = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    assert expected_value(pi, Q).tolist() == [2.5, 0.0]


def test_td_target_bootstraps_only_where_nothing_ended() -> None:
    target = td_target(Outcome(torch.tensor([1.0, 1.0]), torch.tensor([0.9, 0.0]), torch.tensor([10.0, 10.0])))
    torch.testing.assert_close(target, torch.tensor([10.0, 1.0]))


@pytest.mark.parametrize("worthless", [torch.nan, torch.inf, -torch.inf])
def test_a_value_behind_the_end_may_be_anything(worthless: float) -> None:
    outcome = Outcome(torch.ones(1), torch.zeros(1), torch.tensor([worthless]))
    assert td_target(outcome).tolist() == [1.0]
    in_time = Outcome(*(value[None, None].expand(3, 1, 1) for value in vars(outcome).values()))
    assert lambda_return(in_time, torch.ones(3, 1, 1, dtype=torch.bool), 0.5).flatten().tolist() == [1.0, 1.0, 1.0]


def test_team_reward_divides_by_slots() -> None:
    """The dead count in the divisor, so that sum and mean have the same optimum."""
    reward = torch.tensor([[1.0, 2.0, 0.0, 0.0]])
    assert team_reward(reward, "sum").tolist() == [3.0]
    assert team_reward(reward, "mean").tolist() == [0.75]


def test_weighted_mean() -> None:
    value, weight = torch.tensor([1.0, 5.0, 100.0]), torch.tensor([3.0, 1.0, 0.0])
    assert float(weighted_mean(value, weight)) == 2.0


def test_nothing_weighs_nothing() -> None:
    value = torch.tensor([4.0, 2.0], requires_grad=True)
    mean = weighted_mean(value, torch.zeros(2))
    mean.backward()
    assert mean.item() == 0.0
    assert value.grad is not None
    assert value.grad.tolist() == [0.0, 0.0]


def test_a_problem_gathers_squared_errors_by_its_unit_weights() -> None:
    """Errors 1, 2, 3 of three agents; one group of the first two at shares 1/4 and 3/4, one of the last that counts
    three times: (13/4 + 3 * 9) / 4.
    """
    unit_weight = torch.tensor([[[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]]])
    problem = TDProblem("agent", torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0]]), unit_weight=unit_weight)
    assert float(problem.loss(torch.zeros(1, 3))) == (13 / 4 + 27) / 4
    metrics = problem.metrics(torch.tensor([[2.0, 0.0, 4.0]]))
    assert float(metrics["td_error_abs"]) == (1.75 + 3 * 1) / 4
    assert float(metrics["target_mean"]) == (0.5 + 3 * 4) / 4


# ------------------------------------------------------------------------------------------------- lambda returns


def in_time(*values: float) -> Tensor:
    """(T, 1, 1) for one unit of one environment."""
    return torch.tensor(values).view(-1, 1, 1)


def returns_of(
    td_lambda: float, discount: tuple[float, ...] = (0.5, 0.5, 0.5), carry: tuple[bool, ...] = (True, True, False)
) -> list[float]:
    """Targets of rewards 1, 2, 4 with next values 8, 6, 2."""
    outcome = Outcome(in_time(1.0, 2.0, 4.0), in_time(*discount), in_time(8.0, 6.0, 2.0))
    return lambda_return(outcome, in_time(*carry).bool(), td_lambda).flatten().tolist()


def test_lambda_zero_is_the_target_of_one_step() -> None:
    assert returns_of(0.0) == [1 + 4, 2 + 3, 4 + 1]


def test_lambda_one_is_the_discounted_sum_up_to_the_windows_edge() -> None:
    assert returns_of(1.0) == [1 + 2 / 2 + 4 / 4 + 2 / 8, 2 + 4 / 2 + 2 / 4, 4 + 2 / 2]


def test_lambda_between_mixes_both() -> None:
    """5; 2 + (6 + 5) / 4; 1 + (8 + 4.75) / 4."""
    assert returns_of(0.5) == [4.1875, 4.75, 5.0]


def test_nothing_follows_a_death_or_a_true_end() -> None:
    """The second transition has discount 0, whether the recursion would go on or not."""
    for carry in ((True, True, False), (True, False, False)):
        assert returns_of(1.0, discount=(0.5, 0.0, 0.5), carry=carry) == [1 + 2 / 2, 2.0, 5.0]


def test_a_time_limit_bootstraps_and_ends_the_recursion() -> None:
    assert returns_of(1.0, carry=(True, False, False)) == [1 + (2 + 6 / 2) / 2, 2 + 6 / 2, 5.0]


def test_the_edge_of_a_window_bootstraps_whatever_carry_says_there() -> None:
    assert returns_of(0.5, carry=(True, True, True)) == returns_of(0.5)


@pytest.mark.parametrize("worthless", [torch.nan, torch.inf])
def test_what_lies_behind_a_junction_may_be_anything(worthless: float) -> None:
    outcome = Outcome(in_time(1.0, worthless, 4.0), in_time(0.5, 0.5, 0.5), in_time(8.0, worthless, 2.0))
    carry = in_time(False, False, False).bool()
    assert lambda_return(outcome, carry, 0.5)[[0, 2]].flatten().tolist() == [5.0, 5.0]


def slow_return(outcome: Outcome, carry: Tensor, td_lambda: float, t: int, e: int, u: int) -> float:
    """The mixture of n-step returns with weights (1 - lambda) lambda^(n - 1), the last one with what is left."""
    total, sum_of_rewards, product, weight = 0.0, 0.0, 1.0, 1.0
    for s in range(t, len(carry)):
        reward, discount, value = (
            float(part[s, e, u]) for part in (outcome.reward, outcome.discount, outcome.next_value)
        )
        sum_of_rewards += product * reward
        product *= discount
        n_step = sum_of_rewards + (product * value if discount > 0 else 0.0)
        if s == len(carry) - 1 or not carry[s, e, u] or product == 0.0:
            return total + weight * n_step
        total += weight * (1 - td_lambda) * n_step
        weight *= td_lambda
    raise AssertionError("a window has a last row")


@given(
    length=st.integers(1, 7),
    n_envs=st.integers(1, 3),
    n_units=st.integers(1, 3),
    td_lambda=st.sampled_from([0.0, 0.3, 0.65, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_lambda_return_equals_the_mixture_of_n_step_returns(
    length: int, n_envs: int, n_units: int, td_lambda: float, seed: int
) -> None:
    """In float64, over random ends and deaths, with values behind them that are no numbers."""
    rng = torch.Generator().manual_seed(seed)
    shape = (length, n_envs, n_units)
    reward, value = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))
    discount = torch.rand(shape, generator=rng, dtype=torch.float64)
    discount = discount.masked_fill(torch.rand(shape, generator=rng) < 0.2, 0.0)
    carry = (torch.rand(length, n_envs, 1, generator=rng) < 0.7).expand(shape)
    outcome = Outcome(reward, discount, value.masked_fill(discount == 0.0, torch.nan))
    found = lambda_return(outcome, carry[..., :1], td_lambda)
    for t in range(length):
        for e in range(n_envs):
            for u in range(n_units):
                expected = slow_return(outcome, carry, td_lambda, t, e, u)
                assert math.isclose(float(found[t, e, u]), expected, rel_tol=1e-12, abs_tol=1e-12)


# ------------------------------------------------------------------------------------------------- shared rewards

REWARD = torch.tensor([[1.0, 3.0, 8.0, 5.0]])
GROUP = torch.tensor([[0, 0, 2, -1]])


@pytest.mark.parametrize(
    ("sharing", "expected"),
    [(0.0, [1.0, 3.0, 8.0, 5.0]), (0.5, [1.5, 2.5, 8.0, 2.5]), (1.0, [2.0, 2.0, 8.0, 0.0])],
)
def test_shared_reward(sharing: float, expected: list[float]) -> None:
    """Two in a group, one alone, an empty group, and one in no group, who keeps its own share only."""
    assert shared_reward(REWARD, membership(GROUP, 3, torch.float32), sharing).tolist() == [expected]


@given(
    size=st.integers(1, 3),
    n_agents=st.integers(1, 6),
    n_groups=st.integers(1, 4),
    sharing=st.floats(0.0, 1.0),
    seed=st.integers(0, 10**6),
)
def test_sharing_moves_rewards_inside_groups_only(
    size: int, n_agents: int, n_groups: int, sharing: float, seed: int
) -> None:
    """Every group earns what it earned; its members' distances to their mean shrink to 1 - sharing."""
    rng = torch.Generator().manual_seed(seed)
    reward = torch.randn(size, n_agents, generator=rng, dtype=torch.float64)
    group = torch.randint(-1, n_groups, (size, n_agents), generator=rng)
    shared = shared_reward(reward, membership(group, n_groups, torch.float64), sharing)
    for b in range(size):
        for i in range(n_groups):
            own, given_ = (value[b][group[b] == i] for value in (reward, shared))
            if len(own):
                torch.testing.assert_close(given_.mean(), own.mean())
                torch.testing.assert_close(given_ - own.mean(), (1 - sharing) * (own - own.mean()))
        torch.testing.assert_close(shared[b][group[b] == -1], (1 - sharing) * reward[b][group[b] == -1])
