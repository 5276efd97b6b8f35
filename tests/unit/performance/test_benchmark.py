"""The benchmark: exclusive timing, honest floors, a whole small run, the comparison of two."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.factory import config_for, info_for, learner_for, random_batch

import benchmark
from analysis.tables import Table
from assembly.parts import make_env
from envs.battle.env import BattleEnv
from performance import compare, targets
from performance.ceiling import Work, work_of_update
from performance.floors import BareBattle, NetworkCalls, _with_engine_views, bare_engine, networks
from performance.measure import SECTIONS, Measurement, measure, population
from performance.tables import HEAD
from performance.tasks import MPE2
from performance.timing import MIN_ROUNDS, Stopwatch, alternate

BATTLE = {"n_agents": 6, "n_enemies": 4, "map_size": 20, "opponent": "random"}


class ManualClock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds


def test_a_section_counts_what_no_inner_one_does() -> None:
    clock = ManualClock()
    watch = Stopwatch(clock)
    clock.wait(1.0)  # nobody's
    with watch.section("outer"):
        clock.wait(2.0)
        with watch.section("inner"):
            clock.wait(4.0)
        clock.wait(8.0)
    assert watch.seconds == {"outer": 10.0, "inner": 4.0}


def test_watched_methods_are_charged_and_still_answer() -> None:
    clock = ManualClock()
    watch = Stopwatch(clock)

    class Owner:
        def work(self, seconds: float) -> str:
            clock.wait(seconds)
            return "done"

    owner = Owner()
    watch.watch(owner, "work", "work")
    assert owner.work(3.0) == "done"
    assert watch.seconds == {"work": 3.0}


def test_tasks_run_in_turn_and_the_first_round_does_not_count() -> None:
    clock = ManualClock()
    durations = iter([100.0, *[1.0] * MIN_ROUNDS])
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        clock.wait(next(durations))

    medians = alternate({"slow": slow, "idle": lambda: order.append("idle")}, 0.0, clock)
    assert medians == {"slow": 1.0, "idle": 0.0}
    assert order == ["slow", "idle"] * (MIN_ROUNDS + 1)


@pytest.mark.parametrize("algorithm", ["iql", "qmix", "mfvfd", "hmf", "maddpg"])
def test_the_arithmetic_floor_repeats_every_network_call_of_an_update(algorithm: str) -> None:
    """All networks run, and those that learn receive gradients again; nothing is learned."""
    info = info_for(n_agents=4, n_actions=3)
    learner = learner_for(config_for(algorithm, "matrix_game", env_args={"n_agents": 2}), info)
    batch = random_batch(info, 8, n_groups=2)
    used: set[torch.nn.Module] = set()
    calls = NetworkCalls(learner, lambda: learner.train(batch, 0))
    before = [parameter.clone() for parameter in learner.parameters]
    hooks = [net.register_forward_pre_hook(lambda net, _: used.add(net)) for net in networks(learner)]
    calls()
    assert used == set(networks(learner))
    assert sum(parameter.grad is not None for parameter in learner.parameters) >= len(list(learner.mac.parameters()))
    assert all(torch.equal(old, new) for old, new in zip(before, learner.parameters, strict=True))
    for hook in hooks:
        hook.remove()


def test_the_work_of_an_update_by_hand() -> None:
    """Double DQN, a network of 3 inputs, 5 units, 2 actions for each of 4 agents, 8 transitions."""
    info = info_for(n_agents=4, n_actions=2)
    config = config_for("iql", "matrix_game", env_args={"n_agents": 2}, hidden_dims=[5], obs_last_action=False)
    learner, batch = learner_for(config, info), random_batch(info, 8)
    work = work_of_update(learner, batch)
    first, second = 2 * 8 * 4 * 3 * 5, 2 * 8 * 4 * 5 * 2
    forward, backward = first + second, first + 2 * second  # nothing flows back to the observations
    assert work.flop == 3 * forward + backward  # at t; at t + 1, by the online and by the target network
    tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    numbers = 4 * (3 * 5 + 5 + 5 * 2 + 2)
    learned = 4 * (3 * numbers + 4)  # bytes: parameters, two moments, and Adam's count for each of four tensors
    assert work.nbytes == sum(tensor.numel() * tensor.element_size() for tensor in tensors) + 2 * learned


def test_the_ceiling_is_the_slower_of_products_and_memory() -> None:
    assert Work(flop=60, nbytes=10).least_seconds(flop_rate=20, byte_rate=10) == 3
    assert Work(flop=60, nbytes=50).least_seconds(flop_rate=20, byte_rate=10) == 5


def test_the_bare_engine_plays_battles() -> None:
    env = make_env(config_for("iql", "battle", env_args=BATTLE), 2, test=False)
    step = bare_engine(env)
    assert isinstance(env, BattleEnv)
    engines = env._battles.world.engines
    learners = engines[0].get_handles()[0]
    start = [engine.get_pos(learners).copy() for engine in engines]
    for _ in range(5):
        step()
    for engine, position in zip(engines, start, strict=True):
        assert (engine.get_pos(learners) != position).any()


def test_the_bare_engine_makes_whole_observations() -> None:
    env = make_env(config_for("iql", "battle", env_args=BATTLE), 1, test=False)
    (engine,) = _with_engine_views(env)
    env.reset(seed=1)
    battle = BareBattle(engine)
    battle.step(0)
    assert battle.view.shape[1:] == env.info.obs_shape
    np.testing.assert_array_equal(battle.view, engine.get_observation(engine.get_handles()[0])[0])
    assert battle.view.any()


def test_a_measurement_is_complete_and_consistent() -> None:
    config = config_for("hmf", "battle", env_args=BATTLE, regime="replay", train_interval=4, n_groups=2)
    row = measure(config.to_dict(), "battle", seconds=0.2)
    assert (row.algorithm, row.n_agents, row.n_envs, row.steps_per_cycle) == ("hmf", 6, 2, 2.0)
    assert set(row.split) == set(SECTIONS)
    assert sum(row.split.values()) == pytest.approx(1.0)
    assert all(row.split[name] > 0 for name in SECTIONS)
    assert row.rollout > row.engine > 0
    assert row.training > row.update > row.arithmetic > 0
    assert 0 < row.rollout_share < 1
    assert 0 < row.ceiling_share < 1
    assert row.obs_bytes == 7 * 7 * 5
    assert row.replay_ratio < 1.15  # the observation, and at most 16 bytes beside it, with 15 % to spare


def test_the_command_writes_tables_and_a_picture(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- file: benchmark.md -->\n<!-- end -->\n")
    options = ["--config", "iql", "--agents", "4", "--seconds", "0.1", "--out", str(tmp_path), "--page", str(page)]
    assert benchmark.main([*options, "with", "regime=replay", "batch_size=8", "hidden_dims=[8]"]) == 0
    with (tmp_path / "benchmark.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["algorithm"], row["env"], row["N"]) for row in rows] == [("iql", "battle", "4")]
    assert all(float(row["agent_steps/s"]) > 0 for row in rows)
    assert "| iql | battle | 4 |" in page.read_text()
    assert (tmp_path / "benchmark.png").stat().st_size > 0


def measurement(name: str, n_agents: int, n_envs: int = 2, **seconds: float) -> Measurement:
    medians = {"rollout": 4.0, "engine": 1.0, "forward": 1.0, "sample": 1.0, "update": 12.0, "arithmetic": 10.0}
    sizes = {"replay_bytes": 100.0, "obs_bytes": 84, "peak_bytes": 1}
    values: dict[str, Any] = {
        **medians,
        "training": 16.0,
        "ceiling_share": 0.5,
        "split": {},
        **sizes,
        "steps_per_cycle": 2.0,
        "updates_per_cycle": 1,
        **seconds,
    }
    return Measurement(algorithm=name, environment="battle", n_agents=n_agents, n_envs=n_envs, accelerator="", **values)


def test_targets_by_hand() -> None:
    rows = [
        measurement("iql", 64),
        measurement("iql", 200),
        measurement("hmf", 200, update=18.0, training=30.0),
        measurement("iql", 1000, rollout=100.0, update=187.5, replay_bytes=120.0),
    ]
    training = {target.what: target for target in targets.of_training(rows)}
    expected = {
        "iql: share of training that is neither engine nor networks, replay, N = 200": (
            0.125,
            True,
        ),  # 1 - (2 x 2 + 10) / 16
        "hmf: share of training that is neither engine nor networks, replay, N = 200": (16 / 30, False),
        "iql: update over its networks' arithmetic, N = 200": (1.2, True),
        "hmf: update over its networks' arithmetic, N = 200": (1.8, False),
        "iql: rollout per agent step, N = 1000 over N = 64": (1.6, False),  # 100 / 4 x 64 / 1000
        "iql: update per agent step, N = 1000 over N = 64": (1.0, True),
        "hmf: update over iql's, N = 200": (1.5, False),
        "replay memory over one uint8 observation and 16 bytes, the largest": (1.2, False),
    }
    assert training.keys() == expected.keys()
    for what, (measured, met) in expected.items():
        assert training[what].measured == pytest.approx(measured), what
        assert training[what].met is met, what

    (share,) = targets.of_shares([measurement("hmf", 200, training=20.0)])
    assert (share.measured, share.met) == (pytest.approx(0.3), False)  # 1 - (2 x 2 + 10) / 20

    (rollout,) = targets.of_rollouts([measurement("iql", 64, n_envs=8)])
    assert "8 battles at once" in rollout.what
    assert (rollout.measured, rollout.met) == (0.5, False)

    speeds = {MPE2: 2.0, "spread, N = 6": 600.0, "spread, N = 100": 2.0, "pursuit": 599.0, "bar": 700.0}
    tasks = targets.of_tasks(speeds, both_cores=1.7)
    assert [(target.measured, target.met) for target in tasks] == [
        (1.7, True),
        (300.0, True),
        (299.5, False),
        (350.0, True),
        (300.0, False),  # (100 / 6)^2 is 278
    ]
    assert "| pursuit, 1,000 at once, over one of" in targets.table(tasks).markdown()


@pytest.mark.parametrize(("environment", "n"), [("battle", 10), ("battle_symmetric", 20), ("battle_v4", 20)])
def test_enemies_are_as_many_where_sides_are_equal(environment: str, n: int) -> None:
    assert population(environment, 20)["n_enemies"] == n


def test_a_page_is_checked_before_anything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("no place for a table")
    assert benchmark.main(["--page", str(page), "--out", str(tmp_path / "out")]) == 2
    assert "expected places of the form" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert benchmark.main(["--out", str(page)]) == 2
    assert "--out: expected a folder that can be made" in capsys.readouterr().err


def test_comparison_pairs_rounds_and_inverts_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = []
    for name, speed, cost in (("old", "10", "4"), ("new", "20", "8")):
        (tmp_path / name).mkdir()
        table = Table("", HEAD, [["iql", "battle", 64, 2, *[speed] * 3, *[cost] * 3, *["1"] * 5, cost]])
        (tmp_path / name / "benchmark.csv").write_text(table.csv())
        folders.append(tmp_path / name)
    found = compare.ratios(folders)
    case = ("iql", "battle", "64")
    assert found[case, "env_steps/s"] == [2.0]
    assert found[case, "rollout_us"] == [0.5]
    assert benchmark.main(["--compare", *map(str, folders)]) == 0
    assert "iql battle 64                    env_steps/s   2.000  2.000  2.000" in capsys.readouterr().out
    rows = [["iql", "battle", n, 2, *["10"] * 3, *["4"] * 3, *["1"] * 5, "4"] for n in (1000, 64, 200)]
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "benchmark.csv").write_text(Table("", HEAD, rows).csv())
    lines = [line.split()[2] for line in compare.comparison([tmp_path / "many"] * 2) if " update_ms " in line]
    assert lines == ["64", "200", "1000"]
    text = (tmp_path / "new" / "benchmark.csv").read_text()
    (tmp_path / "new" / "benchmark.csv").write_text(text.replace(",20", ",0.00"))
    assert sorted({column for _, column in compare.ratios(folders)} & {*compare.SPEEDS}) == [], "rounded to nothing"
    for wrong, said in (
        (text.replace("iql", "vdn"), "expected tables of the same cases"),
        ("a,b\n1,2\n", "(KeyError: 'algorithm'). Measure again."),
        (text.replace(",8", ",eight"), "(ValueError: could not convert string to float: 'eight'). Measure again."),
        ("\udcff", "(UnicodeDecodeError: "),
    ):
        (tmp_path / "new" / "benchmark.csv").write_text(wrong, errors="surrogateescape")
        assert benchmark.main(["--compare", *map(str, folders)]) == 2
        assert said in capsys.readouterr().err
    assert benchmark.main(["--compare", str(folders[0]), str(tmp_path / "none")]) == 2
    assert f"cannot read benchmark.csv in '{tmp_path}/none' (No such file or directory)." in capsys.readouterr().err
