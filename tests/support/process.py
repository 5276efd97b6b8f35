"""A real main.py in a process of its own: to be stopped, to be killed, or to be killed at one place in its code."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from tests.support.paths import SRC

START = f"import sys; sys.path.insert(0, {str(SRC)!r})\n{{hook}}\nimport main; sys.exit(main.main(sys.argv[1:]))"
WAIT_SECONDS = 120


def start(arguments: Sequence[str], hook: str = "", stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    """``main.py`` with these arguments, after the Python source ``hook``; output and errors are piped."""
    return subprocess.Popen(
        [sys.executable, "-c", START.format(hook=hook), *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end: exit code (negative: the signal that killed it), output, errors."""
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    return process.returncode, output, errors


def struck(moment: str, call: str, when: str = "True", number: signal.Signals = signal.SIGKILL) -> str:
    """A hook: a signal "before" or "after" the first call of ``module:name`` for whose ``args`` ``when`` holds."""
    module, _, name = call.partition(":")
    lines = ["result = call(*args, **kwargs)"]
    lines.insert(
        ["before", "after"].index(moment), f"if not sent and ({when}): sent.append(os.kill(os.getpid(), {number}))"
    )
    return f"""
import os, {module}
sent = []
def _wrapped(call):
    def wrapper(*args, **kwargs):
        {lines[0]}
        {lines[1]}
        return result
    return wrapper
{module}.{name} = _wrapped({module}.{name})
"""
