"""The update that all learners share: clipped gradients of its batch alone, rates, what follows them, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.factory import config_for, info_for, learner_for, random_batch
from tests.support.training import trainer_for
from torch import Tensor

from runners.vector_runner import VectorRunner

INFO = info_for(n_agents=4, n_actions=3)
LR, T_MAX, TAU, DECAY = 0.1, 8, 0.25, 0.75


def followed(old: list[Tensor], new: list[Tensor], rate: float) -> list[Tensor]:
    return [(1 - rate) * one + rate * other for one, other in zip(old, new, strict=True)]


@pytest.mark.parametrize("clip", [0.001, 1e6])
def test_three_updates_equal_slow_gradient_descent(clip: float) -> None:
    """With a learning rate that falls to a half, targets that follow, and averaged weights."""
    keys = {"regime": "replay", "target_update_tau": TAU, "grad_norm_clip": clip, "average_decay": DECAY}
    learner = learner_for(config_for("iql", "bar", lr=LR, lr_finish=0.5, t_max=T_MAX, **keys), INFO)
    learner.optimiser = torch.optim.SGD(learner.parameters, lr=LR)
    online, target, average = ([parameter.detach().clone() for parameter in learner.parameters] for _ in range(3))
    for update in range(3):
        batch, t_env = random_batch(INFO, 8, seed=update), 3 * update
        gradients = torch.autograd.grad(learner.loss(batch, t_env)[0], learner.parameters)
        norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
        assert norm > 0.001
        step = LR * (1 - 0.5 * t_env / T_MAX) * min(1.0, clip / norm)
        online = [parameter - step * gradient for parameter, gradient in zip(online, gradients, strict=True)]
        target, average = followed(target, online, TAU), followed(average, online, 1 - DECAY)
        learner.train(batch, t_env)
        for found, expected in ((learner.mac, online), (learner.target_mac, target), (learner.acting(), average)):
            for one, other in zip(found.parameters(), expected, strict=True):
                torch.testing.assert_close(one.detach(), other)
    assert learner.n_updates == 3


@pytest.mark.parametrize("regime", ["replay", "rollout"])
def test_players_and_learners_are_told_how_many_steps_were_made(
    regime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"regime": regime, "rollout_length": 6, "minibatches": 1, "epochs": 1, "train_interval": 4}
    trainer, _ = trainer_for(tmp_path, "iql", save_model=False, save_replay="never", **keys)
    learner, runner, made = trainer.system.learner, trainer.system.runner, 0
    told: dict[str, list[bool]] = {"collect": [], "outcomes": [], "train": []}

    def collect(t_env: int, rows: Any) -> int:
        nonlocal made
        told["collect"].append(t_env == made)
        new = VectorRunner.collect(runner, t_env, rows)
        made += new
        return new

    monkeypatch.setattr(runner, "collect", collect)
    for name in ("outcomes", "train"):
        call = getattr(learner, name)

        def noted(batch: Any, t_env: int, *rest: Any, name: str = name, call: Callable[..., Any] = call) -> Any:
            told[name].append(t_env == made)
            return call(batch, t_env, *rest)

        monkeypatch.setattr(learner, name, noted)
    trainer.train()
    assert all(calls and all(calls) for calls in told.values())
