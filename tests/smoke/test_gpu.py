"""``use_cuda=true``: whole runs on a simulated device as strict as CUDA, and on a CUDA device where there is one.

On the simulated device a run must give the CPU's results bit for bit. On both, no update and no sampling may wait for
the device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.contract.checks import Case, shapes_and_dtypes
from tests.support.factory import config_for, disturb_targets, info_for
from tests.support.record import Points

import build
from assembly import parts
from assembly.registries import REGISTRIES
from components.batch import to_device
from components.replay import Replay
from components.rows import RowSpec
from config.registry import resolve
from config.schema import Config
from modules import sparse
from performance import ceiling
from performance.measure import Measurement, measure
from records import checkpoint
from run import Trainer
from utils.signals import StopRequest

BATTLE = {"n_agents": 6, "n_enemies": 4, "map_size": 20, "opponent": "random", "hp": 5, "episode_limit": 30}
SELF_PLAY = {"opponent": "self_play", "enemy_view_radius": 3, "enemy_speed": 1, "enemy_attack_radius": 1}
SPREAD = {"n_agents": 4}
SHORT = {"n_agents": 4, "episode_limit": 10}
QUICK: dict[str, Any] = {
    **{"t_max": 80, "learning_starts": 24, "train_interval": 4, "test_interval": 40, "test_nepisode": 2},
    **{"log_interval": 40, "save_replay": "always"},
}
CASES: dict[str, dict[str, Any]] = {
    "iql spread": {},
    "iql battle": {},
    "iql battle, conv": {"agent": "conv", "conv_channels": [4]},
    "iql bar": {"env_args": {"n_agents": 6, "capacity": 4}},
    "iql pursuit": {"env_args": SHORT, "test_env_args": SHORT},
    "vdn battle": {},
    "qmix spread": {},
    "maddpg spread": {},
    "mfq battle": {},
    "mfvfd battle": {},
    "hmf spread": {},
    "hmf battle, recurrent self-play": {"agent": "rnn", "env_args": BATTLE | SELF_PLAY},
    "hmf_ipc battle": {},
    "hmf_literal battle": {},
    "hmf_reg spread": {},
}
FLOAT32 = 1e-5  # relative: sums in another order, but products in full precision (TF32 is off by 3e-4)
Guard = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Outcome:
    """What a run leaves."""

    logged: dict[tuple[str, int], float]  # (metric, t_env) -> value
    parameters: list[np.ndarray]


@pytest.fixture(autouse=True)
def _dense_products() -> Iterator[None]:
    """On the CPU as on a device, where observations are no lists."""
    fewest = sparse.MIN_ROWS
    multiply_dense()
    yield
    sparse.MIN_ROWS = fewest


def multiply_dense() -> None:
    """Products with lists round otherwise."""
    sparse.MIN_ROWS = math.inf


def case_config(case: str, **overrides: Any) -> Config:
    """A small run: ``case`` is ALGORITHM ENVIRONMENT, and what else it is about."""
    algorithm, environment = case.split(",")[0].split()
    env_args = {"battle": BATTLE, "spread": SPREAD}.get(environment, {})
    groups = {"n_groups": 2} if algorithm.startswith("hmf") else {}
    return config_for(algorithm, environment, **{**QUICK, **groups, "env_args": env_args, **CASES[case], **overrides})


def play(case: str, folder: Path, nothing_waits: Guard, resume: Path | None = None, **overrides: Any) -> Outcome:
    """Train, from where the run in the folder ``resume`` stopped; ``nothing_waits`` guards sampling and updates."""
    config = case_config(case, **overrides)
    system = build.build(config)
    for owner, method in ((system.rows, "gather"), (system.learner, "train")):
        _guard(owner, method, nothing_waits)
    record = Points(folder)
    trainer = Trainer(system, record, StopRequest())
    if resume:
        folder = resume / "checkpoints"
        trainer.resume(folder, checkpoint.load(folder / checkpoint.RESUME, torch.device("cpu")))
    trainer.train()
    assert system.learner.n_updates > 0
    logged = {(name, step): value for name, value, step in record.points}
    return Outcome(logged, [parameter.detach().cpu().numpy() for parameter in system.learner.parameters])


def _guard(owner: Any, method: str, guard: Guard) -> None:
    """All calls but the first, which loads kernels and what stays on the device."""
    inner, guards = getattr(owner, method), itertools.chain([nullcontext], itertools.repeat(guard))

    def guarded(*args: Any) -> Any:
        with next(guards)():
            return inner(*args)

    setattr(owner, method, guarded)


def assert_same(first: Outcome, second: Outcome) -> None:
    """Bit for bit."""
    assert first.logged.keys() == second.logged.keys()
    assert [name for name, value in first.logged.items() if second.logged[name] != value] == []
    for one, other in zip(first.parameters, second.parameters, strict=True):
        np.testing.assert_array_equal(one, other)


def gradient_difference(case: str) -> float:
    """One update of the same batch and networks on the CPU and with ``use_cuda``.

    Returns the norm of the gradients' difference over that of the CPU's; the losses must differ as little.
    """
    here, there = (build.build(case_config(case, use_cuda=use_cuda)) for use_cuda in (False, True))
    for _ in range(40):
        here.runner.collect(0, here.rows)
    disturb_targets(here.learner)
    there.learner.load_state_dict(here.learner.state_dict())
    batch = here.regime.sample(here.rows, torch.Generator().manual_seed(1))
    losses = [float(system.learner.train(to_device(batch, system.device), 0)["loss"].cpu()) for system in (here, there)]
    assert losses[1] == pytest.approx(losses[0], rel=FLOAT32)
    gradients, others = (
        torch.cat([p.grad.flatten().cpu() for p in system.learner.parameters if p.grad is not None])
        for system in (here, there)
    )
    return float((others - gradients).norm() / gradients.norm())


# ------------------------------------------------------------------------------------------------ the simulated device


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Executor]:
    """The process that has the simulated device."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=multiply_dense) as pool:
        yield pool


def simulated(use: Callable[..., Any], *args: Any) -> Any:
    """``use(*args)`` with the simulated device in CUDA's place."""
    from tests.support import simulated_gpu

    def on_device(device: torch.device) -> Any:
        for module in (parts, build):
            vars(module)["device_of"] = lambda config: device if config.use_cuda else torch.device("cpu")
        return use(*args)

    return simulated_gpu.with_device(on_device)


def play_simulated(case: str, folder: Path, resume: Path | None = None, t_max: int = 80) -> Outcome:
    """`play` where nothing may wait for the simulated device."""
    from tests.support import simulated_gpu

    return play(case, folder, simulated_gpu.nothing_waits, resume, use_cuda=True, t_max=t_max)


@pytest.mark.parametrize("case", CASES)
def test_a_simulated_device_gives_the_cpus_results(case: str, elsewhere: Executor, tmp_path: Path) -> None:
    there = elsewhere.submit(simulated, play_simulated, case, tmp_path / "there")
    here = play(case, tmp_path / "here", nullcontext)
    assert_same(here, there.result())


def test_a_resumed_run_on_a_simulated_device_too(elsewhere: Executor, tmp_path: Path) -> None:
    case = "hmf_ipc battle"
    elsewhere.submit(simulated, play_simulated, case, tmp_path / "half", None, 40).result()
    resumed = elsewhere.submit(simulated, play_simulated, case, tmp_path / "rest", tmp_path / "half").result()
    assert_same(second_half(play(case, tmp_path / "here", nullcontext)), second_half(resumed))


def second_half(outcome: Outcome) -> Outcome:
    """What a run of 80 steps logged after the 40th."""
    return replace(outcome, logged={key: value for key, value in outcome.logged.items() if key[1] > 40})


def test_gradients_on_a_simulated_device_are_the_cpus(elsewhere: Executor) -> None:
    assert elsewhere.submit(simulated, gradient_difference, "hmf_ipc battle").result() == 0


def check_rows(case: str) -> None:
    """The contract's check of devices, with ``use_cuda``."""
    config = case_config(case, use_cuda=True)
    env_class = resolve(REGISTRIES["env"], config.env, "env")
    shapes_and_dtypes(Case(config.env, env_class, dict(config.env_args), parts.device_of(config)))


@pytest.mark.parametrize("case", ["iql battle", "iql spread"])
def test_rows_are_where_the_environment_says(case: str, elsewhere: Executor) -> None:
    """Battle's engine keeps them on the CPU, a batched task on the device that it is given."""
    elsewhere.submit(simulated, check_rows, case).result()


def measure_quickly(values: dict[str, Any]) -> Measurement:
    """`measure`, as short as it can be."""
    ceiling.LARGE = 64, 4096
    return measure(values, "battle", 0.1)


def test_the_benchmark_measures_a_simulated_device(elsewhere: Executor) -> None:
    config = case_config("hmf battle, recurrent self-play", use_cuda=True, agent="mlp")
    row: Measurement = elsewhere.submit(simulated, measure_quickly, config.to_dict()).result()
    assert row.accelerator == "simulated"
    assert row.ceiling_share > 0


REFUSED = {
    "operands elsewhere": "operands on the device and on the CPU",
    "indices there, data here": "what they index is on the CPU",
    "a stream of another device": "random stream",
    "numpy": "numpy",
    "a copy to the CPU that nobody waits for": "before it has arrived",
}
WAITS = ["item", "truth", "copy to the CPU", "copy to the device", "boolean index", "index from the CPU", "nonzero"]


def refusal(what: str, forbid_waiting: bool) -> str:
    """The simulated device's answer; empty if it minds nothing."""
    from tests.support import simulated_gpu

    here = torch.ones(3)
    there = here.to(parts.device_of(case_config("iql spread", use_cuda=True)))
    deeds: dict[str, Callable[[], Any]] = {
        "operands elsewhere": lambda: there + here,
        "indices there, data here": lambda: here[there.long()],
        "a stream of another device": lambda: torch.rand(3, device=there.device, generator=torch.Generator()),
        "numpy": there.numpy,
        "a copy to the CPU that nobody waits for": lambda: there.to("cpu", non_blocking=True),
        "item": lambda: there[0].item(),
        "truth": lambda: bool((there > 0).all()),
        "copy to the CPU": there.cpu,
        "copy to the device": lambda: here.to(there.device),
        "boolean index": lambda: there[there > 0],
        "index from the CPU": lambda: there[torch.tensor([0])],
        "nonzero": there.nonzero,
        "a copy that need not be waited for": lambda: here.to(there.device, non_blocking=True),
        "a number of the CPU": lambda: there * torch.tensor(2.0),
    }
    try:
        with simulated_gpu.nothing_waits() if forbid_waiting else nullcontext():
            deeds[what]()
    except (RuntimeError, TypeError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("what", REFUSED)
def test_the_simulated_device_refuses_what_cuda_refuses(what: str, elsewhere: Executor) -> None:
    """What the tests above rely on."""
    assert REFUSED[what] in elsewhere.submit(simulated, refusal, what, False).result()


@pytest.mark.parametrize("what", WAITS)
def test_the_simulated_device_knows_what_waits(what: str, elsewhere: Executor) -> None:
    assert elsewhere.submit(simulated, refusal, what, False).result() == ""
    assert "waits for the device" in elsewhere.submit(simulated, refusal, what, True).result()


@pytest.mark.parametrize("what", ["a copy that need not be waited for", "a number of the CPU"])
def test_the_simulated_device_minds_nothing_else(what: str, elsewhere: Executor) -> None:
    assert elsewhere.submit(simulated, refusal, what, True).result() == ""


# ------------------------------------------------------------------------------------------------------- a CUDA device

on_cuda = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@contextmanager
def nothing_waits_for_cuda() -> Iterator[None]:
    """An error instead of waiting."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("case", [pytest.param(case, marks=on_cuda) for case in CASES])
def test_cuda_trains_without_waiting(case: str, tmp_path: Path) -> None:
    outcome = play(case, tmp_path, nothing_waits_for_cuda, use_cuda=True)
    assert all(np.isfinite(value) for value in outcome.logged.values())
    assert all(np.isfinite(values).all() for values in outcome.parameters)


@pytest.mark.parametrize("case", [pytest.param(case, marks=on_cuda) for case in CASES if case != "maddpg spread"])
def test_gradients_on_cuda_are_the_cpus(case: str) -> None:
    """Without MADDPG, whose loss draws noise from the device's own stream."""
    assert gradient_difference(case) < FLOAT32


@pytest.mark.parametrize("case", [pytest.param("hmf_ipc battle", marks=on_cuda)])
def test_cuda_resumes(case: str, tmp_path: Path) -> None:
    play(case, tmp_path / "half", nothing_waits_for_cuda, use_cuda=True, t_max=40)
    resumed = play(case, tmp_path / "rest", nothing_waits_for_cuda, tmp_path / "half", use_cuda=True)
    assert max(t_env for _, t_env in resumed.logged) == 80


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_cuda)])
def test_batches_hold_what_was_stored(device: str) -> None:
    """By way of pinned memory when the learner is elsewhere."""
    cpu = torch.device("cpu")
    info = info_for(n_agents=4, n_actions=3)
    replay = Replay(RowSpec(info, 2, cpu, torch.device(device)), 40, torch.Generator().manual_seed(0))
    stored = replay.arrays["obs"]
    stored.copy_(torch.arange(stored.numel()).view_as(stored))
    replay.valid[:-1] = True
    replay.stored = replay.n_rows
    batch = replay.sample(16)
    following = batch.next_obs - batch.obs  # rows are filled with consecutive numbers
    assert (following == stored[0].numel()).all()
    assert batch.obs.device.type == device
