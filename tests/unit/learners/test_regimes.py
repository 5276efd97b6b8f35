"""The two regimes: rollout targets against slow loops, every algorithm, resume, averaged policies, learning rates."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.factory import config_for, info_for, learner_for
from tests.support.record import Point
from tests.support.rows import Row, goes_on, random_rows
from tests.support.small_runs import run
from tests.support.training import CPU, trainer_for
from torch import Tensor

import main
from assembly.parts import make_regime
from components.batch import Batch
from components.mean_field import live_group
from components.rows import RowSpec
from components.target_net import frozen_copy
from config.loader import available
from learners.base import Learner, Metrics
from learners.hmf_learner import HMFLearner
from learners.q_learner import QLearner
from records import checkpoint
from records.files import read_json
from run import Trainer
from utils.signals import Stopped

ROLLOUT: dict[str, Any] = {"regime": "rollout", "rollout_length": 6, "epochs": 2, "minibatches": 2}
LEARNS = [name for name in available("algs") if name not in ("maddpg", "random", "frozen")]
OWN_CODE = ["iql", "vdn", "qmix", "mfq", "mfvfd", "hmf", "hmf_agent_credit", "hmf_ipc"]

# ------------------------------------------------------------------------------------------------- targets

INFO = replace(info_for(n_agents=4, n_actions=3), has_position=True)
N_ENVS, LENGTH, TD_LAMBDA = 3, 7, 0.65
Following = list[tuple[float, float, float]]  # (reward, discount, next value) of every unit


def following(learner: Learner, history: list[Row], t: int, e: int) -> list[Following]:
    """What follows transition t of environment e, for every unit of every problem of the learner."""
    (_, _, group), (after, _, _) = history[t], history[t + 1]
    discount = 0.0 if after.terminated[e] else learner.gamma
    reward, alive = after.reward[e].tolist(), after.alive[e].tolist()
    with torch.no_grad():
        q_BNA = learner.mac.agent(after.obs[e][None], None, None)[0]
    best_BN = q_BNA.max(-1).values
    best = best_BN[0].tolist()
    agents = range(len(best))
    if isinstance(learner, QLearner) and learner.mixer is not None:
        values = sum(best[k] for k in agents if alive[k])
        return [[(sum(reward) / len(best), discount, values / len(best))]]
    if not isinstance(learner, HMFLearner):
        return [[(reward[k], discount * alive[k], best[k]) for k in agents]]

    field_BNA = learner.field_action(q_BNA, q_BNA.argmax(-1), None, 0)
    next_group = live_group(group[e][None], after.alive[e][None])
    with torch.no_grad():
        values = learner.mixer(best_BN, after.obs[e][None], field_BNA, next_group)
    assert values.q_top is not None
    bottom: Following = []
    top: Following = []
    for i in range(learner.mixer.n_groups):
        members = [k for k in agents if group[e, k] == i]
        left = [k for k in members if alive[k]]
        mean = sum(reward[k] for k in members) / max(len(members), 1)
        share = discount * len(left) / max(len(members), 1)
        bottom.append((mean, share, float(values.q_group[0, i])))
        top.append((mean, share, float(values.q_top[0, i])))
    if learner.td_level == "agent":
        field = [float(values.q_gmf[0, max(int(group[e, k]), 0)]) for k in agents]
        bottom = [(reward[k], discount * alive[k], best[k] + learner.mixer.gmf_coef * field[k]) for k in agents]
    return [bottom, top]


def slow_targets(learner: Learner, history: list[Row], t: int, e: int, last: int) -> list[list[float]]:
    """Targets of every unit of every problem of transition t of environment e, by recursion up to row ``last``."""
    later = None
    if t < last and goes_on(history, t, e):
        later = slow_targets(learner, history, t + 1, e, last)
    targets: list[list[float]] = []
    for problem, units in enumerate(following(learner, history, t, e)):
        targets.append([])
        for unit, (reward, discount, value) in enumerate(units):
            mixed = value if later is None else (1 - TD_LAMBDA) * value + TD_LAMBDA * later[problem][unit]
            targets[-1].append(reward + (discount * mixed if discount else 0.0))
    return targets


@pytest.mark.parametrize("algorithm", ["iql", "vdn", "hmf", "hmf_agent_credit"])
def test_targets_equal_a_slow_loop(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over deaths, true ends, time limits, new groups and the edges of windows, for each transition in both epochs."""
    keys = {**ROLLOUT, "rollout_length": LENGTH, "td_lambda": TD_LAMBDA, "share_params": True, "n_groups": 2}
    config = config_for(algorithm, "bar", **keys)
    learner, regime = learner_for(config, INFO), make_regime(config)
    learned: list[tuple[Batch, list[Tensor]]] = []

    def train(batch: Batch, t_env: int, targets: list[Tensor]) -> Metrics:
        learned.append((batch, targets))
        return {}

    monkeypatch.setattr(learner, "train", train)
    rows = regime.rows(RowSpec(INFO, N_ENVS, CPU, CPU, with_position=True), torch.Generator().manual_seed(0))
    history = list(random_rows(INFO, N_ENVS, 4 * LENGTH + 2, seed=1))
    visits = 0
    for count, row in enumerate(history, start=1):
        rows.insert(*row)
        assert len(list(regime.updates(learner, rows, 0))) == (4 if count in range(LENGTH + 1, 99, LENGTH) else 0)
        window = [(t, e) for t in range(count - 1 - LENGTH, count - 1) for e in range(N_ENVS)]
        for batch, targets in learned:
            for b, position in enumerate(batch.position):  # type: ignore[arg-type]
                t, e = next((t, e) for t, e in window if torch.equal(history[t][0].position[e], position))  # type: ignore[index]
                for target, expected in zip(targets, slow_targets(learner, history, t, e, count - 2), strict=True):
                    torch.testing.assert_close(target[b], torch.tensor(expected))
                visits += 1
        learned.clear()
    played = sum(not row[0].done[e] for row in history[: 4 * LENGTH] for e in range(N_ENVS))
    assert visits == 2 * played


# ------------------------------------------------------------------------------------------------- every algorithm

POPULATIONS: dict[str, tuple[int, dict[str, Any]]] = {
    "one agent": (1, {}),
    "one survivor": (5, {"survivors": 1}),
    "nobody": (5, {"survivors": 0}),
}


@pytest.mark.parametrize("population", POPULATIONS)
@pytest.mark.parametrize("algorithm", LEARNS)
def test_learning_stays_finite_whoever_lives(algorithm: str, population: str) -> None:
    n_agents, lives = POPULATIONS[population]
    info = replace(info_for(n_agents, n_actions=3), has_position=True)
    n_groups = min(2, n_agents)
    config = config_for(algorithm, "bar", **ROLLOUT, n_groups=n_groups)
    learner, regime = learner_for(config, info), make_regime(config)
    rows = regime.rows(RowSpec(info, 2, CPU, CPU, with_position=True), torch.Generator().manual_seed(0))
    for step, action, group in random_rows(info, 2, 8, seed=2, **lives):
        rows.insert(step, action, group.clamp(max=n_groups - 1))
        for metrics in regime.updates(learner, rows, 0):
            assert all(value.isfinite() for value in metrics.values()), metrics
    assert learner.n_updates == 4
    assert all(parameter.isfinite().all() for parameter in learner.parameters)
    metrics = learner.diagnose(regime.sample(rows, torch.Generator()), 0)
    assert all(value.isfinite() for value in metrics.values()), metrics


@pytest.mark.parametrize("algorithm", OWN_CODE)
def test_every_algorithm_learns_from_rollouts_through_main(algorithm: str, tmp_path: Path) -> None:
    assert run(tmp_path, algorithm, "battle", **ROLLOUT, t_max=60) == 0
    run_dir = tmp_path / "sacred" / "1"
    points = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "grad_norm", "td_error_abs", "test_return_mean"} <= {point["name"] for point in points}
    assert all(math.isfinite(point["value"]) for point in points)
    learner = checkpoint.load(checkpoint.step_folder(run_dir / "checkpoints", 0) / checkpoint.LEARNER, CPU)
    assert learner["n_updates"] == 4 * 5  # five whole rollouts
    assert not [name for name in learner if name.startswith("target_")]


def test_rollouts_of_one_row_in_games_of_one_decision(tmp_path: Path) -> None:
    """Every second row is a junction: there may be nothing to diagnose."""
    keys = {**ROLLOUT, "rollout_length": 1, "minibatches": 1, "batch_size_run": 2}
    assert run(tmp_path, "hmf", "matrix_game", **keys, env_args={"episode_limit": 1}) == 0


@pytest.mark.parametrize(
    ("algorithm", "overrides", "reason"),
    [
        ("maddpg", {}, "configuration: learner=maddpg_learner expects regime=replay (its critics learn from"),
        ("iql", {"agent": "rnn"}, "configuration: agent=rnn expects regime=replay (it learns from sequences"),
        ("iql", {"minibatches": 13}, "minibatches = 13, but a rollout has only rollout_length * batch_size_run = 12"),
        ("iql", {"rollout_length": 0}, "rollout_length expects at least 1, got 0"),
        ("iql", {"td_lambda": 1.5}, "td_lambda expects at least 0 and at most 1, got 1.5"),
        ("iql", {"regime": "rollouts"}, "regime: unknown name 'rollouts'. Did you mean 'rollout'?"),
    ],
)
def test_refused_in_one_line_before_anything_is_written(
    algorithm: str, overrides: dict[str, Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, algorithm, "bar", **{**ROLLOUT, **overrides}) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("regime", "idle", "ratio"),
    [
        ("rollout", ["train_interval", "batch_size", "buffer_size", "learning_starts"], 2.0),
        ("replay", ["rollout_length", "epochs", "minibatches"], 0.5),
    ],
)
def test_keys_of_the_other_regime_are_reported_and_the_replay_ratio_is_said_and_recorded(
    regime: str, idle: list[str], ratio: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` sets keys of both regimes on the command line."""
    assert run(tmp_path, "iql", "bar", **{**ROLLOUT, "regime": regime}) == 0
    said = capsys.readouterr().out.splitlines()
    reported = {line for line in said if line.startswith("note:") and "n_groups" not in line}
    assert reported == {f"note: command line sets {key}, which iql never reads." for key in idle}
    assert f"{regime}: every transition is learned {ratio:g} times" in said
    assert json.loads((tmp_path / "sacred/1/info.json").read_text())["resolved"]["replay_ratio"] == ratio


# ------------------------------------------------------------------------------------------------- seeds and resume


def after(folder: Path, algorithm: str, **overrides: Any) -> tuple[Trainer, list[Point]]:
    """A trainer that has trained on a small Bar, and what it logged."""
    trainer, points = trainer_for(folder, algorithm, **{**ROLLOUT, **overrides})
    trainer.train()
    return trainer, points


def test_the_same_seed_learns_the_same(tmp_path: Path) -> None:
    (_, one), (_, same), (_, other) = (after(tmp_path, "hmf_ipc", seed=seed, save_model=False) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("algorithm", ["iql", "mfq", "hmf_ipc"])
def test_a_run_interrupted_in_a_rollout_goes_on_exactly(algorithm: str, tmp_path: Path) -> None:
    """With a learning rate that falls and averaged weights; stopped after 8 rows of rollouts of 6."""
    keys = {**ROLLOUT, "lr_finish": 0.05}
    whole, expected = after(tmp_path / "whole", algorithm, **keys)
    first, points = trainer_for(tmp_path / "first", algorithm, **keys)
    collect = first.system.runner.collect

    def stopping(t_env: int, rows: Any) -> int:
        first.stop.requested = rows.stored == 8
        return collect(t_env, rows)

    first.system.runner.collect = stopping  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        first.train()
    assert first.system.learner.n_updates == 4
    second, rest = trainer_for(tmp_path / "second", algorithm, **keys)
    second.resume(first.saver.folder, checkpoint.load(first.saver.folder / checkpoint.RESUME, CPU))
    second.train()
    assert points + rest == expected
    for one, other in zip(second.system.learner.parameters, whole.system.learner.parameters, strict=True):
        assert torch.equal(one, other)


def test_a_complete_run_is_trained_longer_and_its_learning_rate_falls_until_the_new_end(tmp_path: Path) -> None:
    keys = {**ROLLOUT, "save_replay": "always", "save_model_interval": 12, "keep_checkpoints": 4, "lr": 1.0}
    assert run(tmp_path, "iql", "bar", **keys) == 0
    assert main.main(["--resume=1", "with", f"local_results_path={tmp_path}", "t_max=48"]) == 0
    said = (tmp_path / "sacred" / "2" / "cout.txt").read_text()
    assert "falls until the new t_max, 48, to lr_finish = 0.05 of lr; until here it fell until 24." in said
    for run_id, saved, updated, t_max in ((1, 12, 12, 24), (2, 36, 32, 48)):  # a rollout is whole at 12, 22, 32, 42
        folder = tmp_path / "sacred" / str(run_id) / "checkpoints" / str(saved)
        state = checkpoint.load(folder / checkpoint.LEARNER, CPU)
        assert state["optimiser"]["param_groups"][0]["lr"] == pytest.approx(1 - 0.95 * updated / t_max)
    assert read_json(tmp_path / "sacred" / "2" / "config.json")["t_max"] == 48


# ------------------------------------------------------------------------------------------------- averaged policies


def policy_of(trainer: Trainer) -> dict[str, Tensor]:
    """The networks of the policy that was exported last."""
    folder = checkpoint.step_folder(trainer.saver.folder, 0)
    networks: dict[str, Tensor] = checkpoint.load(folder / checkpoint.POLICY, CPU)["mac"]
    return networks


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("regime", ["replay", "rollout"])
def test_the_average_is_evaluated_and_exported_and_the_online_network_beside_it(regime: str, tmp_path: Path) -> None:
    trainer, points = after(tmp_path, "iql", regime=regime, average_decay=0.9)
    learner = trainer.system.learner
    assert learner.average is not None
    assert same(policy_of(trainer), learner.average.state_dict())
    assert not same(policy_of(trainer), learner.mac.state_dict())
    last = {name: value for name, value, t_env in points if t_env == trainer.counters.t_env}
    for mac, name in ((learner.average, "test_return_mean"), (learner.mac, "test_online_return_mean")):
        assert trainer._play(mac, lambda: False)["return_mean"] == last[name]


@pytest.mark.parametrize("regime", ["replay", "rollout"])
def test_without_an_average_the_online_network_is_evaluated_and_exported(regime: str, tmp_path: Path) -> None:
    trainer, points = after(tmp_path, "iql", regime=regime, average_decay=0.0)
    assert same(policy_of(trainer), trainer.system.mac.state_dict())
    assert "test_online_return_mean" not in {name for name, _, _ in points}


@pytest.mark.parametrize("algorithm", ["iql", "hmf_ipc"])
def test_leaving_the_online_network_out_changes_nothing_else(algorithm: str, tmp_path: Path) -> None:
    found = []
    for online in (True, False):
        _, points = after(tmp_path / str(online), algorithm, average_decay=0.9, test_online=online)
        timed = ("seconds", "per_second", "test_online")
        found.append([point for point in points if not any(word in point[0] for word in timed)])
        assert ("test_online_return_mean" in {name for name, _, _ in points}) == online
    assert found[0] == found[1]
    assert len(found[0]) > 10


def test_the_average_follows_every_update() -> None:
    config = config_for("iql", "bar", **ROLLOUT, average_decay=0.75)
    learner, regime = learner_for(config, INFO), make_regime(config)
    rows = regime.rows(RowSpec(INFO, 2, CPU, CPU), torch.Generator().manual_seed(0))
    expected = frozen_copy(learner.mac)
    for row in random_rows(INFO, 2, 14, seed=3):
        rows.insert(*row)
        for _ in regime.updates(learner, rows, 0):
            for mean, online in zip(expected.parameters(), learner.mac.parameters(), strict=True):
                mean.copy_(0.75 * mean + 0.25 * online)
    assert learner.n_updates == 8
    for averaged, mean in zip(learner.acting().parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(averaged, mean)


def test_the_average_knows_the_statistics_of_groups(tmp_path: Path) -> None:
    """Running moments of observations move in play, not in updates."""
    trainer, _ = after(tmp_path, "hmf_ipc", save_model=False, average_decay=0.9)
    acting, online = trainer.system.learner.acting(), trainer.system.mac
    assert acting is not online
    assert float(online.grouping.moments.count) > 0  # type: ignore[union-attr, arg-type]
    assert all(torch.equal(one, other) for one, other in zip(acting.buffers(), online.buffers(), strict=True))


# ------------------------------------------------------------------------------------------------- learning rates


@pytest.mark.parametrize(("regime", "finish"), [("replay", 1.0), ("replay", 0.5), ("rollout", 0.05)])
def test_the_learning_rate_falls_linearly_to_a_share_at_t_max(regime: str, finish: float, tmp_path: Path) -> None:
    keys = {"save_model": False, "lr_finish": finish, "lr": 0.01}
    trainer, _ = trainer_for(tmp_path, "iql", **{**ROLLOUT, "regime": regime, **keys})
    learner, seen = trainer.system.learner, []
    train = learner.train

    def noted(batch: Batch, t_env: int, targets: Any = None) -> Metrics:
        metrics = train(batch, t_env, targets)
        seen.append((t_env, learner.optimiser.param_groups[0]["lr"]))
        return metrics

    learner.train = noted  # type: ignore[method-assign]
    trainer.train()
    assert len(seen) >= 10
    for t_env, lr in seen:
        assert lr == pytest.approx(0.01 * (1 + (finish - 1) * min(t_env / 60, 1)))


def test_each_regime_has_its_defaults() -> None:
    """Those of default.yaml, unless something sets them; a layer's part for the regime goes before its own value."""
    assert {regime: config_for("iql", "bar", regime=regime).args["lr_finish"] for regime in ("replay", "rollout")} == {
        "replay": 1.0,
        "rollout": 0.05,
    }
    assert config_for("iql", "bar", regime="rollout", lr_finish=0.5).args["lr_finish"] == 0.5
    parts = {"lr": 0.1, "regimes": {"rollout": {"lr": 0.2}}}
    assert config_for("iql", "bar", regime="rollout", **parts).args["lr"] == 0.2
    assert config_for("iql", "bar", regime="replay", **parts).args["lr"] == 0.1
