"""Runs of several processes: started by torchrun as a person does, or forked from the test, which takes no time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import psutil
import torch
import torch._dynamo  # seconds that every optimiser takes in every child, unless they are taken here
import torch.multiprocessing
from tests.support.paths import ROOT

SIZE = 2


def torchrun(arguments: Sequence[str], size: int = SIZE) -> subprocess.Popen[str]:
    """``torchrun --nproc-per-node SIZE src/main.py`` with these arguments; output and errors are piped."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size)),
            *("--master-port", str(free_port()), str(ROOT / "src" / "main.py"), *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def forked(call: Callable[..., Any], *arguments: Any) -> None:
    """``call`` in SIZE processes with torchrun's environment; what one raises is raised here."""
    torch.multiprocessing.start_processes(_child, (free_port(), call, arguments), nprocs=SIZE, start_method="fork")


def _child(rank: int, port: int, call: Callable[..., Any], arguments: Sequence[Any]) -> None:
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(SIZE), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    call(*arguments)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def workers(launcher: subprocess.Popen[str]) -> dict[int, int]:
    """Rank -> process id of the processes that torchrun has started."""
    children = psutil.Process(launcher.pid).children()
    return {int(child.environ()["RANK"]): child.pid for child in children if "RANK" in child.environ()}
