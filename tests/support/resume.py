"""Half a run, continued, against the whole run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tests.support.nested import differences
from tests.support.small_runs import run

import main
from records import checkpoint

HALF = 40
KEYS: dict[str, Any] = {
    "save_replay": "always",
    "test_interval": HALF,
    "log_interval": 30,  # the resume falls between two logs
    "train_interval": 4,
    "buffer_size": 50,  # the replay wraps round
}


def resume_state(run_dir: Path) -> dict[str, Any]:
    return checkpoint.load(run_dir / "checkpoints" / checkpoint.RESUME, torch.device("cpu"))


def second_half(run_dir: Path) -> dict[tuple[str, int], float]:
    """What was logged after the first half."""
    points = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {(point["name"], point["step"]): point["value"] for point in points if point["step"] > HALF}


def check_exact(folder: Path, algorithm: str, environment: str, **overrides: Any) -> None:
    """Networks, targets, optimiser, replay, environments, random streams, counters and logged metrics agree."""
    keys = {**KEYS, **overrides}
    assert run(folder / "whole", algorithm, environment, t_max=2 * HALF, **keys) == 0
    assert run(folder / "halves", algorithm, environment, t_max=HALF, **keys) == 0
    words = [f"t_max={2 * HALF}", f"local_results_path={folder / 'halves'}"]
    assert main.main(["--resume=1", "--trust", "with", *words]) == 0
    whole, halves = folder / "whole" / "sacred" / "1", folder / "halves" / "sacred" / "2"
    first = resume_state(folder / "halves" / "sacred" / "1")
    assert first["counters"]["t_env"] == HALF
    assert first["learner"]["n_updates"] > 0
    assert resume_state(whole)["counters"]["t_env"] == 2 * HALF
    found = differences(resume_state(whole), resume_state(halves))
    assert found == [], f"a resumed run differs from the whole one in {found[:5]}"
    assert second_half(whole) == second_half(halves) != {}
