"""What a run of main.py says, and how it ends when a part of it raises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.support import small_runs
from tests.support.guard import Guard
from tests.support.paths import SRC
from torch import Tensor

import build
import main
from assembly import parts
from assembly.registries import REGISTRIES
from components.grouping import GroupingInput, RandomGrouping
from config.loader import available, layers
from config.resolve import make_config, with_run_keys
from config.schema import ConfigError
from envs.base import Env
from envs.torch_env import State
from utils.cli import INTERRUPTED

EARLY = ("main.parse_command_line", "request.Request.read", "launch.preview", "launch.prepared")
BROKEN = """
from learners.base import LearningError
from learners.q_learner import QLearner

class Broken(QLearner):
    def predict(self, batch, t_env):
        raise {error}
"""
SMALL = "regime=replay t_max=40 batch_size=8 learning_starts=8 buffer_size=100 test_nepisode=2"


class FlatReward(Guard):
    """Adds the agents' rewards up."""

    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        new, reward, terminated = super()._play(state, action)
        return new, reward.sum(dim=1), terminated


class Forgetful(Guard):
    """Forgets who is alive."""

    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        return {}, *super()._play(state, action)[1:]


class BareLabels(RandomGrouping):
    """Returns labels that nothing holds."""

    def assign(self, features: GroupingInput, generator: torch.Generator) -> Any:
        return super().assign(features, generator).group


def run_with_broken_learner(error: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``main.py`` in a process of its own, with a learner that raises ``error``; it records in ``folder``."""
    (folder / "broken.py").write_text(BROKEN.format(error=error))
    words = [*SMALL.split(), "learner=broken:Broken", f"local_results_path={folder}"]
    return subprocess.run(
        [sys.executable, SRC / "main.py", "--config=iql", "--env-config=bar", "with", *words],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "last_line", "traceback"),
    [
        ("ValueError('shapes differ')", "ValueError: shapes differ", True),
        ("LearningError('lr: expected less.')", "error: lr: expected less.", False),
    ],
)
def test_a_mistake_in_the_code_shows_its_traceback_and_what_a_person_can_mend_one_line(
    error: str, last_line: str, traceback: bool, tmp_path: Path
) -> None:
    done = run_with_broken_learner(error, tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == last_line
    assert ("Traceback (most recent call last)" in done.stderr and "broken.py" in done.stderr) == traceback
    entry = json.loads((tmp_path / "sacred" / "1" / "run.json").read_text())
    assert entry["status"] == "FAILED"
    assert entry["fail_trace"]


def test_print_config_shows_every_value_and_where_it_is_set_and_can_be_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config=hmf", "--env-config=bar", "with", "lr=1e-3", "env_args.capacity=30", "regime=rollout"]
    assert main.main(["print_config", *words]) == 0
    printed = capsys.readouterr().out
    lines = {line.partition(":")[0].strip(): line.split("  # ")[-1] for line in printed.splitlines()}
    where = ["command line", "command line", "src/config/algs/hmf.yaml", "src/config/envs/bar.yaml"]
    assert [lines[key] for key in ("lr", "capacity", "mixer", "gamma")] == where
    assert lines["lr_finish"] == lines["threads"] == "src/config/default.yaml"
    (tmp_path / "mine.yaml").write_text(printed)
    copies = [layers("hmf", "bar", words[3:]), layers(str(tmp_path / "mine.yaml"), "bar", [])]
    assert make_config(copies[0], REGISTRIES)[0] == make_config(copies[1], REGISTRIES)[0]


def test_a_printed_configuration_needs_no_file_of_the_enemies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own algorithm may be a file that is not there any more; another one beside all that it had is refused."""
    monkeypatch.chdir(tmp_path)
    Path("theirs.yaml").write_text("base: mfq\nlr: 0.002\n")
    words = ["env_args.opponent=learner", "opponent_config=theirs.yaml", "n_groups=3"]
    config, _ = make_config(layers("iql", "battle", words), REGISTRIES)
    assert main.main(["print_config", "--config=iql", "--env-config=battle", "with", *words]) == 0
    Path("mine.yaml").write_text(capsys.readouterr().out)
    Path("theirs.yaml").unlink()
    assert make_config(layers("mine.yaml", "battle", []), REGISTRIES)[0] == config
    assert list(config.opponent_args)[:3] == ["name", "agent", "mac"], "the same order in every process"
    assert (config.opponent_args["lr"], config.args["lr"]) == (0.002, 0.0005)
    with pytest.raises(ConfigError, match="opponent_config = iql, but opponent_args hold all of theirs"):
        make_config(layers("mine.yaml", "battle", ["opponent_config=iql"]), REGISTRIES)


def test_what_learners_and_enemies_never_read_is_said_once() -> None:
    words = ["env_args.opponent=learner", "n_groups=3"]
    _, notes = make_config(layers("iql", "battle", words), REGISTRIES)
    assert notes == ["note: command line sets n_groups, which iql never reads."]


def test_a_longer_run_says_that_the_enemies_learning_rate_falls_further() -> None:
    words = ["env_args.opponent=learner", "lr_finish=1", "opponent_args.lr_finish=0.5"]
    config, _ = make_config(layers("iql", "battle", words), REGISTRIES)
    _, (note,) = with_run_keys(config, {"t_max": 2 * config.t_max})
    assert note.startswith("note: from here on the enemies' learning rate falls until the new t_max, 80,000, to lr_f")


def test_a_dry_run_builds_everything_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = small_runs.command(tmp_path, "iql", "bar")
    assert main.main(["--dry-run", *words]) == 0
    said = capsys.readouterr().out
    assert "iql on bar: 6 agents, 2 actions" in said
    assert "nothing was started or written; it would be 24 steps (no recorded run tells how long that takes)" in said
    assert not list(tmp_path.iterdir())
    assert main.main(words) == 0
    capsys.readouterr()
    assert main.main(["--dry-run", *words]) == 0
    assert "it would be 24 steps (about 0:00:0" in capsys.readouterr().out
    assert main.main(["--dry-run", "--resume=1", "with", f"local_results_path={tmp_path}"]) == 2
    refusal = capsys.readouterr().err
    assert "run 1 is complete, and its state to go on from was removed. --resume: expected" in refusal
    assert "needs save_replay=always from its start to be trained further" in refusal
    assert main.main(["--dry-run", "--resume=1", "with", "local_results_path=2026"]) == 2  # a number, says YAML
    refusal = capsys.readouterr().err
    assert refusal.startswith("error: ")
    assert "2026" in refusal
    assert len(list((tmp_path / "sacred").glob("*/run.json"))) == 1


def test_a_dry_run_tells_what_is_left_of_a_resumed_run_and_of_an_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = small_runs.command(tmp_path, "iql", "bar")
    assert main.main([*words, "save_replay=always"]) == 0
    capsys.readouterr()
    assert main.main(["--resume=1", "--dry-run", f"--results={tmp_path}", "with", "t_max=100"]) == 0
    assert "it would be 76 steps from step 24 of run 1 on (about 0:00:0" in capsys.readouterr().out
    evaluated = ["evaluate=true", f"checkpoint_path={tmp_path}/sacred/1/checkpoints"]
    assert main.main(["--dry-run", *words, *evaluated]) == 0
    assert "it would be 2 episodes, without training, recorded in" in capsys.readouterr().out


def test_a_dry_run_refuses_a_place_where_nothing_can_be_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert main.main(["--dry-run", *small_runs.command(file, "iql", "bar")]) == 2
    assert f"cannot write in {file}/sacred (Not a directory). Correct --results" in capsys.readouterr().err


def test_a_dry_run_refuses_a_copy_that_could_not_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = small_runs.command(tmp_path, "iql", "bar")
    assert main.main(["--dry-run", "--mongo-url=nonsense", *words]) == 2
    assert "MongoDB URL: expected mongodb://host:27017/database" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_print_config_notes_what_is_never_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["print_config", "--config=iql", "--env-config=bar", "with", "n_groups=3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# note: command line sets n_groups, which iql never reads.\n")
    assert "n_groups" not in yaml.safe_load(said)


def test_help_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main.main(["--help"])
    words = capsys.readouterr().out.replace(",", " ").split()
    assert {*available("algs"), *available("envs")} <= set(words)
    assert main.main([]) == 2
    assert "such as: python src/main.py --config=hmf --env-config=battle. --help" in capsys.readouterr().err


def test_notes_are_part_of_the_output_that_is_recorded(tmp_path: Path) -> None:
    assert small_runs.run(tmp_path, "iql", "bar", gmf_coef=3.0) == 0
    said = (tmp_path / "sacred" / "1" / "cout.txt").read_text()
    assert "note: command line sets gmf_coef, which iql never reads.\n" in said
    assert "replay: " in said


@pytest.fixture
def three_threads() -> Iterator[None]:
    """What a machine of three cores, or its person's OMP_NUM_THREADS, gives torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("given", [{}, {"threads": 2}], ids=["by default", "as given"])
def test_threads_are_those_of_the_configuration_before_anything_computes(
    given: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[int]()

    def watched(make: Callable[..., Env]) -> Callable[..., Env]:
        def made(*arguments: Any, **options: Any) -> Env:
            seen.append(torch.get_num_threads())
            return make(*arguments, **options)

        return made

    for name in ("make_env", "make_test_env"):
        monkeypatch.setattr(build, name, watched(getattr(parts, name)))
    assert small_runs.run(tmp_path, "iql", "bar", **given) == 0
    run_dir, expected = tmp_path / "sacred" / "1", given.get("threads", 1)
    assert seen == [expected, expected]
    assert json.loads((run_dir / "config.json").read_text())["threads"] == expected
    assert json.loads((run_dir / "run.json").read_text())["host"]["torch_threads"] == expected


@pytest.mark.parametrize("text", ["lr: 0.001\n", "base: vdn\n"], ids=["alone", "with a base"])
def test_an_own_algorithm_without_a_name_has_its_files(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    _, *words = small_runs.command(tmp_path, "iql", "bar")
    assert main.main([f"--config={tmp_path / 'mine.yaml'}", *words]) == 0
    assert json.loads((tmp_path / "sacred" / "1" / "config.json").read_text())["name"] == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config=TWICE"], r"mine\.yaml: not valid YAML: expected every key once, got 'lr' twice; .* line 3"),
        (["--config=iql", "--config=vdn"], r"command line: expected --config once, got it 2 times\. Give one\."),
        (["--config=iql", "with", "name=a/b"], r"command line: name expects letters, .* got 'a/b'"),
        (["--config=iql", "with", "name=''"], r"command line: name expects letters, .* got ''"),
        (["--config=iql", "with", "env_args={n_agents: 3, n_agents: 4}"], r"cannot read the value of 'env_args"),
        (
            ["--config=iql", "with", "regime=replay", "t_max=1003", "learning_starts=1000", "train_interval=4"],
            r"t_max = 1003, but the first update comes at step 1004 of regime=replay: \w+ would learn nothing\.",
        ),
        (
            ["--config=iql", "with", "t_max=64", "regime=rollout", "rollout_length=16", "batch_size_run=4"],
            r"t_max = 64, but the first update comes at step 65 of regime=rollout: .* Raise t_max to 65",
        ),
    ],
)
def test_what_would_be_silently_wrong_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("lr: 0.001\nmixer: none\nlr: 0.01\n")
    config, *rest = (word.replace("TWICE", str(tmp_path / "mine.yaml")) for word in words)
    rest += [*([] if "with" in rest else ["with"]), f"local_results_path={tmp_path / 'results'}"]
    assert main.main([config, "--env-config=bar", *rest]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("regime", "t_max"), [({}, 16), ({"regime": "rollout", "rollout_length": 6, "minibatches": 2}, 13), ({}, 1)]
)
def test_the_smallest_run_that_is_let_through_learns_or_says_that_it_does_not(
    regime: dict[str, Any], t_max: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert small_runs.run(tmp_path, "iql", "bar", t_max=t_max, env_args={"episode_limit": 50}, **regime) == 0
    assert ("  0 updates" in capsys.readouterr().out.splitlines()[-2]) == (t_max == 1)


@pytest.mark.parametrize(
    ("algorithm", "words", "message"),
    [
        ("iql", ["env=tests.unit.test_main:FlatReward"], r"guard: expected rewards of shape \(2, 2\) .* got \(2,\)\."),
        ("iql", ["env=tests.unit.test_main:Forgetful"], r"guard: expected _play\(\) to return .* got none for alive\."),
        (
            "hmf",
            ["env=tests.support.guard:Guard", "grouping=tests.unit.test_main:BareLabels"],
            r"grouping=BareLabels: expected assign\(\) to return an Assignment, got a Tensor\.",
        ),
    ],
)
def test_a_new_users_class_that_returns_something_else_is_one_line(
    algorithm: str, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("env_args: {episode_limit: 5}")
    small = [word for word in small_runs.command(tmp_path, algorithm, "bar")[3:] if not word.startswith("env_args.")]
    assert main.main([f"--config={algorithm}", f"--env-config={tmp_path / 'mine.yaml'}", "with", *small, *words]) == 1
    assert re.fullmatch(rf"error: {message}.*\n", capsys.readouterr().err)


def test_a_resumed_run_says_that_evaluations_come_at_other_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"t_max": 40, "test_interval": 20, "save_replay": "always"}
    assert small_runs.run(tmp_path, "iql", "bar", env_args={"episode_limit": 50}, **keys) == 0
    words = ["test_interval=30", "t_max=100", f"local_results_path={tmp_path}"]
    assert main.main(["--resume=1", "with", *words]) == 0
    note = "note: test_interval was 20; from here on evaluations come at multiples of 30 steps."
    assert note in capsys.readouterr().out.splitlines()
    steps = [step for step, _ in small_runs.points(tmp_path, 2)["test_return_mean"]]
    assert steps == [0, 20, 40, 60, 90, 100]


def test_a_run_that_was_continued_already_says_as_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each continuation is a run of its own; those recorded elsewhere, and strangers of this number, are known."""
    assert small_runs.run(tmp_path / "one", "iql", "bar", save_replay="always") == 0
    said = []
    for results in ("one", "one", "two", "two"):
        words = ["with", "t_max=32", f"local_results_path={tmp_path / results}"]
        assert main.main([f"--resume={tmp_path}/one/sacred/1", *words]) == 0
        said.append([line for line in capsys.readouterr().out.splitlines() if "continued already" in line])
    first, here = "note: run 1 was continued already, as run 2 (COMPLETED)", "run 3 (COMPLETED)"
    there = f"run 1 (COMPLETED) in {tmp_path}/two/sacred"
    assert said == [[], [f"{first}."], [f"{first}, {here}."], [f"{first}, {here}, {there}."]]
    run_json = tmp_path / "one/sacred/1/run.json"
    run_json.write_text(run_json.read_text().replace('"start_time": "2', '"start_time": "1'))  # another run 1
    assert main.main(["--resume=1", "--dry-run", f"--results={tmp_path / 'one'}", "with", "t_max=32"]) == 0
    assert "continued already" not in capsys.readouterr().out


def test_a_run_that_stands_at_its_end_is_not_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert small_runs.run(tmp_path, "iql", "bar", save_replay="always") == 0
    for t_max, words in ((24, []), (20, ["t_max=20"])):
        assert main.main(["--resume=1", "with", f"local_results_path={tmp_path}", *words]) == 2
        said = capsys.readouterr().err
        assert re.search(
            rf"expected a t_max above 24, the step at which \S+ stands, got {t_max}\. Nothing is left", said
        )
    assert len(list((tmp_path / "sacred").glob("*/run.json"))) == 1


def test_a_line_of_progress_says_which_evaluation_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is shown again until the next one."""
    assert small_runs.run(tmp_path, "iql", "bar", log_interval=8, test_interval=16) == 0
    tests = dict(small_runs.points(tmp_path, 1)["test_return_mean"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "/24 steps" in line]
    shown = [re.findall(r"^(\d+)/24 steps .*  test (\S+) @(\d+)", line)[0] for line in lines]
    assert [(step, at) for step, _, at in shown] == [("8", "0"), ("16", "0"), ("24", "24")]
    assert [value for _, value, _ in shown] == [f"{tests[int(at)]:.3f}" for _, _, at in shown]


def test_a_run_logs_what_is_left_at_its_end_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that ends before its first line was due, and one whose last line is due at its end."""
    for run_id, interval in enumerate((1000, 8, 24), start=1):
        assert small_runs.run(tmp_path, "iql", "bar", log_interval=interval) == 0
        curves = small_runs.points(tmp_path, run_id)
        for name in ("loss", "return_mean"):
            assert curves[name][-1][0] == 24, name
            assert len({step for step, _ in curves[name]}) == len(curves[name])
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("24/24 steps")]
        assert len(lines) == 1
        test, training = (curves[name][-1][1] for name in ("test_return_mean", "return_mean"))
        assert f"test {test:.3f} @24  return {training:.3f}" in lines[0]


@pytest.mark.parametrize("where", EARLY)
def test_ctrl_c_before_anything_began_is_one_line(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, stop)
    words = [
        "--config=iql",
        "--env-config=bar",
        f"--results={tmp_path}",
        *(["--dry-run"] if "preview" in where else []),
    ]
    assert main.main(words) == INTERRUPTED
    said = capfd.readouterr()
    assert (said.out + said.err).splitlines() == [
        "interrupted" if "preview" in where else "interrupted; nothing was recorded."
    ]
    assert not list(tmp_path.iterdir())
