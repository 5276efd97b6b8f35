"""Records and policies import no code of others; what a person names is imported, and used if it is of its kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support import small_runs

import crossplay
import evaluate
import main
from assembly.registries import REGISTRIES
from experiments.plan import plan_run
from experiments.sweep import Job
from records import checkpoint
from records.index import RunIndex
from records.store import FileStore

OWN = """
from pathlib import Path
from components.selectors import EpsilonGreedySelector

Path(__file__).with_suffix(".ran").touch()

class Own(EpsilonGreedySelector):
    pass
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that can be imported, and was not yet; it leaves a file when it is."""
    name = f"foreign_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def ran(folder: Path, foreign: str) -> bool:
    """Whether the module was imported; then it is forgotten, as by a new process."""
    mark = folder / f"{foreign}.ran"
    found = mark.exists()
    mark.unlink(missing_ok=True)
    sys.modules.pop(foreign, None)
    return found


def recorded(results: Path, environment: str = "bar", **overrides: Any) -> Path:
    """The folder of a run that can be resumed."""
    assert small_runs.run(results, "iql", environment, save_replay="always", **overrides) == 0
    return max((results / "sacred").glob("[0-9]*"), key=lambda path: int(path.name))


def change_config(run_dir: Path, changes: Mapping[str, Any]) -> None:
    path = run_dir / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_policy(path: Path, changes: Mapping[str, Any]) -> None:
    state = checkpoint.load(path, torch.device("cpu"))
    checkpoint.save(path, {**state, "config": {**state["config"], **changes}})


def policy(run_dir: Path) -> Path:
    return checkpoint.step_folder(run_dir / "checkpoints", 0) / checkpoint.POLICY


def pettingzoo(entry: str) -> dict[str, Any]:
    env_args = {"entry": entry, "kwargs": {}, "team": "", "opponent": "random", "opponent_checkpoint": ""}
    return {"env": "pettingzoo", "env_args": {**env_args, "episode_limit": 5}, "test_env_args": {}}


def test_a_record_imports_nothing_new(tmp_path: Path, foreign: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir, name = recorded(tmp_path), f"{foreign}:Own"
    own = json.loads((run_dir / "config.json").read_text())
    changes = {kind: {kind: name} for kind in REGISTRIES} | {"env_args.entry": pettingzoo(name)}
    capsys.readouterr()
    for key, change in changes.items():
        change_config(run_dir, {**own, **change})
        assert main.main([f"--resume={run_dir}", "with", f"local_results_path={tmp_path}"]) == 2
        assert not ran(tmp_path, foreign)
        refusal = capsys.readouterr().err
        assert refusal.count("\n") == 1
        assert f"{key}: expected a name of this project in what others may have written, got '{name}'" in refusal
        assert f"give --trust={name}" in refusal
        assert not (tmp_path / "sacred" / "2").exists()
        assert "no policy that can be loaded" not in refusal
        if key in ("env", "env_args.entry"):  # evaluation takes the rest from the policy
            assert evaluate.main(["--run", str(run_dir)]) == 2
            assert capsys.readouterr().err == refusal
            assert not ran(tmp_path, foreign)


def test_a_policy_imports_nothing_new(tmp_path: Path, foreign: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = recorded(tmp_path, "battle_symmetric", env_args={"opponent": "random"})
    path = policy(run_dir)
    change_policy(path, {"selector": f"{foreign}:Own"})
    as_opponent = {"opponent": "checkpoint", "opponent_checkpoint": str(path)}
    for command in (
        partial(evaluate.main, ["--run", str(run_dir)]),
        partial(crossplay.main, [str(path), f"--out={tmp_path / 'out'}"]),
        partial(small_runs.run, tmp_path, "iql", "battle_symmetric", env_args=as_opponent),
    ):
        assert command() == 2
        assert not ran(tmp_path, foreign)
        assert f"selector: expected a name of this project in what others may have written, got '{foreign}:Own'" in (
            capsys.readouterr().err
        )


def test_what_a_person_names_or_trusts_is_imported(tmp_path: Path, foreign: str) -> None:
    name = f"{foreign}:Own"
    run_dir = recorded(tmp_path, selector=name)
    assert ran(tmp_path, foreign)
    resume, play = [f"--resume={run_dir}"], ["--run", str(run_dir), "--episodes=1"]
    there = ["with", f"local_results_path={tmp_path}", "t_max=100"]
    for trust, code in (([], 2), (["--trust=another:Own"], 2), ([f"--trust=another:Own,{name}"], 0), (["--trust"], 0)):
        assert main.main([*resume, *trust, *there]) == code
        assert ran(tmp_path, foreign) == (code == 0)
        assert evaluate.main([*play, *trust]) == code
        assert ran(tmp_path, foreign) == (code == 0)


def test_a_name_on_the_command_line_is_trusted_whatever_the_record_says(
    tmp_path: Path, foreign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is imported, and then found not to be what the key wants."""
    run_dir = recorded(tmp_path, "pettingzoo")
    assert evaluate.main(["--run", str(run_dir), "--episodes=1"]) == 0, "a name of this project's own YAML"
    entry = json.loads((run_dir / "config.json").read_text())["env_args"]
    change_config(run_dir, {"env_args": {**entry, "entry": f"{foreign}:Own"}})
    assert evaluate.main(["--run", str(run_dir)]) == 2
    assert "env_args.entry: expected a name of this project" in capsys.readouterr().err
    assert not ran(tmp_path, foreign)
    assert evaluate.main(["--run", str(run_dir), "with", f"env_args.entry={foreign}:Own"]) == 2
    assert ran(tmp_path, foreign)
    assert (
        f"env_args.entry: expected '{foreign}:Own' to make a ParallelEnv or AECEnv, got Own." in capsys.readouterr().err
    )


def test_a_sweep_lets_its_runs_import_what_the_experiment_names(tmp_path: Path, foreign: str) -> None:
    words = {"selector": f"{foreign}:Own", "local_results_path": str(tmp_path)}
    run = plan_run("iql", "bar", words, "here", "iql")
    (tmp_path / "sacred" / "1" / "checkpoints").mkdir(parents=True)

    class Index(RunIndex):
        def resumable(self, key: str, use_cuda: bool = False) -> Path | None:
            return tmp_path / "sacred" / "1"

    command = Job(run, tmp_path / "log").command(Index(FileStore(tmp_path / "sacred")))
    assert f"--trust={foreign}:Own" in command


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mixer=os:system", "mixer: expected a subclass of torch.nn.modules.module.Module, got 'os:system'"),
        ("learner=os:system", "learner: expected a subclass of learners.base.Learner, got 'os:system'"),
        ("mac=os:system", "mac: expected a subclass of controllers.basic_controller.BasicMAC, got 'os:system'"),
        ("agent=math:pi", "agent: expected a subclass of modules.agents.base.Agent, got 'math:pi'"),
        ("env=pathlib:Path", "env: expected a subclass of envs.base.Env, got 'pathlib:Path'"),
        ("selector=os:abort", "selector: expected a subclass of components.selectors.ActionSelector"),
        ("grouping=torch.nn:Linear", "grouping: expected a subclass of components.grouping.Grouping"),
        ("regime=math:pi", "regime: expected a subclass of learners.regimes.Regime"),
        ("agent=..x:y", "agent: cannot import '..x:y'"),
        ("agent=:y", "agent: cannot import ':y'"),
    ],
)
def test_what_is_imported_is_a_class_of_its_kind_before_it_is_used(
    word: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, _, name = word.partition("=")
    assert small_runs.run(tmp_path, "hmf", "bar", **{key: name}) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith(f"error: {message}")
    assert refusal.count("\n") == 1


@pytest.mark.parametrize("words", [["--trust", "3"], ["--trust=os system"]])
def test_what_is_no_name_cannot_be_trusted(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(words) == 2
    assert "argument --trust: expected names such as mymodule:MyMixer, got" in capsys.readouterr().err
