"""Sums, means, attention and mean actions: numbers worked out by hand, and the empty cases."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.mean_field import (
    attention_weight,
    group_mean,
    group_sum,
    live_group,
    mean_action_of_others,
    membership,
    of_own_group,
    uniform_weight,
    weight_entropy,
)

GROUP = torch.tensor([[0, 1, 0, -1, 1]])  # group 2 is empty, agent 3 is nobody's member
MEMBER = membership(GROUP, 3, torch.float32)


def close(actual: Tensor, expected: list) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype))


def test_membership_is_zeros_and_ones_of_the_asked_dtype() -> None:
    close(MEMBER, [[[1, 0, 1, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]]])
    assert membership(GROUP, 3, torch.float64).dtype == torch.float64


def test_the_dead_leave_their_group() -> None:
    alive = torch.tensor([[True, False, True, False, True]])
    assert live_group(torch.tensor([[0, 1, 1, -1, 0]]), alive).tolist() == [[0, -1, 1, -1, 0]]


def test_means_and_sums_over_members() -> None:
    value = torch.tensor([[1.0, 2.0, 5.0, 100.0, 6.0]])
    close(group_sum(value, MEMBER), [[6.0, 8.0, 0.0]])
    close(group_mean(value[..., None], MEMBER), [[[3.0], [4.0], [0.0]]])
    close(uniform_weight(MEMBER), [[[0.5, 0, 0.5, 0, 0], [0, 0.5, 0, 0, 0.5], [0, 0, 0, 0, 0]]])


def test_every_agent_reads_its_own_group() -> None:
    assert of_own_group(torch.tensor([[10.0, 20.0, 30.0]]), GROUP).tolist() == [[10.0, 20.0, 10.0, 10.0, 20.0]]


def test_attention_by_hand() -> None:
    # Scores of group 0 are ln 3 and 0 (query 2, keys ln 3 / 2 and 0, d = 1): weights 3/4 and 1/4.
    query = torch.tensor([[[2.0], [1.0], [1.0]]])
    key = torch.tensor([[[math.log(3) / 2], [7.0], [0.0], [50.0], [7.0]]])
    close(attention_weight(query, key, MEMBER), [[[0.75, 0, 0.25, 0, 0], [0, 0.5, 0, 0, 0.5], [0, 0, 0, 0, 0]]])


def test_scores_are_divided_by_the_root_of_the_dimension() -> None:
    key = torch.tensor([[[math.log(3), math.log(3), math.log(3), math.log(3)], [0.0, 0.0, 0.0, 0.0]]])
    query = torch.tensor([[[0.5, 0.5, 0.5, 0.5]]])  # 2 ln 3 / sqrt(4)
    close(attention_weight(query, key, torch.ones(1, 1, 2)), [[[0.75, 0.25]]])


def test_attention_survives_huge_scores_and_empty_groups() -> None:
    query = torch.full((1, 3, 1), 1e20, requires_grad=True)
    key = torch.full((1, 5, 1), 1e18, requires_grad=True)
    weight = attention_weight(query, key, MEMBER)
    close(weight.detach(), uniform_weight(MEMBER).tolist())
    weight.square().sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_entropy_is_relative_to_the_uniform() -> None:
    weight = torch.tensor([[[0.5, 0, 0.5, 0, 0], [0, 1.0, 0, 0, 0], [0, 0, 0, 0, 0], [0.75, 0.25, 0, 0, 0]]])
    skewed = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    close(weight_entropy(weight, (weight > 0).float()), [[1.0, 0.0, 0.0, skewed]])


def test_members_that_nobody_attends_to_count_in_the_entropy() -> None:
    """Their weights are zeros in single precision."""
    scores, member = torch.tensor([[[0.0], [0.0], [-200.0], [-200.0]]]), torch.ones(1, 1, 4)
    weight = attention_weight(torch.ones(1, 1, 1), scores, member)
    close(weight, [[[0.5, 0.5, 0.0, 0.0]]])
    close(weight_entropy(weight, member), [[0.5]])


def test_mean_action_of_the_other_living() -> None:
    action = torch.tensor([[0, 1, 1, 2]])
    alive = torch.tensor([[True, True, True, False]])
    expected = [[[0, 1, 0], [0.5, 0.5, 0], [0.5, 0.5, 0], [1 / 3, 2 / 3, 0]]]
    close(mean_action_of_others(action, alive, 3), expected)


def test_nobody_else_has_acted() -> None:
    action = torch.tensor([[1, -1, 0]])
    alive = torch.tensor([[True, True, False]])
    mean = mean_action_of_others(action, alive, 2)
    close(mean, [[[0, 0], [0, 1], [0, 1]]])
    close(mean_action_of_others(torch.tensor([[1]]), torch.tensor([[True]]), 2), [[[0, 0]]])  # N = 1
