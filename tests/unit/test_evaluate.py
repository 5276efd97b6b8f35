"""evaluate.py on recorded tiny runs: both sides, the overrides that count, refusals, videos of groups and attention."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from tests.support import full_disk
from tests.support.small_runs import run

import crossplay
import evaluate
import exploit
import noise
import runs
import transfer
from assembly.opponents import policy_digests
from assembly.saved import load_policy
from components.batch import decode_obs
from config.resolve import with_env_args
from config.schema import Config
from config.trust import NOTHING
from controllers.policy import FULLY_ANNEALED
from experiments import evaluation
from experiments.video import Painter
from records import checkpoint
from utils import seeding

CPU = torch.device("cpu")


def recorded(folder: Path, algorithm: str, environment: str, **overrides: Any) -> Path:
    assert run(folder, algorithm, environment, **overrides) == 0
    return folder / "sacred" / "1"


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("battle"), "hmf", "battle_symmetric")


@pytest.fixture(scope="module")
def bar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("bar"), "iql", "bar", save_model_interval=8)


@pytest.fixture(scope="module")
def pursuit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with random starts, whose evaluation has an episode limit of its own."""
    return recorded(tmp_path_factory.mktemp("pursuit"), "iql", "pursuit")


def evaluated(run_dir: Path, *words: str) -> dict[str, Any]:
    """The record that an evaluation of the newest checkpoint writes: the file written last."""
    assert evaluate.main(["--run", str(run_dir), *words]) == 0
    return json.loads(
        max((run_dir / "evaluations").glob("*.json"), key=lambda path: path.stat().st_mtime_ns).read_text()
    )


def test_both_sides_with_statistics_of_the_same_kind(battle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = evaluated(battle, "--episodes", "3", "--seed", "5")
    assert record["sides"].keys() == {"left", "right"}
    left, right = record["sides"].values()
    assert left.keys() == right.keys() >= {"return_mean", "return_gini", "ep_length", "kills", "deaths", "win"}
    assert left["n_episodes"] == right["n_episodes"] == 4.0  # rounded up: two environments play the same number
    table = capsys.readouterr().out
    assert f"hmf on battle, step {checkpoint.step_folder(battle / 'checkpoints', 0).name}, 3 greedy episodes" in table
    std = {side: values["kills"] for side, values in record["deviations"].items()}
    means = (f"{record['sides'][side]['kills']:.4f} ± {std[side]:.4g}" for side in ("left", "right"))
    rows = [line.split("  ") for line in table.splitlines()]
    assert ["kills", *means] in [[cell.strip() for cell in row if cell] for row in rows]
    assert ["n_episodes", "4", "4"] in [line.split() for line in table.splitlines()]
    assert "\nwin: more kills than deaths; annihilation: no enemy left; score: 1 for more kills" in table


def test_deviations_are_those_of_the_episodes_one_by_one(pursuit: Path) -> None:
    record = evaluated(pursuit, "--episodes", "4", "--seed", "7")
    mac = load_policy(checkpoint.step_folder(pursuit / "checkpoints", 0) / checkpoint.POLICY, CPU)
    log = evaluation.play_episodes(evaluation.run_config(pursuit, []), mac, 4, seed=7)
    means, deviations = record["sides"]["all"], record["deviations"]["all"]
    assert deviations["min_distance"] == pytest.approx(np.std(log.values["min_distance"]), rel=1e-5)
    assert deviations["return_mean"] == means["return_std"] > 0.0
    assert deviations.keys() | {"return_std", "n_episodes"} == means.keys()


def test_the_same_seed_finds_the_same(pursuit: Path) -> None:
    first, again, other = (evaluated(pursuit, "--episodes", "2", "--seed", seed)["sides"] for seed in "112")
    assert first == again != other


def test_the_learners_really_change_sides(battle: Path) -> None:
    """On the left they start in the left half of the map."""
    config = evaluation.run_config(battle, [])
    mac = load_policy(checkpoint.step_folder(battle / "checkpoints", 0) / checkpoint.POLICY, CPU)
    mean_x = {}
    for side, setting in evaluation.sides(config).items():
        env = evaluation.make_game(setting, mac, 2)
        position = env.reset(1).position
        assert position is not None
        mean_x[side] = float(position[..., 0].mean())
        env.close()
    assert mean_x["left"] < mean_x["right"]


def test_an_environment_without_sides(bar: Path) -> None:
    assert evaluated(bar, "--episodes", "2")["sides"].keys() == {"all"}


def test_overrides_count_even_where_the_run_had_its_own_for_evaluation(pursuit: Path) -> None:
    assert evaluation.run_config(pursuit, []).env_args["episode_limit"] == 6
    record = evaluated(pursuit, "--episodes", "1", "with", "env_args.episode_limit=3")
    assert record["sides"]["all"]["ep_length"] <= 3.0
    assert record["config"]["env_args"]["episode_limit"] == 3


def test_evaluation_arguments_of_the_run_count(tmp_path: Path) -> None:
    run_dir = recorded(tmp_path, "iql", "bar")
    path = run_dir / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "test_env_args": {"episode_limit": 2}}))
    assert evaluated(run_dir, "--episodes", "1")["sides"]["all"]["ep_length"] == 2.0


def test_a_run_on_a_gpu_is_evaluated_without_one(bar: Path) -> None:
    path = bar / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_cuda": True}))
    assert not evaluation.run_config(bar, []).use_cuda


def test_the_best_the_newest_and_a_step(bar: Path) -> None:
    checkpoints = bar / "checkpoints"
    checkpoint.mark_best(checkpoints, checkpoint.steps(checkpoints)[0], 0.0)
    oldest, newest = checkpoint.steps(checkpoints)[0], checkpoint.steps(checkpoints)[-1]
    assert oldest != newest
    found = [checkpoint.named_folder(bar, step).name for step in ("best", "newest", str(newest))]
    assert found == [str(oldest), str(newest), str(newest)]
    assert checkpoint.named_folder(bar, "99999").name == str(newest), "the nearest, for cross-play of several runs"


def test_a_step_that_is_not_there_is_refused_with_those_that_are(bar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bar / "checkpoints"
    steps = ", ".join(map(str, checkpoint.steps(folder)))
    for step in ("12345", "1"):
        assert evaluate.main(["--run", str(bar), "--step", step]) == 2
        expected = f"--step: expected best, newest or a step that '{folder}' has ({steps}), got {step}."
        assert expected in capsys.readouterr().err


def test_statistics_that_the_disk_refuses_are_printed_all_the_same(
    bar: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--run", str(bar), "--episodes", "2", "--seed", "77"]
    assert evaluate.main(words) == 0
    *printed, written = capsys.readouterr().out.splitlines()
    file = Path(written.removeprefix("written: "))
    file.unlink()
    full_disk.refuse(monkeypatch, range(1))
    assert evaluate.main(words) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == printed
    assert said.err == (
        f"error: evaluation: the statistics were not kept, cannot write in {file.parent} (No space left on device). "
        "Free space there, or mend its rights, and play again.\n"
    )


def test_results_under_other_conditions_lie_beside_one_another(tmp_path: Path) -> None:
    run_dir = recorded(tmp_path, "iql", "bar")
    step = checkpoint.step_folder(run_dir / "checkpoints", 0).name
    first = ["--episodes", "1"]
    second = ["--episodes", "1", "with", "env_args.episode_limit=2"]
    for words in (first, second, ["--episodes", "2"], ["--episodes", "1", "--seed", "1"], first, second):
        evaluated(run_dir, *words)
    records = {path.name: json.loads(path.read_text()) for path in (run_dir / "evaluations").iterdir()}
    assert records.keys() == {f"{step}{suffix}.json" for suffix in ("", "_2", "_3", "_4")}
    assert records[f"{step}_2.json"]["config"]["env_args"]["episode_limit"] == 2
    assert [records[f"{step}{suffix}.json"]["episodes"] for suffix in ("", "_3")] == [1, 2]
    assert records[f"{step}_4.json"]["seed"] == 1


def test_evaluations_that_end_at_once_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = recorded(tmp_path, "iql", "bar")
    write = evaluation.write_atomic

    def slowly(path: Path, data: bytes) -> None:
        time.sleep(0.02)
        write(path, data)

    monkeypatch.setattr(evaluation, "write_atomic", slowly)
    asked = [evaluation.Evaluation.of_run(run_dir, "newest", [], 1, seed, NOTHING) for seed in range(4)]
    with ThreadPoolExecutor() as pool:
        written = list(pool.map(lambda one: one.keep({"all": {"return_mean": float(one.seed)}}, {}), asked))
    assert len(set(written)) == 4
    assert [one.found()["all"]["return_mean"] for one in asked] == [0.0, 1.0, 2.0, 3.0]
    assert {path.suffix for path in (run_dir / "evaluations").iterdir()} == {".json"}, "no lock stays"


def test_enemies_whose_file_is_another_now_are_played_anew(battle: Path, tmp_path: Path) -> None:
    enemies = tmp_path / "enemies.pt"
    shutil.copy(checkpoint.step_folder(battle / "checkpoints", 0) / checkpoint.POLICY, enemies)
    words = ["env_args.opponent=checkpoint", f"env_args.opponent_checkpoint={enemies}"]

    def asked() -> evaluation.Evaluation:
        return evaluation.Evaluation.of_run(battle, "newest", words, 1, 3, NOTHING)

    first = asked()
    first.play()
    assert asked().found() == first.found() != {}
    checkpoint.save(enemies, {**checkpoint.load(enemies, CPU), "another": True})
    assert not asked().found()


def test_games_are_known_by_the_policies_they_lead_to(battle: Path, tmp_path: Path) -> None:
    """Those of several teams in a folder among them; what is not there is told where it is played."""
    for name in ("enemy_red_policy.pt", "enemy_blue_policy.pt", "policy.pt"):
        (tmp_path / name).write_text(name)
    digests = {path.name: hashlib.sha256(path.name.encode()).hexdigest() for path in tmp_path.iterdir()}
    config = evaluation.run_config(battle, [])
    assert policy_digests(config) == {}, "self-play leads to none"
    for place, expected in (
        (tmp_path, f"{digests['enemy_blue_policy.pt']} {digests['enemy_red_policy.pt']}"),
        (tmp_path / "policy.pt", digests["policy.pt"]),
        (tmp_path / "none.pt", ""),
    ):
        named = with_env_args(config, opponent="checkpoint", opponent_checkpoint=str(place))
        assert policy_digests(named) == ({str(place): expected} if expected else {})


def test_a_run_by_its_id(bar: Path) -> None:
    assert checkpoint.find_run("1", bar.parents[1]) == bar


def test_a_number_is_an_id_also_where_a_folder_has_that_name(
    bar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bar, tmp_path / "1")
    monkeypatch.chdir(tmp_path)
    assert checkpoint.find_run("1", bar.parents[1]) == bar
    assert checkpoint.find_run("./1", bar.parents[1]) == Path("1")
    with pytest.raises(checkpoint.CheckpointError, match="run 1 is complete"):  # not one in the folder at hand
        checkpoint.resumable_run("1", bar.parents[1])
    (tmp_path / "1" / "checkpoints" / checkpoint.RESUME).touch()
    assert checkpoint.resumable_run("./1", bar.parents[1]) == Path("1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--step", "last"], "--step: expected a number, best or newest, got 'last'."),
        (["--step", "²"], "--step: expected a number, best or newest, got '²'."),
        (["with", "lr=1"], "command line: evaluation can change env_args only, not lr."),
        (["with", "env_args.capacty=2"], "unknown key 'env_args.capacty'. Did you mean 'env_args.capacity'?"),
        (["with", "env_args.capacity=big"], "env_args.capacity expects int, got 'big'"),
        (
            ["with", "env_args.n_agents=5"],
            "env_args: the policy is trained with n_agents = 6; this environment has n_agents = 5.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(words: list[str], message: str, bar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--run", str(bar), "--episodes", "1", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--video", "x.avi"], "x.avi: expected .gif, .mp4, .png for one sheet"),
        (["--video", "x.gif", "--colour", "group"], "--colour=group: iql has no groups. Use --colour=side."),
    ],
    ids=["suffix", "colour"],
)
def test_a_video_that_cannot_be_is_refused_before_episodes_are_played(
    words: list[str], message: str, bar: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(evaluation, "statistics")
    assert evaluate.main(["--run", str(bar), *words]) == 2
    assert message in capsys.readouterr().err


def test_an_environment_without_a_picture_is_refused_before_episodes_are_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = recorded(tmp_path, "iql", "matrix_game")
    monkeypatch.delattr(evaluation, "statistics")
    for name in ("x.gif", "x.png", "folder"):
        assert evaluate.main(["--run", str(run_dir), "--video", str(tmp_path / name)]) == 2
        assert "There is no picture of MatrixGame." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--episodes", "0"], "--episodes: expected a whole number from 1 to 2147483647, got '0'"),
        (["--seed", "-1"], "--seed: expected a whole number of 0 or more, got '-1'"),
        (["--seed", "1.5"], "--seed: expected a whole number of 0 or more, got '1.5'"),
    ],
)
def test_refused_before_anything_is_played(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["--run", "1", *words])
    assert message in capsys.readouterr().err


def test_an_unknown_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--run", "9", "--results", str(tmp_path)]) == 2
    assert f"error: run: expected a run's id under {tmp_path}/sacred or its folder, got '9'." in capsys.readouterr().err


def test_no_best(battle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "1"
    shutil.copytree(battle, copy)
    (copy / "checkpoints" / checkpoint.BEST).unlink(missing_ok=True)
    assert evaluate.main(["--run", str(copy), "--step", "best"]) == 2
    assert "--step=best: no evaluation marked one in" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["newest", "best", "24"])
def test_a_run_that_kept_no_policy_is_told_so(
    step: str, battle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By all commands that choose a checkpoint of a run: nobody gave a checkpoint_path."""
    copy = tmp_path / "sacred/1"
    shutil.copytree(battle, copy, ignore=shutil.ignore_patterns("checkpoints"))
    at = ["--results", str(tmp_path)]
    out, chosen = [*at, "--out", str(tmp_path / "out")], f"--step={step}"
    for command, words in (
        (evaluate.main, ["--run", "1", chosen, *at]),
        (crossplay.main, ["1", chosen, *out]),
        (noise.main, [chosen, *out]),
        (exploit.main, ["1", chosen, *out]),
        (runs.main, ["export", "1", "--to", "safetensors", chosen, *out]),
        (transfer.main, ["--at", "battle_100v50", *out]),
    ):
        assert command(words) == 2
        error = capsys.readouterr().err
        assert f"run 1 kept no policy: there is none in '{copy}/checkpoints' (save_model=false, its " in error
        assert "checkpoint_path" not in error


def test_attention_of_a_learner_that_pays_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = recorded(tmp_path, "iql", "bar", mac="group_mac", grouping="contiguous", regroup_interval=0)
    words = ["--episodes", "1", "--video", str(tmp_path / "x.gif"), "--colour", "attention"]
    assert evaluate.main(["--run", str(run_dir), *words]) == 2
    assert "--colour=attention: learner=q_learner pays none. Use --colour=group." in capsys.readouterr().err


def pictures(battle: Path, path: Path, colour: str) -> np.ndarray:
    """The frames (T, H, W, 3) of a video of one episode."""
    evaluated(battle, "--episodes", "1", "--video", str(path), "--colour", colour)
    return np.stack([np.asarray(frame)[..., :3] for frame in imageio.mimread(path)])


def test_a_video_in_a_place_that_cannot_be_written_is_one_line(
    battle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for place in ("file/x.gif", "file/x.png", "file/frames"):
        assert evaluate.main(["--run", str(battle), "--episodes", "1", "--video", str(tmp_path / place)]) == 2
        message = capsys.readouterr().err
        assert message.startswith(f"error: {tmp_path / place}: expected a place for a video, cannot write it (")
        assert message.count("\n") == 1


def test_a_video_without_a_path_lies_beside_the_statistics(battle: Path) -> None:
    evaluated(battle, "--episodes", "1", "--every", "2", "--video")
    assert {path.suffix for path in (battle / "evaluations").iterdir()} == {".json", ".gif"}


def test_videos_coloured_by_side_group_and_attention(battle: Path, tmp_path: Path) -> None:
    side, group, attention = (
        pictures(battle, tmp_path / f"{colour}.gif", colour) for colour in ("side", "group", "attention")
    )
    assert 2 <= len(side) <= 7  # the first row and at most episode_limit steps
    assert side.shape == group.shape == attention.shape, "the same episode, drawn three ways"
    assert (side != group).any()
    assert (group != attention).any()


def test_a_film_of_another_number_of_agents(battle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["with", "env_args.n_agents=5"]
    evaluated(battle, "--episodes", "1", "--video", str(tmp_path / "x.gif"), *words)
    assert (tmp_path / "x.gif").exists()
    video = ["--video", str(tmp_path / "y.gif"), "--colour", "group"]
    assert evaluate.main(["--run", str(battle), "--episodes", "1", *video, *words]) == 2
    assert "--colour=group: expected 6 agents, as in training, whose groups it draws, got 5." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("algorithm", "keys"),
    [
        ("hmf", {}),
        ("hmf_literal", {}),
        ("hmf", {"agent": "rnn", "rnn_hidden_dim": 8, "burn_in": 2, "sequence_length": 2, "obs_last_action": True}),
    ],
    ids=["hmf", "hmf_literal", "rnn"],
)
def test_attention_is_that_of_the_values_acted_on(algorithm: str, keys: dict[str, Any], tmp_path: Path) -> None:
    """The painter sees the Q-values, actions and groups of acting, and its weights add up to 1 in each group."""
    run_dir = recorded(tmp_path, algorithm, "battle", attention_input="obs_action", average_decay=0.9, **keys)
    config: Config = evaluation.run_config(run_dir, [])
    folder = checkpoint.step_folder(run_dir / "checkpoints", 0)
    mac = load_policy(folder / checkpoint.POLICY, CPU)
    before = {name: value.clone() for name, value in mac.state_dict().items()}
    painter = Painter(config, mac, folder, "attention")
    assert painter.learner is not None
    assert all(torch.equal(value, before[name]) for name, value in mac.state_dict().items()), "no longer the policy"
    online = painter.learner.mac.state_dict()
    assert not all(torch.equal(value, before[name]) for name, value in online.items()), "nothing was averaged"
    env = evaluation.make_game(config, mac, 1)
    generator = seeding.generator(0, "test")
    row, memory = env.reset(3), mac.init_memory(1)
    with torch.no_grad():
        for _ in range(3):
            action, following = mac.select_actions(row, memory, 0, True, generator)
            group, weight = painter(row, memory, action, following.group)
            assert group is not None
            assert weight is not None
            for label in group.unique():
                members = group == label
                assert float(weight[members].sum()) == pytest.approx(float(label >= 0), abs=1e-5)
            obs = decode_obs(row.obs, mac.info.obs_scale)
            q_acted = mac.agent(obs, mac.extra(memory.prev_action, row.alive), memory.hidden)[0]
            field = painter.learner.field_action(q_acted, action, row.avail, FULLY_ANNEALED)
            if algorithm == "hmf_literal":
                assert torch.equal(field.argmax(-1), action)
            expected = painter.learner.mixer(q_acted.amax(-1), obs.flatten(2), field, following.group).weight.sum(1)[0]
            torch.testing.assert_close(weight, expected)
            row, memory = env.step(action), following
    env.close()


def test_a_mark_of_the_best_that_is_no_file(bar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "1"
    shutil.copytree(bar, run_dir)
    mark = run_dir / "checkpoints" / checkpoint.BEST
    mark.unlink()
    mark.mkdir()
    assert evaluate.main(["--run", str(run_dir), "--step", "best"]) == 2
    assert capsys.readouterr().err.startswith(f"error: checkpoint: {mark} cannot be read (IsADirectoryError")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("speed", 3, "n_actions = 21, speed = 2; this environment has n_actions = 37, speed = 3"),
        (
            "view_radius",
            7,
            "obs_shape = (13, 13, 5), view_radius = 6; this environment has obs_shape = (15, 15, 5)",
        ),
        ("view_radius", 6.2, "view_radius = 6; this environment has view_radius = 6.2"),
        ("n_agents", 5, "n_agents = 6; this environment has n_agents = 5"),
    ],
)
def test_another_game_is_refused_where_it_is_played(
    key: str, value: float, message: str, battle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the evaluation of a training, before anything is written, and as that of a record."""
    words = {f"test_env_args.{key}": value}
    assert run(tmp_path, "hmf", "battle_symmetric", **words) == 2
    assert f"error: test_env_args: the policy is trained with {message}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    if key == "n_agents":  # whose networks know neither numbers nor ids
        assert (
            evaluated(battle, "--episodes", "2", "with", f"env_args.{key}={value}")["sides"]["left"]["survivors"] <= 5
        )
        return
    assert evaluate.main(["--run", str(battle), "with", f"env_args.{key}={value}"]) == 2
    assert f"error: env_args: the policy is trained with {message}" in capsys.readouterr().err
