"""One run in two processes: the learning of one with twice the environments; stopped, lost and resumed together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.factory import config_for, info_for, random_batch
from tests.support.nested import differences
from tests.support.several import SIZE, forked, torchrun, workers
from tests.support.small_runs import run

import build
import main
from assembly.parts import make_learner, make_mac
from components.batch import Batch
from learners.base import Learner
from records import checkpoint
from records.store import FileStore
from run import Trainer, Unrecorded
from utils.processes import ALONE, Processes
from utils.signals import StopRequest

INFO = info_for(6, 3)
BATCH = random_batch(INFO, 8, n_groups=2)
ROLLOUT: dict[str, Any] = {"regime": "rollout", "rollout_length": 4, "minibatches": 2, "hidden_dims": [8]}
WAIT_SECONDS = 120
LONG = (
    "--config=iql --env-config=bar with regime=rollout t_max=1000000 test_interval=200 test_nepisode=2 "
    "save_model_interval=100 hidden_dims=[8] env_args.n_agents=6 env_args.capacity=3 env_args.episode_limit=5"
)


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Some of the transitions of a batch."""
    return replace(
        batch, **{part.name: value[rows] for part in fields(batch) if (value := getattr(batch, part.name)) is not None}
    )


def learner_of(algorithm: str, processes: Processes) -> Learner:
    """With the networks of seed 0 and no clipping, so that gradients stay what they were."""
    config = config_for(algorithm, "bar", **ROLLOUT, grad_norm_clip=1e9)
    torch.manual_seed(0)
    return make_learner(config, make_mac(config, INFO), processes)


# ---------------------------------------------------------------------------------------------------- gradients

ALGORITHMS = ["iql", "vdn", "qmix", "mfq", "mfvfd", "hmf", "hmf_agent_credit", "hmf_central", "hmf_reg", "hmf_kl_only"]


def check_gradients() -> None:
    processes = Processes.join()
    for algorithm in ALGORITHMS:
        for cut in (5, 8):  # of 8: the second process has nothing to learn from
            whole, part = learner_of(algorithm, ALONE), learner_of(algorithm, processes)
            expected = whole.train(BATCH, 0)
            found = part.train(rows_of(BATCH, slice(cut) if processes.first else slice(cut, None)), 0)
            for name in ("loss", "grad_norm"):
                torch.testing.assert_close(found[name], expected[name], msg=f"{name} of {algorithm}, {cut} of 8")
            assert float(expected["grad_norm"]) > 0.0
            for mine, theirs in zip(part.parameters, whole.parameters, strict=True):
                torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)
            for name, module in part._modules().items():
                for left, right in zip(module.buffers(), whole._modules()[name].buffers(), strict=True):
                    torch.testing.assert_close(left, right)  # mean policies
    processes.leave()


def test_two_processes_have_the_gradients_of_one_with_both_batches() -> None:
    forked(check_gradients)


# ---------------------------------------------------------------------------------------------------- training


def check_trained(algorithm: str) -> None:
    processes = Processes.join()
    env_args = {"n_agents": 6, "n_enemies": 6, "map_size": 16, "episode_limit": 6, "opponent": "random", "hp": 1}
    keys: dict[str, Any] = {"t_max": 120} | ({"n_groups": 2} if algorithm == "hmf_ipc" else {})
    system = build.build(config_for(algorithm, "battle", **ROLLOUT, **keys, env_args=env_args), processes=processes)
    begun = [parameter.detach().clone() for parameter in system.learner.parameters]
    trainer = Trainer(system, Unrecorded(), StopRequest())
    # `train` ends by parting from the others; here they are compared first.
    while trainer.counters.t_env < 120:
        trainer.counters.t_env += trainer.collect()
        trainer.learn()
        trainer._adopt()
    assert system.learner.n_updates > 8
    networks = {name: module.state_dict() for name, module in system.learner._modules().items()}
    centre = getattr(system.runner.memory.groups, "centre", None)
    first = processes.from_first(lambda: [networks, centre, trainer.counters.t_env, system.learner.n_updates])
    assert differences(first, [networks, centre, trainer.counters.t_env, system.learner.n_updates]) == []
    assert not torch.equal(begun[0], system.learner.parameters[0])
    played = system.rows.arrays["action"]
    assert processes.first or not torch.equal(processes.from_first(lambda: played), played)
    if processes.first:
        processes.from_first(lambda: played)
    processes.leave()


@pytest.mark.parametrize("algorithm", ["iql", "hmf_ipc"])
def test_networks_and_groups_are_the_same_and_games_are_not(algorithm: str) -> None:
    forked(check_trained, algorithm)


def check_updates() -> None:
    """A process whose rows are nearly all junctions makes the updates of the other."""
    processes = Processes.join()
    limit = 1 if processes.first else 50  # every second transition of the first is a junction
    keys = {"t_max": 40, "batch_size_run": 1, "minibatches": 4, "hidden_dims": [8]}
    config = config_for(
        "hmf", "hawk_dove", regime="rollout", rollout_length=4, **keys, env_args={"episode_limit": limit}
    )
    system = build.build(config, processes=processes)
    trainer = Trainer(system, Unrecorded(), StopRequest())
    while trainer.counters.t_env < 40:
        trainer.counters.t_env += trainer.collect()
        trainer.learn()
    updates = processes.total(system.learner.n_updates)[0]
    assert updates == SIZE * system.learner.n_updates > 0
    processes.leave()


def test_a_process_with_nothing_to_learn_from_keeps_up() -> None:
    forked(check_updates)


# ---------------------------------------------------------------------------------------------------- resume

HALF = 80
KEYS: dict[str, Any] = {**ROLLOUT, "lr_finish": 1.0, "save_replay": "always", "test_interval": HALF, "log_interval": 30}


def check_main(folder: Path, algorithm: str, t_max: int, code: int) -> None:
    assert run(folder, algorithm, "battle", t_max=t_max, **KEYS) == code


def check_resumed(folder: Path) -> None:
    assert main.main(["--resume=1", "with", f"t_max={2 * HALF}", f"local_results_path={folder}"]) == 0


def resume_state(run_dir: Path) -> dict[str, Any]:
    return checkpoint.load(run_dir / "checkpoints" / checkpoint.RESUME, torch.device("cpu"))


@pytest.mark.parametrize("algorithm", ["iql", "hmf_ipc"])
def test_half_a_run_continued_is_the_whole_run(
    algorithm: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    forked(check_main, tmp_path / "whole", algorithm, 2 * HALF, 0)
    forked(check_main, tmp_path / "halves", algorithm, HALF, 0)
    forked(check_resumed, tmp_path / "halves")
    whole, halves = tmp_path / "whole" / "sacred" / "1", tmp_path / "halves" / "sacred" / "2"
    assert {path.name for path in (tmp_path / "whole" / "sacred").iterdir()} == {"1"}  # one process records
    assert len(resume_state(whole)["others"]) == SIZE - 1
    assert differences(resume_state(whole), resume_state(halves)) == []
    capfd.readouterr()
    assert main.main([f"--resume={halves}"]) == main.BAD_INPUT
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "expected the number of processes" in error
    assert f"torchrun --nproc-per-node 2 src/main.py --resume={halves}" in error


# ---------------------------------------------------------------------------------------------------- torchrun


def finish(launcher: subprocess.Popen[str]) -> tuple[str, str]:
    output, errors = launcher.communicate(timeout=WAIT_SECONDS)
    return output, errors


@pytest.mark.parametrize(
    ("number", "rank"), [(signal.SIGKILL, 1), (signal.SIGTERM, 1), (signal.SIGINT, None)], ids=["killed", "term", "int"]
)
def test_a_signal_to_one_process_or_torchrun_ends_the_run_resumable(
    number: signal.Signals, rank: int | None, tmp_path: Path
) -> None:
    launcher = torchrun([*LONG.split(), f"local_results_path={tmp_path}"])
    state = tmp_path / "sacred" / "1" / "checkpoints" / checkpoint.RESUME
    deadline = time.monotonic() + WAIT_SECONDS
    while not state.exists():
        assert launcher.poll() is None, finish(launcher)
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    os.kill(launcher.pid if rank is None else workers(launcher)[rank], number)
    output, _ = finish(launcher)
    ended = [line for line in output.splitlines() if line.startswith("interrupted")]
    assert len(ended) == 1, output
    assert ("another process of this run ended" in ended[0]) == (number == signal.SIGKILL)
    assert f"torchrun --nproc-per-node 2 src/main.py --resume={state.parents[1]}" in ended[0]
    assert FileStore(tmp_path / "sacred").get(1).status == "INTERRUPTED"
    assert len(resume_state(state.parents[1])["others"]) == SIZE - 1


def test_a_replay_is_refused(tmp_path: Path) -> None:
    launcher = torchrun(["--config=iql", "--env-config=bar", "with", "regime=replay", f"local_results_path={tmp_path}"])
    output, errors = finish(launcher)
    refused = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert refused == [
        "error: configuration: 2 processes expect regime=rollout, got replay. Set it, or start one process, without "
        "torchrun."
    ]
    assert output == ""
    assert not list(tmp_path.iterdir())
