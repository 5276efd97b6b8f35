"""QMIX: monotone in every living agent's value, blind to the dead's, refused for large populations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.support.factory import config_for, disturb_targets, info_for, learner_for, random_batch

from learners.q_learner import QLearner
from modules.mixers.qmix import QMIXMixer
from utils.errors import InputError


def test_loss_is_that_of_the_team_value_with_the_targets_own_mixer() -> None:
    info = info_for(4, 3)
    learner, batch = learner_for(config_for("qmix", "bar"), info), random_batch(info, 16)
    disturb_targets(learner)
    batch = replace(batch, weight=(torch.arange(16) % 3 > 0).float())  # junctions weigh nothing
    online = learner.mac.next_q_values(batch)
    later = learner.target_mac.next_q_values(batch).gather(-1, online.argmax(-1, keepdim=True)).squeeze(-1)
    assert isinstance(learner, QLearner)
    assert learner.mixer is not None
    assert learner.target_mixer is not None
    taken = learner.mac.q_values(batch).gather(-1, batch.action[..., None]).squeeze(-1)
    value = learner.mixer(taken, batch.alive, batch.obs)
    next_value = learner.target_mixer(later, batch.next_alive, batch.next_obs)
    gamma = learner.gamma
    reward = batch.reward.sum(-1) if learner.aggregation == "sum" else batch.reward.mean(-1)
    errors = [
        (value[b] - reward[b] - gamma * next_value[b] * ~batch.terminated[b]).square()
        for b in range(16)
        if batch.weight[b]
    ]
    torch.testing.assert_close(learner.loss(batch, 0)[0], torch.stack(errors).mean())


def mixer(n_agents: int = 4) -> QMIXMixer:
    torch.manual_seed(0)
    return QMIXMixer(3, n_agents, mixing_embed_dim=8, hypernet_embed=16, max_agents=32)


def test_monotone_in_the_living_and_blind_to_the_dead() -> None:
    batch = random_batch(info_for(4, 3), 64)
    q = torch.randn(64, 4, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    slope = torch.autograd.grad(mixer()(q, batch.alive, batch.obs).sum(), q)[0]
    assert (slope[batch.alive] > 0).all()
    assert (slope[~batch.alive] == 0).all()


def test_the_state_is_every_observation_and_who_is_alive() -> None:
    """With all values zero the team value still depends on each agent's observation and alive flag."""
    q, alive, obs = torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 4, 3)
    base = mixer()(q, alive, obs)
    for k in range(4):
        other_alive, other_obs = alive.clone(), obs.clone()
        other_alive[0, k] = False
        other_obs[0, k] = 2.0
        assert mixer()(q, other_alive, obs) != base
        assert mixer()(q, alive, other_obs) != base


def test_one_agent_and_nobody_alive() -> None:
    value = mixer(1)(torch.ones(2, 1), torch.tensor([[True], [False]]), torch.zeros(2, 1, 3))
    assert value.shape == (2,)
    assert value.isfinite().all()


def test_a_large_population_is_refused_with_the_reason() -> None:
    message = r"mixer=qmix: expected at most max_agents = 32 agents, got 33\. Its hypernetworks read all observations"
    with pytest.raises(InputError, match=message):
        learner_for(config_for("qmix", "bar"), info_for(33, 2))
