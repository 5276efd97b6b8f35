"""The front door: what pip is told, and what the workflow and the contributor's page say."""

from __future__ import annotations

import re
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
