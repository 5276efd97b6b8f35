"""noise.py on recorded tiny runs of both regimes, and the ratio by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from tests.support.small_runs import run

import noise
from experiments.noise import _signal
from learners.base import LearningError


def test_the_ratio_is_that_of_the_distribution() -> None:
    """Gradients of mean (3, 4) and variance 2 in each of two directions: 25 / 4, whatever their number."""
    rng = torch.Generator().manual_seed(0)
    drawn = torch.tensor([3.0, 4.0]) + 2**0.5 * torch.randn(20_000, 2, generator=rng)
    assert _signal(list(drawn)) == pytest.approx(25 / 4, rel=0.03)
    few = [_signal(list(part)) for part in drawn.split(4)]
    pure = torch.randn(2000, 4, 2, generator=rng)
    assert sum(few) / len(few) > 25 / 4, "a ratio of two estimates is high on average for few, never low"
    assert sum(_signal(list(part)) for part in pure) / 2000 < 0.5
    with pytest.raises(LearningError, match="expected gradients that differ"):
        _signal([torch.ones(2)] * 3)


@pytest.mark.parametrize("regime", ["replay", "rollout"])
def test_a_table_of_methods(regime: str, tmp_path: Path) -> None:
    keys = {"regime": regime, "rollout_length": 4, "minibatches": 2} if regime == "rollout" else {}
    for name in ("iql", "hmf", "hmf_agent_credit"):
        given = {"td_level": "agent"} if name == "hmf_agent_credit" else {}
        algorithm = name.removesuffix("_agent_credit")
        assert run(tmp_path, algorithm, "battle", name=name, **keys, **given) == 0
    words = ["--batches", "3", "--results", str(tmp_path), "--out", str(tmp_path / "out")]
    assert noise.main(words) == 0
    head, *rows = csv.reader((tmp_path / "out" / "noise.csv").read_text().splitlines())
    assert head[:3] == ["task", "method", "signal"]
    assert sorted(row[1] for row in rows) == ["hmf", "hmf_agent_credit", "iql"]
    for row in rows:
        assert float(row[head.index("target_std")]) > 0 < float(row[head.index("td_error")])
    assert noise.main(words) == 0
    again = list(csv.reader((tmp_path / "out" / "noise.csv").read_text().splitlines()))
    assert again == [head, *rows], "the same play, the same numbers"


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert noise.main(["--results", str(tmp_path)]) == 2
    assert "no completed run" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        noise.main(["--batches", "1"])
    assert "--batches: expected at least 2, which can differ, got 1" in capsys.readouterr().err
