"""Locks: one holder, children that inherit, kill -9, other machines, file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from utils.lock import Lock, is_held

WAIT = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]


def taken(path: Path) -> Lock:
    lock = Lock.take(path)
    assert lock is not None
    return lock


def waiting_child(*inherit: int) -> subprocess.Popen[bytes]:
    """A process that waits to be killed."""
    child = subprocess.Popen(WAIT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=inherit)
    assert child.stdout is not None
    child.stdout.readline()
    return child


def test_one_holder_until_it_releases(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    lock = taken(path)
    assert is_held(path) is True
    assert Lock.take(path) is None
    lock.release()
    assert not path.exists()
    assert is_held(path) is None
    taken(path).release()


def test_a_lock_ends_with_the_last_child_that_inherited_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = taken(path)
    stranger, child = waiting_child(), waiting_child(lock.descriptor)
    lock.abandon()
    assert is_held(path) is True
    child.kill()
    child.wait()
    assert is_held(path) is False
    assert Lock.take(path) is not None
    stranger.kill()
    stranger.wait()


def test_a_free_lock_of_another_machine_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"another")
    assert is_held(tmp_path / "lock") is None


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    path = tmp_path / "lock"
    for _ in range(2):
        taken(path)
        assert is_held(path) is None
    path.touch()
    assert is_held(path) is None
