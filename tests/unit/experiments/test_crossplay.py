"""Policies of Battle against each other: who may meet, and what is counted."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import experiments.crossplay
import sweep
from analysis.crossplay import Result, alone_table, elo_table, score_matrix, side_table
from analysis.figures import shortened
from assembly.parts import make_env, make_mac
from assembly.registries import REGISTRIES
from assembly.saved import policy_state
from config.loader import layers
from config.resolve import make_config
from config.schema import Config
from config.trust import NOTHING
from crossplay import main, named, parse
from experiments.crossplay import RANDOM, Player, Terms, line_up, load_player, make_game, meet, meetings
from records import checkpoint
from utils.errors import InputError

SMALL = [
    "env_args.n_agents=6",
    "env_args.n_enemies=6",
    "env_args.map_size=24",
    "env_args.episode_limit=12",
    "hidden_dims=[8]",
    "conv_channels=[2]",
    "batch_size_run=2",
    "n_groups=2",
]


def config(algorithm: str, environment: str, *overrides: str) -> Config:
    return make_config(layers(algorithm, environment, [*SMALL, *overrides]), REGISTRIES)[0]


def player(config: Config, label: str) -> Player:
    """Untrained networks, the same for the same label."""
    torch.manual_seed(len(label))
    env = make_env(config, 1, test=True)
    return Player(label, make_mac(config, env.info), config)


def policy_file(config: Config, path: Path) -> str:
    checkpoint.save(path, policy_state(config, player(config, path.stem).mac))
    return str(path)


def result(row: str, column: str, kills: list[float], deaths: list[float]) -> Result:
    values = {"kills": np.array(kills), "deaths": np.array(deaths)}
    return Result(row, column, "left", values | {"score": points(values)})


def points(values: dict[str, np.ndarray]) -> np.ndarray:
    """More kills than deaths win a game."""
    lead = values["kills"] - values["deaths"]
    return np.select([lead > 0, lead < 0], [1.0, 0.0], 0.5)


def test_symmetric_sides_are_open_to_everybody() -> None:
    players = [player(config("iql", "battle_symmetric"), "a"), player(config("hmf", "battle_symmetric"), "bb")]
    rows, columns, alike = line_up(players)
    assert [one.label for one in rows] == [one.label for one in columns] == ["a", "bb"]
    assert alike


def test_asymmetric_sides_take_learners_as_rows_and_opponents_as_columns() -> None:
    learners = [player(config(name, "battle", "env_args.n_enemies=4"), name) for name in ("iql", "hmf")]
    strong = player(config("iql", "battle_symmetric"), "strong")  # trained 6, plays the 4 enemies
    rows, columns, alike = line_up([*learners, strong])
    assert [one.label for one in rows] == ["iql", "hmf"]
    assert [one.label for one in columns] == ["strong"]
    assert not alike


@pytest.mark.parametrize("stronger", ["env_args.n_agents=7", "env_args.damage=5"])
def test_where_one_side_is_stronger_everybody_plays_either(stronger: str) -> None:
    uneven = config("iql", "battle_symmetric", stronger)
    players = [player(uneven, "a"), player(uneven, "bb")]
    assert [meeting[:2] for meeting in meetings(players) if meeting.side == "left"] == [
        (0, 1),
        (1, 0),
        (0, None),
        (1, None),
    ]
    even = [player(config("iql", "battle_symmetric"), label) for label in ("a", "bb")]
    assert [meeting[:2] for meeting in meetings(even) if meeting.side == "left"] == [(0, 1), (0, None), (1, None)]


@pytest.mark.parametrize(
    "stranger",
    [
        ("iql", "battle_symmetric", "obs_agent_id=true"),  # its networks know 6 agents
        ("iql", "battle", "env_args.view_radius=2"),
        ("iql", "battle_symmetric", "env_args.speed=1.5", "env_args.attack_radius=2"),  # as many moves, and others
    ],
)
def test_policies_of_another_game_are_refused(stranger: tuple[str, ...]) -> None:
    first = player(config("iql", "battle", "env_args.n_enemies=4"), "first")
    message = r"stranger was trained on \d+ agents with .*; the sides of first's game are 6 agents .*, and 4 agents"
    with pytest.raises(InputError, match=message):
        line_up([first, player(config(*stranger), "stranger")])


@pytest.mark.parametrize(
    "trained", [("hmf",), ("mfq",), ("iql", "obs_last_action=true"), ("iql", "agent=rnn", "learning_starts=100")]
)
def test_policies_play_on_either_side_of_a_larger_game(trained: tuple[str, ...]) -> None:
    """What they remember of the last step belongs to eight agents then, and groups to nobody."""
    game = player(config("iql", "battle_symmetric", "env_args.n_agents=8", "env_args.n_enemies=8"), "larger")
    six = player(config(trained[0], "battle_symmetric", *trained[1:]), "six")
    rows, columns, _ = line_up([game, six])
    assert six in rows
    assert six in columns
    assert len(meet(Terms(game.config, 2, 1), six, six, "left").scores) == 2


def test_other_environments_are_refused() -> None:
    bar = make_config(layers("iql", "bar", []), REGISTRIES)[0]
    with pytest.raises(InputError, match="crossplay: expected policies of battle, got iql trained on bar"):
        make_game(bar, 1, "left", RANDOM)


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_start_on_their_side(side: str) -> None:
    env = make_game(config("iql", "battle_symmetric", "test_env_args.swap_sides=random"), 3, side, RANDOM)
    position = env.reset(0).position
    assert position is not None
    assert bool((position[..., 0] < 12).all()) == (side == "left")


def test_pairings_play_the_asked_episodes_repeatably() -> None:
    game = config("iql", "battle_symmetric")
    first, second = player(game, "a"), player(game, "bb")
    results = [meet(Terms(game, 3, 1), first, second, "left") for _ in range(2)]
    assert len(results[0].scores) == 4  # rounded up to the parallel environments
    for name, values in results[0].values.items():
        assert values.tolist() == results[1].values[name].tolist(), name
    assert results[0].scores.tolist() == points(results[0].values).tolist()
    assert meet(Terms(game, 2, 1), first, None, "right").column == RANDOM


def test_matrix_averages_both_sides() -> None:
    results = [result("a", "b", [1, 1], [0, 0]), result("a", "b", [0, 0], [0, 1]), result("a", RANDOM, [1], [0])]
    matrix, rows, columns = score_matrix(results)
    assert (rows, columns) == (["a"], ["b", RANDOM])
    assert matrix.tolist() == [[(1 + 1 + 0.5 + 0) / 4, 1.0]]


def test_matrix_keeps_the_roles_of_an_uneven_game_apart() -> None:
    """Who met in one order only stands in both places."""
    results = [result("a", "b", [1, 1], [0, 0]), result("b", "a", [1, 1], [0, 0]), result("a", "c", [1], [0])]
    matrix, rows, columns = score_matrix(results)
    assert (rows, columns) == (["a", "b"], ["a", "b", "c"])
    assert matrix[:, :2].diagonal().tolist() == pytest.approx([np.nan] * 2, nan_ok=True)
    assert (matrix[0, 1], matrix[1, 0], matrix[0, 2]) == (1.0, 1.0, 1.0)
    matrix, rows, columns = score_matrix([result("a", "b", [1], [0]), result("b", "c", [1], [0])])
    assert matrix[rows.index("b"), columns.index("a")] == 0.0


def test_a_matrix_of_methods_is_of_pairs_that_met_once_in_either_order() -> None:
    """Policies in the order of a sweep, all methods of one seed before the next: who was the row says nothing."""
    labels = [(f"{method}:{seed}", method) for seed in (1, 2) for method in ("a", "b")]
    won, lost = [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]
    results = [
        result(row, column, *((won, lost) if of == "a" else (lost, won)))
        for (row, of), (column, other) in itertools.combinations(labels, 2)
        if of != other
    ]
    matrix, rows, columns = score_matrix([*results, result("a:1", "a:2", [1, 1], [0, 0])], dict(labels))
    assert rows == columns == ["a", "b"]
    assert matrix.tolist() == [[0.5, 0.75], [0.25, pytest.approx(np.nan, nan_ok=True)]]


def test_policies_of_the_enemies_alone_have_nobody_to_play() -> None:
    game = config("iql", "battle", "env_args.n_enemies=4", "obs_agent_id=true")
    enemy = Player("enemy", make_mac(game, make_game(game, 1, "left", "self_play").enemies), game)
    with pytest.raises(InputError, match=r"all of these are of the enemies' side\. Add one of the learners'"):
        line_up([enemy])


def test_elo_leaves_out_games_against_oneself_and_ranks_the_rest() -> None:
    won, lost = [1.0] * 4, [0.0] * 4
    results = [result("a", "a", won, lost), result("a", "b", won, lost), result("b", "a", lost, won)]
    rows = elo_table(results).rows
    assert [row[0] for row in rows] == ["a", "b"]
    assert rows[0][1].n == 8  # type: ignore[union-attr]


def test_pairings_that_depend_on_the_side_are_counted() -> None:
    """Of three pairs one goes the other way, one does not, and one was met from the left only."""

    def result(row: str, column: str, side: str, score: float) -> Result:
        return Result(row, column, side, {"score": np.full(4, score)})

    results = [result("a", "b", "left", 1.0), result("a", "b", "right", 0.4), result("a", "c", "left", 0.5)]
    results += [result("a", "c", "right", 0.5), result("b", "c", "left", 1.0), result("c", "c", "left", 1.0)]
    assert side_table(results).rows == [["0.25", "1 of 2"], ["0.5", "1 of 2"], ["0.75", "0 of 2"]]


def test_methods_against_those_that_stand_alone_are_told_by_side() -> None:
    """Whoever is the row: the method's own points, kills and side."""

    def result(row: str, column: str, side: str, score: float, kills: float, deaths: float) -> Result:
        values = {"score": score, "kills": kills, "deaths": deaths}
        return Result(row, column, side, {key: np.full(4, value) for key, value in values.items()})

    methods = {"a:1": "a", "a:2": "a", "alone": "alone", "random": "random"}
    results = [result("a:1", "alone", "left", 1.0, 6.0, 2.0), result("alone", "a:2", "right", 0.75, 5.0, 1.0)]
    results += [result("a:1", "a:2", "left", 1.0, 6.0, 2.0), result("alone", "random", "left", 1.0, 6.0, 0.0)]
    (row,) = alone_table(results, methods).rows
    assert row[:3] == ["a", "alone", "left"]
    assert [(cell.value, cell.low, cell.high) for cell in row[3:]] == [  # type: ignore[union-attr]
        (0.625, 0.25, 1.0),
        (3.5, 1.0, 6.0),
        (3.5, 2.0, 5.0),
    ]


def test_crossplay_writes_matrix_and_ratings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [policy_file(config(name, "battle_symmetric"), tmp_path / f"{name}.pt") for name in ("iql", "hmf")]
    assert load_player(files[0], Path(files[0]), NOTHING).label == f"iql:{files[0]}"
    assert main([*files, "--episodes=2", "--workers=1", f"--out={tmp_path / 'out'}"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("crossplay.csv", "crossplay.png", "games.jsonl"),
        *(f"{table}{suffix}" for table in ("elo", "sides") for suffix in (".md", ".csv", ".tex")),
    }
    rows = list(csv.DictReader((tmp_path / "out" / "crossplay.csv").open()))
    pairs = [(row["row"][:3], row["column"][:3]) for row in rows[::2]]
    assert pairs == [("iql", "hmf"), ("iql", "ran"), ("hmf", "ran")]
    assert [row["side"] for row in rows] == ["left", "right"] * 3
    assert {row["n_episodes"] for row in rows} == {"2"}
    assert all(float(row["survivors"]) == 6 - float(row["deaths"]) for row in rows)
    assert "random" in capsys.readouterr().out


def test_what_was_played_is_not_played_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one process or several, with a line that was cut off; another seed is another game."""
    files = [policy_file(config(name, "battle_symmetric"), tmp_path / f"{name}.pt") for name in ("iql", "hmf")]
    command = [*files, "--episodes=2", f"--out={tmp_path}"]
    assert main([*command, "--workers=2"]) == 0
    ratings, games = (tmp_path / "elo.md").read_text(), tmp_path / "games.jsonl"
    with games.open("a") as file:
        file.write('{"key": "cut')
    monkeypatch.setattr(experiments.crossplay, "meet", None)
    assert main([*command, "--workers=1"]) == 0
    assert (tmp_path / "elo.md").read_text() == ratings
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        main([*command, "--workers=1", "--seed=1"])
    monkeypatch.undo()
    assert main([*command, "--workers=1", "--seed=1"]) == 0
    monkeypatch.setattr(experiments.crossplay, "meet", None)
    assert main([*command, "--workers=1", "--seed=1"]) == 0, "what followed the cut line is whole"
    monkeypatch.undo()
    games.unlink()
    assert main([*command, "--workers=1"]) == 0
    assert (tmp_path / "elo.md").read_text() == ratings, "in whatever order they came"


def test_a_step_that_a_run_has_not_is_told_beside_the_one_that_plays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs of one experiment end at steps of their own, so that the nearest plays; nobody mistakes it for another."""
    run_dir = tmp_path / "sacred/1"
    policy_file(config("iql", "battle_symmetric"), run_dir / "checkpoints/24/policy.pt")
    (run_dir / "checkpoints/24/learner.pt").touch()
    (run_dir / "config.json").touch()
    words = ["1", "--episodes=2", "--workers=1", f"--results={tmp_path}"]
    assert main([*words, "--step=7"]) == 0
    assert "1: there is no step 7; the nearest, 24, plays\n" in capsys.readouterr().out
    assert (tmp_path / "tmp/crossplay/elo.md").is_file()  # beside the runs
    assert main([*words, "--step=24"]) == 0
    assert "there is no step" not in capsys.readouterr().out


def test_a_policy_under_several_names_is_one_player(tmp_path: Path) -> None:
    run_dir = tmp_path / "sacred/1"
    file = policy_file(config("iql", "battle_symmetric"), run_dir / "checkpoints/24/policy.pt")
    (run_dir / "checkpoints/24/learner.pt").touch()
    (run_dir / "config.json").touch()
    other = policy_file(config("hmf", "battle_symmetric"), tmp_path / "other.pt")
    names = ["1", str(run_dir), other, file, f"{tmp_path}/sacred/../other.pt"]
    outside = ["--outside", other, "--outside", f"{tmp_path}/./other.pt", "--outside", other, "mine:Network"]
    found = named(parse([*names, *outside, f"--results={tmp_path}"]))
    assert [(entrant.given, entrant.adapter) for entrant in found] == [
        ("1", ""),
        (other, ""),
        (other, "plain"),
        (other, "mine:Network"),
    ]


def test_methods_of_an_experiment_are_rated_over_their_policies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = str(tmp_path / "own.yaml")
    Path(experiment).write_text("""
algorithms: [iql, vdn]
environments: [battle_symmetric]
seeds: [1, 2]
overrides:
  t_max: 24
  test_interval: 24
  test_nepisode: 2
  hidden_dims: [8]
  batch_size_run: 2
  rollout_length: 4
  minibatches: 1
  env_args: {n_agents: 6, n_enemies: 6, map_size: 24, episode_limit: 12, opponent: self_play}
  test_env_args: {opponent: checkpoint}
""")
    assert sweep.main([experiment, f"--results={tmp_path}", "--workers=2"]) == 0
    command = [f"--experiment={experiment}", "opponents/battle.pt", "--episodes=2", "--workers=1"]
    assert main([*command, f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "methods.csv").open()))
    policies = {row["method"]: row["elo_n"] for row in rows}
    assert policies == {"iql": "2", "vdn": "2", "iql:opponents/battle.pt": "1", "random": "1"}
    assert (tmp_path / "out" / "methods.png").exists()
    assert main(["1", *command[1:], command[0], f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 0
    again = list(csv.DictReader((tmp_path / "out" / "methods.csv").open()))
    assert {row["method"]: row["elo_n"] for row in again} == policies, "nobody plays twice"
    capsys.readouterr()
    assert main([str(tmp_path / "none.pt"), command[0], f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    assert f"error: checkpoint: expected the file {tmp_path}/none.pt, it does not exist" in capsys.readouterr().err

    against = list(csv.DictReader((tmp_path / "out" / "alone.csv").open()))
    assert [tuple(row[key] for key in ("method", "against", "side")) for row in against] == [
        (method, other, side)
        for method in ("iql", "vdn")
        for other in ("iql:opponents/battle.pt", "random")
        for side in ("left", "right")
    ]
    assert {row["score_n"] for row in against} == {"2"}
    played = list(csv.DictReader((tmp_path / "out" / "crossplay.csv").open()))
    theirs = [row for row in played if row["row"] == "iql:opponents/battle.pt" and row["column"][:4] == "iql:"]
    theirs += [row for row in played if row["column"] == "iql:opponents/battle.pt" and row["row"][:4] == "iql:"]
    kills = sum(float(row["deaths" if "opponents" in row["row"] else "kills"]) for row in theirs) / 2
    assert sum(float(row["kills"]) for row in against[:2]) == pytest.approx(kills)


def test_long_labels_lose_their_middle() -> None:
    assert shortened("hmf:12") == "hmf:12"
    assert shortened("iql:/a/very/long/folder/checkpoints/2000/policy.pt") == "iql:/a/very/…ints/2000/policy.pt"


def test_a_seed_below_0_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["1", "--seed", "-1"])
    assert "--seed: expected a whole number of 0 or more, got '-1'" in capsys.readouterr().err


def test_missing_runs_and_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.pt")]) == 2
    assert "error: checkpoint: expected the file" in capsys.readouterr().err
    assert main(["77", f"--results={tmp_path}"]) == 2
    assert (
        f"error: run: expected a run's id under {tmp_path}/sacred or its folder, got '77'." in capsys.readouterr().err
    )


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = policy_file(config("iql", "battle_symmetric"), tmp_path / "iql.pt")
    assert main([policy, f"--out={policy}/out"]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert f"error: --out: expected a folder that can be made, got '{policy}/out' (Not a directory)." in found.err
