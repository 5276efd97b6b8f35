"""Runs that version 0.1.0 (commit 6d9c309) recorded: IQL and HMF on Spread. They are played, loaded and continued."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.support.paths import ROOT

import evaluate
import main
from assembly.saved import load_policy
from records import checkpoint
from records.files import read_json
from records.query import flatten
from utils.cli import FAILED
from utils.version import VERSION
from utils.words import word

CPU = torch.device("cpu")
OLD = ROOT / "tests" / "data" / "version_0_1"
RUNS = {"iql": "1", "hmf": "2"}  # algorithm -> id


@pytest.fixture(params=RUNS)
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an old run, which may be written to."""
    return shutil.copytree(OLD / RUNS[request.param], tmp_path / "sacred" / RUNS[request.param])


def test_an_old_policy_plays_as_it_did(run_dir: Path) -> None:
    before = read_json(run_dir / "evaluation.json")  # what evaluate.py of that version found
    words = ["--episodes", str(before["episodes"]), "--seed", str(before["seed"])]
    assert evaluate.main(["--run", str(run_dir), *words]) == 0
    assert read_json(run_dir / "evaluations" / "400.json")["sides"] == before["sides"]


def test_an_old_checkpoint_starts_a_new_run(run_dir: Path, tmp_path: Path) -> None:
    config = read_json(run_dir / "config.json")
    config |= {"checkpoint_path": str(run_dir / "checkpoints"), "evaluate": True, "local_results_path": str(tmp_path)}
    words = [word(key, value) for key, value in flatten(config).items() if value != {}]
    assert main.main([f"--config={config['name']}", "--env-config=spread", "with", *words]) == 0


def test_an_old_run_continues(run_dir: Path, tmp_path: Path) -> None:
    assert main.main([f"--resume={run_dir}", "with", "t_max=440", f"local_results_path={tmp_path}"]) == 0
    new = tmp_path / "sacred" / str(int(run_dir.name) + 1)
    assert read_json(new / "run.json")["version"] == VERSION
    for name in (checkpoint.POLICY, checkpoint.LEARNER):
        assert checkpoint.load(new / "checkpoints" / "440" / name, CPU)["version"] == VERSION
    assert checkpoint.load(new / "checkpoints" / checkpoint.RESUME, CPU)["version"] == VERSION


def test_the_opponent_of_battle_loads() -> None:
    assert load_policy(ROOT / "opponents" / "battle.pt", CPU).info.name == "battle"


def test_what_cannot_be_loaded_says_which_version_made_it(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy of a later version, a state that lacks its networks or moments, a configuration that lacks a key."""
    policy = run_dir / "checkpoints" / "400" / checkpoint.POLICY
    checkpoint.save(policy, {"config": {}, "info": {}, "version": "9.9.9"})
    assert evaluate.main(["--run", str(run_dir)]) == 2
    assert f"made by version 9.9.9, this is {VERSION}." in capsys.readouterr().err

    resume = run_dir / "checkpoints" / checkpoint.RESUME
    state = checkpoint.load(resume, CPU)
    for learner in ({}, {**state["learner"], "optimiser": {"state": {}, "param_groups": []}}):
        torch.save({**state, "learner": learner}, resume)
        assert main.main([f"--resume={run_dir}", "with", "t_max=440", f"local_results_path={tmp_path}"]) == FAILED
        assert f"made by version before 0.2.0, this is {VERSION}" in capsys.readouterr().err

    config = read_json(run_dir / "config.json")
    del config["test_interval"]
    (run_dir / "config.json").write_text(json.dumps(config))
    assert main.main([f"--resume={run_dir}"]) == 2
    expected = "the key 'test_interval' has no value (made by version before 0.2.0, this is"
    assert expected in capsys.readouterr().err
