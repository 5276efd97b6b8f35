"""HMF learns: small games with known answers, in seconds, through the real training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.training import trained

ADDITIVE: dict[str, Any] = {
    "env_args": {"game": "additive", "n_agents": 6, "episode_limit": 1},
    "n_groups": 2,
    "t_max": 3000,
    "epsilon_anneal_time": 1500,
    "batch_size_run": 16,
    "batch_size": 32,
    "learning_starts": 64,
    "lr": 0.005,
}
BAR: dict[str, Any] = {
    "regime": "replay",
    "env_args": {"n_agents": 10, "capacity": 6, "episode_limit": 10},
    "share_params": False,
    "n_groups": 2,
    "t_max": 6000,
    "epsilon_anneal_time": 3000,
    "batch_size_run": 8,
    "batch_size": 32,
    "learning_starts": 200,
    "test_nepisode": 32,
}
ROLLOUT: dict[str, Any] = {"regime": "rollout", "rollout_length": 16, "minibatches": 4, "t_max": 12000}
BEST_SYMMETRIC_RANDOM = 0.321  # max over p of p (2 P(Binomial(9, p) <= 5) - 1): nobody can be told apart


def test_hmf_finds_the_optimum_of_the_additive_game(tmp_path: Path) -> None:
    """Everybody receives the sum of all actions in {0, 1, 2}; six agents playing 2 make 12."""
    assert trained(tmp_path, "hmf", "matrix_game", seed=1, **ADDITIVE)[1] == 12.0


def test_hmf_finds_it_from_rollouts(tmp_path: Path) -> None:
    keys = {**ADDITIVE, **ROLLOUT, "epochs": 4, "lr": 0.01}
    assert trained(tmp_path, "hmf", "matrix_game", seed=1, **keys)[1] == 12.0


def test_the_printed_losses_find_its_worst_actions(tmp_path: Path) -> None:
    """Local values learn the return with the wrong sign (docs/printed_losses.md), so greedy play is the worst play."""
    assert trained(tmp_path, "hmf_literal", "matrix_game", seed=1, **ADDITIVE)[1] == 0.0


def test_hmf_shares_the_bar(tmp_path: Path) -> None:
    """Ten agents, room for six: better than any policy that cannot tell agents apart."""
    payoff = trained(tmp_path, "hmf", "bar", seed=1, **BAR)[1] / 10
    assert payoff > BEST_SYMMETRIC_RANDOM


def test_hmf_shares_the_bar_from_rollouts(tmp_path: Path) -> None:
    assert trained(tmp_path, "hmf", "bar", seed=1, **{**BAR, **ROLLOUT})[1] / 10 > BEST_SYMMETRIC_RANDOM


@pytest.mark.slow
@pytest.mark.parametrize("regime", [{}, ROLLOUT], ids=["replay", "rollout"])
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_hmf_shares_the_bar_on_other_seeds(tmp_path: Path, seed: int, regime: dict[str, Any]) -> None:
    assert trained(tmp_path, "hmf", "bar", seed=seed, **{**BAR, **regime})[1] / 10 > BEST_SYMMETRIC_RANDOM
