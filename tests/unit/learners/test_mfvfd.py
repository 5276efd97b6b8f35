"""MFVFD: Q_MF looks at the living others only, and never at one's own action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.factory import config_for, disturb_targets, info_for, learner_for, random_batch
from tests.support.training import slow_agent_target, slow_loss, trained
from torch import Tensor
from torch.nn.functional import one_hot

from learners.mfvfd_learner import MFVFDLearner
from modules.mixers.mfvfd_mixer import MFVFDMixer
from utils.errors import InputError

INFO = info_for(n_agents=6, n_actions=3)


def mixer(neighbours: int = 0, torus_side: float = 0.0) -> MFVFDMixer:
    torch.manual_seed(0)
    return MFVFDMixer(
        replace(INFO, torus_side=torus_side),
        3,
        3,
        mf_heads=2,
        mf_head_dim=4,
        mf_hidden_dims=[8],
        mf_neighbours=neighbours,
    )


def positions(size: int, n: int = 6, seed: int = 7) -> Tensor:
    return torch.rand(size, n, 2, generator=torch.Generator().manual_seed(seed))


def slow_field(net: MFVFDMixer, obs: Tensor, action: Tensor, others: Callable[[int], list[int]]) -> Tensor:
    """Q_MF of one joint transition (N, O), (N,): attention of each agent over a list of others, head by head."""
    x = torch.cat((obs, one_hot(action, 3).float()), dim=-1)
    heads, d = net.head_shape
    values = torch.zeros(len(obs))
    for k in range(len(obs)):
        if not others(k):
            continue
        field = []
        for h in range(heads):
            part = slice(h * d, (h + 1) * d)
            scores = torch.stack([net.query(obs[k])[part] @ net.key(x[j])[part] / d**0.5 for j in others(k)])
            weights = scores.softmax(0)
            field.append(sum(w * net.value(x[j])[part] for w, j in zip(weights, others(k), strict=True)))
        values[k] = net.out(torch.cat(field)).squeeze()
    return values


@pytest.mark.parametrize("neighbours", [0, 2, 5, 9])
@pytest.mark.parametrize("death_rate", [0.0, 0.5])
@pytest.mark.parametrize("torus_side", [0.0, 1.0])
def test_equals_a_loop_over_the_nearest_living_others(neighbours: int, death_rate: float, torus_side: float) -> None:
    batch, net, place = random_batch(INFO, 12, death_rate=death_rate), mixer(neighbours, torus_side), positions(12)
    images = [torch.tensor([x, y]) * torus_side for x in (-1, 0, 1) for y in (-1, 0, 1)]
    field = net(batch.obs, batch.action, batch.alive, place)
    for b in range(12):

        def others(k: int, b: int = b) -> list[int]:
            living = [j for j in range(6) if j != k and batch.alive[b, k] and batch.alive[b, j]]
            by_distance = sorted(
                living, key=lambda j: min(float((place[b, j] + shift - place[b, k]).norm()) for shift in images)
            )
            return by_distance[:neighbours] if neighbours else living

        torch.testing.assert_close(field[b], slow_field(net, batch.obs[b], batch.action[b], others))


@pytest.mark.parametrize("neighbours", [0, 3])
def test_own_action_changes_nothing_but_the_others_values(neighbours: int) -> None:
    batch, net = random_batch(INFO, 8, death_rate=0.0), mixer(neighbours)
    field = net(batch.obs, batch.action, batch.alive, positions(8))
    for k in range(6):
        action = batch.action.clone()
        action[:, k] = (action[:, k] + 1) % 3
        moved = net(batch.obs, action, batch.alive, positions(8))
        assert torch.equal(moved[:, k], field[:, k])
        assert not torch.equal(moved, field)


def test_the_dead_are_not_seen() -> None:
    batch, net = random_batch(INFO, 8, death_rate=0.4), mixer()
    ghosts = torch.where(batch.alive, batch.action, 2)
    haunted = torch.where(batch.alive[..., None], batch.obs, 9.0)
    expected = net(batch.obs, batch.action, batch.alive, None)
    assert torch.equal(net(haunted, ghosts, batch.alive, None), expected)
    assert (expected[~batch.alive] == 0).all()


@pytest.mark.parametrize("neighbours", [0, 3])
def test_one_survivor_and_nobody(neighbours: int) -> None:
    """Zero without others, and gradients stay finite."""
    alive = torch.zeros(2, 6, dtype=torch.bool)
    alive[0, 3] = True
    obs = torch.ones(2, 6, 3, requires_grad=True)
    field = mixer(neighbours)(obs, torch.zeros(2, 6, dtype=torch.int64), alive, positions(2))
    assert (field == 0).all()
    assert torch.autograd.grad(field.sum(), obs)[0].isfinite().all()


@pytest.mark.parametrize("neighbours", [0, 3])
def test_a_population_of_one(neighbours: int) -> None:
    alive, action = torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 1, dtype=torch.int64)
    assert (mixer(neighbours)(torch.ones(2, 1, 3), action, alive, positions(2, 1)) == 0).all()


def mfvfd(**overrides: object) -> MFVFDLearner:
    learner = learner_for(config_for("mfvfd", "bar", **overrides), replace(INFO, has_position=True))
    assert isinstance(learner, MFVFDLearner)
    return learner


@pytest.mark.parametrize("neighbours", [0, 1])
@pytest.mark.parametrize("double_q", [True, False])
def test_loss_equals_a_loop(double_q: bool, neighbours: int) -> None:
    """Everybody moves between t and t + 1, and has other neighbours then."""
    learner, places = mfvfd(double_q=double_q, mf_neighbours=neighbours), (positions(8), positions(8, seed=8))
    batch = replace(random_batch(INFO, 8), position=places[0], next_position=places[1])
    disturb_targets(learner)
    online, target = learner.mac.next_q_values(batch), learner.target_mac.next_q_values(batch)
    best = (online if double_q else target).argmax(-1)
    net, target_net = learner.mixer, learner.target_mixer
    value, next_value = torch.zeros(8, 6), torch.zeros(8, 6)
    q = learner.mac.q_values(batch)

    def living(flags: Tensor, place: Tensor) -> Callable[[int], list[int]]:
        def nearest(agent: int) -> list[int]:
            others = [j for j in range(6) if j != agent and flags[j] and flags[agent]]
            return sorted(others, key=lambda j: float((place[j] - place[agent]).norm()))[: neighbours or None]

        return nearest

    for b in range(8):
        now = slow_field(net, batch.obs[b], batch.action[b], living(batch.alive[b], places[0][b]))
        later = slow_field(target_net, batch.next_obs[b], best[b], living(batch.next_alive[b], places[1][b]))
        for k in range(6):
            value[b, k] = q[b, k, batch.action[b, k]] + now[k]
            next_value[b, k] = target[b, k, best[b, k]] + later[k]
    expected = slow_loss(value, slow_agent_target(batch, next_value, 0.9), batch.alive)
    torch.testing.assert_close(learner.loss(batch, 0)[0], expected)


def test_nearest_needs_positions() -> None:
    assert mfvfd(mf_neighbours=2).needs_position
    assert not mfvfd().needs_position
    with pytest.raises(InputError, match=r"mf_neighbours: expected 0 \(all others\) on test, which has no positions"):
        learner_for(config_for("mfvfd", "bar", mf_neighbours=2), INFO)


def test_hawk_dove_reaches_a_pure_equilibrium(tmp_path: Path) -> None:
    """Two players end as one hawk and one dove, the game's pure equilibria."""
    system, _ = trained(
        tmp_path,
        "mfvfd",
        "matrix_game",
        env_args={"game": "hawk_dove"},
        share_params=False,
        t_max=1500,
        train_interval=2,
        batch_size=32,
        learning_starts=64,
        lr=0.005,
        epsilon_anneal_time=750,
    )
    greedy = system.mac.agent(torch.ones(1, 2, 1), None, None)[0].argmax(-1)
    assert sorted(greedy[0].tolist()) == [0, 1]


@pytest.mark.parametrize(("share_of_zeros", "slope"), [(1 / 3, -4 / 3), (1 / 2, 4.0)])
def test_non_monotonic_game_depends_on_what_the_others_play(share_of_zeros: float, slope: float) -> None:
    """A sum of a function of a_k and one of the others' actions ranks a_k by its mean payoff against the others:
    Q_LOC(0) - Q_LOC(1) = 32 p - 12 where they play 0 with probability p.

    Exploration from uniform play (p = 1/3) therefore leads away from the Pareto point, whatever the training.
    """
    info = info_for(2, 3, (1,))
    learner = learner_for(config_for("mfvfd", "matrix_game", lr=0.01, double_q=False), info)
    actions = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    payoff = torch.tensor([[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 0.0]])
    chance = torch.tensor([share_of_zeros, *[(1 - share_of_zeros) / 2] * 2])
    batch = replace(
        random_batch(info, 9, death_rate=0.0),
        obs=torch.ones(9, 2, 1),
        action=actions,
        reward=payoff[actions[:, 0], actions[:, 1]][:, None].expand(9, 2),
        terminated=torch.ones(9, dtype=torch.bool),
        weight=chance[actions].prod(-1),
    )
    for _ in range(600):
        learner.train(batch, 0)
    q = learner.mac.q_values(batch)[0, 0]
    torch.testing.assert_close(q[0] - q[1], torch.tensor(slope), atol=0.05, rtol=0.0)
