"""Recurrent agents: replayed windows give what acting computed; burn-in only warms up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.support.factory import config_for, info_for, learner_for, random_batch
from tests.support.training import acted_and_learned

from assembly.parts import make_mac
from components.batch import Batch, Window
from controllers.basic_controller import BasicMAC
from utils.errors import InputError

INFO = replace(info_for(n_agents=3, n_actions=4), episode_limit=5)


def recurrent(algorithm: str = "iql", burn_in: int = 5, length: int = 7, **overrides: Any) -> BasicMAC:
    torch.manual_seed(0)
    keys = {"agent": "rnn", "rnn_hidden_dim": 8, "burn_in": burn_in, "sequence_length": length}
    return make_mac(config_for(algorithm, "spread", **keys, **overrides), INFO)


@pytest.mark.parametrize("share_params", [True, False])
@pytest.mark.parametrize("algorithm", ["iql", "mfq"])
def test_learning_computes_what_acting_computed(algorithm: str, share_params: bool) -> None:
    """Episodes of 5 rows end inside windows of 5 + 7 + 1 rows, so that states are reset in the middle."""
    mac = recurrent(algorithm, share_params=share_params, obs_last_action=True, obs_agent_id=True)
    for acted, learned in acted_and_learned(mac, mac.agent.window):
        assert len(acted) > 30
        torch.testing.assert_close(learned, acted)


def test_a_short_burn_in_only_approximates() -> None:
    mac = recurrent(burn_in=1)
    (acted, learned), _ = acted_and_learned(mac, mac.agent.window)
    assert not torch.allclose(learned, acted)


def windowed(mac: BasicMAC, obs: torch.Tensor, first: torch.Tensor, length: int) -> Batch:
    """A batch that holds nothing but a window of observations (S, W, N, O)."""
    nobody = torch.full(obs.shape[:3], -1)
    window = Window(obs, nobody, nobody < 0, first, length)
    return replace(random_batch(INFO, len(obs) * length), window=window)


@pytest.mark.parametrize("reset_row", [None, 2, 4])
def test_gradients_stop_at_the_burn_in_and_information_at_resets(reset_row: int | None) -> None:
    """Rows 0-1 warm up, rows 2-4 are learned, row 5 follows. The value at row 4 depends on earlier rows."""
    mac = recurrent()
    obs = torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[:, 0] = True
    if reset_row is not None:
        first[:, reset_row] = True
    q = mac.q_values(windowed(mac, obs, first, 3)).unflatten(0, (2, 3))
    slope = torch.autograd.grad(q[:, 2].sum(), obs)[0].abs().sum((0, 2, 3))
    has_gradient = [row >= max(2, reset_row or 0) and row <= 4 for row in range(6)]
    assert (slope > 0).tolist() == has_gradient
    moved = mac.q_values(windowed(mac, obs + torch.eye(6)[0][:, None, None], first, 3)).unflatten(0, (2, 3))
    assert torch.equal(moved[:, 2], q[:, 2]) == (reset_row is not None)  # burn-in informs unless a reset intervenes


@pytest.mark.parametrize("key", ["burn_in", "sequence_length"])
def test_empty_windows_are_refused(key: str) -> None:
    with pytest.raises(InputError, match="agent=rnn: expected burn_in and sequence_length of at least 1"):
        make_mac(config_for("iql", "spread", agent="rnn", **{key: 0}), INFO)


@pytest.mark.parametrize("algorithm", ["vdn", "qmix", "hmf"])
def test_every_algorithm_learns_from_windows(algorithm: str) -> None:
    """The window's gradient reaches every weight of the recurrent network."""
    info = info_for(3, 4)
    learner = learner_for(config_for(algorithm, "spread", agent="rnn", rnn_hidden_dim=8), info)
    batch = random_batch(info, 6, n_groups=2, death_rate=0.0)
    nobody = torch.full((2, 5, 3), -1)
    first = torch.tensor([[True, False, False, False, False], [True, False, False, True, False]])
    window = Window(torch.randn(2, 5, 3, 3), nobody, nobody < 0, first, 3)
    learner.loss(replace(batch, window=window), 0)[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.mac.agent.parameters())
