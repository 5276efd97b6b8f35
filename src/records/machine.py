"""The commit, the versions and the machine: what a result depends on beside its configuration.

Neither the host's name nor environment variables are recorded: they may hold secrets.
"""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "numpy", "scipy", "sacred", "gymnasium", "pettingzoo", "magent2")


def git_state(folder: Path) -> dict[str, Any]:
    """Return ``{"commit", "dirty"}`` of the repository around ``folder``; None where git or a commit is missing."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    changes = git("status", "--porcelain")
    return {"commit": git("rev-parse", "--verify", "HEAD"), "dirty": None if changes is None else changes != ""}


def versions() -> dict[str, str | None]:
    """Return the installed versions of the packages that can change a result; None for a missing one."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def machine() -> dict[str, Any]:
    """Describe the operating system, the processors, the threads and the GPUs."""
    return {
        "os": [platform.system(), platform.release()],
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "python_version": platform.python_version(),
    }
