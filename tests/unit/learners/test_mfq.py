"""MFQ: the mean action with deaths, its way from acting into learning, v_MF, and the authors' code's variants."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.support.factory import config_for, info_for, learner_for, random_batch
from tests.support.training import acted_and_learned, slow_agent_target, slow_loss
from torch import Tensor
from torch.nn.functional import one_hot

from assembly.parts import make_mac
from components.batch import Batch
from components.mean_field import mean_action_of_others, mean_action_of_team
from learners.base import Learner

INFO = info_for(n_agents=5, n_actions=3)


def slow_mean(actions: list[int]) -> list[float]:
    """Mean one-hot vector of some actions in {0, 1, 2}; zeros for none."""
    return [actions.count(a) / len(actions) if actions else 0.0 for a in range(3)]


def random_actions(death_rate: float) -> tuple[Tensor, Tensor]:
    """Previous actions (64, 5), -1 for those who had none, and who is alive now."""
    rng = torch.Generator().manual_seed(0)
    action = torch.randint(3, (64, 5), generator=rng)
    had_none = torch.rand(64, 5, generator=rng) < death_rate
    return action.masked_fill(had_none, -1), torch.rand(64, 5, generator=rng) >= death_rate


@pytest.mark.parametrize("death_rate", [0.0, 0.3, 0.7, 1.0])
def test_mean_actions_equal_a_loop(death_rate: float) -> None:
    action, alive = random_actions(death_rate)
    others, team = mean_action_of_others(action, alive, 3), mean_action_of_team(action, 3)
    for b in range(64):
        for k in range(5):
            acting = [int(action[b, j]) for j in range(5) if j != k and alive[b, j] and action[b, j] >= 0]
            acted = [int(a) for a in action[b] if a >= 0]
            torch.testing.assert_close(others[b, k], torch.tensor(slow_mean(acting)))
            torch.testing.assert_close(team[b, k], torch.tensor(slow_mean(acted)))


def test_alone_there_is_no_mean_action_of_others() -> None:
    one, alive = torch.tensor([[2]]), torch.tensor([[True]])
    assert mean_action_of_others(one, alive, 3).tolist() == [[[0.0, 0.0, 0.0]]]
    assert mean_action_of_team(one, 3).tolist() == [[[0.0, 0.0, 1.0]]]


@pytest.mark.parametrize("mean_action", ["others", "team"])
@pytest.mark.parametrize("obs_last_action", [False, True])
def test_learning_sees_what_acting_saw(mean_action: str, obs_last_action: bool) -> None:
    """At t the means of t - 1, at t + 1 those of t, with deaths and at episodes' first rows."""
    config = config_for("mfq", "spread", mean_action=mean_action, obs_last_action=obs_last_action)
    for acted, learned in acted_and_learned(make_mac(config, INFO), window=None):
        torch.testing.assert_close(learned, acted)


def test_values_depend_on_the_mean_action() -> None:
    mac = make_mac(config_for("mfq", "spread"), INFO)
    batch = random_batch(INFO, 4, death_rate=0.0)
    same, other = (replace(batch, prev_action=torch.full((4, 5), action)) for action in (0, 1))
    assert not torch.equal(mac.q_values(same), mac.q_values(other))


def mfq(algorithm: str = "mfq", **overrides: object) -> Learner:
    """An MFQ learner whose target differs from its online network."""
    learner = learner_for(config_for(algorithm, "bar", **overrides), INFO)
    with torch.no_grad():
        for parameter in learner.target_mac.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return learner


def slow_next_q(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor]:
    """Online and target values (B, N, A) at t + 1 with the mean action of those who acted at t and are still alive."""
    means = torch.zeros(*batch.action.shape, 3)
    for b in range(len(means)):
        for k in range(5):
            others = [j for j in range(5) if j != k and batch.alive[b, j] and batch.next_alive[b, j]]
            means[b, k] = torch.tensor(slow_mean([int(batch.action[b, j]) for j in others]))
    online, target = (mac.agent(batch.next_obs, means, None)[0] for mac in (learner.mac, learner.target_mac))
    return online, target


@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("selector", ["epsilon_greedy", "boltzmann"])
def test_loss_equals_a_loop_with_v_mf(selector: str, double_q: bool) -> None:
    """v_MF is the behaviour policy's mean over actions (Yang et al. 2018)."""
    learner, batch, t_env = mfq(selector=selector, double_q=double_q), random_batch(INFO, 16), 20000
    online, target = slow_next_q(learner, batch)
    chooser = online if double_q else target
    value = torch.zeros(16, 5)
    for b in range(16):
        for k in range(5):
            if selector == "boltzmann":
                policy = (chooser[b, k] / (1.0 - 0.9 * t_env / 50000)).softmax(-1)
            else:
                epsilon = 1.0 - 0.99 * t_env / 30000
                policy = epsilon / 3 + (1 - epsilon) * one_hot(chooser[b, k].argmax(), 3)
            value[b, k] = (policy * target[b, k]).sum()
    q_taken = learner.mac.q_values(batch).gather(-1, batch.action[..., None])[..., 0]
    expected = slow_loss(q_taken, slow_agent_target(batch, value, 0.9), batch.alive)
    torch.testing.assert_close(learner.loss(batch, t_env)[0], expected)


def test_reference_has_no_exploration_the_greedy_value_and_no_dying_transition() -> None:
    learner, batch = mfq("mfq_reference", env_args={"n_agents": 5}), random_batch(INFO, 16)
    policy = learner.mac.selector.probabilities(torch.tensor([1.0, 3.0, 2.0]), None, t_env=0)
    assert policy.tolist() == [0.0, 1.0, 0.0]

    online, target = learner.mac.next_q_values(batch), learner.target_mac.next_q_values(batch)
    value = target.gather(-1, online.argmax(-1, keepdim=True))[..., 0]
    q_taken = learner.mac.q_values(batch).gather(-1, batch.action[..., None])[..., 0]
    counted = batch.alive & batch.next_alive
    assert (batch.alive & ~counted).any()
    torch.testing.assert_close(
        learner.loss(batch, 0)[0], slow_loss(q_taken, slow_agent_target(batch, value, 0.9), counted)
    )


def test_reference_team_mean_counts_those_who_just_died() -> None:
    mac = mfq("mfq_reference").mac
    action = torch.tensor([[0, 0, 1, 1, -1]])
    alive = torch.tensor([[True, False, True, True, False]])
    torch.testing.assert_close(mac.extra(action, alive), torch.tensor([0.5, 0.5, 0.0]).expand(1, 5, 3))
