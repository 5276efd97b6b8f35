"""Values and targets, by hand."""

from __future__ import annotations

import pytest
import torch

from components.returns import (
    Outcome,
    double_q_value,
    expected_value,
    gather_action,
    lambda_return,
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
