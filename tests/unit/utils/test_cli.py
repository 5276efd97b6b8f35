"""How commands end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.support.paths import SRC

from utils.cli import exit_code
from utils.errors import InputError


def raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("bad"), 2, "error: bad\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_one_line_and_an_exit_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: raising(error), interrupted="stopped") == code
    assert capsys.readouterr().err == message


def test_the_traceback_is_there_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HMF_TRACEBACK", "1")
    assert exit_code(lambda: raising(InputError("bad"))) == 2
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert "in raising" in error
    assert error.endswith("error: bad\n")


MANY_LINES = "import sys\nfrom utils.cli import exit_code\nsys.exit(exit_code(lambda: print('line\\n' * 100_000)))"


@pytest.mark.parametrize("words", [["-c", MANY_LINES], [str(SRC / "doctor.py")]], ids=["exit_code", "doctor"])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str]) -> None:
    environ = os.environ | {"PYTHONPATH": str(SRC)}
    command = [sys.executable, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_the_command_s_own_code_counts() -> None:
    assert exit_code(lambda: None) == 0
    assert exit_code(lambda: 1) == 1


@pytest.mark.parametrize("error", [ValueError("lost"), KeyError("lost")])
def test_a_mistake_in_the_code_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        exit_code(lambda: raising(error))
