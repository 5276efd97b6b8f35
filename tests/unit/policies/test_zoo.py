"""The zoo through its command: filled from small runs, listed, played, met in cross-play, refused."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.paths import ROOT
from tests.support.small_runs import points, run

import crossplay
import evaluate
import main
import zoo
from analysis.collect import TAIL
from assembly.registries import REGISTRIES
from config.loader import layers
from config.resolve import make_config
from policies.keep import PAGE, TABLE, refresh, training_command
from records.store import FileStore, RunRecord


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs 1 and 2: two seeds of HMF on Bar, with more evaluations than count; 3: Battle."""
    folder = tmp_path_factory.mktemp("results")
    for seed in (1, 2):
        assert run(folder, "hmf", "bar", seed=seed, t_max=80, test_interval=10, lr=0.002) == 0
    assert run(folder, "iql", "battle_symmetric") == 0
    return folder


@pytest.fixture(scope="module")
def filled(results: Path) -> Path:
    """A zoo with all three, and a page."""
    folder = results / "zoo"
    folder.mkdir()
    shutil.copy(ROOT / "zoo" / PAGE, folder)
    assert zoo.main(["add", "1", "2", "3", "--results", str(results), "--zoo", str(folder)]) == 0
    return folder


def card(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / name / "card.json").read_text()))


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command says of what it refuses."""
    capsys.readouterr()
    assert zoo.main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_the_list_and_the_cards_say_what_was_recorded(
    results: Path, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo.main(["ls", "--zoo", str(filled)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == ["name", "bar/hmf_s1", "bar/hmf_s2", "battle/iql_s1"]
    found, curve = card(filled, "bar/hmf_s1"), points(results, 1)["test_return_mean"]
    assert len(curve) > TAIL
    assert found["curve"] == [[step, value] for step, value in curve]
    mean = sum(value for _, value in curve[-TAIL:]) / TAIL
    assert found["evaluation"]["value"] == pytest.approx(mean)
    assert (found["evaluation"]["evaluations"], found["evaluation"]["episodes"]) == (TAIL, 2)
    store = FileStore(results / "sacred")
    assert found["cpu_minutes"] == pytest.approx(max(store.cpu_seconds(store.get(1)).values()) / 60, abs=0.01)
    assert found["sha256"] == hashlib.sha256((filled / "bar/hmf_s1/policy.pt").read_bytes()).hexdigest()
    assert listed[1].split()[1:] == ["bar", "hmf", "1", f"{mean:.4g}", f"{found['cpu_minutes']:.1f}"]
    text = (filled / "bar/hmf_s1/card.md").read_text()
    for part in (
        found["command"],
        f"{mean:.4g}",
        "mean of 5 evaluations of 2",
        "zoo.py play bar/hmf_s1",
        found["sha256"],
    ):
        assert part in text
    page = (filled / PAGE).read_text()
    assert f"| [bar/hmf_s1](bar/hmf_s1/card.md) | bar | hmf | 1 | {mean:.4g} |" in page
    for link in re.findall(r"\]\((b[^)]+)\)", page):
        assert (filled / link).exists(), link
    assert "](bar/curves.png)" in page


def test_the_command_of_a_card_trains_the_same_policy(filled: Path, tmp_path: Path) -> None:
    _, script, *words = shlex.split(card(filled, "bar/hmf_s2")["command"])
    assert script == "src/main.py"
    assert main.main([*words, f"local_results_path={tmp_path}"]) == 0
    (again,) = tmp_path.glob("sacred/1/checkpoints/80/policy.pt")
    assert again.read_bytes() == (filled / "bar/hmf_s2/policy.pt").read_bytes()


def test_the_command_for_a_variant_names_its_file(tmp_path: Path) -> None:
    config = make_config(layers("iql", "bar_80", ["seed=3", "env_args.n_agents=70"]), REGISTRIES)[0]
    command = training_command(config, FileStore(tmp_path), RunRecord(1, {}, config.to_dict(), {}))
    assert command == "python src/main.py --config=iql --env-config=bar_80 with seed=3 env_args.n_agents=70"


def test_play_finds_what_evaluate_finds_of_the_run(
    results: Path, filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--run", str(results / "sacred/3"), "--episodes", "2", "--seed", "5"]) == 0
    of_run = capsys.readouterr().out.splitlines()
    words = ["--zoo", str(filled), "--results", str(tmp_path), "--episodes", "2", "--seed", "5", "--video"]
    assert zoo.main(["play", "battle/iql_s1", *words]) == 0
    written, title, *played, place = capsys.readouterr().out.splitlines()
    assert title == "battle/iql_s1, step 24, 2 greedy episodes a side: mean ± standard deviation over episodes"
    assert played == of_run[1:-1]
    folder = tmp_path / "tmp/zoo/battle" / card(filled, "battle/iql_s1")["sha256"][:12]
    assert written == f"written: {folder}/iql_s1.gif"
    assert place == f"written: {folder}/iql_s1.json"
    assert zoo.main(["play", "zoo:battle/iql_s1", *words[:-1], "with", "env_args.episode_limit=2"]) == 0
    assert json.loads((folder / "iql_s1_2.json").read_text())["sides"]["left"]["ep_length"] <= 2.0


def test_cross_play_knows_the_names(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--zoo", str(filled), "--episodes", "2", "--out", str(tmp_path)]
    other = shutil.copy(filled / "battle/iql_s1/policy.pt", tmp_path / "other.pt")
    assert crossplay.main(["battle/iql_s1", "zoo:battle/iql_s1", str(other), *words]) == 0
    said = capsys.readouterr().out
    assert f"iql:battle/iql_s1 on the left against iql:{other}" in said
    assert said.count("against random") == 4, "one policy under two names is one player"
    assert crossplay.main(["zoo:battle/iql_s9", *words]) == 2
    assert "got 'battle/iql_s9'. Did you mean 'battle/iql_s1'?" in capsys.readouterr().err


def test_nothing_of_this_machine_is_in_it(
    results: Path, filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, kernel = FileStore(results / "sacred").get(1).entry["host"]["os"]
    for path in (path for path in filled.rglob("*.*") if path.is_file()):
        for own in (str(results), str(ROOT), f"{Path.home()}/", kernel):
            assert own.encode() not in path.read_bytes(), path
    elsewhere = tmp_path / "enemy.pt"
    shutil.copy(filled / "battle/iql_s1/policy.pt", elsewhere)
    against = {"opponent": "checkpoint", "opponent_checkpoint": str(elsewhere)}
    assert run(tmp_path, "iql", "battle_symmetric", env_args=against) == 0
    said = refused(capsys, "add", "1", "--results", tmp_path, "--zoo", tmp_path / "zoo")
    assert f"that of run 1 has env_args.opponent_checkpoint={elsewhere}" in said
    assert not (tmp_path / "zoo").exists()


def test_filters_and_a_task_s_own_name_and_adding_again_changes_nothing(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["add", "name=hmf", "seed=2", "--task", "bar_3", "--results", str(results), "--zoo", str(tmp_path)]
    assert zoo.main(words) == 0
    assert capsys.readouterr().out == f"run 2, step 80 -> {tmp_path}/bar_3/hmf_s2\n"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert zoo.main(words) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


def test_enemies_that_learned_go_with_the_policy(tmp_path: Path) -> None:
    enemies = {"env_args": {"opponent": "learner"}, "opponent_config": "vdn", "opponent_args": {"rollout_length": 8}}
    assert run(tmp_path, "iql", "battle_symmetric", **enemies) == 0
    at = ["--zoo", str(tmp_path / "zoo"), "--results", str(tmp_path)]
    assert zoo.main(["add", "1", *at]) == 0
    command = json.loads((tmp_path / "zoo/battle/iql_s1/card.json").read_text())["command"].split()
    theirs = [word for word in command if word.startswith("opponent_")]
    assert theirs == ["opponent_config=vdn", "opponent_args.rollout_length=8"], "what was set, and nothing else"
    assert zoo.main(["play", "battle/iql_s1", "--episodes", "1", *at]) == 0
    (file,) = (tmp_path / "tmp/zoo/battle").glob("*/iql_s1.json")
    played = json.loads(file.read_text())["config"]["env_args"]
    assert played["opponent_checkpoint"] == str(tmp_path / "zoo/battle/iql_s1/enemy_policy.pt")


def test_films_are_shown_by_cards_and_table(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "zoo"
    shutil.copytree(filled, copy)
    assert "film" not in (copy / "bar/hmf_s1/card.md").read_text()
    capsys.readouterr()
    assert zoo.main(["film", "bar/hmf_s1", "--zoo", str(copy), "--colour", "group"]) == 0
    assert capsys.readouterr().out == f"written: {copy}/bar/hmf_s1/film.gif\n"
    first = (copy / "bar/hmf_s1/film.gif").read_bytes()
    assert "](film.gif)" in (copy / "bar/hmf_s1/card.md").read_text()
    rows = {line.split("]")[0][3:]: line for line in (copy / PAGE).read_text().splitlines() if line.startswith("| [")}
    assert rows["bar/hmf_s1"].endswith("| [film](bar/hmf_s1/film.gif) |")
    assert rows["battle/iql_s1"].endswith("| – |")
    assert zoo.main(["film", "--zoo", str(copy), "--every", "3"]) == 0, "all that have none"
    assert capsys.readouterr().out.splitlines() == [
        f"written: {copy}/{name}/film.gif" for name in ("bar/hmf_s2", "battle/iql_s1")
    ]
    assert (copy / "bar/hmf_s1/film.gif").read_bytes() == first
    assert "](film.gif)" in (copy / "battle/iql_s1/card.md").read_text()
    (copy / "bar/hmf_s1/film.gif").unlink()
    (copy / "battle/iql_s1/film.gif").unlink()
    words = ["film", "--zoo", str(copy), "--colour", "group", "with", "env_args.episode_limit=2"]
    assert zoo.main(words) == 0, "what cannot be filmed is left out, the rest is filmed"
    one, other = capsys.readouterr().out.splitlines()
    assert other.startswith("battle/iql_s1: left out (--colour=group: iql has no groups")
    assert one == f"written: {copy}/bar/hmf_s1/film.gif"
    assert (copy / "bar/hmf_s1/film.gif").read_bytes() != first, "a shorter episode"
    assert "--colour=group: iql has no groups" in refused(
        capsys, "film", "battle/iql_s1", "--zoo", copy, "--colour", "group"
    )


def test_what_is_removed_is_gone_from_the_page(filled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "zoo"
    shutil.copytree(filled, copy)
    assert zoo.main(["rm", "battle/iql_s1", "bar/hmf_s1", "zoo:bar/hmf_s1", "--zoo", str(copy)]) == 0
    assert sorted(path.name for path in copy.iterdir()) == [PAGE, "bar", TABLE]
    page = (copy / PAGE).read_text()
    assert "bar/hmf_s2" in page
    assert "hmf_s1" not in page
    assert "battle/iql" not in page


def test_refused_names_and_files(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "zoo"
    shutil.copytree(filled, copy)
    at = ["--zoo", copy]
    assert "got 'bar/hmf_1'. Did you mean 'bar/hmf_s1'? List them: python src/zoo.py ls" in refused(
        capsys, "play", "bar/hmf_1", *at
    )
    policy = copy / "bar/hmf_s1/policy.pt"
    policy.write_bytes(policy.read_bytes()[:-1] + b"\x7f")
    assert "its SHA-256 digest is not the one of its card" in refused(capsys, "play", "bar/hmf_s1", *at)
    policy.unlink()
    assert f"expected the file {policy}, it does not exist" in refused(capsys, "play", "bar/hmf_s1", *at)
    (copy / "bar/hmf_s2/card.json").write_text("{}")
    assert f"expected a card of a policy in {copy}/bar/hmf_s2/card.json, it lacks task" in refused(capsys, "ls", *at)


def test_files_of_a_person_outlast_the_policies_beside_them(filled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "zoo"
    shutil.copytree(filled, copy)
    for place in ("bar/notes.txt", "bar/hmf_s1/plot.png"):
        (copy / place).touch()
    assert zoo.main(["rm", "bar/hmf_s1", "bar/hmf_s2", "battle/iql_s1", "--zoo", str(copy)]) == 0
    left = {str(path.relative_to(copy)) for path in copy.rglob("*")}
    assert left == {PAGE, TABLE, "bar", "bar/notes.txt", "bar/hmf_s1", "bar/hmf_s1/plot.png"}


def test_refused_runs(results: Path, filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--results", tmp_path, "--zoo", filled]
    assert run(tmp_path, "hmf", "bar", save_model=False) == 0
    assert run(tmp_path, "random", "bar") == 0
    assert run(tmp_path, "hmf", "bar", lr=0.1) == 0
    assert run(tmp_path, "hmf", "bar", lr=0.2, name="own") == 0
    assert run(tmp_path, "hmf", "bar", save_replay="always") == 0
    assert main.main(["--resume=5", "with", "t_max=40", f"local_results_path={tmp_path}"]) == 0
    assert "run 6 (hmf on bar) is none" in refused(capsys, "add", 6, *here)
    assert "run 1 kept no policy" in refused(capsys, "add", 1, *here)
    assert "selector=random plays at random; there is no network" in refused(capsys, "add", 2, *here)
    assert "bar/hmf_s1 is there already, another policy. Remove it first" in refused(capsys, "add", 3, *here)
    assert "run 4 (own on bar) is none" in refused(capsys, "add", 4, *here)
    assert "run 9: not in" in refused(capsys, "add", 9, *here)
    shutil.copytree(tmp_path / "sacred/3", tmp_path / "sacred/7")
    config = json.loads((tmp_path / "sacred/7/config.json").read_text())
    (tmp_path / "sacred/7/config.json").write_text(json.dumps({**config, "gamma": 0.5}))
    both = refused(capsys, "add", 3, 7, "--results", tmp_path, "--zoo", tmp_path / "zoo")
    assert "runs 3 and 7 would both be bar/hmf_s1" in both
    shutil.copytree(tmp_path / "sacred/3", tmp_path / "sacred/8")  # an older run of a higher id, as from an archive
    entry = json.loads((tmp_path / "sacred/8/run.json").read_text())
    (tmp_path / "sacred/8/run.json").write_text(json.dumps({**entry, "start_time": "2025-01-01T00:00:00"}))
    shutil.rmtree(tmp_path / "sacred/8/checkpoints")
    assert zoo.main(["add", "3", "8", "--results", str(tmp_path), "--zoo", str(tmp_path / "zoo")]) == 0
    entry = json.loads((tmp_path / "sacred/7/run.json").read_text())
    (tmp_path / "sacred/7/run.json").write_text(json.dumps({**entry, "status": "FAILED"}))
    assert "expected runs that are COMPLETED, run 7 is FAILED" in refused(capsys, "add", 7, *here)
    (tmp_path / "file").touch()
    said = refused(capsys, "add", 1, "--results", results, "--zoo", tmp_path / "file")
    assert "--zoo: cannot write to" in said
    for task in ("..", ".", ".hidden"):
        said = refused(capsys, "add", 1, "--results", results, "--zoo", tmp_path / "zoo", "--task", task)
        assert f"--task: expected a name that does not begin with a dot, got '{task}'." in said
    assert not (tmp_path / "bar").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["with", "env_args.capacity=2"], "with: expected after play NAME or film alone"),
        (["add"], "expected ids of runs, filters or --experiment NAME"),
        (["play", "a/b", "--episodes", "0"], "--episodes: expected a whole number from 1 to 2147483647, got '0'"),
        (["play", "a/b", "--seed", "-1"], "--seed: expected a whole number of 0 or more, got '-1'"),
        (["film", "a/b", "--seed=-1"], "--seed: expected a whole number of 0 or more, got '-1'"),
    ],
)
def test_refused_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        zoo.main(words)
    assert message in capsys.readouterr().err


def test_an_empty_zoo_says_how_to_fill_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo.main(["ls", "--zoo", str(tmp_path)]) == 0
    assert f"Nothing is in {tmp_path} yet; add recorded runs: python src/zoo.py add --help" in capsys.readouterr().out


def test_the_committed_zoo_is_what_its_cards_say(tmp_path: Path) -> None:
    copy = tmp_path / "zoo"
    shutil.copytree(ROOT / "zoo", copy)
    refresh(copy)
    for written in (copy / PAGE, copy / TABLE, *copy.glob("*/*/card.md")):
        there = ROOT / "zoo" / written.relative_to(copy)
        assert written.read_text() == there.read_text(), "run src/zoo.py add"
