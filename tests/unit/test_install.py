"""The front door: what pip is told, and what the workflow and the contributor's page say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.paths import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("how", [[], ["--editable"]], ids=["plain", "editable"])
def test_pip_install_is_refused_in_one_sentence(how: list[str], tmp_path: Path) -> None:
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--target", str(target), *how, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"\[1 lines of output\]\s+HMF .*\./install_dependencies\.sh .*\.\n", done.stderr)
    assert not target.exists()


def test_the_workflow_runs_everything_on_every_supported_python() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["test"]
    low, high = (int(minor) for minor in re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    assert job["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(low, high)]
    assert {"run": ".ci/run"} in job["steps"]


def test_the_licence_is_named_everywhere() -> None:
    assert PROJECT["license"] == yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text().splitlines()[1]
    assert "Apache-2.0" in (ROOT / "opponents/README.md").read_text()


def test_the_example_of_style_passes_its_own_test() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    names["test_group_share"]()
    with pytest.raises(ValueError, match="expected groups below 1, got 1"):
        names["group_share"](names["torch"].tensor([[1]]), 1)


FAKE_PYTHON = """#!/usr/bin/env bash
if [ "$1 $2" = "-m venv" ]; then
  mkdir -p .venv/bin && cp "$0" .venv/bin/python
elif [ "$1 $2" = "-m pip" ]; then
  echo "$@" >>pip.txt
fi
"""


def installed(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the installer in a copy of its files with a Python that writes down what pip is asked for."""
    for path in (ROOT / "install_dependencies.sh", *ROOT.glob("requirements*.txt")):
        shutil.copy(path, folder)
    python = folder / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    command = [str(folder / "install_dependencies.sh"), *options]
    return subprocess.run(
        command, env={**os.environ, "PYTHON": str(python)}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], "-r requirements.txt"),
        (["--extras"], "-r requirements.txt -r requirements-extras.txt"),
        (["--cuda", "--dev"], "-r requirements.txt torch===2.13.0 -r requirements-dev.txt"),
    ],
)
def test_options_of_the_installer(options: list[str], asked: str, tmp_path: Path) -> None:
    done = installed(tmp_path, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "pip.txt").read_text() == f"-m pip install -qq --disable-pip-version-check {asked}\n"
    installed(tmp_path, *options)
    assert (tmp_path / "pip.txt").read_text().count("\n") == 1, "what is installed already stays"


def test_the_python_that_was_named_is_taken_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (ROOT / "install_dependencies.sh", *ROOT.glob("requirements*.txt")):
        shutil.copy(path, tmp_path)
    monkeypatch.setenv("PYTHON", str(tmp_path / "no-such-python"))
    done = subprocess.run([str(tmp_path / "install_dependencies.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: needs Python 3.11 to 3.14")


def test_an_unknown_option_of_the_installer_is_refused(tmp_path: Path) -> None:
    done = installed(tmp_path, "--gpu")
    assert done.returncode == 2
    assert done.stderr == "error: unknown option '--gpu' (known: --extras, --dev, --docs, --cluster, --cuda)\n"
    assert not (tmp_path / ".venv").exists()


def test_the_image_has_a_supported_python_and_is_made_by_the_installer() -> None:
    text = (ROOT / "Dockerfile").read_text()
    low, high = (int(minor) for minor in re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    assert low <= int(re.findall(r"FROM python:3\.(\d+)", text)[0]) < high
    assert "RUN ./install_dependencies.sh $INSTALL\n" in text


def test_what_the_readme_names_is_in_the_default_installation() -> None:
    names = re.findall(r"^([\w-]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert {"optuna", "nx-27017", "mpe2", "magent2"} <= set(names)
    assert "setuptools" not in names
