"""Information and policy consistency: every step of the clustering, the mean policy and the divergence from it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from components.batch import EnvInfo
from components.clustering import (
    RunningMoments,
    adjusted_rand_index,
    farthest_first,
    lloyd,
    match_in_turn,
    points,
    reseeded_means,
    variance_between,
)
from components.grouping import GroupingInput, IPCGrouping
from components.mean_policy import MeanPolicy, kl_divergence


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------------------- standardisation


def test_running_moments_equal_those_of_all_rows_together() -> None:
    rows = 3.0 + 7.0 * torch.randn(50, 4, generator=stream(), dtype=torch.float64)
    moments = RunningMoments(4)
    for part in rows.split([1, 0, 19, 30]):
        moments.update(part)
    expected = (rows - rows.mean(0)) / rows.std(0, correction=0)
    torch.testing.assert_close(moments.standardise(rows), expected)


def test_constant_and_unseen_features_are_not_blown_up() -> None:
    moments = RunningMoments(2)
    x = torch.tensor([[0.1, 1.0], [0.1, 3.0]])
    assert torch.equal(moments.standardise(x), x)  # nothing seen yet
    moments.update(x)
    torch.testing.assert_close(moments.standardise(x), torch.tensor([[0.0, -1.0], [0.0, 1.0]]))


# ------------------------------------------------------------------------------------------------- farthest first


def test_farthest_first_by_hand() -> None:
    x = torch.tensor([[[0.0], [1.0], [10.0], [6.0], [100.0]]])
    alive = torch.tensor([[True, True, True, True, False]])
    expected = {0: [0, 2, 3], 1: [1, 2, 3], 2: [2, 0, 3], 3: [3, 0, 2]}
    seen = set()
    for seed in range(20):
        chosen = farthest_first(x, alive, 3, stream(seed))[0].tolist()
        assert chosen == expected[chosen[0]]
        seen.add(chosen[0])
    assert seen == {0, 1, 2, 3}  # the first is a random living agent


population = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6)).filter(
    lambda drawn: drawn[2] <= drawn[1]
)
LIVES = st.sampled_from(["all", "some", "one", "none"])


def make_population(drawn: tuple[int, int, int, int], lives: str, ties: bool = False) -> tuple[Tensor, Tensor]:
    """Features (E, N, 2) float64 and alive (E, N); with ``ties`` on a coarse grid, so that agents coincide."""
    n_envs, n_agents, _, seed = drawn
    generator = stream(seed)
    x = torch.randn(n_envs, n_agents, 2, generator=generator, dtype=torch.float64)
    alive = {
        "all": torch.ones(n_envs, n_agents, dtype=torch.bool),
        "some": torch.rand(n_envs, n_agents, generator=generator) < 0.6,
        "one": torch.arange(n_agents).expand(n_envs, -1) == seed % n_agents,
        "none": torch.zeros(n_envs, n_agents, dtype=torch.bool),
    }[lives]
    return (x.round() if ties else x), alive


@settings(max_examples=60, deadline=None)
@given(population, LIVES)
def test_every_centre_has_the_maximal_minimum_distance(drawn: tuple[int, int, int, int], lives: str) -> None:
    x, alive = make_population(drawn, lives)
    m = drawn[2]
    for e, chosen in enumerate(farthest_first(x, alive, m, stream(drawn[3])).tolist()):
        living = [k for k in range(x.shape[1]) if alive[e, k]]
        for i in range(1, min(m, len(living))):
            reach = {k: min(float((x[e, k] - x[e, c]).norm()) for c in chosen[:i]) for k in living}
            assert reach[chosen[i]] == max(reach.values())
        if living:
            assert set(chosen) <= set(living)


# ------------------------------------------------------------------------------------------------- Lloyd


def cost(x_NF: Tensor, label: list[int]) -> float:
    """Sum of squared distances to the own cluster's mean, agent by agent."""
    total = 0.0
    for cluster in set(label) - {-1}:
        members = x_NF[[k for k, own in enumerate(label) if own == cluster]]
        total += float((members - members.mean(0)).square().sum())
    return total


@settings(max_examples=60, deadline=None)
@given(population, LIVES, st.booleans())
def test_lloyd_cost_never_rises(drawn: tuple[int, int, int, int], lives: str, ties: bool) -> None:
    x, alive = make_population(drawn, lives, ties)
    start = points(x, farthest_first(x, alive, drawn[2], stream(drawn[3])))
    traces = [lloyd(x, start, alive, iterations) for iterations in range(6)]
    for e in range(len(x)):
        costs = [cost(x[e], label[e].tolist()) for label in traces]
        assert all(after <= before + 1e-12 for before, after in itertools.pairwise(costs))


@settings(max_examples=60, deadline=None)
@given(population, LIVES, st.booleans())
def test_clusters_are_empty_only_for_want_of_points(drawn: tuple[int, int, int, int], lives: str, ties: bool) -> None:
    x, alive = make_population(drawn, lives, ties)
    m = drawn[2]
    label = lloyd(x, points(x, farthest_first(x, alive, m, stream(drawn[3]))), alive, 10)
    assert ((label >= 0) == alive).all()
    for e in range(len(x)):
        distinct = len({tuple(point) for point in x[e, alive[e]].tolist()})
        assert len(set(label[e, alive[e]].tolist())) == min(m, distinct)


def test_two_clouds_are_found() -> None:
    cloud = 0.1 * torch.randn(1, 40, 2, generator=stream())
    cloud[:, ::2] += 5.0
    label = lloyd(cloud, points(cloud, torch.tensor([[0, 2]])), torch.ones(1, 40).bool(), 10)  # both seeds in one cloud
    assert len(set(label[0, ::2].tolist())) == len(set(label[0, 1::2].tolist())) == 1
    assert label[0, 0] != label[0, 1]


def test_empty_clusters_restart_at_the_farthest_agents() -> None:
    x = torch.tensor([[[0.0], [1.0], [8.0], [50.0]]])
    label = torch.tensor([[0, 0, 0, -1]])  # mean 3: agent 2 lies 5 away, agent 0 lies 3 away, agent 3 is dead
    assert reseeded_means(x, label, 4).flatten().tolist() == [3.0, 8.0, 0.0, 1.0]
    assert reseeded_means(x, label, 6).flatten().tolist() == [3.0, 8.0, 0.0, 1.0, 8.0, 0.0]  # never the dead


# ------------------------------------------------------------------------------------------------- identity


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_matching_is_the_best_of_all_permutations(m: int, seed: int) -> None:
    centre, reference = torch.randn(2, m, 3, generator=stream(seed), dtype=torch.float64)
    number, moved = match_in_turn(centre[None], torch.ones(1, m).bool(), reference)

    def total(order: tuple[int, ...]) -> float:
        return sum(float((centre[j] - reference[i]).norm()) for j, i in enumerate(order))

    best = min(total(order) for order in itertools.permutations(range(m)))
    assert total(tuple(number[0].tolist())) == pytest.approx(best)
    assert torch.equal(moved[number[0]], centre)


def test_empty_clusters_take_what_is_left_and_keep_the_old_centre() -> None:
    reference = torch.tensor([[0.0], [10.0], [torch.inf]])
    centre = torch.tensor([[[0.0], [11.0], [4.0]]])
    number, moved = match_in_turn(centre, torch.tensor([[False, True, True]]), reference)
    assert number.tolist() == [[2, 1, 0]]
    assert moved.tolist() == [[4.0], [11.0], [torch.inf]]


def test_episodes_are_matched_one_after_the_other() -> None:
    start = torch.full((2, 1), torch.inf)
    centre = torch.tensor([[[0.0], [1.0]], [[1.6], [0.6]], [[1.2], [2.2]]])  # drift by 0.6 each time
    number, moved = match_in_turn(centre, torch.ones(3, 2).bool(), start)
    low, high = number[0].tolist()
    assert number.tolist() == [[low, high], [high, low], [low, high]]
    assert moved[low] == torch.tensor([1.2])


# ------------------------------------------------------------------------------------------------- agreement


@pytest.mark.parametrize(
    ("one", "other", "index"),
    [
        # Pairs together in both 1, in the first 2, in the second 1, of 6: (1 - 1/3) / (3/2 - 1/3).
        ([0, 0, 1, 1], [0, 0, 1, 2], 4 / 7),
        # Together in both 0, in each 2, of 6: (0 - 2/3) / (2 - 2/3).
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5),
        ([0, 0, 1, 1], [2, 2, 0, 0], 1.0),
        ([0, 0, 1, 1, -1], [0, 0, 1, 2, -1], 4 / 7),
        ([0, 0, 0], [1, 1, 1], 1.0),
        ([0, 1, 2], [2, 1, 0], 1.0),
        ([0, 0, 0], [0, 1, 2], 0.0),
        ([1], [0], 1.0),
        ([-1, -1], [-1, -1], 1.0),
    ],
)
def test_adjusted_rand_index_by_hand(one: list[int], other: list[int], index: float) -> None:
    assert float(adjusted_rand_index(torch.tensor([one]), torch.tensor([other]), 3)) == pytest.approx(index)


@pytest.mark.parametrize(
    ("place", "label", "share"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0),
        ([0, 0, 1, 1], [2, 2, 0, 0], 1.0),
        ([0, 1, 0, 1], [0, 0, 1, 1], 1 - (1 / 2) / (1 / 3)),  # within 1 of 2 free, in all 1 of 3
        ([0, 1, 0, 1], [1, 1, 1, 1], 0.0),
        ([0, 0, 1, 1, 99], [0, 0, 1, 1, -1], 1.0),  # the dead do not count
        ([0, 1, 2], [0, 1, 2], math.nan),  # each alone
        ([0.1, 0.1, 0.1], [0, 0, 1], math.nan),  # all on one spot
        ([3, 4], [0, -1], math.nan),  # one survivor
        ([3, 4], [-1, -1], math.nan),
    ],
)
def test_variance_between_clusters_by_hand(place: list[float], label: list[int], share: float) -> None:
    x = torch.tensor([[[0.0, value] for value in place]])
    assert float(variance_between(x, torch.tensor([label]), 3)) == pytest.approx(share, nan_ok=True)


def test_clusters_at_random_explain_nothing_and_clusters_by_place_most() -> None:
    x = torch.rand(500, 30, 2, generator=stream())
    at_random = torch.randint(4, (500, 30), generator=stream())
    assert abs(float(variance_between(x, at_random, 4).mean())) < 0.01
    quarters = (x > 0.5).long() @ torch.tensor([1, 2])
    # Of the variance of a uniform variable three quarters lie between its halves.
    assert float(variance_between(x, quarters, 4).mean()) == pytest.approx(0.75, abs=0.01)


def test_unrelated_groups_agree_by_chance_only() -> None:
    one, other = torch.randint(4, (2, 500, 30), generator=stream())
    assert abs(float(adjusted_rand_index(one, other, 4).mean())) < 0.01


# ------------------------------------------------------------------------------------------------- the grouping

INFO = EnvInfo("toy", 8, 2, (2,), torch.float32, 1.0, 5, has_position=True)


def features(alive: Tensor, obs: Tensor, action: Tensor | None = None, centre: Tensor | None = None) -> GroupingInput:
    chosen = torch.zeros(alive.shape, dtype=torch.int64) if action is None else action
    return GroupingInput(obs, torch.eye(2)[chosen], alive, obs.clone(), centre)


def ipc(n_groups: int, ipc_features: str = "obs_action", info: EnvInfo = INFO) -> IPCGrouping:
    return IPCGrouping(info, n_groups=n_groups, ipc_features=ipc_features)  # type: ignore[arg-type]


ALL = torch.ones(1, 8, dtype=torch.bool)
CORNERS = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 9.0]])
PLACES = CORNERS.repeat_interleave(2, 0)[None] + 0.01 * torch.arange(8.0)[None, :, None]


@pytest.mark.parametrize("kind", ["obs_action", "position", "position_action"])
def test_groups_keep_their_numbers_from_episode_to_episode(kind: str) -> None:
    grouping, generator, centre, order = ipc(4, kind), stream(), None, torch.arange(8)
    grouping.observe(features(ALL, PLACES))
    first = grouping.assign(features(ALL, PLACES), generator).group
    for _ in range(6):
        # The same places, held by other agents: the place keeps its number, the agents change theirs.
        given_ = features(ALL, PLACES[:, order], centre=centre)
        result = grouping.assign(given_, generator)
        if centre is None:
            first = result.group
        assert torch.equal(result.group, first[:, order])
        centre, order = result.centre, torch.randperm(8, generator=generator)


def test_inertia_and_centre_by_hand() -> None:
    grouping = ipc(2, "position")
    position = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [100.0, 0.0], [101.0, 0.0]] + [[7.0, 7.0]] * 4])
    alive = torch.arange(8)[None] < 4
    result = grouping.assign(features(alive, position), stream())
    # Nothing observed, so no standardisation; both axes are divided by sqrt(2).
    torch.testing.assert_close(result.inertia, torch.tensor([(1 + 1 + 0.25 + 0.25) / 4 / 2]))
    assert result.centre is not None
    torch.testing.assert_close(result.centre.sort(0).values, torch.tensor([[1.0, 0.0], [100.5, 0.0]]) / math.sqrt(2))


@pytest.mark.parametrize("kind", ["position", "position_action"])
@pytest.mark.parametrize("side", [0.0, 100.0])
def test_places_beyond_the_seam_of_a_torus_are_near(side: float, kind: str) -> None:
    grouping = ipc(2, kind, replace(INFO, torus_side=side))
    grouping.observe(features(ALL.repeat(500, 1), 100.0 * torch.rand(500, 8, 2, generator=stream())))
    position = torch.tensor([[[1.0, 50.0], [99.0, 50.0], [45.0, 50.0], [55.0, 50.0]] + [[0.0, 0.0]] * 4])
    group = grouping.assign(features(torch.arange(8)[None] < 4, position), stream()).group[0, :4].tolist()
    assert (group[0] == group[1]) == bool(side)
    if side:
        assert group[2] == group[3] != group[0]


def test_observations_and_actions_weigh_alike() -> None:
    """After standardisation the mean squared distance between two agents is 2 in each block."""
    info = replace(INFO, n_agents=4000, obs_shape=(30,), n_actions=5)
    obs = 100.0 * torch.randn(1, 4000, 30, generator=stream())
    action = torch.eye(5)[torch.randint(5, (1, 4000), generator=stream())]
    given_ = GroupingInput(obs, action, torch.ones(1, 4000).bool(), None)
    grouping = IPCGrouping(info, n_groups=1, ipc_features="obs_action")
    grouping.observe(given_)
    # With one group the inertia is half the mean squared distance: 1 from each block.
    torch.testing.assert_close(grouping.assign(given_, stream()).inertia, torch.tensor([2.0]))


def test_identical_observations_leave_the_actions() -> None:
    """Bar: everybody sees the same number, so that at most A clusters are occupied."""
    action = torch.tensor([[0, 1, 1, 0, 1, 0, 1, 1]])
    grouping = ipc(5)
    given_ = features(ALL, torch.full((1, 8, 2), 0.37), action)
    grouping.observe(given_)
    result = grouping.assign(given_, stream())
    assert float(adjusted_rand_index(result.group, action, 5)) == 1.0
    torch.testing.assert_close(result.inertia, torch.zeros(1))


@pytest.mark.parametrize("n_groups", [1, 3, 8])
@pytest.mark.parametrize("living", [0, 1, 2, 8])
def test_few_or_no_living_agents(n_groups: int, living: int) -> None:
    alive = torch.arange(8)[None] < living
    grouping = ipc(n_groups)
    grouping.observe(features(alive, PLACES))
    result = grouping.assign(features(alive, PLACES), stream())
    assert ((result.group >= 0) == alive).all()
    assert len(set(result.group[alive].tolist())) == min(n_groups, living)
    assert result.inertia is not None
    assert result.inertia.isfinite().all()
    assert result.centre is not None
    assert not result.centre.isnan().any()


def test_the_dead_move_nobody() -> None:
    alive = torch.tensor([[True, True, False, True, True, False, True, True]])
    grouping = ipc(3)
    moved = PLACES + 1e4 * (~alive)[..., None]
    results = [grouping.assign(features(alive, obs), stream()) for obs in (PLACES, moved)]
    grouping.observe(features(alive, moved))
    assert torch.equal(results[0].group, results[1].group)
    assert float(grouping.moments.mean[:2].max()) < 10.0


# ------------------------------------------------------------------------------------------------- mean policy


def test_divergence_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    expected = torch.tensor([0.5 * math.log(2) + 0.5 * math.log(2 / 3), math.log(2)])
    torch.testing.assert_close(kl_divergence(p, q), expected)


def test_equal_policies_do_not_diverge() -> None:
    p = torch.softmax(torch.randn(4, 5, generator=stream()), -1)
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros(4))


def test_unavailable_actions_make_no_nan() -> None:
    q_values = torch.tensor([[1.0, -torch.inf, 0.0]], requires_grad=True)
    kl_divergence(torch.softmax(q_values, -1), torch.tensor([[0.9, 0.1, 0.0]])).sum().backward()
    assert q_values.grad is not None
    assert q_values.grad.isfinite().all()


def test_mean_policy_moves_by_one_percent_to_its_members_mean() -> None:
    mean = MeanPolicy(3, 2, 0.99)
    policy = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]])
    # Group 0: agents 0 and 1 of the first transition, agent 0 of the second; group 1: a transition that weighs nothing.
    weight = torch.zeros(2, 3, 3)
    weight[0, 0, :2], weight[1, 0, 0] = 1.0, 1.0
    mean.update(policy, weight)
    first = 0.99 * 0.5 + 0.01 * (1 / 3)
    torch.testing.assert_close(mean.policy, torch.tensor([[first, 1 - first], [0.5, 0.5], [0.5, 0.5]]))
    group = torch.tensor([[0, 1, -1]])
    torch.testing.assert_close(mean.of_own_group(group), mean.policy[[0, 1, 0]][None])
