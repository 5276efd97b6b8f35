"""transfer.py on recorded tiny runs: who carries over, what is left out, and nothing is played twice."""

from __future__ import annotations

import csv
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from tests.support.paths import ROOT
from tests.support.small_runs import run

import transfer
import zoo
from analysis.collect import Task
from experiments.evaluation import Evaluation
from experiments.transfer import called_by_file

OTHER = {"base": "battle", "env_args": {"n_agents": 4, "n_enemies": 9, "map_size": 20, "episode_limit": 8}}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a method that plays any number of agents, and a run with ids."""
    folder = tmp_path_factory.mktemp("transfer")
    for seed in (1, 2):
        assert run(folder, "mfq", "battle", seed=seed) == 0
    assert run(folder, "iql", "battle", obs_agent_id=True) == 0
    (folder / "other.yaml").write_text(yaml.safe_dump(OTHER))
    return folder


def transferred(results: Path, *words: str) -> list[list[str]]:
    at = ["--at", str(results / "other.yaml"), "--episodes", "2"]
    assert transfer.main([*words, *at, "--results", str(results), "--out", str(results / "out")]) == 0
    return list(csv.reader((results / "out" / "transfer.csv").read_text().splitlines()))


def test_the_table(results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = transferred(results)
    printed = capsys.readouterr().out
    head, ids, free = rows
    assert head[:3] == ["trained on", "method", "as trained"]
    assert [row[1] for row in (ids, free)] == ["iql", "mfq"]
    assert free[5] == free[9] == "2", "seeds"
    assert ids[6] == "", "a policy with ids plays no other population"
    assert "left out (env_args: the policy is trained with n_agents = 6; this environment has n_agents = 4." in printed
    found = Evaluation.of_run(results / "sacred" / "1", "newest", [], 2, 0, transfer.trust.NOTHING).found()
    first = sum(side["return_mean"] for side in found.values()) / 2
    assert f"run 1 (mfq) at as trained: {first:.3f}" in printed

    monkeypatch.setattr("experiments.evaluation.VectorRunner", lambda *_: pytest.fail("played again"))
    assert transferred(results) == rows


def test_policies_of_the_zoo_are_methods_too(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = results / "zoo"
    assert zoo.main(["add", "1", "2", f"--results={results}", f"--zoo={kept}"]) == 0
    rows = transferred(results, "battle/mfq_s1", "zoo:battle/mfq_s2", f"--zoo={kept}")
    assert rows == [row for row in transferred(results, "name=mfq") if row[1] in ("method", "mfq")]
    assert "battle/mfq_s1 at as trained: " in capsys.readouterr().out
    both = transferred(results, "name=iql", "battle/mfq_s1", f"--zoo={kept}")
    assert [row[1] for row in both[1:]] == ["iql", "mfq"]


def test_tasks_are_called_by_their_files_where_these_tell_them_apart() -> None:
    def task(label: str, **arguments: int) -> Task:
        return Task("battle", label, [], {"env": "battle", **{f"env_args.{key}": arguments[key] for key in arguments}})

    few = task("battle env_args.n_agents=64", n_agents=64, n_enemies=32, map_size=35)
    many = task("battle env_args.n_agents=200", n_agents=200, n_enemies=100, map_size=62)
    named = called_by_file({"as trained": [few, many], "battle_64v32": [many]})
    assert {key: [task.label for task in tasks] for key, tasks in named.items()} == {
        "as trained": ["battle_64v32", "battle"],
        "battle_64v32": ["battle"],
    }
    own = task("battle env_args.n_agents=201", n_agents=201, n_enemies=100, map_size=62)
    alike = {"as trained": [many], "battle_64v32": [own]}
    assert called_by_file(alike) == alike, "both are nearest to battle.yaml"


def test_enemies_that_cannot_play_a_setting_are_left_out_with_their_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a file that changes nothing is the environment as it is."""
    both = {"opponent_args": {"obs_agent_id": True, "rollout_length": 8}, "env_args": {"opponent": "learner"}}
    assert run(tmp_path, "iql", "battle", opponent_config="iql", **both) == 0
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**OTHER, "env_args": {"n_enemies": 5}}))
    (tmp_path / "same.yaml").write_text("env: battle\n")
    at = [word for name in ("other", "same") for word in ("--at", str(tmp_path / f"{name}.yaml"))]
    places = ["--results", str(tmp_path), "--out", str(tmp_path / "out")]
    assert transfer.main(["--episodes", "2", *at, *places]) == 0
    said = capsys.readouterr().out
    assert "run 1 (iql) at other: left out (Opponent policy: it learned with n_agents = 6; this" in said
    assert "run 1 (iql) at same: " in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--at", "bar"], "--at: expected an environment file of battle, which these runs were trained on, got 'bar'"),
        (["--at", "batle"], "no envs configuration 'batle'"),
        (
            ["--at", "battle", "--at", str(ROOT / "src/config/envs/battle.yaml")],
            "--at: expected files of different names, which head",
        ),
        (["--at", "battle", "name=none"], "no completed run in"),
        (["--at", "battle", "--episodes", "0"], "--episodes: expected a whole number from 1 to 2147483647, got '0'"),
        (["--at", "battle", "--seed", "-1"], "--seed: expected a whole number of 0 or more, got '-1'"),
    ],
)
def test_refusals(words: list[str], message: str, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2") if words[-1] in ("0", "-1") else nullcontext():
        assert transfer.main([*words, "--results", str(results), "--out", str(results / "no")]) == 2
    assert message in capsys.readouterr().err
    assert not (results / "no").exists()
