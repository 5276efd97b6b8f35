"""How commands end."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence

import pytest
from tests.support.paths import SRC

import crossplay
import evaluate
import exploit
import noise
import report
import runs
import transfer
import zoo
from utils.cli import exit_code, positive
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


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "one that cannot (No space left on device)"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "'a/b' (Permission denied)"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), "'a/b' (Not a directory)"),
        (FileExistsError(errno.EEXIST, "File exists", "a/b"), "'a/b' (File exists)"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a/b"), "'a/b' (File name too long)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_disk_refuses_is_one_line(error: OSError, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: raising(error)) == 2
    expected = f"error: disk: expected a place that can be read and written, got {place}. Free space there, mend "
    assert capsys.readouterr().err == f"{expected}its rights, or name another one.\n"


def test_a_full_disk_below_standard_output_is_one_line() -> None:
    environ = os.environ | {"PYTHONPATH": str(SRC)}
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", MANY_LINES], stdout=full, stderr=subprocess.PIPE, env=environ)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: disk: ")
    assert done.stderr.count(b"\n") == 1


def test_what_a_terminal_cannot_write_is_replaced() -> None:
    words = "from utils.cli import exit_code; exit_code(lambda: print('1 \\xb1 2'))"
    environ = os.environ | {"PYTHONPATH": str(SRC), "PYTHONIOENCODING": "ascii"}
    assert subprocess.check_output([sys.executable, "-c", words], env=environ) == b"1 ? 2\n"


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x"])
def test_positive_numbers_are_finite_and_above_0(text: str) -> None:
    assert positive("0.5") == 0.5
    with pytest.raises(ArgumentTypeError, match=f"expected a number above 0, got '{text}'"):
        positive(text)


def test_another_error_of_the_system_keeps_its_traceback() -> None:
    with pytest.raises(FileNotFoundError):
        exit_code(lambda: raising(FileNotFoundError(errno.ENOENT, "No such file or directory", "a")))


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


@pytest.mark.parametrize(
    ("parse", "words", "name", "expected"),
    [
        (runs.parse, ["ls", "env=bar", "--last", "3", "seed=1"], "filters", ["env=bar", "seed=1"]),
        (runs.parse, ["pack", "F.tar.xz", "--results", "x", "env=bar", "seed=1"], "filters", ["env=bar", "seed=1"]),
        (runs.parse, ["show", "1", "--results", "x", "2"], "runs", ["1", "2"]),
        (zoo.parse, ["add", "3", "--step", "best", "5"], "runs", ["3", "5"]),
        (zoo.parse, ["film", "a/b", "--every", "2", "c/d"], "names", ["a/b", "c/d"]),
        (zoo.parse, ["rm", "a/b", "--zoo", "z", "c/d"], "names", ["a/b", "c/d"]),
        (report.parse, ["env=bar", "--experiment", "e", "seed=1"], "filters", ["env=bar", "seed=1"]),
        (noise.parse, ["env=bar", "--batches", "4", "seed=1"], "filters", ["env=bar", "seed=1"]),
        (transfer.parse, ["env=bar", "--at", "battle", "seed=1"], "chosen", ["env=bar", "seed=1"]),
        (crossplay.parse, ["1", "--episodes", "4", "2"], "players", ["1", "2"]),
        (exploit.parse, ["1", "--steps", "4", "2", "with", "lr=1"], "populations", ["1", "2"]),
    ],
)
def test_words_may_follow_options(
    parse: Callable[[Sequence[str]], Namespace], words: list[str], name: str, expected: list[str]
) -> None:
    assert getattr(parse(words), name) == expected


def test_a_refusal_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    expected = (
        "argument ID: expected a whole number from 1 to 2147483647, got 'a'. Help: python src/runs.py diff --help"
    )
    for words, said in (
        (["diff", "a", "2"], f"runs.py diff: {expected}"),
        (["fold"], "runs.py: argument ls|show|diff|"),
    ):
        with pytest.raises(SystemExit, match="2"):
            runs.parse(words)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("parse", "words"),
    [(report.parse, ["--out", ""]), (runs.parse, ["ls", "--results="]), (runs.parse, ["export", "1", "--out", ""])],
)
def test_an_empty_folder_is_refused(
    parse: Callable[[Sequence[str]], Namespace], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a variable of the shell that is not set."""
    with pytest.raises(SystemExit, match="2"):
        parse([*words, *(["--to", "onnx"] if words[0] == "export" else [])])
    assert "expected a folder, got an empty name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parse", "words", "rest"),
    [
        (runs.parse, ["ls", "env=bar", "--lats", "3"], "--lats 3"),
        (runs.parse, ["rm", "3", "--yes", "4"], "4"),
        (zoo.parse, ["ls", "a/b"], "a/b"),
        (zoo.parse, ["play", "a/b", "seed=3"], "seed=3. Write: with seed=3. Help"),
        (evaluate.parse, ["--run", "3", "lr=1", "seed=3"], "lr=1 seed=3. Write: with lr=1 seed=3. Help"),
        (evaluate.parse, ["--run", "3", "--lr=1"], "--lr=1. Help"),
        (runs.parse, ["rm", "3", "--yes", "lr=1"], "lr=1. Help"),
        (report.parse, ["env=bar", "--refrence", "hmf"], "--refrence"),
    ],
)
def test_what_no_option_and_no_word_is_is_refused(
    parse: Callable[[Sequence[str]], Namespace],
    words: list[str],
    rest: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(words)
    assert f"unrecognized arguments: {rest}" in capsys.readouterr().err
