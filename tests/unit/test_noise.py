"""noise.py on recorded tiny runs of both regimes, and the ratio by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from tests.support.small_runs import run

import build
import noise
from assembly.registries import REGISTRIES
from build import System
from config.loader import layers
from config.resolve import make_config
from config.trust import NOTHING
from experiments.noise import Noise, _measure, _signal, _watched, agent_gradients, measure
from learners.base import LearningError
from records import checkpoint


def test_the_ratio_is_that_of_the_distribution() -> None:
    """Gradients of mean (3, 4) and variance 2 in each of two directions: 25 / 4, whatever their number."""
    rng = torch.Generator().manual_seed(0)
    drawn = torch.tensor([3.0, 4.0]) + 2**0.5 * torch.randn(20_000, 2, generator=rng)
    assert _signal([list(drawn)]) == pytest.approx(25 / 4, rel=0.03)
    few = [_signal([list(part)]) for part in drawn.split(4)]
    pure = torch.randn(2000, 4, 2, generator=rng)
    assert sum(few) / len(few) > 25 / 4, "a ratio of two estimates is high on average for few, never low"
    mean = sum(_signal([list(part)]) for part in pure) / 2000
    assert mean == pytest.approx(0.125, abs=0.03), "1/2 E[1 / variance] - 1/4 for four gradients of two numbers"
    several = [list(drawn), list(3 * drawn)]
    assert _signal(several) == pytest.approx(25 / 4, rel=0.03), "pooled: 250 over 40"
    with pytest.raises(LearningError, match="expected gradients that differ"):
        _signal([[torch.ones(2)] * 3])


@pytest.mark.parametrize("regime", ["replay", "rollout"])
def test_a_table_of_methods(regime: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"regime": regime, "rollout_length": 4, "minibatches": 2} if regime == "rollout" else {}
    for name in ("iql", "hmf", "hmf_agent_credit"):
        given = {"td_level": "agent"} if name == "hmf_agent_credit" else {}
        algorithm = name.removesuffix("_agent_credit")
        assert run(tmp_path, algorithm, "battle", name=name, **keys, **given) == 0
    assert run(tmp_path, "frozen", "battle", t_max=1, **keys) == 0, "learns nothing, and is left out"
    checkpoints = str(tmp_path / "sacred" / "1" / "checkpoints")
    assert run(tmp_path, "iql", "battle", evaluate=True, checkpoint_path=checkpoints, **keys) == 0, "neither does this"
    assert noise.main(["env=battle", "name=frozen", "--results", str(tmp_path), "--out", str(tmp_path)]) == 2
    words = ["--batches", "3", "--results", str(tmp_path), "--out", str(tmp_path / "out")]
    assert noise.main(words) == 0
    head, *rows = csv.reader((tmp_path / "out" / "noise.csv").read_text().splitlines())
    assert head[:3] == ["task", "method", "signal"]
    assert sorted(row[1] for row in rows) == ["hmf", "hmf_agent_credit", "iql"]
    for row in rows:
        assert float(row[head.index("agent_signal")]) != float(row[head.index("signal")])
        assert float(row[head.index("target_std")]) > 0 < float(row[head.index("td_error")])
    assert noise.main(words) == 0
    again = list(csv.reader((tmp_path / "out" / "noise.csv").read_text().splitlines()))
    assert again == [head, *rows], "the same play, the same numbers"
    capsys.readouterr()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/noise.md").symlink_to("/dev/full")
    assert noise.main([*words[:-1], str(tmp_path / "full")]) == 2
    said = capsys.readouterr()
    assert f"error: --out: cannot write in {tmp_path / 'full'} (No space left on device)." in said.err
    assert "| iql |" in said.out, "what was measured is printed all the same"
    assert noise.main([*words, "--step", "3"]) == 2
    assert "noise: run 1 (iql): --step: expected best, newest or a step that" in capsys.readouterr().err


@pytest.mark.parametrize("td_level", ["group", "agent"])
def test_what_agents_add_adds_up_to_the_gradient(td_level: str) -> None:
    """Of HMF, whose bottom level learns groups' values or agents'; slots that are left out are missing."""
    config = make_config(
        layers(
            "hmf",
            "bar",
            [f"td_level={td_level}", "env_args.n_agents=6", "env_args.capacity=4", "n_groups=2", "share_params=true"],
        ),
        REGISTRIES,
    )[0]
    system = build.build(config)
    try:
        parameters = list(system.mac.parameters())
        pair = None
        while pair is None:
            system.runner.collect(0, system.rows)
            pair = next(iter(system.regime.batches(system.learner, system.rows, 0)), None)
        batch, target = pair
        system.learner.optimiser.zero_grad()
        with _watched(system.mac) as values:
            system.learner.loss(batch, 0, target)[0].backward(retain_graph=True)
        assert "q_values" not in vars(system.mac)
        whole = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
        everybody = agent_gradients(values, parameters, 8)
        assert len(everybody) == 6
        assert torch.allclose(torch.stack(everybody).sum(0), whole, atol=1e-6)
        assert all(float(own.abs().sum()) > 0 for own in everybody)
        first, last = agent_gradients(values, parameters, 2)
        assert torch.equal(first, everybody[0])
        assert torch.equal(last, everybody[5])
    finally:
        system.close()


def test_it_plays_on_from_the_step_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With that step's networks on both sides, the first one's too, and with enemies that explore as they did then."""
    keys = {"save_model_interval": 8, "keep_checkpoints": 4, "test_interval": 8}
    assert run(tmp_path, "iql", "battle", env_args={"opponent": "learner", "hp": 1, "enemy_hp": 1}, **keys) == 0
    found: list[System] = []

    def watched(system: System, *_: int) -> Noise:
        found.append(system)
        return Noise(1, 1, 1, 1)

    monkeypatch.setattr("experiments.noise._measure", watched)
    steps = checkpoint.steps(tmp_path / "sacred" / "1" / "checkpoints")
    assert steps[0] == 0
    for step in (steps[0], steps[-1]):
        measure(tmp_path / "sacred" / "1", str(step), 2, 0, NOTHING)
        for prefix, side in found[-1].sides.items():
            file = tmp_path / "sacred" / "1" / "checkpoints" / str(step) / f"{prefix}learner.pt"
            saved = checkpoint.load(file, torch.device("cpu"))["mac"]
            assert all(torch.equal(value, saved[name]) for name, value in side.mac.state_dict().items())
    monkeypatch.undo()
    system, played = found[-1], list[int]()
    (opponent,) = system.opponents.values()
    select = opponent.mac.select_actions
    opponent.mac.select_actions = lambda *given: (played.append(given[2]), select(*given))[1]  # type: ignore
    _measure(system, steps[-1], 2)
    assert played[0] == steps[-1]


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert noise.main(["--results", str(tmp_path)]) == 2
    assert "no completed run" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        noise.main(["--batches", "1"])
    assert "--batches: expected at least 2, which can differ, got 1" in capsys.readouterr().err
