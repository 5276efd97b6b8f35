"""What a run of main.py says, and how it ends when a part of it raises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support import small_runs
from tests.support.paths import SRC

import build
from envs.base import Env

BROKEN = """
from learners.base import LearningError
from learners.q_learner import QLearner

class Broken(QLearner):
    def predict(self, batch, t_env):
        raise {error}
"""
SMALL = "t_max=40 batch_size=8 learning_starts=8 buffer_size=100 test_nepisode=2"


def run_with_broken_learner(error: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``main.py`` in a process of its own, with a learner that raises ``error``; it records in ``folder``."""
    (folder / "broken.py").write_text(BROKEN.format(error=error))
    words = [*SMALL.split(), "learner=broken:Broken", f"local_results_path={folder}"]
    return subprocess.run(
        [sys.executable, SRC / "main.py", "--config=iql", "--env-config=bar", "with", *words],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "last_line", "traceback"),
    [
        ("ValueError('shapes differ')", "ValueError: shapes differ", True),
        ("LearningError('lr: expected less.')", "error: lr: expected less.", False),
    ],
)
def test_a_mistake_in_the_code_shows_its_traceback_and_what_a_person_can_mend_one_line(
    error: str, last_line: str, traceback: bool, tmp_path: Path
) -> None:
    done = run_with_broken_learner(error, tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == last_line
    assert ("Traceback (most recent call last)" in done.stderr and "broken.py" in done.stderr) == traceback
    entry = json.loads((tmp_path / "sacred" / "1" / "run.json").read_text())
    assert entry["status"] == "FAILED"
    assert entry["fail_trace"]


def test_notes_are_part_of_the_output_that_is_recorded(tmp_path: Path) -> None:
    assert small_runs.run(tmp_path, "iql", "bar", gmf_coef=3.0) == 0
    said = (tmp_path / "sacred" / "1" / "cout.txt").read_text()
    assert "note: command line sets gmf_coef, which iql never reads.\n" in said
    assert "replay: " in said


@pytest.fixture
def three_threads() -> Iterator[None]:
    """What a machine of three cores, or its person's OMP_NUM_THREADS, gives torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("given", [{}, {"threads": 2}], ids=["by default", "as given"])
def test_threads_are_those_of_the_configuration_before_anything_computes(
    given: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_env, seen = build.make_env, list[int]()

    def made(*arguments: Any, **options: Any) -> Env:
        seen.append(torch.get_num_threads())
        return make_env(*arguments, **options)

    monkeypatch.setattr(build, "make_env", made)
    assert small_runs.run(tmp_path, "iql", "bar", **given) == 0
    run_dir, expected = tmp_path / "sacred" / "1", given.get("threads", 1)
    assert seen == [expected, expected]
    assert json.loads((run_dir / "config.json").read_text())["threads"] == expected
    assert json.loads((run_dir / "run.json").read_text())["host"]["torch_threads"] == expected
