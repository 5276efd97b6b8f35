"""The method's optional terms and the presets of the ablation table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.support.factory import config_for, info_for, learner_for, random_batch
from torch import Tensor

import build
from components.batch import Batch
from components.mean_policy import kl_divergence
from learners.hmf_learner import HMFLearner

INFO = info_for(6, 3)
BATCH = random_batch(INFO, 16, n_groups=2)


def hmf(preset: str = "hmf", **overrides: Any) -> HMFLearner:
    learner = learner_for(config_for(preset, "bar", share_params=True, n_groups=2, **overrides), INFO)
    assert isinstance(learner, HMFLearner)
    return learner


def mixed(learner: HMFLearner, batch: Batch) -> tuple[Any, Tensor]:
    """Group values, and Q_LOC (B, N, A) with its gradient kept."""
    q_BNA = learner.mac.q_values(batch)
    taken = q_BNA.gather(-1, batch.action[..., None]).squeeze(-1)
    field = learner.field_action(q_BNA, batch.action, batch.avail, t_env=0)
    return learner.mixer(taken, batch.obs.flatten(2), field, batch.group), q_BNA


def local_gradient(learner: HMFLearner, penalty: Tensor) -> float:
    """Largest gradient of a penalty in the networks of Q_LOC."""
    parameters = list(learner.mac.agent.parameters())
    gradients = torch.autograd.grad(penalty, parameters, allow_unused=True)
    return max((float(gradient.abs().max()) for gradient in gradients if gradient is not None), default=0.0)


# ------------------------------------------------------------------------------------------------- error reduction


def test_printed_error_reduction_does_not_reach_local_values() -> None:
    learner = hmf("hmf_reg_literal")
    now, q_BNA = mixed(learner, BATCH)
    assert local_gradient(learner, learner._error_reduction(BATCH, now, q_BNA).mean()) == 0.0


def test_error_reduction_on_policies_does() -> None:
    learner = hmf("hmf_reg")
    now, q_BNA = mixed(learner, BATCH)
    assert local_gradient(learner, learner._error_reduction(BATCH, now, q_BNA).mean()) > 0.0


def test_error_reduction_by_hand() -> None:
    """One group, uniform weights, observations 0 and 2, actions 0 and 1: each lies (1, 1/2, 1/2) from the mean."""
    learner = hmf("hmf_reg_literal", attention="uniform")
    one = replace(
        random_batch(INFO, 1, death_rate=0.0),
        obs=torch.zeros(1, 6, 3).index_fill_(1, torch.tensor([1]), 2.0),
        action=torch.tensor([[0, 1, 0, 0, 0, 0]]),
        group=torch.tensor([[0, 0, -1, -1, -1, -1]]),
    )
    now, q_BNA = mixed(learner, one)
    torch.testing.assert_close(
        learner._error_reduction(one, now, q_BNA)[0, :2].detach(), torch.full((2,), 3.0 + 0.25 + 0.25)
    )


# ------------------------------------------------------------------------------------------------- policy consistency


def divergence(learner: HMFLearner, batch: Batch) -> Tensor:
    now, q_BNA = mixed(learner, batch)
    return learner._policy_divergence(batch, now, q_BNA)[batch.group >= 0].mean()


def test_divergence_reaches_local_values_and_not_the_mean_policy() -> None:
    learner = hmf("hmf_kl_only")
    assert local_gradient(learner, divergence(learner, BATCH)) > 0.0
    assert not learner.mean_policy.policy.requires_grad
    assert not list(learner.mean_policy.parameters())


def test_divergence_is_the_mean_over_members_of_each_to_its_own_group() -> None:
    learner = hmf("hmf_kl_only")
    learner.mean_policy.policy = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    policy = torch.softmax(learner.mac.q_values(BATCH).detach(), -1)
    per_agent = kl_divergence(policy, learner.mean_policy.policy[BATCH.group.clamp(min=0)])
    torch.testing.assert_close(divergence(learner, BATCH).detach(), per_agent[BATCH.alive].mean())


def test_equal_policies_do_not_diverge_from_their_mean() -> None:
    learner = hmf("hmf_kl_only", mean_policy_decay=0.0)
    alike = replace(BATCH, obs=torch.ones_like(BATCH.obs))
    divergence(learner, alike)  # the mean policy becomes this batch's
    torch.testing.assert_close(divergence(learner, alike).detach(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_the_pull_brings_policies_to_the_mean() -> None:
    """With nothing else to learn from, local policies approach their group's mean policy."""
    learner = hmf("hmf_kl_only", kl_coef=100.0, mean_policy_decay=1.0, lr=0.01)
    target = torch.tensor([[0.7, 0.2, 0.1]]).expand(2, 3).clone()
    learner.mean_policy.policy = target.clone()
    for _ in range(200):
        learner.train(BATCH, t_env=0)
    assert torch.equal(learner.mean_policy.policy, target)  # decay 1: never moves
    policy = torch.softmax(learner.mac.q_values(BATCH).detach(), -1)[BATCH.alive]
    torch.testing.assert_close(policy.mean(0), target[0], atol=0.05, rtol=0)


def test_mean_policies_follow_the_batch_and_are_saved() -> None:
    learner, other = hmf("hmf_ipc"), hmf("hmf_ipc")
    learner.train(BATCH, t_env=0)
    assert not torch.equal(learner.mean_policy.policy, other.mean_policy.policy)
    other.load_state_dict(learner.state_dict())
    assert torch.equal(learner.mean_policy.policy, other.mean_policy.policy)


def test_transitions_without_weight_do_not_move_mean_policies() -> None:
    learner = hmf("hmf_kl_only")
    before = learner.mean_policy.policy.clone()
    divergence(learner, replace(BATCH, weight=torch.zeros_like(BATCH.weight)))
    assert torch.equal(learner.mean_policy.policy, before)


def test_without_the_term_nothing_is_computed() -> None:
    learner = hmf()
    before = learner.mean_policy.policy.clone()
    assert "loss_policy_kl" not in learner.train(BATCH, t_env=0)
    assert torch.equal(learner.mean_policy.policy, before)


# ------------------------------------------------------------------------------------------------- levels


def test_agent_credit_does_not_teach_attention_to_look_away() -> None:
    """Without a mean field that lambda makes, the per-agent errors leave attention alone."""
    learner = hmf("hmf_agent_credit", gmf_coef=0.0, top_level="none")
    learner.loss(BATCH, t_env=0)[0].backward()
    for layer in (learner.mixer.query, learner.mixer.key):
        assert layer is not None
        assert layer.weight.grad is None or not layer.weight.grad.any()


def test_expected_actions_carry_no_gradient_into_local_values() -> None:
    """Even when exploration is smooth in them."""
    learner = hmf(selector="boltzmann")
    now, _ = mixed(learner, BATCH)
    assert local_gradient(learner, now.q_gmf.sum()) == 0.0


def test_central_critic_does_not_bootstrap_from_the_dead() -> None:
    """Its value of nobody is not zero, yet r is the whole target when everybody has died."""
    learner = hmf("hmf_central", gamma=0.9)
    nobody = torch.zeros_like(BATCH.alive)
    extinct = replace(BATCH, next_alive=nobody, terminated=torch.zeros_like(BATCH.terminated))
    losses = [
        float(learner.loss(batch, t_env=0)[1]["loss_top"])
        for batch in (extinct, replace(extinct, terminated=torch.ones_like(BATCH.terminated)))
    ]
    assert losses[0] == losses[1]


# ------------------------------------------------------------------------------------------------- presets

PRESETS: dict[str, dict[str, Any]] = {
    "hmf": {"mean_field_action": "none"},
    "hmf_literal": {
        "mean_field_action": "taken",
        "top_level": "gmf_sum",
        "group_reward": "sum",
        "attention_input": "obs_action",
    },
    "hmf_ipc": {"grouping": "ipc", "ipc_features": "obs_action", "share_gmf": True, "kl_coef": 0.001},
    "hmf_ipc_grouping_only": {"grouping": "ipc", "ipc_features": "obs_action", "share_gmf": True},
    "hmf_kl_only": {"kl_coef": 0.001},
    "hmf_reg": {"reg_coef": 0.01},
    "hmf_reg_literal": {"reg_coef": 0.01, "reg_action": "taken"},
    "hmf_central": {"top_level": "central"},
    "hmf_group_sum": {"top_level": "group_sum"},
    "hmf_no_top": {"top_level": "none"},
    "hmf_uniform": {"attention": "uniform"},
    "hmf_agent_credit": {"td_level": "agent"},
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_differ_from_hmf_expected_in_nothing_else(preset: str) -> None:
    base, values = (config_for(name, "bar").to_dict() for name in ("hmf_expected", preset))
    different = {key: value for key, value in values.items() if base.get(key) != value}
    assert different == {"name": preset, **PRESETS[preset]}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_learn_something_finite(preset: str) -> None:
    """Ten agents at the bar for a few nights, with episodes that end in between."""
    env_args = {"n_agents": 10, "capacity": 6, "episode_limit": 5}
    system = build.build(config_for(preset, "bar", env_args=env_args, n_groups=3, lr=0.01))
    for t_env in range(12):
        system.runner.collect(t_env, system.rows)
    before = [parameter.clone() for parameter in system.learner.parameters]
    metrics = [system.learner.train(system.regime.sample(system.rows, torch.Generator()), t_env=0) for _ in range(3)][
        -1
    ]
    assert all(value.isfinite() for value in metrics.values())
    after = system.learner.parameters
    assert all(parameter.isfinite().all() for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(value.isfinite() for value in system.mac.metrics(system.runner.memory).values())
    system.close()
