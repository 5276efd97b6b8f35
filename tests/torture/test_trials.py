"""Each accident once, as tools/torture.sh does it again and again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.torture.trials import TRIALS, Trial


@pytest.mark.slow
@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_the_promise_holds(trial: Trial, tmp_path: Path) -> None:
    assert trial.happens(tmp_path, random.Random(0))
