"""HMF against the paper's equations: the sign conflict of the printed losses, consistency, gradients, invariances."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.support.factory import config_for, info_for, learner_for, random_batch
from torch import Tensor

from components.batch import Batch
from components.returns import gather_action
from learners.hmf_learner import HMFLearner

TOP_LEVELS = ["own_head", "group_sum", "central", "gmf_sum", "none"]


def hmf(n_agents: int, n_actions: int, preset: str = "hmf", **overrides: Any) -> HMFLearner:
    config = config_for(preset, "bar", share_params=True, **overrides)
    learner = learner_for(config, info_for(n_agents, n_actions))
    assert isinstance(learner, HMFLearner)
    return learner


def one_step_game(size: int = 64) -> Batch:
    """Two agents, one group, two actions, constant observation, r_k = a_k, one step. True slope of the return: +1."""
    info = info_for(2, 2)
    batch = random_batch(info, size, death_rate=0.0)
    ones = torch.ones_like(batch.obs)
    ended = torch.ones(size, dtype=torch.bool)
    return replace(batch, obs=ones, next_obs=ones, reward=batch.action.float(), terminated=ended)


def learned_slope(learner: HMFLearner, batch: Batch) -> float:
    """Q_LOC(1) - Q_LOC(0) after learning the one-step game."""
    for _ in range(400):
        learner.train(batch, t_env=0)
    q = learner.mac.q_values(batch)[0, 0].detach()
    return float(q[1] - q[0])


@pytest.mark.parametrize("top_level", TOP_LEVELS)
def test_local_values_learn_the_right_sign_with_expected_actions(top_level: str) -> None:
    learner = hmf(2, 2, n_groups=1, top_level=top_level, lr=0.01)
    assert learned_slope(learner, one_step_game()) == pytest.approx(1.0, abs=0.1)


def test_printed_losses_teach_local_values_the_wrong_sign() -> None:
    """Eq. 13-14 give Q_GMF the whole return r; Eq. 11-12 then leave sum(lambda Q_LOC) = r - 2r = -r.

    In print the group's reward is the sum a_1 + a_2 and lambda = 1/2, so that Q_LOC(a) = -2a + const.
    """
    learner = hmf(2, 2, preset="hmf_literal", n_groups=1, lr=0.01, attention="uniform")
    assert learned_slope(learner, one_step_game()) == pytest.approx(-2.0, abs=0.2)


def test_slope_alarm_sees_the_printed_losses_learn_backwards() -> None:
    learner = hmf(2, 2, preset="hmf_literal", n_groups=1, lr=0.01)
    batch = one_step_game()
    learned_slope(learner, batch)
    assert float(learner.diagnose(batch, t_env=0)["slope_alignment"]) < -0.9


def joint_values(learner: HMFLearner, batch: Batch, joint: tuple[int, ...]) -> Tensor:
    """Q_GRP (B, m) of one joint action."""
    forced = replace(batch, action=torch.tensor(joint).expand_as(batch.action).contiguous())
    q_BNA = learner.mac.q_values(forced)
    field = learner.field_action(q_BNA, forced.action, None, t_env=0)
    return learner.mixer(gather_action(q_BNA, forced.action), forced.obs.flatten(2), field, forced.group).q_group


def consistent(learner: HMFLearner) -> list[bool]:
    """For random states of 3 agents x 3 actions: is argmax Q_GRP the tuple of local argmaxes?"""
    batch = random_batch(info_for(3, 3), size=12, death_rate=0.0)
    joints = list(itertools.product(range(3), repeat=3))
    with torch.no_grad():
        values = torch.stack([joint_values(learner, batch, joint)[:, 0] for joint in joints])
        local = learner.mac.q_values(batch).argmax(-1)
    return [joints[int(values[:, b].argmax())] == tuple(local[b].tolist()) for b in range(12)]


def test_greedy_local_actions_maximise_the_group_value_under_expected_actions() -> None:
    assert all(consistent(hmf(3, 3, n_groups=1)))


def test_they_do_not_under_taken_actions() -> None:
    learner = hmf(3, 3, n_groups=1, mean_field_action="taken", attention_input="obs_action", gmf_coef=50.0)
    assert not all(consistent(learner))


@pytest.mark.parametrize("td_level", ["group", "agent"])
@pytest.mark.parametrize("top_level", TOP_LEVELS)
def test_gradients_reach_every_online_network_and_no_target(top_level: str, td_level: str) -> None:
    learner = hmf(6, 3, n_groups=2, top_level=top_level, td_level=td_level)
    loss, _ = learner.loss(random_batch(info_for(6, 3), 16, n_groups=2), t_env=0)
    loss.backward()
    for name, parameter in [*learner.mac.named_parameters(), *learner.mixer.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    for module in (learner.target_mac, learner.target_mixer):
        assert all(parameter.grad is None for parameter in module.parameters())


def test_a_group_value_does_not_depend_on_the_order_of_its_members() -> None:
    learner = hmf(6, 3, n_groups=2)
    batch = random_batch(info_for(6, 3), 16, n_groups=2)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    agents = ("obs", "next_obs", "action", "prev_action", "reward", "alive", "next_alive", "group")
    shuffled = replace(batch, **{name: getattr(batch, name)[:, order] for name in agents})
    original, _ = learner.loss(batch, t_env=0)
    permuted, _ = learner.loss(shuffled, t_env=0)
    torch.testing.assert_close(original, permuted)


@pytest.mark.parametrize("preset", ["hmf", "hmf_literal"])
@pytest.mark.parametrize("survivors", [0, 1])
def test_losses_stay_finite_when_hardly_anybody_lives(preset: str, survivors: int) -> None:
    learner = hmf(5, 3, preset=preset, n_groups=3)
    batch = random_batch(info_for(5, 3), 8, n_groups=3, death_rate=0.0)
    alive = torch.arange(5).expand(8, 5) < survivors
    batch = replace(batch, alive=alive, next_alive=alive, group=batch.group.masked_fill(~alive, -1))
    metrics = learner.train(batch, t_env=0)
    assert all(torch.isfinite(value) for value in metrics.values())
    assert all(torch.isfinite(parameter).all() for parameter in learner.parameters)


def test_one_agent_alone_is_q_learning_with_a_baseline() -> None:
    """N = 1, no group mean field: Q_GRP is Q_LOC."""
    learner = hmf(1, 3, n_groups=1, gmf_coef=0.0, top_level="none")
    batch = random_batch(info_for(1, 3), 8, death_rate=0.0)
    q_BNA = learner.mac.q_values(batch)
    field = learner.field_action(q_BNA, batch.action, batch.avail, t_env=0)
    taken = gather_action(q_BNA, batch.action)
    torch.testing.assert_close(learner.mixer(taken, batch.obs, field, batch.group).q_group, taken)


def test_no_bootstrap_at_a_true_end_and_bootstrap_at_a_time_limit() -> None:
    """A truncated transition is stored as not terminated; only then does the target see the next value."""
    learner = hmf(4, 3, n_groups=2, top_level="none")
    batch = random_batch(info_for(4, 3), 8, n_groups=2, death_rate=0.0)
    ended = replace(batch, terminated=torch.ones(8, dtype=torch.bool), reward=torch.zeros(8, 4))
    running = replace(ended, terminated=torch.zeros(8, dtype=torch.bool))
    assert float(learner.loss(ended, 0)[1]["target_mean"]) == 0.0
    assert float(learner.loss(running, 0)[1]["target_mean"]) != 0.0
