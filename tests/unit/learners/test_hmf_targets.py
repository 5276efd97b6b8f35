"""HMF's targets and fields: groups that die out, and exploration that anneals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from tests.support.factory import config_for, info_for, learner_for, random_batch

from learners.hmf_learner import HMFLearner

INFO = info_for(n_agents=4, n_actions=3)


def hmf(**overrides: Any) -> HMFLearner:
    learner = learner_for(config_for("hmf", "bar", share_params=True, n_groups=2, **overrides), INFO)
    assert isinstance(learner, HMFLearner)
    return learner


def test_a_group_that_died_out_has_nothing_to_bootstrap_from() -> None:
    """Group 0 dies in this step, group 1 lives on; sums know no survivors' share that would hide it."""
    learner = hmf(group_reward="sum", gamma=0.9)
    batch = random_batch(INFO, 2, death_rate=0.0)
    group = torch.tensor([0, 0, 1, 1]).expand(2, 4)
    lives_on = replace(batch, group=group, next_alive=group == 1, terminated=torch.tensor([False, True]))
    torch.testing.assert_close(learner.outcomes(lives_on, 0)[0].discount, torch.tensor([[0.0, 0.9], [0.0, 0.0]]))


def test_the_mean_field_has_the_exploration_of_its_step() -> None:
    """Epsilon is 1 at step 0 and 0.4 at step 6: the best of three actions has 0.2 of chance and 0.6 of greed."""
    schedule = {"epsilon_start": 1.0, "epsilon_finish": 0.0, "epsilon_anneal_time": 10}
    learner = hmf(mean_field_action="expected", **schedule)
    batch = random_batch(INFO, 8, n_groups=2, death_rate=0.0)
    q_BNA = learner.mac.q_values(batch)
    expected = torch.full_like(q_BNA, 0.4 / 3).scatter(-1, q_BNA.argmax(-1, keepdim=True), 0.4 / 3 + 0.6)
    torch.testing.assert_close(learner.field_action(q_BNA, batch.action, None, 6), expected)
    now, later = (learner.predict(batch, t_env).metrics["q_gmf_mean"] for t_env in (0, 6))
    assert now != later
    now, later = (learner.outcomes(batch, t_env)[0].next_value for t_env in (0, 6))
    assert not torch.equal(now, later)
