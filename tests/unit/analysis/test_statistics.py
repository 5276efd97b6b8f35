"""The report's statistics against numbers computed by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import statistics
from analysis.elo import Games, elo, method_ratings, ratings
from analysis.statistics import Estimate, holm, iqm, sign_flip_p


def array(*values: float) -> statistics.Array:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((7.0,), 7.0),
        ((1.0, 3.0), 2.0),
        ((1.0, 2.0, 9.0), 4.0),  # n < 4: nothing is cut
        ((100.0, 1.0, 2.0, -50.0), 1.5),  # n = 4: the two middle ones
        ((0.0, 1.0, 2.0, 6.0, 99.0), 3.0),  # n = 5: the three middle ones
        ((0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 99.0), 3.5),  # n = 8: two cut at either end
    ],
)
def test_interquartile_mean(values: tuple[float, ...], expected: float) -> None:
    assert statistics.iqm(array(*values)) == pytest.approx(expected)


def test_what_is_no_number_is_not_cut_away() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    assert np.isnan(iqm(values))
    assert np.isnan(iqm(np.stack([values, np.ones(5)], axis=1))).tolist() == [True, False]
    assert np.isnan(sign_flip_p(values.tolist()))


def test_iqm_of_curves_is_taken_point_by_point() -> None:
    curves = np.array([[0.0, 10.0], [1.0, 0.0], [2.0, 2.0], [50.0, 4.0]])
    assert statistics.iqm(curves) == pytest.approx([1.5, 3.0])


def test_interval_of_two_seeds_spans_them() -> None:
    """Of the draws with replacement a quarter is (0, 0) and a quarter (1, 1): both ends lie within the 95 %."""
    assert statistics.estimate([array(0.0, 1.0)]) == Estimate(0.5, 0.0, 1.0, 2)


def test_equal_seeds_have_an_interval_of_no_width() -> None:
    assert statistics.estimate([array(3.0, 3.0, 3.0)]) == Estimate(3.0, 3.0, 3.0, 3)


def test_one_seed_has_no_interval() -> None:
    assert statistics.estimate([array(3.0)]) == Estimate(3.0, None, None, 1)


def test_strata_are_resampled_within_themselves() -> None:
    """Two tasks of equal seeds each: every draw holds two 0s and two 10s, so that the pooled mean never moves."""
    assert statistics.estimate([array(0.0, 0.0), array(10.0, 10.0)]) == Estimate(5.0, 5.0, 5.0, 4)


def test_bootstrap_interval_of_a_mean_agrees_with_normal_theory() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = statistics.estimate([values], lambda strata: strata[0].mean(0))
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_probability_of_improvement_counts_pairs() -> None:
    """Of the pairs (1, 0) (1, 3) (3, 0) (3, 3) two are won, one is tied."""
    assert statistics.probability_of_improvement(array(1.0, 3.0), array(0.0, 3.0)) == pytest.approx(2.5 / 4)
    assert statistics.improvement(array(2.0, 3.0), array(0.0, 1.0)) == Estimate(1.0, 1.0, 1.0, 4)


def test_paired_difference_uses_common_seeds_only() -> None:
    found = statistics.paired_difference({1: 5.0, 2: 106.0, 9: 1e6}, {1: 4.0, 2: 105.0, 3: -1e6})
    assert found == Estimate(1.0, 1.0, 1.0, 2)
    assert statistics.paired_difference({1: 5.0}, {2: 5.0}) is None


def test_area_is_the_mean_height() -> None:
    assert statistics.area_under_curve([0, 10, 40], [0.0, 2.0, 2.0]) == pytest.approx((10 * 1 + 30 * 2) / 40)
    assert statistics.area_under_curve([7], [3.0]) == 3.0


def test_curves_meet_on_the_steps_of_the_shortest_where_all_have_data() -> None:
    steps, values = statistics.on_common_steps([([0, 10, 20, 30], [0.0, 1.0, 2.0, 3.0]), ([5, 25], [10.0, 30.0])])
    assert steps.tolist() == [5.0, 25.0]
    assert values == pytest.approx(np.array([[0.5, 2.5], [10.0, 30.0]]))


def test_band_of_curves() -> None:
    middle, low, high = statistics.curve_band(np.array([[0.0, 5.0], [1.0, 5.0]]))
    assert (middle.tolist(), low.tolist(), high.tolist()) == ([0.5, 5.0], [0.0, 5.0], [1.0, 5.0])


def test_a_long_curve_has_the_band_of_each_of_its_points() -> None:
    """However many points are resampled at a time; a single seed is its own band."""
    values = np.random.default_rng(0).normal(size=(5, 2 * statistics.BAND_POINTS + 3))
    band = np.stack(statistics.curve_band(values))
    for point in (0, statistics.BAND_POINTS, -1):
        alone = statistics.curve_band(values[:, point, None])
        np.testing.assert_array_equal(band[:, point], np.concatenate(alone))
    np.testing.assert_array_equal(np.stack(statistics.curve_band(values[:1])), np.stack([values[0]] * 3))


def test_scaling_puts_the_worst_run_at_0_and_the_best_at_1() -> None:
    scaled = statistics.min_max_scaled({"a": array(-10.0, 0.0), "b": array(10.0)})
    assert scaled["a"].tolist() == [0.0, 0.5]
    assert scaled["b"].tolist() == [1.0]
    assert statistics.min_max_scaled({"a": array(2.0)})["a"].tolist() == [0.5]


def test_elo_of_two_players_is_the_log_of_their_points() -> None:
    """3 : 1 and the added draw make 3.5 : 1.5."""
    first, second = elo(np.array([[0.0, 3.0], [1.0, 0.0]]))
    assert first - second == pytest.approx(400 * np.log10(3.5 / 1.5))
    assert first + second == pytest.approx(2000)


@pytest.mark.parametrize("won", ["every later player, all", "the next player, all", "at random"])
def test_elo_is_where_points_are_what_is_expected(won: str) -> None:
    """However far apart they are: the first-order condition of the likelihood, the slow form."""
    n_players, n_games = 17, 5000
    order = np.arange(n_players)
    wins = {
        "every later player, all": n_games * (order[:, None] > order),
        "the next player, all": n_games * (order[:, None] == order + 1),
        "at random": np.random.default_rng(0).integers(0, n_games, (n_players, n_players)) * (1 - np.eye(n_players)),
    }[won].astype(float)
    rated = elo(wins)
    draws = 0.5 * ((wins + wins.T) > 0)
    for i in range(n_players):
        points = expected = 0.0
        for j in range(n_players):
            games = wins[i, j] + wins[j, i] + 2 * draws[i, j]
            points += wins[i, j] + draws[i, j]
            expected += games / (1 + 10 ** ((rated[j] - rated[i]) / 400))
        assert points == pytest.approx(expected, abs=1e-3)
    assert rated.mean() == pytest.approx(1000)


@pytest.mark.parametrize("games", [3, 10**9])
def test_elo_of_players_whom_nothing_connects_is_that_of_their_own(games: int) -> None:
    """Also where rounding alone moves those without a scale."""
    wins = np.zeros((4, 4))
    wins[0, 1], wins[2, 3] = games, 1
    rated = elo(wins)
    assert rated[:2] - rated[:2].mean() == pytest.approx(elo(wins[:2, :2]) - 1000, abs=1e-3)
    assert rated[2:] - rated[2:].mean() == pytest.approx(elo(wins[2:, 2:]) - 1000, abs=1e-3)


def test_elo_ranks_players_that_never_met_through_a_third() -> None:
    first, second, common = elo(np.array([[0.0, 0, 9], [0, 0, 1], [1, 9, 0]]))
    assert first > common > second
    assert first - common == pytest.approx(common - second)


def test_ratings_carry_intervals_and_the_number_of_games() -> None:
    games = [Games(0, 1, array(1, 1, 0.5, 0)), Games(1, 0, array(0, 0.5))]
    better, worse = ratings(games, 2)
    assert better.low is not None
    assert better.high is not None
    assert better.low < better.value < better.high
    assert better.value + worse.value == pytest.approx(2000)
    assert (better.n, worse.n) == (6, 6)


def test_ratings_of_methods_are_as_uncertain_as_their_policies_differ() -> None:
    """Every game of a pair ends alike, so that only the policies that a draw holds can make it differ."""
    won, lost = array(1, 1, 1, 1), array(0, 0, 0, 0)
    alike = [Games(0, 2, won), Games(1, 2, won), Games(0, 1, won)]
    apart = [Games(0, 2, won), Games(1, 2, lost), Games(0, 1, won)]
    owners = [0, 0, 1]
    for games, width in ((alike, 0.0), (apart, 400 * np.log10(8.5 / 0.5))):
        first, second = method_ratings(games, owners)
        assert (first.n, second.n) == (2, 1)
        assert first.high is not None
        assert first.low is not None
        assert first.high - first.low == pytest.approx(width)
    first, second = method_ratings(alike, owners)
    assert first.value - second.value == pytest.approx(400 * np.log10(8.5 / 0.5)), "games within a method do not count"


@given(st.lists(st.integers(-10, 10), min_size=1, max_size=8))
def test_p_of_flipped_signs_is_the_share_of_flips_at_least_as_far(differences: list[int]) -> None:
    flips = itertools.product((-1, 1), repeat=len(differences))
    sums = [abs(sum(sign * value for sign, value in zip(signs, differences, strict=True))) for signs in flips]
    found = abs(sum(differences))
    assert sign_flip_p(differences) == sum(value >= found for value in sums) / len(sums)


def test_a_p_that_is_no_number_stays_none() -> None:
    assert holm([math.nan, 0.02, 0.5]) == pytest.approx([math.nan, 0.06, 1.0], nan_ok=True)
    assert holm([math.nan]) == pytest.approx([math.nan], nan_ok=True)


def test_p_by_hand() -> None:
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0]) == 2 / 16
    assert sign_flip_p([1.0, -1.0]) == 1.0
    assert sign_flip_p([1.0] * 8) == 2 / 2**8
    assert sign_flip_p([0.5] * 14) < 0.01  # by random flips
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
