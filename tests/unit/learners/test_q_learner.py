"""IQL: every agent's own target, with deaths, true ends, time limits and double Q."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from tests.support.factory import config_for, disturb_targets, info_for, learner_for, random_batch
from tests.support.training import acted_and_learned, slow_agent_target, slow_loss

from assembly.parts import make_mac
from components.batch import Batch
from components.returns import agent_outcome, td_target
from config.schema import ConfigError
from learners.base import Learner, LearningError
from learners.q_learner import QLearner
from modules.mixers.base import TeamMixer

INFO = info_for(n_agents=4, n_actions=3)


def iql(**overrides: object) -> Learner:
    """An IQL learner whose target differs from its online network."""
    learner = learner_for(config_for("iql", "bar", **overrides), INFO)
    disturb_targets(learner)
    return learner


@pytest.mark.parametrize("double_q", [True, False])
def test_loss_equals_a_loop_over_agents(double_q: bool) -> None:
    learner, batch = iql(double_q=double_q), random_batch(INFO, 16)
    online, target = learner.mac.next_q_values(batch), learner.target_mac.next_q_values(batch)
    chooser = online if double_q else target
    value = torch.zeros(16, 4)
    for b in range(16):
        for k in range(4):
            value[b, k] = target[b, k, int(chooser[b, k].argmax())]
    q_taken = learner.mac.q_values(batch).gather(-1, batch.action[..., None])[..., 0]
    expected = slow_loss(q_taken, slow_agent_target(batch, value, 0.9), batch.alive)
    torch.testing.assert_close(learner.loss(batch, 0)[0], expected)


def test_double_q_choice_matters_here() -> None:
    batch = random_batch(INFO, 16)
    assert iql(double_q=True).loss(batch, 0)[0] != iql(double_q=False).loss(batch, 0)[0]


@pytest.mark.parametrize("algorithm", ["iql", "vdn"])
def test_the_next_action_is_the_best_legal_one(algorithm: str) -> None:
    learner = learner_for(config_for(algorithm, "bar", double_q=False, gamma=0.5), INFO)
    batch = random_batch(INFO, 16, death_rate=0.0)
    q_BNA = learner.target_mac.next_q_values(batch)
    best_BN1 = q_BNA.argmax(-1, keepdim=True)
    batch = replace(batch, next_avail=torch.ones(16, 4, 3, dtype=torch.bool).scatter(-1, best_BN1, False))
    second_BN = q_BNA.topk(2).values[..., 1]
    found = learner.outcomes(batch, 0)[0].next_value
    torch.testing.assert_close(found, second_BN if algorithm == "iql" else second_BN.mean(-1, keepdim=True))


def test_targets_of_the_dead_of_true_ends_and_of_time_limits() -> None:
    """One agent each: lives on, dies, lives when the episode truly ends; a truncated transition is not terminated."""
    batch = replace(
        random_batch(INFO, 2, death_rate=0.0),
        reward=torch.ones(2, 4),
        next_alive=torch.tensor([[True, False, True, True], [True, True, True, True]]),
        terminated=torch.tensor([False, True]),
    )
    target = td_target(agent_outcome(batch, batch.reward, torch.full((2, 4), 10.0), gamma=0.5))
    assert target.tolist() == [[6.0, 1.0, 6.0, 6.0], [1.0, 1.0, 1.0, 1.0]]


def changed(batch: Batch, where: torch.Tensor) -> Batch:
    """The batch with other observations, actions and rewards where ``where`` (B, N)."""
    return replace(
        batch,
        obs=torch.where(where[..., None], batch.obs + 5.0, batch.obs),
        action=torch.where(where, 2 - batch.action, batch.action),
        reward=torch.where(where, batch.reward + 5.0, batch.reward),
    )


def test_the_dead_teach_nothing() -> None:
    learner, batch = iql(), random_batch(INFO, 16)
    assert (~batch.alive).any()
    assert learner.loss(changed(batch, ~batch.alive), 0)[0] == learner.loss(batch, 0)[0]
    assert learner.loss(changed(batch, batch.alive), 0)[0] != learner.loss(batch, 0)[0]


def test_weightless_transitions_and_a_batch_of_the_dead() -> None:
    learner, batch = iql(), random_batch(INFO, 16)
    half = replace(batch, weight=(torch.arange(16) < 8).float())
    other = changed(half, (torch.arange(16) >= 8)[:, None].expand(16, 4))
    assert learner.loss(other, 0)[0] == learner.loss(half, 0)[0]
    dead = replace(batch, alive=torch.zeros_like(batch.alive), next_alive=torch.zeros_like(batch.alive))
    metrics = learner.train(dead, 0)
    assert metrics["loss"] == 0
    assert all(parameter.isfinite().all() for parameter in learner.mac.parameters())


def test_gradients_reach_the_online_network_only() -> None:
    learner = iql()
    learner.loss(random_batch(INFO, 16), 0)[0].backward()
    assert all(parameter.grad is not None for parameter in learner.mac.parameters())
    assert all(parameter.grad is None for parameter in learner.target_mac.parameters())


@pytest.mark.parametrize("obs_last_action", [False, True])
def test_learning_sees_what_acting_saw(obs_last_action: bool) -> None:
    info = info_for(n_agents=3, n_actions=4)
    mac = make_mac(config_for("iql", "spread", obs_last_action=obs_last_action), info)
    for acted, learned in acted_and_learned(mac, window=None):
        torch.testing.assert_close(learned, acted)


@pytest.mark.parametrize("shape", [(8, 1), (), (8, 4)])
def test_a_mixer_that_gives_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    """It would broadcast, and learn something else without a word."""

    class Own(TeamMixer):
        def forward(self, q_BN: torch.Tensor, alive_BN: torch.Tensor, obs_BNO: torch.Tensor) -> torch.Tensor:
            return q_BN.sum().expand(shape)

    learner = learner_for(config_for("vdn", "bar"), INFO)
    assert isinstance(learner, QLearner)
    learner.mixer = learner.target_mixer = Own()
    expected = rf"mixer=Own: expected one value per transition, of shape \(8,\), got {re.escape(str(shape))}"
    with pytest.raises(LearningError, match=expected):
        learner.loss(random_batch(INFO, 8), 0)


def test_a_mixer_or_controller_of_another_algorithm_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"learner=q_learner expects mixer: TeamMixer \| null, got mixer=mfvfd"):
        learner_for(config_for("mfvfd", "bar", learner="q_learner"), INFO)
    with pytest.raises(ConfigError, match=r"learner=mfq_learner expects mixer: null, got mixer=vdn"):
        learner_for(config_for("mfq", "bar", mixer="vdn"), INFO)
