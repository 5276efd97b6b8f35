"""VDN: the team value is the sum of the living's values, at either scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.factory import config_for, info_for, learner_for, random_batch
from tests.support.training import trained

from learners.base import Learner
from modules.mixers.vdn import VDNMixer

INFO = info_for(n_agents=4, n_actions=3)


def vdn(team_reward: str) -> Learner:
    return learner_for(config_for("vdn", "bar", team_reward=team_reward, grad_norm_clip=1e9), INFO)


@pytest.mark.parametrize(("team_reward", "expected"), [("sum", 4.0), ("mean", 1.0)])
def test_the_dead_add_nothing(team_reward: str, expected: float) -> None:
    mixer = VDNMixer(team_reward=team_reward)  # type: ignore[arg-type]
    alive = torch.tensor([[True, False, True, False]])
    assert mixer(torch.tensor([[1.0, 10.0, 3.0, 20.0]]), alive, torch.zeros(1, 4, 3)).tolist() == [expected]


@pytest.mark.parametrize("team_reward", ["sum", "mean"])
def test_loss_equals_a_loop(team_reward: str) -> None:
    learner, batch = vdn(team_reward), random_batch(INFO, 16)
    q, next_q = learner.mac.q_values(batch), learner.target_mac.next_q_values(batch)
    scale = 4 if team_reward == "mean" else 1
    errors = []
    for b in range(16):
        value = sum(q[b, k, int(batch.action[b, k])] for k in range(4) if batch.alive[b, k])
        target = batch.reward[b].sum()
        if not batch.terminated[b]:
            target = target + 0.9 * sum(float(next_q[b, k].max()) for k in range(4) if batch.next_alive[b, k])
        errors.append(((value - target) / scale) ** 2)
    torch.testing.assert_close(learner.loss(batch, 0)[0], torch.stack(errors).mean())


def test_mean_and_sum_have_the_same_gradient_up_to_scale() -> None:
    batch = random_batch(INFO, 16)
    gradients = {}
    for scale in ("sum", "mean"):
        learner = vdn(scale)
        learner.loss(batch, 0)[0].backward()
        gradients[scale] = torch.cat([p.grad.flatten() for p in learner.mac.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients["sum"], 16 * gradients["mean"])


def test_everybody_dead_bootstraps_nothing() -> None:
    """A time limit with nobody left: the target is the team's reward."""
    learner, batch = vdn("sum"), random_batch(INFO, 8)
    extinct = replace(batch, next_alive=torch.zeros_like(batch.alive), terminated=torch.zeros(8, dtype=torch.bool))
    metrics = learner.loss(extinct, 0)[1]
    torch.testing.assert_close(metrics["target_mean"], extinct.reward.sum(-1).mean())


@pytest.mark.parametrize("algorithm", ["vdn", "qmix"])
def test_solves_the_additive_game(algorithm: str, tmp_path: Path) -> None:
    """Best: everybody plays 2, which pays 2N = 8 to each."""
    game = {"game": "additive", "n_agents": 4}
    result = trained(
        tmp_path,
        algorithm,
        "matrix_game",
        env_args=game,
        t_max=800,
        train_interval=2,
        batch_size=32,
        learning_starts=64,
        lr=0.01,
        epsilon_anneal_time=400,
    )[1]
    assert result == 8.0
