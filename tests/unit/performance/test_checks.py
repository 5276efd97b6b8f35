"""The doctor's findings on a sound machine and on broken ones."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

import doctor
from components.batch import EnvInfo
from components.rows import RowSpec
from performance import checks
from performance.checks import Finding


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGO_URL", raising=False)


def test_a_sound_machine_has_only_good_findings(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--config", "hmf", "--env-config", "bar"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    names = ["python", "packages", "engine", "rendering", "memory", "disk", "extras", "gpu", "database"]
    assert [line[1] for line in lines] == names
    assert "fail" not in [line[0] for line in lines]


def test_what_is_not_in_the_default_installation_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert checks.check_extras() == Finding(
        "warn",
        "not installed: tensorboard (tensorboard=true), Node.js with npm (tools/omniboard.sh). If you want them: "
        "run ./install_dependencies.sh --extras; install Node.js 18 or newer.",
    )


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks that take seconds."""
    for check in ("check_engine", "check_rendering"):
        monkeypatch.setattr(checks, check, lambda: Finding("ok", ""))


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--config", "hmff", "--env-config", "bar"], "fail configuration no algs configuration 'hmff'. Did you mean"),
        (["--config", "hmf"], "fail configuration expected both --config=ALGORITHM and --env-config=ENVIRONMENT"),
        (
            ["--config", "hmf", "--env-config", "bar", "with", "regime=replay", "buffer_size=10000000000"],
            "fail memory        replay does not fit: 10,000,000,000 joint transitions x",
        ),
        (["--mongo-url", "http://x"], "fail database      MongoDB URL: expected mongodb://host:27017/database"),
    ],
)
def test_a_failed_check_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], argv: list[str], line: str
) -> None:
    assert doctor.main(argv) == 1
    (found,) = [printed for printed in capsys.readouterr().out.splitlines() if printed.startswith("fail")]
    assert found.startswith(line)


@pytest.mark.parametrize("options", [[], ["--config=iql"], ["--env-config=bar"]])
def test_keys_of_no_configuration_are_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([*options, "with", "lr=3"]) == 2
    assert capsys.readouterr().err == (
        "error: command line: expected --config=ALGORITHM and --env-config=ENVIRONMENT before with lr=3, which changes "
        "their keys. Give both.\n"
    )


def test_a_word_that_says_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        doctor.main(["lr=3"])
    assert "unrecognized arguments: lr=3" in capsys.readouterr().err


@pytest.mark.usefixtures("fast")
def test_a_tracker_whose_package_is_missing_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--config=iql", "--env-config=bar", "with", "tracker=trackio"]) == 1
    assert re.search(r"fail configuration +expected the package trackio, it is not installed", capsys.readouterr().out)


def test_a_silent_database_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--mongo-url", "mongodb://127.0.0.1:1"]) == 0
    assert "warn database      MongoDB does not answer: 127.0.0.1:1" in capsys.readouterr().out


def test_wrong_and_missing_packages_are_named(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# why\nnumpy==1.0.*  # old\nno-such-package\npytest>=1\n\n")
    finding = checks.check_packages(requirements)
    assert finding.level == "fail"
    assert "expected ==1.0.*; no-such-package is missing. Run ./install_dependencies.sh" in finding.text


def test_python_outside_the_supported_range_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, level in (((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 14, 9), "ok"), ((3, 15, 0), "fail")):
        fields = dict(zip(("major", "minor", "micro"), version, strict=True))
        monkeypatch.setattr(sys, "version_info", type("Version", (tuple,), fields)(version))
        assert checks.check_python().level == level


@pytest.mark.parametrize(
    ("program", "reason"),
    [("raise ImportError('no engine')", "ImportError: no engine"), ("import os; os.abort()", "exit status -6")],
)
def test_an_engine_that_raises_or_crashes_is_a_finding(program: str, reason: str) -> None:
    finding = checks.check_engine(program)
    assert finding.level == "fail"
    assert finding.text.startswith(f"Battle does not run: {reason}. Run ./install_dependencies.sh")


CPU = torch.device("cpu")
KEPT = (RowSpec(EnvInfo("test", 100, 5, (1000,), torch.float32, 1.0, 10), 1, CPU, CPU), "replay", 5000)


@pytest.mark.parametrize(("free_gib", "level"), [(0.5, "fail"), (3, "warn"), (50, "ok")])
def test_disk_has_room_for_records_and_for_two_copies_of_the_replay(
    free_gib: float, level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """5,000 rows of 100 x 4,009 bytes, twice: 3.7 GiB, and 1 GiB for records."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free_gib * 2**30)))
    finding = checks.check_disk(tmp_path / "not" / "yet", KEPT)
    assert finding.level == level
    assert ("exact resume may need 3.7 GiB" in finding.text) == (level == "warn")


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file, here, which nobody can write into; also where a configuration is given, which has a folder of its own."""
    (tmp_path / "file").touch()
    for words in ([], ["--config=iql", "--env-config=matrix_game"]):
        assert doctor.main(["--results", str(tmp_path / "file"), *words]) == 1
        (line,) = (line for line in capsys.readouterr().out.splitlines() if "disk" in line)
        assert line.startswith("fail")
        assert f"cannot write in {tmp_path / 'file/sacred'} (Not a directory)" in line


def test_memory_that_is_too_small_fails_with_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    finding = checks.survived(checks.check_memory, KEPT)
    assert finding.level == "fail"
    assert "5,000 joint transitions x" in finding.text
    assert "Keep at most" in finding.text


@pytest.mark.parametrize(
    ("available", "use_cuda", "driver", "level"),
    [
        (False, False, None, "ok"),
        (False, True, None, "fail"),
        (False, False, "/usr/bin/nvidia-smi", "warn"),
        (True, True, "/usr/bin/nvidia-smi", "ok"),
    ],
)
def test_gpu(available: bool, use_cuda: bool, driver: str | None, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "GPU")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=2**34))
    monkeypatch.setattr(shutil, "which", lambda name: driver)
    assert checks.check_gpu(use_cuda).level == level


def test_a_check_that_breaks_is_a_finding() -> None:
    def broken() -> Any:
        raise ImportError("libGL is missing")

    finding = checks.survived(broken)
    assert finding.level == "fail"
    assert finding.text.startswith("ImportError: libGL is missing. Run ./install_dependencies.sh")
