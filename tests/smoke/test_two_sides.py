"""Both sides of a game learn, by algorithms of their own, through the real main."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.factory import config_for
from tests.support.resume import check_exact, resume_state
from tests.support.small_runs import command, points, run

import build
import crossplay
import evaluate
import main
from assembly.registries import REGISTRIES
from assembly.saved import load_policy
from components.batch import Step
from config.enemies import enemy_config
from config.loader import Layer, layers, stacked
from config.resolve import make_config, with_run_keys
from config.schema import ConfigError
from envs.opponents import TwoSidedEnv
from records import checkpoint
from records.files import read_json
from utils.errors import InputError

BOTH: dict[str, Any] = {"env_args": {"opponent": "learner", "hp": 1, "enemy_hp": 1}}
SHORT = {"rollout_length": 8}
EARLY = {"learning_starts": 8, "batch_size": 4}
TAG = {
    "env_args.entry": "mpe2.simple_tag_v3",
    "env_args.team": "adversary",
    "env_args.opponent": "learner",
}


@pytest.mark.parametrize(
    ("own", "enemy", "regime"), [("iql", "hmf_ipc", "replay"), ("mfq", "", "rollout"), ("hmf", "maddpg", "rollout")]
)
def test_a_run_continues_exactly(own: str, enemy: str, regime: str, tmp_path: Path) -> None:
    """Networks, rows, memories, random streams and metrics of both sides; regimes may differ."""
    keys = {"regime": regime, "rollout_length": 8, "minibatches": 3, "lr_finish": 1.0} if regime == "rollout" else {}
    theirs = {"opponent_args": {"learning_starts": 8, "batch_size": 4, "lr_finish": 1.0, "n_groups": 2}}
    check_exact(tmp_path, own, "battle", opponent_config=enemy, **keys, **theirs, **BOTH)
    state = resume_state(tmp_path / "whole" / "sacred" / "1")
    assert state["enemy_learner"]["n_updates"] > 0 < state["learner"]["n_updates"]
    logged = points(tmp_path / "whole", 1)
    assert {"enemy_loss", "enemy_return_mean", "loss", "return_mean"} <= logged.keys()


def test_what_a_run_says_and_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The record tells the enemies' whole configuration, and holds a policy that plays their side."""
    assert run(tmp_path, "iql", "battle", opponent_config="mfq", opponent_args=SHORT | {"lr": 0.02}, **BOTH) == 0
    assert "against mfq, which learns too: 6 agents, 21 actions" in capsys.readouterr().out
    run_dir = tmp_path / "sacred" / "1"
    config = read_json(run_dir / "config.json")
    assert config["lr"] == 0.0005
    theirs = config["opponent_args"]
    assert (theirs["name"], theirs["lr"], theirs["regime"]) == ("mfq", 0.02, "rollout")
    assert "t_max" not in theirs
    folder = checkpoint.step_folder(run_dir / "checkpoints", 0)
    enemy = load_policy(folder / "enemy_policy.pt", torch.device("cpu"))
    assert (enemy.info.n_agents, enemy.info.n_actions) == (6, 21)
    assert evaluate.main(["--run", str(run_dir), "--episodes", "2"]) == 0
    (written,) = (run_dir / "evaluations").iterdir()
    assert read_json(written)["config"]["env_args"]["opponent_checkpoint"] == str(folder / "enemy_policy.pt")

    words = [f"env_args.opponent_checkpoint={folder / 'enemy_policy.pt'}", "env_args.opponent=checkpoint"]
    assert main.main([*command(tmp_path, "iql", "battle"), *words]) == 0, "a later run plays against it"
    continued = {"checkpoint_path": run_dir / "checkpoints", "opponent_config": "mfq"}
    words = [f"{key}={value}" for key, value in continued.items()]
    further = command(tmp_path, "iql", "battle", opponent_args=SHORT, **BOTH)
    assert main.main([*further, *words]) == 0, "or goes on with both"


def test_ratings_of_both_sides_over_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kept checkpoint of either side is a player, in Battle and in an imported game."""
    often = {"save_model_interval": 8, "keep_checkpoints": 9}
    assert run(tmp_path, "iql", "battle", **often, **BOTH, opponent_args=EARLY) == 0
    assert run(tmp_path, "iql", "pettingzoo", **often, **TAG, env_args={"kwargs": {"max_cycles": 6}}) == 0
    for run_id, sides in ((1, 2), (2, 1)):
        steps = checkpoint.steps(tmp_path / "sacred" / str(run_id) / "checkpoints")
        assert len(steps) >= 3
        out = tmp_path / f"out{run_id}"
        words = ["--sides", str(run_id), "--results", str(tmp_path), "--out", str(out), "--episodes", "2"]
        capsys.readouterr()
        assert crossplay.main([*words, "--trust"]) == 0
        said = capsys.readouterr().out
        last = steps[-1]
        assert f"learners of step {last:,} against enemies of step {steps[0]:,}: score " in said
        assert said.count("against enemies of step") == len(steps) ** 2
        rows = (out / "sides.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows[1:]] == [str(step) for step in steps]
        games = 2 * sides * len(steps)
        assert {row.split(",")[4] for row in rows[1:]} == {f"{games}"}
        assert (out / "sides.png").stat().st_size > 0


def test_runs_without_two_sides_over_training_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "iql", "battle") == 0
    assert run(tmp_path, "iql", "battle", **BOTH, opponent_args=EARLY) == 0
    words = ["--results", str(tmp_path), "--out", str(tmp_path / "out")]
    assert crossplay.main(["--sides", "1", *words]) == 2
    assert "expected a run with env_args.opponent=learner, got" in capsys.readouterr().err
    for step in checkpoint.steps(tmp_path / "sacred" / "2" / "checkpoints")[1:]:
        shutil.rmtree(tmp_path / "sacred" / "2" / "checkpoints" / str(step))
    assert crossplay.main(["--sides", "2", *words]) == 2
    assert re.search(r"expected at least two checkpoints in \S+, got 1\. Train with", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_where_no_enemies_learned_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "iql", "battle") == 0
    checkpoints = tmp_path / "sacred" / "1" / "checkpoints"
    said = r"expected \S*enemy_{}\.pt, which runs with env_args\.opponent=learner keep, it does not exist\. Choose a"
    assert run(tmp_path, "iql", "battle", checkpoint_path=str(checkpoints), **BOTH) == 2
    assert re.search(said.format("learner"), capsys.readouterr().err)
    assert evaluate.main(["--run", str(tmp_path / "sacred" / "1"), "with", "env_args.opponent=learner"]) == 2
    assert re.search(said.format("policy"), capsys.readouterr().err)
    assert len(list((tmp_path / "sacred").glob("*/run.json"))) == 1


def test_enemies_groups_are_logged(tmp_path: Path) -> None:
    """What a controller tells about its groups, for either side by its own name."""
    keys = {"opponent_config": "hmf_ipc", "opponent_args": {**SHORT, "n_groups": 2}, "log_interval": 8}
    assert run(tmp_path, "iql", "battle", **keys, **BOTH) == 0
    logged = points(tmp_path, 1).keys()
    assert "enemy_group_inertia" in logged
    assert "group_inertia" not in logged


def test_enemies_store_what_learners_would() -> None:
    """Their rows are what they saw and did, with the rewards that this earned, row by row."""
    system = build.build(config_for("iql", "battle", **small(), opponent_args={"rollout_length": 40}))
    (opponent,), (enemies,) = system.opponents.values(), system.enemies.values()
    seen: list[tuple[Step, torch.Tensor]] = []
    env = system.runner.env
    assert isinstance(env, TwoSidedEnv)

    def watched(step: Step, first: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append((step, opponent(step, first, generator)))
        return seen[-1][1]

    env._policies[""] = type("Watched", (), {"__call__": staticmethod(watched), "state_dict": opponent.state_dict})()
    made = sum(system.runner.collect(0, system.rows) for _ in range(30))
    assert opponent.t_env == made
    rows = enemies.rows
    for index, (step, action) in enumerate(seen):
        assert torch.equal(rows.arrays["reward"][index], step.reward)
        assert torch.equal(rows.arrays["alive"][index], step.alive)
        assert torch.equal(rows.arrays["action"][index].long() * step.alive, action * step.alive)
        assert torch.equal(rows.done[index], step.done)
    episodes = opponent.log.values["return_mean"]
    assert len(episodes) == len(system.runner.log.values["return_mean"]) > 2
    # By hand: rewards of every row but an episode's first, summed until it ends.
    totals, expected = torch.zeros(2), []
    for step, _ in seen:
        totals += step.reward.mean(-1)
        expected += totals[step.done].tolist()
        totals[step.done] = 0.0
    assert episodes[: len(expected)] == pytest.approx(expected, abs=1e-5)


def small() -> dict[str, Any]:
    sizes = {"n_agents": 4, "n_enemies": 3, "map_size": 12, "episode_limit": 6}
    return {"env_args": {"opponent": "learner", "hp": 1, "enemy_hp": 1, **sizes}}


def test_sides_do_not_share_networks_or_random_numbers() -> None:
    config = config_for("iql", "battle_symmetric", env_args={"opponent": "learner"}, opponent_args={"regime": "replay"})
    assert enemy_config(config).seed != config.seed
    system = build.build(config)
    one, other = (side.mac.state_dict() for side in system.sides.values())
    assert any(
        one[name].shape == other[name].shape and not torch.equal(one[name], other[name])
        for name in one.keys() & other.keys()
    )


def test_two_teams_of_a_pettingzoo_environment(tmp_path: Path) -> None:
    """Runners and chasers learn at once, one by HMF, the others by IQL; obstacles and actions differ."""
    assert (
        run(
            tmp_path,
            "hmf",
            "pettingzoo",
            env_args={"kwargs": {"max_cycles": 6}},
            opponent_config="iql",
            opponent_args=EARLY,
            **TAG,
        )
        == 0
    )
    logged = points(tmp_path, 1)
    assert {"return_mean", "enemy_return_mean", "test_opponent_return_sum"} <= logged.keys()


def test_speaker_and_listener_have_networks_of_their_own(tmp_path: Path) -> None:
    entry = {"env_args.entry": "mpe2.simple_speaker_listener_v4", "env_args.team": "speaker"}
    assert run(tmp_path, "iql", "pettingzoo", env_args={"kwargs": {"max_cycles": 6}}, **{**TAG, **entry}) == 0
    config = read_json(tmp_path / "sacred" / "1" / "config.json")
    assert config["opponent_args"]["name"] == "iql"


CRYPTO = {
    "env_args.entry": "mpe2.simple_crypto_v3",
    "env_args.team": "eve",
    "env_args.teams": ["alice", "bob"],
    "env_args.opponent": "learner",
}


def test_three_teams_learn_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who listens in, who speaks and who hears, each by an algorithm of its own."""
    keys = {
        "env_args": {"kwargs": {"max_cycles": 6}},
        "opponent_config": {"alice": "vdn"},
        "opponent_args": {"alice": EARLY, "bob": {"regime": "rollout", "lr_finish": 1.0, **SHORT}},
        **CRYPTO,
    }
    check_exact(tmp_path, "iql", "pettingzoo", **keys)
    said = capsys.readouterr().out
    assert re.search(r"against alice, vdn, which learns too: 1 agent,.*\nagainst bob, iql, which learns too: 1 ", said)
    run_dir = tmp_path / "whole" / "sacred" / "1"
    logged = points(tmp_path / "whole", 1).keys()
    assert {"return_mean", "enemy_alice_return_mean", "enemy_bob_loss", "test_opponent_return_sum"} <= logged
    state = resume_state(run_dir)
    assert min(state[f"{prefix}learner"]["n_updates"] for prefix in ("", "enemy_alice_", "enemy_bob_")) > 0
    config = read_json(run_dir / "config.json")
    assert config["opponent_config"] == {"alice": "vdn", "bob": "iql"}
    assert config["opponent_args"]["bob"]["regime"] == "rollout"
    assert evaluate.main(["--trust", "--run", str(run_dir), "--episodes", "2"]) == 0
    folder = checkpoint.step_folder(run_dir / "checkpoints", 0)
    (written,) = (run_dir / "evaluations").iterdir()
    assert read_json(written)["config"]["env_args"]["opponent_checkpoint"] == str(folder)

    further = command(tmp_path, "iql", "pettingzoo", checkpoint_path=str(folder.parent), **keys)
    assert main.main(further) == 0, "a later run goes on with all three"
    frozen = {key: value for key, value in CRYPTO.items() if key != "env_args.opponent"}
    against = {**frozen, "env_args.opponent": "checkpoint", "env_args": keys["env_args"]}
    for path, code in ((folder, 0), (folder / "policy.pt", 2)):
        words = command(tmp_path, "iql", "pettingzoo", **against, **{"env_args.opponent_checkpoint": str(path)})
        assert main.main(words) == code, "or plays against them"
    assert "expected a checkpoint's folder, with a policy for every team, got" in capsys.readouterr().err
    (folder / "enemy_bob_policy.pt").unlink()
    assert evaluate.main(["--trust", "--run", str(run_dir), "--episodes", "3"]) == 2
    assert "enemy_bob_policy.pt, which runs with env_args.opponent=learner keep, it does not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"opponent_config.bob": "hmf"},
            r"opponent_args\.bob: n_groups: expected between 1 and the number of agents \(1\)",
        ),
        (
            {"test_env_args.teams": []},
            r"test_env_args\.teams expects those of env_args\.teams, .* got none\. Leave it out",
        ),
        ({"test_env_args.teams": ["ali", "bob"]}, r"test_env_args\.teams expects those .* got ali, bob"),
    ],
)
def test_teams_that_cannot_be_built_are_refused(words: dict[str, Any], message: str) -> None:
    given = [f"{key}={value}" for key, value in {**CRYPTO, **words}.items()]
    config, _ = make_config(layers("iql", "pettingzoo", given), REGISTRIES)
    with pytest.raises(InputError, match=message):
        build.build(config)


def test_a_file_of_an_environment_may_choose_the_enemies(tmp_path: Path) -> None:
    task = tmp_path / "duel.yaml"
    task.write_text("base: battle\nenv_args: {opponent: learner}\nopponent_config: mfq\nopponent_args: {lr: 0.02}\n")
    config, _ = make_config(layers("iql", str(task), []), REGISTRIES)
    assert (config.opponent_config, config.opponent_args["lr"], config.args["lr"]) == ("mfq", 0.02, 0.0005)


def test_teams_by_one_algorithm_and_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """One name is everybody's; a printed configuration makes the same run."""
    words = [f"{key}={value}" for key, value in CRYPTO.items()]
    config, _ = make_config(layers("hmf", "pettingzoo", [*words, "opponent_config=mfq"]), REGISTRIES)
    assert config.opponent_config == {"alice": "mfq", "bob": "mfq"}
    assert enemy_config(config, "alice").args == enemy_config(config, "bob").args
    assert len({config.seed, enemy_config(config, "alice").seed, enemy_config(config, "bob").seed}) == 3
    assert main.main(["print_config", "--config=hmf", "--env-config=pettingzoo", "with", *words, "lr=0.1"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"bob: hmf +# the learners' algorithm\n", said)
    assert (
        main.main(["print_config", "--config=iql", "--env-config=pettingzoo", "with", *words, "opponent_config=vdn"])
        == 0
    )
    assert re.search(r"bob: vdn +# command line\n", capsys.readouterr().out)
    assert re.search(r"alice:\n    name: hmf +# opponent_config\.alice=hmf\n", said)
    printed = Layer("printed", config.to_dict())
    again, _ = make_config(stacked(printed, "hmf", Layer("command line", {})), REGISTRIES)
    assert again == config
    falling = ["lr_finish=0.5", "opponent_args.bob.lr_finish=0.5"]
    config, _ = make_config(layers("iql", "pettingzoo", [*words, *falling, "opponent_config=vdn"]), REGISTRIES)
    _, notes = with_run_keys(config, {"t_max": 2 * config.t_max})
    assert [re.findall(r"here on (\S+) learning", note)[0] for note in notes] == ["the", "bob's"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"opponent_config.eve": "mfq"},
            r"opponent_config expects the names of .* \(alice, bob\), got 'eve'",
        ),
        (
            {"opponent_args.lr": 0.1},
            r"opponent_args expects the names of .*, got 'lr'\. Write \S+\.alice\.KEY=",
        ),
        ({"opponent_args.bob": 3}, r"opponent_args\.bob expects dict, got 3"),
        ({"opponent_config.bob": 3}, r"opponent_config expects str \| dict\[str, str\], got \{'bob': 3\}"),
        ({"opponent_args.bob.lr": -1}, r"opponent_args\.bob: lr expects above 0, got -1"),
        ({"opponent_args.bob.lrr": 3}, r"opponent_args\.bob: unknown key 'lrr'"),
        (
            {"opponent_args.bob.t_max": 3},
            r"opponent_args\.bob expects keys of an algorithm, got t_max, which",
        ),
        (
            {"env_args.teams": [], "opponent_config.bob": "mfq"},
            "opponent_config expects the name of an algorithm",
        ),
    ],
)
def test_what_teams_cannot_have_is_refused(words: dict[str, Any], message: str) -> None:
    given = [f"{key}={value}" for key, value in {**CRYPTO, **words}.items()]
    with pytest.raises(ConfigError, match=message):
        make_config(layers("iql", "pettingzoo", given), REGISTRIES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"opponent_config": "mfq"}, "opponent_config expects env_args.opponent=learner, .* got opponent=random"),
        ({"opponent_args.lr": 0.1}, "opponent_args expects env_args.opponent=learner"),
        ({"opponent_args.t_max": 5, **BOTH}, "opponent_args expects keys of an algorithm, got t_max, which all sides"),
        ({"opponent_config": "nfq", **BOTH}, "no algs configuration 'nfq'"),
        ({"opponent_args.lrr": 5, **BOTH}, "opponent_args: unknown key 'lrr'"),
        ({"opponent_args.lr": "x", **BOTH}, "opponent_args: lr expects float, got 'x'"),
        ({"opponent_args": 3, **BOTH}, "opponent_args expects dict, got 3"),
        ({"opponent_config": "maddpg", "opponent_args.regime": "rollout", **BOTH}, "expects regime=replay"),
        ({"test_env_args.opponent": "learner"}, "test_env_args.opponent=learner expects env_args.opponent=learner"),
    ],
)
def test_what_cannot_be_is_refused(
    words: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "iql", "battle", **words) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "sacred").exists()


def test_several_processes_are_refused() -> None:
    config = config_for("iql", "battle", **small(), regime="rollout")

    class Two:
        size = 2

    with pytest.raises(ConfigError, match="2 processes expect one side that learns, got "):
        build.build(config, processes=Two())  # type: ignore[arg-type]


def test_only_games_of_two_sides_have_enemies() -> None:
    with pytest.raises(InputError, match=r"unknown key 'env_args\.opponent'"):
        config_for("iql", "bar", env_args={"opponent": "learner"})
