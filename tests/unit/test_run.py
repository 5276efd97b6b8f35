"""The training loop: stopping and resuming, what is kept on disk, and what the interval of logging may not change."""

from __future__ import annotations

import itertools
import json
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.factory import config_for
from tests.support.paths import SRC
from tests.support.record import Points
from tests.support.small_runs import run as run_main
from tests.support.training import BAR, QUICK, trainer_for

import build
import evaluate
import main
import runs
from assembly.parts import make_regime
from records import checkpoint
from records.files import LOCK
from records.store import FileStore, utc_now
from run import Trainer
from runners.vector_runner import VectorRunner
from utils.cli import FAILED, INTERRUPTED
from utils.errors import InputError
from utils.lock import Lock
from utils.signals import Stopped, StopRequest

CPU = torch.device("cpu")


def resume_file(trainer: Trainer) -> Path:
    return trainer.saver.folder / checkpoint.RESUME


def stop_in_evaluation(trainer: Trainer, number: int) -> None:
    """Ask to stop when the evaluation of that number begins."""
    play, count = trainer.system.test_runner.play, itertools.count()

    def stopped(seed: int, n_episodes: int, stop: Callable[[], bool]) -> bool:
        if next(count) == number:
            trainer.stop.requested = True
        return play(seed, n_episodes, stop)

    trainer.system.test_runner.play = stopped  # type: ignore[method-assign]


def give_returns(trainer: Trainer, returns: list[float]) -> None:
    """Let evaluations find these mean returns."""
    found: Iterator[float] = iter(returns)
    trainer.system.test_runner.evaluate = (  # type: ignore[method-assign]
        lambda seed, n_episodes, stop: {"return_mean": next(found)}
    )


@pytest.mark.parametrize("number", range(8))  # at 0, 20 and 40 steps, and when 60 are done: averaged, then online
@pytest.mark.parametrize("algorithm", ["iql", "hmf_ipc"])
def test_an_evaluation_that_was_interrupted_is_made_up_for(algorithm: str, number: int, tmp_path: Path) -> None:
    whole, expected = trainer_for(tmp_path / "whole", algorithm)
    whole.train()
    first, points = trainer_for(tmp_path / "first", algorithm)
    stop_in_evaluation(first, number)
    with pytest.raises(Stopped):
        first.train()
    assert first.counters.t_env == 20 * (number // 2)
    second, rest = trainer_for(tmp_path / "second", algorithm)
    second.resume(first.saver.folder, checkpoint.load(resume_file(first), CPU))
    second.train()
    assert points + rest == expected


def test_metrics_that_the_last_evaluation_kept_from_being_written_are_made_up_for(tmp_path: Path) -> None:
    whole, expected = trainer_for(tmp_path / "whole", "iql", log_interval=40)
    whole.train()
    first, points = trainer_for(tmp_path / "first", "iql", log_interval=40)
    stop_in_evaluation(first, 6)
    with pytest.raises(Stopped):
        first.train()
    second, rest = trainer_for(tmp_path / "second", "iql", log_interval=40)
    second.resume(first.saver.folder, checkpoint.load(resume_file(first), CPU))
    second.train()
    assert points + rest == expected
    assert {t_env for name, _, t_env in expected if name == "loss"} == {40, 60}


def test_how_often_metrics_are_written_does_not_change_what_is_learned(tmp_path: Path) -> None:
    often, _ = trainer_for(tmp_path, "hmf", log_interval=4, save_model=False)
    seldom, _ = trainer_for(tmp_path, "hmf", log_interval=50, save_model=False)
    for trainer in (often, seldom):
        trainer.train()
    for one, other in zip(often.system.learner.parameters, seldom.system.learner.parameters, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("keep", "kept"), [("never", False), ("running", False), ("always", True)])
def test_what_a_completed_run_leaves_behind(keep: str, kept: bool, tmp_path: Path) -> None:
    assert run_main(tmp_path, "iql", "bar", save_replay=keep, save_model_interval=8) == 0
    assert (tmp_path / "sacred" / "1" / "checkpoints" / checkpoint.RESUME).exists() == kept


@pytest.mark.parametrize(("keep", "times"), [("never", 0), ("running", 2), ("always", 3)])
def test_the_replay_is_not_written_just_to_be_removed(
    keep: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = trainer_for(tmp_path, save_replay=keep, save_model_interval=20)
    written: list[str] = []
    save = checkpoint.save

    def counted(path: Path, state: dict[str, Any]) -> None:
        written.append(path.name)
        save(path, state)

    monkeypatch.setattr(checkpoint, "save", counted)
    trainer.train()
    assert written.count(checkpoint.RESUME) == times


def test_nothing_is_saved_where_nothing_is_wanted(tmp_path: Path) -> None:
    trainer, _ = trainer_for(tmp_path, save_model=False, save_replay="never", save_model_interval=20)
    trainer.train()
    assert list(tmp_path.iterdir()) == []


def test_the_best_checkpoint_stays_beside_the_newest(tmp_path: Path) -> None:
    """Evaluations at 0, 20, 40 and 60 steps."""
    trainer, _ = trainer_for(tmp_path, keep_checkpoints=1, save_model_interval=20, average_decay=0.0)
    give_returns(trainer, [-3.0, 1.0, 0.5, 0.9])
    trainer.train()
    assert checkpoint.steps(trainer.saver.folder) == [20, 60]
    assert json.loads((trainer.saver.folder / checkpoint.BEST).read_text()) == {"step": 20, "test_return_mean": 1.0}


def test_a_resumed_run_knows_the_best_of_its_past(tmp_path: Path) -> None:
    first, _ = trainer_for(tmp_path / "first", save_replay="always", t_max=40, average_decay=0.0)
    give_returns(first, [0.0, 5.0, 1.0])
    first.train()
    second, _ = trainer_for(tmp_path / "second", keep_checkpoints=1, average_decay=0.0)
    second.resume(first.saver.folder, checkpoint.load(resume_file(first), CPU))
    give_returns(second, [2.0, 3.0])
    second.train()
    assert checkpoint.best_step(second.saver.folder) == 20
    assert checkpoint.steps(second.saver.folder) == [20, 60]


def test_the_result_is_the_last_evaluation(tmp_path: Path) -> None:
    trainer, points = trainer_for(tmp_path)
    result = trainer.train()
    assert ("test_return_mean", result, 60) in points


def test_signals_are_a_request_and_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def started(folder: Path) -> subprocess.Popen[str]:
    """A real run of main.py that would take hours, which has logged its first metrics."""
    words = [f"env_args.{key}={value}" for key, value in BAR.items()]
    words += [
        "regime=replay",
        "t_max=100000000",
        "hidden_dims=[8]",
        "learning_starts=16",
        "batch_size=8",
        "log_interval=100",
    ]
    words += ["buffer_size=400", "test_nepisode=2", f"local_results_path={folder}"]
    process = subprocess.Popen(
        [sys.executable, SRC / "main.py", "--config=iql", "--env-config=bar", "with", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if " updates " in line and " 0 updates" not in line:
            return process
    raise AssertionError(f"main.py ended before it learned, exit code {process.wait()}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_process_is_recorded_and_continues(
    number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path = tmp_path / "of two words"
    process = started(tmp_path)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED == 130
    run_dir = tmp_path / "sacred" / "1"
    assert f"interrupted; continue with: python src/main.py {shlex.quote(f'--resume={run_dir}')}" in output
    assert json.loads((run_dir / "run.json").read_text())["status"] == "INTERRUPTED"
    saved = checkpoint.load(run_dir / "checkpoints" / checkpoint.RESUME, torch.device("cpu"))
    t_env = saved["counters"]["t_env"]
    assert main.main([f"--resume={run_dir}", "with", f"t_max={t_env + 100}"]) == 0
    assert f"resumed from run 1 at step {t_env:,}" in capsys.readouterr().out
    assert json.loads((tmp_path / "sacred" / "2" / "run.json").read_text())["status"] == "COMPLETED"


def test_a_run_that_saves_nothing_does_not_promise_to_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "learn", lambda trainer: signal.raise_signal(signal.SIGTERM))
    assert run_main(tmp_path, "iql", "bar", save_replay="never") == INTERRUPTED
    assert "interrupted; nothing was saved to continue from." in capsys.readouterr().out


def test_an_evaluation_that_is_stopped_is_recorded_as_interrupted(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = VectorRunner.advance

    def stopped_at_the_first_step(runner: VectorRunner, *args: Any, **kwargs: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return advance(runner, *args, **kwargs)

    monkeypatch.setattr(VectorRunner, "advance", stopped_at_the_first_step)
    loaded = {"evaluate": True, "checkpoint_path": str(finished / "checkpoints")}
    assert run_main(tmp_path, "iql", "bar", **loaded) == INTERRUPTED
    assert json.loads((tmp_path / "sacred" / "1" / "run.json").read_text())["status"] == "INTERRUPTED"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a completed run that can be resumed."""
    folder = tmp_path_factory.mktemp("finished")
    assert run_main(folder, "iql", "bar", save_replay="always") == 0
    return folder / "sacred" / "1"


def refused(capsys: pytest.CaptureFixture[str], resume: Path | str, *words: str) -> str:
    """What ``--resume`` says, having written nothing."""
    folder = Path(resume).parent
    before = sorted(folder.iterdir()) if folder.is_dir() else None
    assert main.main([f"--resume={resume}", "with", *words]) == 2
    assert before is None or sorted(folder.iterdir()) == before
    return capsys.readouterr().err


def test_resuming_what_is_running(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = Lock.take(finished / LOCK)
    assert lock is not None
    found = refused(capsys, finished, "t_max=100")
    assert "--resume: run 1 is running: what would continue it would be a second one. Stop it first, or wait" in found
    lock.release()


def test_resuming_what_may_be_running_elsewhere(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On another machine, whose lock is not seen here: its heartbeat alone tells."""
    there = shutil.copytree(finished, tmp_path / "sacred/1")
    entry = json.loads((there / "run.json").read_text())
    started = {"status": "RUNNING", "heartbeat": utc_now().isoformat(), "stop_time": None}
    (there / "run.json").write_text(json.dumps(entry | started))
    assert main.main([f"--resume={there}", "with", "t_max=80"]) == 0
    assert "note: run 1 may still be running, its last sign of life is of " in capsys.readouterr().out


def test_resuming_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(capsys, "7", f"local_results_path={tmp_path}")
    assert f"--resume: expected a run, there is none in {tmp_path}/sacred/7. `python src/runs.py ls` lists" in found
    (tmp_path / "sacred" / "7").mkdir(parents=True)
    found = refused(capsys, "7", f"local_results_path={tmp_path}")
    assert f"--resume: expected {tmp_path}/sacred/7/checkpoints/resume.pt, it does not exist. A run that" in found


def copied(run_dir: Path, folder: Path) -> Path:
    """A copy of a run to spoil."""
    return shutil.copytree(run_dir, folder / "1")


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_resuming_a_torn_state(
    content: bytes, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = copied(finished, tmp_path)
    path = run_dir / "checkpoints" / checkpoint.RESUME
    path.write_bytes(content)
    checkpoint.digest_file(path).unlink()  # as in a folder of an earlier version
    message = refused(capsys, run_dir)
    assert f"checkpoint: {path} cannot be read" in message
    assert f"start a new run with checkpoint_path={path.parent}." in message


def test_a_run_resumed_elsewhere_is_joined_with_no_stranger(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run 1 of another folder continues as run 1 of a new one, then beside another run 1; both are shown alone."""
    source, new = copied(finished, tmp_path / "elsewhere"), tmp_path / "new"
    for _ in range(2):
        assert main.main([f"--resume={source}", "with", f"local_results_path={new}", "t_max=48"]) == 0
    assert f"note: that run is in {source.parent}" in capsys.readouterr().out
    folder = f"--results={new}"
    assert runs.main(["ls", folder, "--metric=test_return_mean"]) == 0
    assert runs.main(["show", "1", "2", folder]) == 0
    assert runs.main(["plot", "1", "2", folder, f"--output={tmp_path / 'a.png'}"]) == 0
    for run_id in (1, 2):
        first = next(iter(FileStore(new / "sacred").metrics(run_id)["test_return_mean"].steps))
        assert first >= 24


def flipped(path: Path, bit: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("name", [checkpoint.RESUME, f"{checkpoint.RESUME}.sha256"])
def test_resuming_a_state_with_one_wrong_bit(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied(finished, tmp_path) / "checkpoints" / name
    for bit in random.Random(0).sample(range(8 * path.stat().st_size), 5):
        flipped(path, bit)
        message = refused(capsys, path.parents[1])
        assert f"expected {path.parent / checkpoint.RESUME} as it was saved, its SHA-256 digest is not" in message
        assert f"start a new run with checkpoint_path={path.parent}." in message
        flipped(path, bit)
    assert main.main([f"--resume={path.parents[1]}", "with", f"local_results_path={tmp_path}", "t_max=48"]) == 0


def test_loading_networks_with_one_wrong_bit(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = copied(finished, tmp_path)
    step = checkpoint.step_folder(run_dir / "checkpoints", 0)
    for name in (checkpoint.LEARNER, checkpoint.POLICY):
        flipped(step / name, 2000)
    assert run_main(tmp_path / "results", "iql", "bar", checkpoint_path=str(step.parent)) == 2
    assert f"expected {step / checkpoint.LEARNER} as it was saved" in capsys.readouterr().err
    assert evaluate.main([f"--run={run_dir}", "--step=newest", "--episodes=2"]) == 2
    assert f"expected {step / checkpoint.POLICY} as it was saved" in capsys.readouterr().err


def resumable(finished: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of a run, and the state that it can be resumed from."""
    run_dir = copied(finished, tmp_path)
    return run_dir, checkpoint.load(run_dir / "checkpoints" / checkpoint.RESUME, CPU)


def resumed(run_dir: Path, state: dict[str, Any], tmp_path: Path) -> int:
    """Exit code of the run continued from a changed ``state``, whose digest fits."""
    checkpoint.save(run_dir / "checkpoints" / checkpoint.RESUME, state)
    return main.main([f"--resume={run_dir}", "with", f"local_results_path={tmp_path / 'results'}", "t_max=60"])


@pytest.mark.parametrize(("name", "value"), [("n_updates", -(10**12)), ("t_env", -(10**12)), ("tested", 10**12)])
def test_resuming_with_a_count_that_no_run_can_have(
    name: str, value: int, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a file of an earlier version, which has no digest."""
    run_dir, state = resumable(finished, tmp_path)
    state["learner" if name == "n_updates" else "counters"][name] = value
    assert resumed(run_dir, state, tmp_path) == FAILED
    assert f"does not fit the run's config.json (ValueError: {name} = {value} cannot be at t_env" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("best", torch.zeros(3)), ("t_env", torch.zeros(1))],
)
def test_resuming_with_a_counter_of_another_kind(
    name: str, value: object, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, state = resumable(finished, tmp_path)
    state["counters"][name] = value
    assert resumed(run_dir, state, tmp_path) == FAILED
    assert re.search(
        rf"does not fit the run's config.json \(ValueError: {name}[^:]*: expected", capsys.readouterr().err
    )


@pytest.mark.parametrize("spoil", [torch.Tensor.tolist, torch.Tensor.flatten, torch.Tensor.double])
def test_resuming_with_totals_that_are_none(
    spoil: Callable[[torch.Tensor], object], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, state = resumable(finished, tmp_path)
    state["runner"]["stats"]["returns"] = spoil(state["runner"]["stats"]["returns"])
    assert resumed(run_dir, state, tmp_path) == FAILED
    assert (
        "does not fit the run's config.json (ValueError: stats.returns: expected torch.float" in capsys.readouterr().err
    )


@pytest.mark.parametrize("wrong", [[], {}, None, 0.5, 10**30, "text", torch.zeros(0)], ids=repr)
@pytest.mark.parametrize(
    "place", ["replay/done", "replay/arrays", "replay/arrays/reward", "runner/env", "runner/row", "learner/mac"]
)
def test_resuming_with_a_part_of_another_kind(
    place: str, wrong: object, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, state = resumable(finished, tmp_path)
    part, *path_in_part, name = place.split("/")
    reduce(dict.__getitem__, path_in_part, state[part])[name] = wrong
    assert resumed(run_dir, state, tmp_path) == FAILED
    assert re.search(r"^error: .*(does not fit the run's config.json|the checkpoint has)", capsys.readouterr().err)


def test_resuming_with_another_configuration(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line; the state says only when it is loaded that it does not fit."""
    run_dir = copied(finished, tmp_path)
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**config, "hidden_dims": [12]}))
    assert main.main([f"--resume={run_dir}", f"--results={tmp_path / 'results'}", "with", "t_max=48"]) == FAILED
    assert (
        f"error: --resume: {run_dir}/checkpoints/resume.pt does not fit the run's config.json ("
        in capsys.readouterr().err
    )


def test_resuming_needs_no_networks_but_its_own(finished: Path, tmp_path: Path) -> None:
    """The folder that the first run started from may be gone."""
    run_dir = copied(finished, tmp_path)
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**config, "checkpoint_path": str(tmp_path / "gone")}))
    words = [f"--results={tmp_path / 'results'}", "with", f"t_max={config['t_max'] + 8}"]
    assert main.main([f"--resume={run_dir}", *words]) == 0


def test_learning_that_diverged_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(tmp_path, "iql", "bar", lr=1e30, log_interval=8, train_interval=2) == FAILED
    assert "error: learning diverged: expected a finite loss, got " in capsys.readouterr().err
    assert json.loads((tmp_path / "sacred" / "1" / "run.json").read_text())["status"] == "FAILED"


def test_a_results_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run_main(tmp_path / "file", "iql", "bar") == 2
    expected = f"error: results folder: cannot write in {tmp_path / 'file' / 'sacred'} (Not a directory). Correct"
    assert expected in capsys.readouterr().err


def test_a_run_outlives_its_reader(tmp_path: Path) -> None:
    """`main.py ... | head`, or a tee that Ctrl-C ended before it."""
    process = started(tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    time.sleep(1.0)  # lines go into nothing meanwhile
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == INTERRUPTED
    assert json.loads((tmp_path / "sacred" / "1" / "run.json").read_text())["status"] == "INTERRUPTED"


def test_resuming_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "backup").mkdir()
    assert "expected a run's id, or its folder, named by the id, got" in refused(capsys, tmp_path / "backup")


@pytest.mark.parametrize("word", ["lr=0.1", "env_args.capacity=2", "seed=3"])
def test_resuming_another_experiment(word: str, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = word.split("=")[0].split(".")[0]
    assert f"command line: {key} cannot change when a run is resumed (allowed: t_max, " in refused(
        capsys, finished, word
    )


def test_resuming_with_a_value_of_the_wrong_kind(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "t_max expects int, got 'soon'" in refused(capsys, finished, "t_max=soon")
    assert "command line: t_max expects at least 1, got 0" in refused(capsys, finished, "t_max=0")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("t_max", "recorded configuration: the key 't_max' has no value (made by version before 0.2.0, this is "),
        ("double_q", "QLearner needs the key 'double_q', which this configuration lacks."),
    ],
)
def test_resuming_a_run_of_another_version(
    key: str, message: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "1"
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "checkpoints" / checkpoint.RESUME).write_bytes(b"")
    config = json.loads((finished / "config.json").read_text())
    del config[key]
    (run_dir / "config.json").write_text(json.dumps(config))
    assert message in refused(capsys, run_dir)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"evaluate": True}, "evaluate=true plays loaded networks. Set checkpoint_path as well."),
        ({"load_step": 500}, "load_step is a step under checkpoint_path, which is empty. Set that as well."),
        ({"learning_starts": 5}, "learning_starts = 5 is less than batch_size = 8"),
        ({"batch_size_run": 9}, r"first update needs 1 transitions of each of batch_size_run = 9 .* at least 9\."),
        (
            {"agent": "rnn", "rnn_hidden_dim": 8, "burn_in": 2, "sequence_length": 6},
            r"learning_starts = 8, but the first update needs 6 transitions of each .* at least 12\.",
        ),
    ],
)
def test_refused_before_a_run_begins(overrides: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        trainer_for(tmp_path, **overrides)


@pytest.mark.parametrize("environment", ["bar", "matrix_game"])
def test_the_first_sequences_are_there_when_the_first_update_wants_them(environment: str, tmp_path: Path) -> None:
    """The smallest learning_starts that is let through."""
    keys = {"agent": "rnn", "rnn_hidden_dim": 8, "burn_in": 2, "sequence_length": 6, "learning_starts": 12}
    env_args = BAR if environment == "bar" else {"episode_limit": 1}
    config = config_for("iql", environment, **{**QUICK, **keys, "train_interval": 1, "env_args": env_args, "t_max": 20})
    system = build.build(config)
    Trainer(system, Points(tmp_path), StopRequest()).train()
    assert system.learner.n_updates == 8


@pytest.mark.parametrize(
    ("environment", "limit"), [("spread", 5), ("hawk_dove", 1), ("hawk_dove", 2), ("hawk_dove", 3)]
)
def test_the_first_rollout_is_complete_when_the_check_of_its_steps_says_so(
    environment: str, limit: int, tmp_path: Path
) -> None:
    """An episode's last row makes no step."""
    keys = {"regime": "rollout", "rollout_length": 8, "minibatches": 1, "epochs": 1, "batch_size_run": 2}
    config = config_for("iql", environment, **keys, env_args={"n_agents": 4, "episode_limit": limit}, test_nepisode=2)
    first = make_regime(config).first_update(2, limit)
    with pytest.raises(InputError, match=rf"the first update comes at step {first} of regime=rollout"):
        build.build(replace(config, t_max=first - 1))
    system = build.build(replace(config, t_max=first))
    Trainer(system, Points(tmp_path), StopRequest()).train()
    assert system.learner.n_updates == 1


class Clock:
    """A CPU clock that goes on by 1 for every environment step of training and by 100 for every evaluation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 7.0
        monkeypatch.setattr(time, "process_time", lambda: self.seconds)
        collect, evaluate = VectorRunner.collect, VectorRunner.evaluate

        def collected(runner: VectorRunner, *args: Any) -> int:
            made = collect(runner, *args)
            self.seconds += made
            return made

        def evaluated(runner: VectorRunner, *args: Any) -> dict[str, float]:
            self.seconds += 100
            return evaluate(runner, *args)

        monkeypatch.setattr(VectorRunner, "collect", collected)
        monkeypatch.setattr(VectorRunner, "evaluate", evaluated)


def test_a_second_interrupt_waits_for_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C twice at one moment of training, and once more amid the save."""
    learn, save = Trainer.learn, checkpoint.save

    def interrupted(trainer: Trainer) -> None:
        learn(trainer)
        if trainer.counters.t_env == 32:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    def interrupted_save(path: Path, state: dict[str, Any]) -> None:
        signal.raise_signal(signal.SIGINT)
        save(path, state)

    monkeypatch.setattr(Trainer, "learn", interrupted)
    monkeypatch.setattr(checkpoint, "save", interrupted_save)
    assert run_main(tmp_path, "iql", "bar", t_max=40, save_model=False) == 130
    said = capfd.readouterr().out.splitlines()
    assert [line for line in said if "saving" in line] == ["stopping: saving ...", *["still saving ..."] * 2]
    assert FileStore(tmp_path / "sacred").get(1).status == "INTERRUPTED"
    state = checkpoint.load(tmp_path / "sacred" / "1" / "checkpoints" / checkpoint.RESUME, CPU)
    assert state["counters"]["t_env"] == 32


def test_cpu_seconds_of_training_are_recorded_also_of_an_interrupted_run_and_its_continuation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations at 0, 20 and 40; the first run stops at 32 and saves."""
    Clock(monkeypatch)
    learn = Trainer.learn

    def stopped_at_32(trainer: Trainer) -> None:
        learn(trainer)
        trainer.stop.requested |= trainer.counters.t_env == 32

    monkeypatch.setattr(Trainer, "learn", stopped_at_32)
    assert run_main(tmp_path, "iql", "bar", t_max=40, test_interval=20) == 130
    assert main.main(["--resume=1", "with", f"local_results_path={tmp_path}"]) == 0
    store = FileStore(tmp_path / "sacred")
    first, second = store.list()
    assert store.cpu_seconds(first) == {0: 0, 20: 20, 32: 32}
    assert second.info["cpu_seconds"][-1] == [40, 8]
    assert store.cpu_seconds(second) == {0: 0, 20: 20, 32: 32, 40: 40}
