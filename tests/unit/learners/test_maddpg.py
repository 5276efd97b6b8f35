"""MADDPG: Gumbel-softmax samples, critics that see everybody, actors that move their own action only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.factory import config_for, disturb_targets, info_for, learner_for, random_batch
from tests.support.training import slow_agent_target, slow_loss, trained
from torch import Tensor
from torch.nn.functional import one_hot

import build
from components.batch import Batch
from learners.maddpg_learner import MADDPGLearner, straight_through_gumbel
from modules.critics.central import CentralCritic
from records import checkpoint
from utils.errors import InputError

INFO = info_for(n_agents=3, n_actions=4)


def maddpg(**overrides: Any) -> MADDPGLearner:
    learner = learner_for(config_for("maddpg", "spread", critic_hidden_dims=[16], **overrides), INFO)
    assert isinstance(learner, MADDPGLearner)
    disturb_targets(learner)
    return learner


def test_networks_of_another_run_come_without_its_noise(tmp_path: Path) -> None:
    first, second = (
        build.build(config_for("maddpg", "spread", env_args={"n_agents": 2}, critic_hidden_dims=[8], seed=seed))
        for seed in (1, 2)
    )
    checkpoint.save(tmp_path / "8" / checkpoint.LEARNER, first.learner.state_dict())
    before = second.learner.generator.get_state()  # type: ignore[attr-defined]
    build.load_networks(second, tmp_path / "8")
    assert torch.equal(second.learner.generator.get_state(), before)  # type: ignore[attr-defined]
    pairs = zip(first.learner.parameters, second.learner.parameters, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_gumbel_samples_are_one_hot_follow_the_softmax_and_carry_its_gradient() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0]).expand(20000, 4).clone().requires_grad_(True)
    rng = torch.Generator().manual_seed(0)
    sample = straight_through_gumbel(logits, 1.0, rng)
    assert sample.detach().unique().tolist() == [0.0, 1.0]
    assert (sample.sum(-1) == 1).all()
    torch.testing.assert_close(sample.mean(0), logits[0].softmax(-1), atol=0.02, rtol=0.0)
    slope = torch.autograd.grad(sample[:, 0].mean(), logits)[0].sum(0)
    assert slope[0] > 0
    assert (slope[1:] < 0).all()


def test_the_temperature_divides_what_the_gradient_flows_through() -> None:
    learner, alive = maddpg(gumbel_temperature=0.5), torch.ones(8, 3, dtype=torch.bool)
    logits, weight = torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_(True)
    state = learner.generator.get_state()
    (found,) = torch.autograd.grad((weight * learner._sample(logits, None, alive)).sum(), logits)
    noise = -torch.empty(8, 3, 4).exponential_(generator=learner.generator.set_state(state)).log()
    (expected,) = torch.autograd.grad((weight * ((logits + noise) / 0.5).softmax(-1)).sum(), logits)
    torch.testing.assert_close(found, expected)


def test_unavailable_actions_are_never_sampled() -> None:
    learner = maddpg()
    logits = torch.zeros(500, 3, 4, requires_grad=True)
    avail = torch.tensor([True, False, True, False]).expand(500, 3, 4)
    sample = learner._sample(logits, avail, torch.ones(500, 3, dtype=torch.bool))
    assert sample.sum((0, 1))[[1, 3]].tolist() == [0.0, 0.0]
    assert torch.autograd.grad(sample[..., 0].sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize("share_params", [True, False])
def test_one_joint_action_for_all_critics_equals_one_for_each(share_params: bool) -> None:
    torch.manual_seed(0)
    critic = CentralCritic(3, 3, 4, [16], share_params, max_agents=32)
    obs, action = torch.randn(5, 3, 3), torch.randn(5, 1, 3, 4)
    values = critic(obs, action)
    assert values.shape == (5, 3)
    torch.testing.assert_close(values, critic(obs, action.expand(5, 3, 3, 4)))
    assert not torch.allclose(values[:, 0], values[:, 1])  # own weights or an id tell agents apart


def losses(learner: MADDPGLearner, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
    """Loss and metrics, and the two samples that the loss will have drawn: at t + 1, then at t."""
    state = learner.generator.get_state()
    following = learner._sample(learner.target_mac.next_q_values(batch), None, batch.next_alive)
    now = learner._sample(learner.mac.q_values(batch), None, batch.alive)
    learner.generator.set_state(state)
    return *learner.loss(batch, 0), following.detach(), now.detach()


@pytest.mark.parametrize("share_params", [True, False])
def test_losses_equal_loops(share_params: bool) -> None:
    """The critic's TD error on everybody's actions; the actor's value with its own action alone replaced."""
    learner, batch = maddpg(share_params=share_params, logit_reg_coef=0.1), random_batch(INFO, 12)
    loss, metrics, following, now = losses(learner, batch)
    taken = one_hot(batch.action, 4).float() * batch.alive[..., None]
    next_value = learner.target_critic(batch.next_obs, following[:, None])
    value = learner.critic(batch.obs, taken[:, None])
    expected = slow_loss(value, slow_agent_target(batch, next_value, learner.gamma), batch.alive)
    torch.testing.assert_close(metrics["loss_critic"], expected)

    judged, squares = [], []
    for b in range(12):
        for k in range(3):
            if batch.alive[b, k]:
                joint = taken[b].clone()
                joint[k] = now[b, k]
                judged.append(learner.critic(batch.obs[b : b + 1], joint[None, None])[0, k])
                squares.append(learner.mac.q_values(batch)[b, k].square().mean())
    torch.testing.assert_close(metrics["loss_actor"], -torch.stack(judged).mean())
    total = metrics["loss_critic"] + metrics["loss_actor"] + 0.1 * torch.stack(squares).mean()
    torch.testing.assert_close(loss, total)


def test_actors_do_not_move_critics_nor_critics_actors() -> None:
    """The critic's gradient is that of the TD error alone."""
    learner, batch = maddpg(), random_batch(INFO, 12)
    loss, _, following, _ = losses(learner, batch)
    loss.backward()
    taken = one_hot(batch.action, 4).float() * batch.alive[..., None]
    target = slow_agent_target(batch, learner.target_critic(batch.next_obs, following[:, None]), learner.gamma)
    expected = slow_loss(learner.critic(batch.obs, taken[:, None]), target, batch.alive)
    for parameter, gradient in zip(
        learner.critic.parameters(), torch.autograd.grad(expected, list(learner.critic.parameters())), strict=True
    ):
        torch.testing.assert_close(parameter.grad, gradient)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.mac.parameters())
    assert all(p.grad is None for p in [*learner.target_mac.parameters(), *learner.target_critic.parameters()])


def test_everybody_dead_is_no_loss() -> None:
    batch = random_batch(INFO, 4)
    dead = torch.zeros_like(batch.alive)
    metrics = maddpg().train(replace(batch, alive=dead, next_alive=dead), 0)
    assert metrics["loss"] == 0


def test_noise_continues_after_a_resume() -> None:
    batch, first, second = random_batch(INFO, 8), maddpg(), maddpg()
    first.train(batch, 0)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.train(batch, 0)["loss"], second.train(batch, 0)["loss"])


def test_a_large_population_is_refused_with_the_reason() -> None:
    message = r"maddpg: expected at most max_agents = 32 agents, got 33\. Its critics read all observations and actions"
    with pytest.raises(InputError, match=message):
        learner_for(config_for("maddpg", "spread"), info_for(33, 2))


def test_solves_the_additive_game(tmp_path: Path) -> None:
    """Best: both play 2, which pays 4 to each."""
    result = trained(
        tmp_path,
        "maddpg",
        "matrix_game",
        env_args={"game": "additive", "n_agents": 2},
        critic_hidden_dims=[32],
        t_max=800,
        train_interval=2,
        batch_size=32,
        learning_starts=64,
        lr=0.01,
    )[1]
    assert result == 4.0
