"""Where child processes run: on this machine, or on a Ray cluster."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Protocol

from config.schema import Config
from utils.errors import InputError
from utils.lock import Lock

POLL_SECONDS = 0.2
PAUSES = (1, 2, 5, 10, 20)  # s, before a process is asked for again


class WorkerError(InputError):
    """Workers that cannot be had; the message says what to do."""


class Workers(Protocol):
    """Slots for child processes. A handle is whatever ``start`` returned."""

    n_slots: int

    def start(self, command: Sequence[str], log: Path, config: Config, claim: Lock) -> Hashable:
        """Start a child that runs ``config``; what it writes to stderr goes into ``log``, its stdout nowhere.

        On this machine it shares the ``claim``, which then outlives a parent that is killed.
        """

    def exit_code(self, handle: Any) -> int | None:
        """Return the exit code; None while the child runs."""

    def stop(self, handle: Any) -> None:
        """Ask the child to save and end (SIGTERM); its exit code comes later."""


def n_cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def start_child(command: Sequence[str], log: Path, inherit: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, so that Ctrl-C reaches it only through its parent.

    It keeps the descriptors ``inherit`` open. Where the machine has no room for another process, it waits for some.
    Raises WorkerError when none comes.
    """
    with open(log, "wb") as stderr:
        for pause in (*PAUSES, None):
            try:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    start_new_session=True,
                    pass_fds=inherit,
                )
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOMEM):
                    raise
                refused = error
            if pause is not None:
                time.sleep(pause)
    raise WorkerError(
        f"expected room for another process, this machine had none for {sum(PAUSES)} s ({refused.strerror}). Stop what "
        "takes it, or give fewer --workers; the same command continues."
    )


class LocalWorkers:
    """Children of this process."""

    def __init__(self, n_slots: int) -> None:
        self.n_slots = n_slots

    def start(self, command: Sequence[str], log: Path, config: Config, claim: Lock) -> subprocess.Popen[bytes]:
        return start_child(command, log, [claim.descriptor])

    def exit_code(self, handle: subprocess.Popen[bytes]) -> int | None:
        return handle.poll()

    def stop(self, handle: subprocess.Popen[bytes]) -> None:
        handle.terminate()


def run_child(command: Sequence[str], log: Path, folder: str) -> int:
    """Run a child as a Ray task, return its exit code; a cancelled task passes SIGTERM on and waits for the child."""
    os.chdir(folder)
    child = start_child(command, log)
    try:
        while child.poll() is None:
            time.sleep(POLL_SECONDS)  # Ray's cancellation does not wake child.wait()
        return child.returncode
    except KeyboardInterrupt:
        child.terminate()
        return child.wait()


class RayWorkers:
    """Tasks of as many cores as threads (and one GPU where asked), on a cluster whose nodes share this file system."""

    def __init__(self, address: str, n_slots: int | None) -> None:
        """Join the cluster; ``n_slots``: None for all its cores. Raises WorkerError without ray or a cluster."""
        try:
            import ray
        except ImportError as error:
            raise WorkerError(
                "--ray needs the package ray: .venv/bin/pip install -r requirements-cluster.txt"
            ) from error
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            raise WorkerError(f"--ray {address}: no cluster answers. Start one with: ray start --head") from error
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes need not import this module
        self._ray = ray
        self.n_slots = n_slots or int(ray.cluster_resources()["CPU"])

    def start(self, command: Sequence[str], log: Path, config: Config, claim: Lock) -> Hashable:
        task = self._ray.remote(num_cpus=config.threads, num_gpus=int(config.use_cuda), max_retries=0)(run_child)
        return task.remote(list(command), log.absolute(), os.getcwd())

    def exit_code(self, handle: Any) -> int | None:
        ready, _ = self._ray.wait([handle], timeout=0)
        if not ready:
            return None
        try:
            return int(self._ray.get(handle))
        except self._ray.exceptions.RayError:  # cancelled, or its node is gone
            return 1

    def stop(self, handle: Any) -> None:
        self._ray.cancel(handle, force=False)
