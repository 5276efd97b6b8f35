"""Pursuit: the laws against scipy's Voronoi diagrams, the rules by hand, the scripted pursuers, bad arguments."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import Voronoi

from envs.base import EnvError
from envs.pursuit.env import Pursuit
from envs.pursuit.laws import (
    EVADER_NEIGHBOURS,
    evader_direction,
    images,
    on_torus,
    shared_border,
    voronoi_pursuit,
    wrap,
)

CPU = torch.device("cpu")
SIZE = 100.0
STAY, LEFT, RIGHT, DOWN, UP = range(5)


def pursuit(
    n_envs: int = 1, n_agents: int = 1, dynamics: Any = "point", world_size: float = SIZE, episode_limit: int = 10
) -> Pursuit:
    return Pursuit(
        n_envs, CPU, n_agents=n_agents, dynamics=dynamics, world_size=world_size, episode_limit=episode_limit
    )


def place(env: Pursuit, pursuers: Any, evader: Any, heading: Any = 0.0) -> None:
    """Overwrite where everybody is in a running episode."""
    saved = env.state_dict()
    for key, value in {"pursuers": pursuers, "evader": evader, "heading": heading}.items():
        saved["state"][key] = torch.as_tensor(value, dtype=torch.float32).expand_as(saved["state"][key])
    env.load_state_dict(saved)


def flight(pursuers: torch.Tensor, size: float = SIZE) -> torch.Tensor:
    return evader_direction(pursuers, pursuers.norm(dim=2), size)


def borders(pursuers: np.ndarray, size: float) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Pursuer -> ends of its border with the evader at the origin, by scipy, with two rings of torus images."""
    shifts = size * np.array(sorted(itertools.product(range(-2, 3), repeat=2), key=lambda shift: np.abs(shift).sum()))
    sites = np.vstack([np.zeros(2), pursuers])
    diagram = Voronoi((shifts[:, None] + sites).reshape(-1, 2))
    found = {}
    for pair, ends in zip(diagram.ridge_points, diagram.ridge_vertices, strict=True):
        other = max(pair) - 1
        if min(pair) == 0 and other < len(pursuers):
            found[other] = (diagram.vertices[ends[0]], diagram.vertices[ends[1]])
    return found


def direction_of_zhou(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The evader's direction from the ends of its border with the nearest pursuer, as the paper writes it."""
    distance = np.linalg.norm(p)
    h = p / distance
    v = np.array([-h[1], h[0]])
    t_lo, t_hi = sorted((a @ v, b @ v))
    direction = -(t_hi - t_lo) / 2 * h + (t_hi**2 - t_lo**2) / (2 * distance) * v
    return direction / np.linalg.norm(direction)


@pytest.mark.parametrize("size", [SIZE, 60.0])
@pytest.mark.parametrize("n_agents", [1, 2, 3, 10, 20])
def test_evader_direction_equals_one_from_scipy(n_agents: int, size: float) -> None:
    pursuers = torch.from_numpy(np.random.default_rng(n_agents).uniform(-size / 2, size / 2, (40, n_agents, 2)))
    expected = []
    for case in pursuers.numpy():
        nearest = case[np.argsort(np.linalg.norm(case, axis=1))[:EVADER_NEIGHBOURS]]
        expected.append(direction_of_zhou(nearest[0], *borders(nearest, size)[0]))
    np.testing.assert_allclose(flight(pursuers, size), expected, atol=1e-9)
    np.testing.assert_allclose(flight(pursuers.to(torch.float32), size), expected, atol=1e-3)


@pytest.mark.parametrize("n_agents", [2, 20])
def test_borders_of_all_pursuers_equal_scipys(n_agents: int) -> None:
    pursuers = torch.from_numpy(np.random.default_rng(n_agents).uniform(-50, 50, (20, n_agents, 2)))
    midpoints, bordering = shared_border(pursuers, images(pursuers, SIZE).unsqueeze(1))
    for case, midpoint, borders_here in zip(pursuers.numpy(), midpoints, bordering, strict=True):
        expected = borders(case, SIZE)
        assert set(borders_here.nonzero().flatten().tolist()) == set(expected)
        for k, (a, b) in expected.items():
            np.testing.assert_allclose(midpoint[k], (a + b) / 2, atol=1e-9)


def test_lone_pursuer_is_fled_straight() -> None:
    assert flight(torch.tensor([[[30.0, 0.0]]])).tolist() == [[-1.0, 0.0]]


def test_evader_on_a_pursuer_and_pursuers_in_one_place_stay_finite() -> None:
    assert torch.isfinite(flight(torch.zeros(1, 3, 2))).all()
    assert flight(torch.tensor([[[10.0, 0.0]] * 3])).tolist() == [[-1.0, 0.0]]


def test_the_smallest_distance_counts_the_beginning() -> None:
    env = pursuit()
    env.reset(seed=0)
    place(env, pursuers=[[50.0, 50.0]], evader=[55.0, 50.0])
    for _ in range(3):  # the evader flees: it was nearest before the first step
        row = env.step(torch.tensor([[STAY]]))
    assert row.info["min_distance"].tolist() == [5.0]


def test_wrap_takes_the_short_way() -> None:
    assert wrap(torch.tensor([60.0, -60.0, 40.0, 99.0, -100.0]), SIZE).tolist() == [-40.0, 40.0, 40.0, -1.0, 0.0]


@pytest.mark.parametrize(
    ("action", "move"), [(STAY, (0, 0)), (LEFT, (-1, 0)), (RIGHT, (1, 0)), (DOWN, (0, -1)), (UP, (0, 1))]
)
def test_evader_flees_two_units_before_the_pursuer_moves_one(action: int, move: tuple[int, int]) -> None:
    env = pursuit()
    env.reset(seed=0)
    place(env, pursuers=[[20.0, 50.0]], evader=[10.0, 50.0])
    row = env.step(torch.tensor([[action]]))
    pursuer = np.array([20.0, 50.0]) + move
    relative = np.array([8.0, 50.0]) - pursuer
    assert row.position is not None
    np.testing.assert_allclose(row.position[0, 0], pursuer)
    np.testing.assert_allclose(row.obs[0, 0] * 50, relative, atol=1e-4)
    assert row.reward.item() == pytest.approx(-np.linalg.norm(relative) / 141.4)


def test_everything_wraps_around() -> None:
    env = pursuit()
    env.reset(seed=0)
    place(env, pursuers=[[0.5, 50.0]], evader=[95.5, 50.0])  # the short way is 5 units, through the border
    row = env.step(torch.tensor([[LEFT]]))
    assert row.position is not None
    np.testing.assert_allclose(row.position[0, 0], [99.5, 50.0])
    np.testing.assert_allclose(row.obs[0, 0] * 50, [-6.0, 0.0], atol=1e-4)


def test_observation_lists_the_evader_and_the_others_in_order() -> None:
    env = pursuit(n_agents=3)
    env.reset(seed=0)
    place(env, pursuers=[[10.0, 10.0], [20.0, 10.0], [90.0, 95.0]], evader=[10.0, 60.0])
    row = env.step(torch.zeros(1, 3, dtype=torch.int64))
    np.testing.assert_allclose(row.obs[0, 1, 2:] * 50, [-10.0, 0.0, -30.0, -15.0], atol=1e-4)
    np.testing.assert_allclose(row.obs[0, 2, 2:] * 50, [20.0, 15.0, 30.0, 15.0], atol=1e-4)


def test_capture_terminates_and_is_reported() -> None:
    env = pursuit(n_agents=2, episode_limit=5)
    env.reset(seed=0)
    place(env, pursuers=[[48.0, 50.0], [52.5, 50.0]], evader=[50.0, 50.0])  # flees from the first into the second
    row = env.step(torch.tensor([[RIGHT, STAY]]))
    assert row.terminated.item()
    assert not row.truncated.item()
    assert row.info["capture"].item() == 1
    assert row.info["capture_time"].item() == 1
    assert row.info["min_distance"].item() < 1
    assert env.step(torch.tensor([[STAY, STAY]])).info["capture"].item() == 0


def test_an_escape_is_a_truncation_that_took_the_limit() -> None:
    env = pursuit(episode_limit=3)
    env.reset(seed=0)
    for _ in range(3):
        row = env.step(torch.tensor([[STAY]]))
    assert row.truncated.item()
    assert row.info["capture"].item() == 0
    assert row.info["capture_time"].item() == 3


@pytest.mark.parametrize("size", [SIZE, 200.0])
def test_episodes_start_inside_the_margin(size: float) -> None:
    row = pursuit(n_envs=500, n_agents=4, world_size=size).reset(seed=0)
    assert row.position is not None
    assert row.position.min().item() == pytest.approx(5, abs=0.5)
    assert row.position.max().item() == pytest.approx(size - 5, abs=0.5)


def test_a_larger_world_has_the_same_units() -> None:
    """Across the edge of a torus of 200 units: the pursuer's step, what it sees, and what the distance costs."""
    env = pursuit(world_size=200.0)
    env.reset(seed=0)
    place(env, pursuers=[[199.5, 50.0]], evader=[100.0, 50.0])
    row = env.step(torch.tensor([[RIGHT]]))  # the evader flees to 98, 2 units
    assert row.position is not None
    np.testing.assert_allclose(row.position[0, 0], [0.5, 50.0], atol=1e-4)
    np.testing.assert_allclose(row.obs[0, 0, :2], [97.5 / 50, 0.0], atol=1e-4)
    assert row.reward.item() == pytest.approx(-97.5 / 141.4)
    assert row.info["min_distance"].item() == pytest.approx(97.5)


def test_scripted_pursuers_catch_what_random_ones_do_not() -> None:
    captures = {}
    for name in ("voronoi", "random"):
        env, generator = pursuit(n_envs=16, n_agents=20, episode_limit=250), torch.Generator().manual_seed(0)
        row, captured = env.reset(seed=0), torch.zeros(16)
        for _ in range(250):
            action = torch.randint(5, (16, 20), generator=generator)
            row = env.step(voronoi_pursuit(-50 * row.obs[..., :2], SIZE) if name == "voronoi" else action)
            captured = torch.maximum(captured, row.info["capture"])
        captures[name] = captured.mean().item()
    assert captures["voronoi"] > 0.5
    assert captures["random"] < 0.1


def test_scripted_pursuers_go_to_their_border_or_straight() -> None:
    """The second cuts the first's border, x = 5, off at y = -4.5, so its midpoint is far up; the third has none."""
    pursuers = torch.tensor([[[10.0, 0.0], [0.0, -9.0], [30.0, -2.0]]])
    assert voronoi_pursuit(pursuers, SIZE).tolist()[0][::2] == [UP, LEFT]


UNICYCLE = [(0.0, -1.0), (0.0, 1.0), (1.0, -1.0), (1.0, 0.0), (1.0, 1.0)]  # shares of 10 units/s and pi rad/s


@pytest.mark.parametrize("action", range(5))
def test_unicycle_equals_ten_small_steps(action: int) -> None:
    env = pursuit(dynamics="unicycle")
    env.reset(seed=0)
    place(env, pursuers=[[50.0, 50.0]], evader=[10.0, 10.0], heading=0.7)
    row = env.step(torch.tensor([[action]]))
    x, y, heading = 50.0, 50.0, 0.7
    for _ in range(10):
        x += 10 * UNICYCLE[action][0] * math.cos(heading) * 0.01
        y += 10 * UNICYCLE[action][0] * math.sin(heading) * 0.01
        heading += math.pi * UNICYCLE[action][1] * 0.01
    assert row.position is not None
    np.testing.assert_allclose(row.position[0, 0], [x, y], rtol=1e-6)
    np.testing.assert_allclose(row.obs[0, 0, -2:], [math.cos(heading), math.sin(heading)], atol=1e-6)


def test_a_place_a_little_below_zero_is_on_the_torus() -> None:
    places = torch.tensor([[-1e-7, 100.0], [0.0, 99.99999]])
    assert on_torus(places, 100.0).tolist() == [[0.0, 0.0], [0.0, places[1, 1].item()]]


def test_unicycles_start_with_random_headings() -> None:
    heading = pursuit(n_envs=1000, n_agents=2, dynamics="unicycle").reset(seed=0).obs[..., -2:]
    assert heading.mean(dim=(0, 1)).abs().max() < 0.08  # standard error 0.016
    torch.testing.assert_close(heading.norm(dim=2), torch.ones(1000, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_agents": 0}, "env_args.n_agents: expected at least 1, got 0"),
        ({"episode_limit": 0}, "env_args.episode_limit: expected at least 1, got 0"),
        ({"world_size": 10.0}, r"env_args.world_size: expected at least 20\.0, got 10\.0"),
        ({"world_size": math.inf}, "env_args.world_size: expected a finite number, got inf"),
        ({"world_size": math.nan}, "env_args.world_size: expected a finite number, got nan"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        pursuit(**arguments)
