"""Exact resume: half a run, continued, equals the whole run bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.nested import differences
from tests.support.resume import HALF, KEYS, check_exact, resume_state
from tests.support.small_runs import run
from torch import Tensor

from assembly.saved import load_policy
from components.batch import GroupHistory, Memory, to_device
from config.loader import available
from config.trust import Trust
from modules.agents.mlp import MLPAgent
from records import checkpoint
from records.files import read_json


@pytest.mark.parametrize("algorithm", available("algs"))
def test_every_algorithm_on_bar(algorithm: str, tmp_path: Path) -> None:
    check_exact(tmp_path, algorithm, "bar")


@pytest.mark.parametrize("environment", ["battle", "battle_symmetric"])
@pytest.mark.parametrize("algorithm", ["iql", "mfq", "hmf", "hmf_ipc"])
def test_with_deaths_and_self_play(algorithm: str, environment: str, tmp_path: Path) -> None:
    check_exact(tmp_path, algorithm, environment)


@pytest.mark.parametrize("algorithm", ["iql", "hmf"])
def test_recurrent_agents(algorithm: str, tmp_path: Path) -> None:
    window = {"burn_in": 3, "sequence_length": 2, "rnn_hidden_dim": 8}
    check_exact(tmp_path, algorithm, "battle_symmetric", agent="rnn", **window)


class Forgetful(MLPAgent):
    """Drops half of what it sees, while it learns."""

    def forward(self, obs: Tensor, extra: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return super().forward(torch.dropout(obs, 0.5, self.training), extra, hidden)


class Noisy(MLPAgent):
    """Draws from torch's own random stream, in play too."""

    def forward(self, obs: Tensor, extra: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return super().forward(obs + torch.randn_like(obs), extra, hidden)


def test_evaluations_draw_from_a_stream_of_their_own(tmp_path: Path) -> None:
    keys = {**KEYS, "agent": f"{__name__}:Noisy"}
    check_exact(tmp_path, "iql", "spread", agent=keys["agent"])
    assert run(tmp_path / "often", "iql", "spread", **{**keys, "t_max": 2 * HALF, "test_interval": 10}) == 0
    whole, often = (resume_state(tmp_path / name / "sacred/1")["learner"]["mac"] for name in ("whole", "often"))
    assert differences(whole, often) == []


@pytest.mark.parametrize("regime", ["replay", "rollout"])
def test_networks_of_one_s_own_that_drop_at_random(regime: str, tmp_path: Path) -> None:
    """What they drop while they learn is dropped again after a resume, and they play whole."""
    keys: dict[str, Any] = {"agent": f"{__name__}:Forgetful", "regime": regime, "rollout_length": 8, "lr_finish": 1.0}
    check_exact(tmp_path, "iql", "spread", **keys)
    trained = checkpoint.step_folder(tmp_path / "whole/sacred/1/checkpoints", 0)
    mac = load_policy(trained / checkpoint.POLICY, torch.device("cpu"), Trust(frozenset([f"{__name__}:Forgetful"])))
    obs = torch.ones(1, 3, *mac.info.obs_shape)
    assert torch.equal(mac.agent(obs, None, None)[0], mac.agent(obs, None, None)[0])


LEAGUE: dict[str, Any] = {
    "env_args": {"opponent": "league", "league_interval": 10, "hp": 1, "enemy_hp": 1},
    "test_env_args.opponent": "random",
}


def test_a_league_of_past_policies(tmp_path: Path) -> None:
    """Who plays whom, what they remember, the past policies and the games are saved; the record says who was played."""
    window = {"burn_in": 3, "sequence_length": 2, "rnn_hidden_dim": 8}
    check_exact(tmp_path, "iql", "battle_symmetric", agent="rnn", **window, **LEAGUE)
    whole, half, resumed = (tmp_path / name for name in ("whole/sacred/1", "halves/sacred/1", "halves/sacred/2"))
    league = resume_state(whole)["runner"]["env"]["opponent"]
    assert sorted(league["past"]) == list(range(9))
    games, begun, again = (read_json(folder / "info.json")["league"] for folder in (whole, half, resumed))
    assert games == again == league["games"]
    assert sum(sum(row[2:]) for row in begun) < sum(sum(row[2:]) for row in games) >= 10
    assert {row[1] == row[0] for row in games} == {True, False}, "against itself and against its past"


@pytest.mark.parametrize("algorithm", ["iql", "mfq", "hmf_ipc"])
def test_in_the_middle_of_a_rollout(algorithm: str, tmp_path: Path) -> None:
    """What was saved holds the first rows of a rollout, and the row before them for its previous actions."""
    keys = {"regime": "rollout", "rollout_length": 8, "minibatches": 3, "lr_finish": 1.0}
    check_exact(tmp_path, algorithm, "battle", **keys)
    rows = resume_state(tmp_path / "halves" / "sacred" / "1")["replay"]
    assert (rows["stored"] - 1) % 8 > 0


def test_a_deviator_among_teammates_with_a_memory(tmp_path: Path) -> None:
    assert run(tmp_path / "team", "mfq", "battle") == 0
    policy = checkpoint.step_folder(tmp_path / "team/sacred/1/checkpoints", 0) / checkpoint.POLICY
    team = {"team": "checkpoint", "team_checkpoint": str(policy), "deviates": True}
    check_exact(tmp_path, "iql", "battle", env="battle_deviator", env_args=team)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    """The comparison above can fail."""
    for seed in (1, 2):
        assert run(tmp_path / str(seed), "iql", "bar", t_max=HALF, seed=seed, **KEYS) == 0
    one, two = (resume_state(tmp_path / str(seed) / "sacred" / "1") for seed in (1, 2))
    found = differences(one, two)
    assert any(path.startswith("/learner/mac") for path in found)
    assert any(path.startswith("/replay/arrays") for path in found)


def test_records_move_with_the_records_inside_them() -> None:
    nobody = torch.full((2, 3), -1)
    memory = Memory(nobody[:, 0], nobody, nobody, hidden=None, groups=GroupHistory(nobody, nobody))
    moved = to_device(memory, torch.device("meta"))
    assert moved.groups is not None
    assert {t.device.type for t in (moved.age, moved.prev_action, moved.groups.latest, moved.groups.previous)} == {
        "meta"
    }
    assert moved.hidden is None
    assert memory.age.device.type == "cpu"
