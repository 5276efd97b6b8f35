"""Every algorithm on every environment through the real main, with small numbers; or refused with the reason."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.small_runs import ENVIRONMENTS, run

from config.loader import available, named_layer
from envs import REGISTRY
from records import checkpoint
from records.store import FileStore


def check_recorded(folder: Path) -> None:
    """The run completed, learned twice, and everything it logged is a finite number."""
    run_dir = folder / "sacred" / "1"
    assert json.loads((run_dir / "run.json").read_text())["status"] == "COMPLETED"
    points = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "grad_norm", "td_error_abs", "q_taken_mean", "test_return_mean"} <= {p["name"] for p in points}
    assert [p for p in points if not math.isfinite(p["value"])] == []
    newest = checkpoint.step_folder(run_dir / "checkpoints", 0)
    assert checkpoint.load(newest / checkpoint.LEARNER, torch.device("cpu"))["n_updates"] == 2


def test_every_environment_is_here() -> None:
    """Except that of a single agent, which has tests of its own: tests/unit/envs/test_deviator.py."""
    assert {named_layer("envs", name).values["env"] for name in ENVIRONMENTS} == {*REGISTRY} - {"battle_deviator"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("algorithm", available("algs"))
def test_two_updates(algorithm: str, environment: str, tmp_path: Path) -> None:
    assert run(tmp_path, algorithm, environment) == 0
    check_recorded(tmp_path)


@pytest.mark.parametrize("environment", ["battle", "bar"])
@pytest.mark.parametrize("algorithm", ["iql", "vdn", "qmix", "mfq", "mfvfd", "maddpg", "hmf"])
def test_two_updates_of_recurrent_agents(algorithm: str, environment: str, tmp_path: Path) -> None:
    assert run(tmp_path, algorithm, environment, agent="rnn", rnn_hidden_dim=8, burn_in=3, sequence_length=2) == 0
    check_recorded(tmp_path)


def test_two_updates_of_self_play_between_imported_teams(tmp_path: Path) -> None:
    teams = {"entry": "magent2.environments.battle_v4", "team": "red", "opponent": "self_play"}
    kwargs = {"map_size": 14, "max_cycles": 6}
    assert run(tmp_path, "hmf", "pettingzoo", env_args={**teams, "kwargs": kwargs}) == 0
    check_recorded(tmp_path)


@pytest.mark.parametrize(
    ("algorithm", "game", "overrides"),
    [
        ("iql", "mpe2.simple_speaker_listener_v4", {}),
        ("hmf", "mpe2.simple_world_comm_v3", {"grouping": "kind", "n_groups": 3}),
    ],
)
def test_two_updates_of_a_team_of_several_kinds(
    algorithm: str, game: str, overrides: dict[str, Any], tmp_path: Path
) -> None:
    env_args = {"entry": game, "pad": True, "kwargs": {"max_cycles": 6}}
    assert run(tmp_path, algorithm, "pettingzoo", env_args=env_args, **overrides) == 0
    check_recorded(tmp_path)


def test_two_updates_with_the_nearest_neighbours(tmp_path: Path) -> None:
    assert run(tmp_path, "mfvfd", "battle", mf_neighbours=2) == 0
    check_recorded(tmp_path)


@pytest.mark.parametrize(
    ("algorithm", "environment", "overrides", "reason"),
    [
        ("qmix", "bar", {"env_args": {"n_agents": 33}}, "mixer=qmix: expected at most max_agents = 32 agents, got 33"),
        ("maddpg", "bar", {"env_args": {"n_agents": 33}}, "maddpg: expected at most max_agents = 32 agents, got 33"),
        ("mfvfd", "bar", {"mf_neighbours": 2}, "which has no positions to find the nearest by"),
        ("iql", "bar", {"agent": "conv"}, "agent=conv: expected observations of shape (height, width, channels)"),
        ("vdn", "bar", {"mixer": "mfvfd", "mf_neighbours": 0}, "configuration: mixer=mfvfd needs the key"),
        ("mfq", "bar", {"mixer": "vdn"}, "learner=mfq_learner expects mixer: null, got mixer=vdn"),
    ],
)
def test_refused_with_the_reason_before_anything_is_written(
    algorithm: str,
    environment: str,
    overrides: dict[str, Any],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(tmp_path, algorithm, environment, **overrides) == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("regime", ["replay", "rollout"])
@pytest.mark.parametrize("bootstrap", [True, False])
def test_what_follows_a_time_limit_counts_unless_told(bootstrap: bool, regime: str, tmp_path: Path) -> None:
    """In episodes of one step the discount matters to what follows a limit alone."""
    learned = []
    for run_id, gamma in enumerate((0.5, 0.9), start=1):
        args = {
            "gamma": gamma,
            "regime": regime,
            "rollout_length": 2,
            "minibatches": 1,
            "env_args": {"episode_limit": 1},
        }
        assert run(tmp_path, "iql", "spread", bootstrap_at_limit=bootstrap, **args) == 0
        learned.append(FileStore(tmp_path / "sacred").metrics(run_id)["target_mean"].values)
    assert (learned[0] == learned[1]) == (not bootstrap)
