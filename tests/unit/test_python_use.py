"""Runs from Python: docs/python.md as it stands, the same numbers as main.py, and what is refused."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.support import small_runs
from tests.support.guard import Guard
from tests.support.paths import ROOT
from torch import Tensor

import hmf
from config.schema import ConfigError
from envs.torch_env import State
from records.files import RecordError, read_json
from utils.errors import InputError

MISSPELT: dict[str, Any] = {"episode_limt": 4}
SMALL = {**small_runs.LEARNING, "env_args": small_runs.ENVIRONMENTS["bar"]}
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)


class Interrupting(Guard):
    """Sends Ctrl-C to its own process once, in its ninth step."""

    sent = False
    n_steps = 0

    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        Interrupting.n_steps += 1
        if Interrupting.n_steps == 9 and not Interrupting.sent:
            Interrupting.sent = True
            os.kill(os.getpid(), signal.SIGINT)
        return super()._play(state, action)


def spread_of_mpe2(**kwargs: Any) -> Any:
    from mpe2 import simple_spread_v3

    return simple_spread_v3.parallel_env(**kwargs)


def test_the_page_does_what_it_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = ModuleType("script")
    monkeypatch.setitem(sys.modules, "script", script)
    monkeypatch.setattr(sys, "path", [*sys.path])
    exec("".join(BLOCKS), vars(script))
    said = capsys.readouterr().out
    assert re.search(r"^\| bar \| vdn \| 400 \|.*\(n=2\)", said, re.MULTILINE)
    found = re.search(r"^(\S+) of 10$", said, re.MULTILINE)
    assert found is not None
    assert float(found[1]) > 7  # by chance: 3.3
    assert said.splitlines()[-1] == "800"
    assert (Path(vars(script)["results"]) / "bar.gif").exists()


def test_training_is_that_of_main_bit_for_bit(tmp_path: Path) -> None:
    assert small_runs.run(tmp_path / "main", "hmf", "bar") == 0
    run = hmf.train("hmf", "bar", {**SMALL, "n_groups": 2}, results=tmp_path / "python")
    assert small_runs.points(tmp_path / "python", 1) == small_runs.points(tmp_path / "main", 1)
    there = read_json(tmp_path / "main/sacred/1/config.json")
    assert run.record.config == {**there, "local_results_path": str(tmp_path / "python")}
    assert run.record.status == "COMPLETED"
    assert hmf.load(1, results=tmp_path / "python") == run


def test_ctrl_c_keeps_what_resume_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {**small_runs.LEARNING, "test_nepisode": 1, "batch_size_run": 1, "t_max": 40}
    env = partial(Interrupting, episode_limit=4)
    with pytest.raises(KeyboardInterrupt):
        hmf.train("iql", env, keys, results=tmp_path)
    assert "what resume() needs is kept" in capsys.readouterr().out
    stopped = hmf.load(1, results=tmp_path, trust=[f"{__name__}:Interrupting"])
    assert stopped.record.status == "INTERRUPTED"
    assert stopped.resume().curves("test_return_mean")["test_return_mean"].steps[-1] == 40


def test_a_function_that_makes_a_pettingzoo_environment(tmp_path: Path) -> None:
    run = hmf.train("iql", partial(spread_of_mpe2, N=3, max_cycles=6), small_runs.LEARNING, results=tmp_path)
    assert run.record.config["env_args"]["entry"] == f"{__name__}:spread_of_mpe2"
    assert run.record.config["env_args"]["kwargs"] == {"N": 3, "max_cycles": 6}
    assert run.evaluate(episodes=2)["all"]["ep_length"] == 6


def test_a_game_of_a_library(tmp_path: Path) -> None:
    from mpe2 import simple_spread_v3

    game = partial(simple_spread_v3.parallel_env, N=3, max_cycles=6)
    run = hmf.train("iql", game, small_runs.LEARNING, results=tmp_path)
    assert run.record.config["env_args"]["entry"] == "mpe2.simple_spread_v3"
    assert run.evaluate(episodes=2)["all"]["ep_length"] == 6


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("bars", "no envs configuration 'bars'. Did you mean 'bar'?"),
        (object(), "got an object of object. A run plays many copies: give the class"),
        (lambda: None, "Define it at the top of a module, a script or a notebook."),
        (partial(Guard, 2, episode_limit=4), "expected arguments by keyword, got (2,)"),
        (partial(Guard, **MISSPELT), "unknown key 'env_args.episode_limt'"),
    ],
)
def test_an_environment_that_cannot_be_made_again_is_refused(env: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        hmf.train("iql", env, small_runs.LEARNING, results=tmp_path)
    assert message in str(refused.value)
    assert [*tmp_path.iterdir()] == []


def test_a_wrong_key_names_overrides(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^overrides: unknown key 'lrr'\. Did you mean 'lr'\?"):
        hmf.train("iql", "bar", {"lrr": 1}, results=tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> hmf.Run:
    """Give a run of a file, with NumPy's numbers and paths, recorded in a folder named from where it was made."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "own.yaml").write_text("base: iql\nname: own\n")
    keys = {**SMALL, "lr": np.float64(0.25), "seed": np.int64(3), "hidden_dims": np.array([8, 4]), "t_max": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return hmf.train(Path("own.yaml"), Path(f"{ROOT}/src/config/envs/bar.yaml"), keys, results="there")


def test_numbers_of_numpy_and_paths_are_values(trained: hmf.Run) -> None:
    config = trained.record.config  # found, though the folder is another by now
    assert [config[key] for key in ("name", "lr", "seed", "hidden_dims")] == ["own", 0.25, 3, [8, 4]]
    assert trained.folder.is_absolute()
    two: Any = np.int64(2)
    found = trained.evaluate({"env_args.capacity": two}, episodes=two, seed=two)
    assert found["all"]["n_episodes"] == 2


def test_a_path_is_a_value(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"checkpoint_path: .* found none in '{tmp_path}'"):
        hmf.train("iql", "bar", {**SMALL, "checkpoint_path": tmp_path}, results=tmp_path)


def test_a_run_loaded_from_a_relative_folder_stays_where_it_is(
    trained: hmf.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.folder.parents[2])
    found = hmf.load(1, results="there")
    monkeypatch.chdir("/")
    assert found == trained


def test_a_folder_that_was_renamed_is_told(trained: hmf.Run, tmp_path: Path) -> None:
    renamed = hmf.load(shutil.copytree(trained.folder, tmp_path / "mine"))
    for asked in (lambda: renamed.record, renamed.curves):
        with pytest.raises(RecordError, match=r"run: expected a folder named by the run's id, got .*mine"):
            asked()


def test_trust_in_a_single_name(trained: hmf.Run) -> None:
    results = trained.folder.parents[1]
    assert hmf.load(1, results=results, trust="a:b") == hmf.load(1, results=results, trust=["a:b"])


def test_arguments_of_numpy_for_a_class_of_ones_own() -> None:
    arguments: dict[str, Any] = {"episode_limit": np.int64(4)}
    env = hmf.env_layer(partial(Guard, **arguments))
    assert type(env.values["env_args"]["episode_limit"]) is int


REFUSED: list[tuple[Callable[[hmf.Run], Any], str]] = [
    (lambda run: run.evaluate(seed=-1), "seed: expected a whole number of at least 0, got -1."),
    (lambda run: run.evaluate(episodes=1.5), "episodes: expected a whole number of at least 1, got 1.5."),  # type: ignore[arg-type]
    (lambda run: run.video("a.gif", fps=0), "fps: expected a whole number of at least 1, got 0."),
    (lambda run: run.video("a.gif", every=0), "every: expected a whole number of at least 1, got 0."),
    (lambda run: run.video("a.gif", colour="sid"), "--colour: expected one of side, group, attention, got 'sid'."),
    (lambda run: run.evaluate(["lr"]), "overrides: expected a dictionary such as {'lr': 0.001}, got list."),  # type: ignore[arg-type]
    (lambda run: hmf.train("iql", "bar", None), "overrides: expected a dictionary such as"),  # type: ignore[arg-type]
    (lambda run: run.resume([1]), "overrides: expected a dictionary such as"),  # type: ignore[arg-type]
    (
        lambda run: hmf.train("iql", "bar", {"lr": object()}),
        "overrides: lr expects numbers, texts, or lists",
    ),
]


@pytest.mark.parametrize(("command", "message"), REFUSED)
def test_what_cannot_be_run_is_refused(command: Callable[[hmf.Run], Any], message: str, trained: hmf.Run) -> None:
    with pytest.raises(InputError) as refused:
        command(trained)
    assert str(refused.value).startswith(message)


def test_runs_of_two_folders_and_metrics_nobody_logged_are_not_compared(tmp_path: Path) -> None:
    runs = [hmf.train("random", "bar", {**SMALL, "t_max": 1}, results=tmp_path / name) for name in "ab"]
    with pytest.raises(RecordError, match="recorded in one folder, got 2 folders"):
        hmf.compare(runs)
    with pytest.raises(RecordError, match=r"no metric 'test_return_men'\. Did you mean 'test_return_mean'"):
        hmf.compare(runs[:1], "test_return_men")


def test_another_thread_is_refused(tmp_path: Path) -> None:
    said: list[str] = []

    def train() -> None:
        try:
            hmf.train("random", "bar", SMALL, results=tmp_path)
        except InputError as error:
            said.append(str(error))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert said == ["train: expected the main thread, which gets Ctrl-C, got another. Train in a process instead."]
    assert [*tmp_path.iterdir()] == []
