"""Random accidents of real runs of main.py, and what the project promises for each.

A trial takes an empty folder and a random stream, and returns a word for what happened. It raises AssertionError when
the promise was broken.
"""

from __future__ import annotations

import copy
import functools
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import torch
import yaml
from torch import Tensor

import launch  # noqa: F401  (main imports it late, and each child would)
import main
import runs
import sweep
from config.loader import layers, named_layer
from records import checkpoint, saver
from records.mongo import MongoStore
from records.store import FileStore
from tests.support import full_disk
from tests.support.mongo_server import Embedded
from tests.support.small_runs import command, eventful, points
from utils.cli import BAD_INPUT, FAILED, INTERRUPTED, RECORDING_FAILED

FORK = multiprocessing.get_context("fork")  # children start at once, everything imported
Process = multiprocessing.process.BaseProcess
Points = dict[str, list[tuple[int, float]]]
LONG_SECONDS = 60  # a run of nonsense that lasts longer is asked to stop
IMPOSSIBLY_LONG_SECONDS = 600


class Trial(NamedTuple):
    """One kind of accident."""

    name: str
    promise: str
    happens: Callable[[Path, random.Random], str]


def begun(call: Callable[[], int], log: Path) -> Process:
    """Start ``call`` in a process of its own, which writes to ``log`` and ends with its exit code."""

    def child() -> None:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        raise SystemExit(call())

    process = FORK.Process(target=child)
    process.start()
    return process


def ended(process: Process, seconds: float = IMPOSSIBLY_LONG_SECONDS) -> int:
    """Return the exit code (negative: the signal that killed it) of a process that ends in so many seconds."""
    process.join(seconds)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    assert code is not None, f"it was still running after {seconds} s"
    return code


def main_run(arguments: list[str], log: Path) -> Process:
    """Start main.py with these arguments."""
    return begun(lambda: main.main(arguments), log)


class Whole(NamedTuple):
    """The run that nothing disturbs."""

    folder: Path  # results; its state to resume from is kept
    points: Points
    seconds: float


@functools.cache
def whole() -> Whole:
    """Make it once."""
    folder = Path(tempfile.mkdtemp(prefix="torture_whole_"))
    began = time.monotonic()
    assert ended(main_run(eventful(folder, save_replay="always"), folder / "log")) == 0, (folder / "log").read_text()
    return Whole(folder, points(folder, 1), time.monotonic() - began)


def struck(folder: Path, rng: random.Random, number: signal.Signals) -> str:
    """Send a signal at a random moment, and continue the run."""
    log = folder / "log"
    process = main_run(eventful(folder), log)
    time.sleep(rng.uniform(0.0, whole().seconds))
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, number)
    code = ended(process)
    store = FileStore(folder / "sacred")
    if not (folder / "sacred").exists() or not store.ids():
        return "before the record"
    status = store.get(1).status
    for name, curve in points(folder, 1).items():
        assert curve == whole().points[name][: len(curve)], f"{name} has points that nobody logged"
    if status == "COMPLETED":
        assert points(folder, 1) == whole().points
        return "completed"
    if number == signal.SIGKILL:
        assert (code, status) == (-signal.SIGKILL, "DEAD"), (code, status)
    else:
        assert (code, status) == (INTERRUPTED, "INTERRUPTED"), (code, status)
    if not (folder / "sacred" / "1" / "checkpoints" / checkpoint.RESUME).exists():
        assert number == signal.SIGKILL, "no state to continue from"
        return "before the first state"
    words = [f"--resume={folder / 'sacred' / '1'}", "with", f"local_results_path={folder}"]
    assert ended(main_run(words, log)) == 0, log.read_text()
    assert points(folder, 2) == whole().points, "the curves have holes or other points"
    assert list(folder.rglob("*.tmp")) == []
    return "continued"


def killed(folder: Path, rng: random.Random) -> str:
    """kill -9."""
    return struck(folder, rng, signal.SIGKILL)


def stopped(folder: Path, rng: random.Random) -> str:
    """SIGTERM."""
    return struck(folder, rng, signal.SIGTERM)


def disk_full(folder: Path, rng: random.Random) -> str:
    """Let some writes in a row find no space."""
    first, count, log = rng.randrange(60), rng.randrange(1, 30), folder / "log"

    def with_full_disk() -> int:
        patch = pytest.MonkeyPatch()
        patch.setattr(saver, "RETRY_SECONDS", 0.0)
        full_disk.refuse(patch, range(first, first + count))
        return main.main(eventful(folder))

    code = ended(begun(with_full_disk, log))
    found = points(folder, 1) if (folder / "sacred" / "1" / "run.json").exists() else {}
    assert list(folder.rglob("*.tmp")) == []
    if code in (BAD_INPUT, RECORDING_FAILED):
        assert all(curve == whole().points[name][: len(curve)] for name, curve in found.items())
        assert ("error: " if code == BAD_INPUT else "RECORDING FAILED") in log.read_text()
        return "said, by exit code"
    assert code == 0, log.read_text()
    assert found == whole().points
    return "nothing lost"


def spoiled(folder: Path) -> Path:
    """Copy the finished run, to spoil it."""
    return Path(shutil.copytree(whole().folder / "sacred" / "1", folder / "1"))


def refused(arguments: list[str], log: Path) -> str:
    """Start main.py with nonsense, which may also make sense to it; say which."""
    process = main_run(arguments, log)
    process.join(LONG_SECONDS)
    if process.is_alive():
        process.terminate()
    code = ended(process)
    said = log.read_text()
    assert "Traceback" not in said, said[-2000:]
    assert code in (0, FAILED, BAD_INPUT, INTERRUPTED), f"exit code {code}: {said[-2000:]}"
    assert "error: " in said or code in (0, INTERRUPTED)
    return {0: "ran", INTERRUPTED: "ran until stopped"}.get(code, "refused")


def wrong_bit(folder: Path, rng: random.Random) -> str:
    """Change one bit of a state or of networks."""
    checkpoints = spoiled(folder) / "checkpoints"
    state, networks = checkpoints / checkpoint.RESUME, checkpoints / "400" / checkpoint.LEARNER
    path = rng.choice([state, networks])
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    words = ["with", f"local_results_path={folder / 'results'}"]
    arguments = [f"--resume={folder / '1'}", *words]
    if path == networks:
        arguments = eventful(folder / "results", checkpoint_path=str(checkpoints), load_step=400)
    assert refused(arguments, folder / "log") == "refused"
    assert "SHA-256" in (folder / "log").read_text()
    return path.name


JUNK: list[Any] = [None, True, -1, 0, 10**30, 0.5, float("nan"), float("inf"), "", "x", [], [[]], {}, {"a": 1}]


def changed_state(folder: Path, rng: random.Random) -> str:
    """Replace one entry of a state, as somebody could who also mends or removes the digest."""
    path = spoiled(folder) / "checkpoints" / checkpoint.RESUME
    state = checkpoint.load(path, torch.device("cpu"))
    place: Any = state
    key = rng.choice(sorted(place, key=str))
    while isinstance(place[key], dict) and place[key] and rng.random() < 0.9:
        place = place[key]
        key = rng.choice(sorted(place, key=str))
    old = place[key]
    wrong = [
        *JUNK,
        torch.zeros(3),
        *([old.flatten()[:1], old.double(), old.flatten()] if isinstance(old, Tensor) else []),
    ]
    place[key] = copy.deepcopy(rng.choice(wrong))
    checkpoint.save(path, state)
    return refused([f"--resume={folder / '1'}", "with", f"local_results_path={folder}"], folder / "log")


WORDS = ["", "-1", "0", "1e400", "nan", "null", "true", "[]", "[[0]]", "{a: 1}", "os:system", "../x", "'", "é", "2**31"]


def odd_command_line(folder: Path, rng: random.Random) -> str:
    """Give one to three keys odd values."""
    algorithm = rng.choice(["iql", "vdn", "mfq", "mfvfd", "hmf", "hmf_ipc"])
    stack = layers(algorithm, "bar", [])
    keys = {key for layer in stack for key in layer.values} - {"local_results_path"}
    keys |= {f"env_args.{key}" for layer in stack for key in layer.values.get("env_args", {})}
    words = [f"{key}={rng.choice(WORDS)}" for key in rng.sample(sorted(keys), rng.randrange(1, 4))]
    return refused([*command(folder, algorithm, "bar"), *words], folder / "log")


def odd_yaml(folder: Path, rng: random.Random) -> str:
    """Damage the text of an algorithm's YAML: letters or whole lines lost, doubled or exchanged."""
    values = named_layer("algs", rng.choice(["iql", "qmix", "hmf"])).values
    lines = yaml.safe_dump(values).splitlines()
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(lines))
        line = lines[at]
        letter = rng.randrange(len(line) + 1)
        lines[at : at + 1] = rng.choice(
            [
                [],
                [line, line],
                [f"{line[:letter]}{rng.choice(':-{}[]&*!|# é')}{line[letter:]}"],
                [line[:letter] + line[letter + 1 :]],
                [f"  {line}"],
                [f"{line.partition(':')[0]}: {rng.choice(WORDS)}"],
            ]
        ) or [""]
    path = folder / "odd.yaml"
    path.write_text("\n".join(lines))
    arguments = command(folder, str(path), "bar")
    return refused(arguments, folder / "log")


def database_away(folder: Path, rng: random.Random) -> str:
    """Take the database away at a random moment, for a random time."""
    data, log = folder / "mongo", folder / "log"
    data.mkdir()
    server = Embedded(data)
    try:
        url = server.url("torture")
        process = main_run([f"--mongo-url={url}", *eventful(folder)], log)
        time.sleep(rng.uniform(0.0, whole().seconds))
        server.kill()
        time.sleep(rng.uniform(0.0, 2.0))
        server.start()
        code = ended(process)
        if code == BAD_INPUT:
            return "away at the start: refused"
        assert points(folder, 1) == whole().points
        said = "complete at the end"
        if code != 0 or "runs.py push" in log.read_text():
            said = "completed by push"
            words = ["push", "1", f"--results={folder}", f"--mongo-url={url}"]
            assert ended(begun(lambda: runs.main(words), log)) == 0, log.read_text()
        curves = MongoStore.at(url).metrics(1)
        copied = {name: list(zip(curve.steps, curve.values, strict=True)) for name, curve in curves.items()}
        short = {name: (len(copied.get(name, [])), len(curve)) for name, curve in whole().points.items()}
        assert all(length == wanted for length, wanted in short.values()), f"{said}, but the copy has {short}"
        for name, curve in whole().points.items():  # the embedded server keeps 15 digits
            assert copied[name] == [(step, pytest.approx(value, rel=1e-14)) for step, value in curve], name
        return said
    finally:
        server.kill()


def sweeps_killed(folder: Path, rng: random.Random) -> str:
    """Kill one of two sweeps over the same runs, with all its runs or without; a third one finishes."""
    file, log = folder / "tiny.yaml", folder / "log"
    overrides = {
        "regime": "replay",
        "t_max": 400,
        "learning_starts": 64,
        "test_nepisode": 2,
        "save_model_interval": 100,
    }
    plan = {"algorithms": ["iql"], "environments": ["bar"], "seeds": [1, 2], "overrides": overrides}
    file.write_text(yaml.safe_dump(plan))
    arguments = [str(file), f"--results={folder}", "--workers=1"]
    one, other = (begun(lambda: sweep.main(arguments), log) for _ in range(2))
    time.sleep(rng.uniform(0.0, 20.0))
    family = psutil.Process(one.pid).children(recursive=True) if one.is_alive() and rng.random() < 0.5 else []
    one.kill()
    for child in family:
        child.kill()
    one.join()
    ended(other)
    deadline = time.monotonic() + IMPOSSIBLY_LONG_SECONDS
    while (code := ended(begun(lambda: sweep.main(arguments), log))) == sweep.LEFT_OUT:  # orphans that go on
        assert time.monotonic() < deadline
    assert code == 0, log.read_text()
    records = FileStore(folder / "sacred").list()
    completed = [record.config["seed"] for record in records if record.status == "COMPLETED"]
    assert sorted(completed) == [1, 2], completed
    return "killed with its runs" if family else "killed alone"


TRIALS = (
    Trial("kill -9", "a readable record; continued, the curves of a run that nobody killed", killed),
    Trial("SIGTERM", "`INTERRUPTED` with a state; continued, the curves of a run that nobody stopped", stopped),
    Trial("full disk", "nothing lost once space returns, or a last line and an exit code that say so", disk_full),
    Trial("wrong bit", "refused, by its digest", wrong_bit),
    Trial("changed state", "runs, or is refused in one line", changed_state),
    Trial("odd command line", "runs, or is refused in one line", odd_command_line),
    Trial("odd YAML", "runs, or is refused in one line", odd_yaml),
    Trial("database away", "the run goes on; the copy is complete at the end or after `runs push`", database_away),
    Trial("sweep killed", "every run completed, and once", sweeps_killed),
)
