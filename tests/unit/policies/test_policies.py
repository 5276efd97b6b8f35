"""Policies taken away from small runs: the same greedy actions in every format, the card, refusals."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from tests.support.paths import ROOT, SRC
from tests.support.small_runs import run

import runs
import zoo
from assembly import saved
from assembly.parts import make_env
from assembly.saved import recorded_config
from components.batch import Step, decode_obs
from config.trust import NOTHING
from controllers.basic_controller import BasicMAC
from export import to_parallel_env
from policies import KINDS
from policies.base import PolicyError
from policies.play import Policy, load_policy
from records import checkpoint
from utils.version import made_by

CPU = torch.device("cpu")
SEQUENCES = {"rnn_hidden_dim": 8, "burn_in": 2, "sequence_length": 2}
RECURRENT = {"agent": "rnn", "obs_last_action": True, "share_params": False, **SEQUENCES}
CONV = {"agent": "conv", "dueling": True, "obs_agent_id": True, "conv_channels": [4]}


def taken(results: Path, kind: str) -> Path:
    """Export run 1, once, and return the file."""
    out = results / "policies"
    if not list(out.glob(f"*.{kind}")):
        assert runs.main(["export", "1", "--to", kind, "--results", str(results), "--out", str(out)]) == 0
    return next(out.glob(f"*.{kind}"))


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("battle")
    assert run(folder, "hmf", "battle") == 0
    return folder


def test_a_card_counts_the_episodes_that_were_played(tmp_path: Path) -> None:
    """Two copies of the game play as many each, so that three are four."""
    assert run(tmp_path, "iql", "battle", batch_size_run=2, test_nepisode=3) == 0
    card = json.loads(taken(tmp_path, "safetensors").with_suffix(".safetensors.json").read_text())
    assert card["evaluation"]["episodes"] == 4


def test_a_policy_of_another_run_of_the_same_number_is_kept(
    battle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs of two folders of results share numbers, and an export their folder."""
    kept = taken(battle, "safetensors")
    weights = kept.read_bytes()
    assert run(tmp_path, "hmf", "battle", seed=2) == 0
    words = ["export", "1", "--to", "safetensors", f"--step={kept.stem.partition('_step')[2]}"]
    assert runs.main([*words, f"--results={tmp_path}", f"--out={kept.parent}"]) == 2
    assert f"error: --out: expected no file of another policy, '{kept}' is one (" in capsys.readouterr().err
    assert kept.read_bytes() == weights
    assert runs.main([*words, f"--results={battle}", f"--out={kept.parent}"]) == 0  # its own it may renew
    assert runs.main([*words, f"--results={tmp_path}"]) == 0
    assert list((tmp_path / "policies").glob("*.safetensors"))  # beside its run


def rows(run_dir: Path, n_games: int, n_rows: int) -> list[Step]:
    """What happens in a run's evaluation environments under random actions."""
    env = make_env(recorded_config(run_dir, NOTHING), n_games, test=True)
    generator = torch.Generator().manual_seed(1)
    found = [env.reset(seed=1)]
    for _ in range(n_rows - 1):
        action = torch.randint(env.info.n_actions, (n_games, env.info.n_agents), generator=generator)
        found.append(env.step(action))
    env.close()
    return found


def differences(results: Path, path: Path, n_observations: int) -> int:
    """How often a file chooses another action than the run's controller, over whole episodes of living agents."""
    run_dir = results / "sacred" / "1"
    mac: BasicMAC = saved.load_policy(checkpoint.named_folder(run_dir, "newest") / checkpoint.POLICY, CPU)
    policy, memory, generator = load_policy(path), mac.init_memory(32), torch.Generator()
    seen, wrong, first = 0, 0, None
    for step in rows(run_dir, 32, 1 + n_observations // (16 * mac.info.n_agents)):
        expected, memory = mac.select_actions(step, memory, 0, True, generator)
        obs = decode_obs(step.obs, mac.info.obs_scale).numpy()
        action = policy.act(obs, step.alive.numpy(), None if step.avail is None else step.avail.numpy(), first)
        first, seen = step.done.numpy(), seen + int(step.alive.sum())
        wrong += int((action != expected.numpy())[step.alive.numpy()].sum())
    assert seen >= n_observations
    return wrong


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_chooses_the_same_actions_on_10_000_observations(battle: Path, kind: str) -> None:
    assert differences(battle, taken(battle, kind), 10_000) == 0


@pytest.mark.parametrize("kind", ["safetensors", "torchscript", pytest.param("onnx", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("algorithm", "environment", "keys"),
    [("mfq", "battle", {}), ("iql", "spread", RECURRENT), ("iql", "battle", CONV), ("maddpg", "spread", {})],
    ids=["mean actions", "recurrent, a network each", "conv, dueling, ids", "actors"],
)
def test_what_a_policy_remembers_goes_with_it(
    tmp_path: Path, algorithm: str, environment: str, keys: dict[str, Any], kind: str
) -> None:
    assert run(tmp_path, algorithm, environment, **keys) == 0
    assert differences(tmp_path, taken(tmp_path, kind), 2_000) == 0


def test_the_card_says_what_the_policy_is(battle: Path) -> None:
    path = taken(battle, "torchscript")
    assert path.name == "hmf_battle_run1_step24.torchscript"
    card = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert card["checked"] == {"observations": 10_002, "equal": 10_002}
    assert (card["task"], card["algorithm"], card["run"], card["seed"], card["step"]) == ("battle", "hmf", 1, 1, 24)
    assert (card["weights"], card["version"]) == ("averaged", made_by({}).rpartition(" ")[2])
    assert card["agents"] == {"trained_with": 6, "any_number": True}
    assert (card["observation"]["shape"], card["action"]["n"]) == ([7, 7, 5], 9)
    curve = json.loads((battle / "sacred/1/metrics.json").read_text())["test_return_mean"]
    assert card["evaluation"]["value"] == curve["values"][-1]
    text = path.with_name(f"{path.name}.md").read_text()
    for part in (card["sha256"], f"{curve['values'][-1]:.4g}", "moves in a circle of ``speed``", "n_enemies=6"):
        assert part in text
    assert str(ROOT).encode() not in path.read_bytes()


def test_an_onnx_policy_plays_without_torch(battle: Path) -> None:
    path = taken(battle, "onnx")
    program = f"import numpy, sys\nfrom policies.play import load_policy\npolicy = load_policy({str(path)!r})\n"
    program += "print(policy.act(numpy.zeros((1, 3, 7, 7, 5))).shape, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=SRC, capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 3) False\n"
    assert str(ROOT).encode() not in path.read_bytes()


def test_masks_count_wherever_an_environment_of_pettingzoo_gives_them(battle: Path) -> None:
    policy = load_policy(taken(battle, "torchscript"))
    obs, mask = np.zeros((7, 7, 5), np.float32), np.eye(9, dtype=np.int8)[4]
    assert policy.act_named({"a": {"observation": obs, "action_mask": mask}}, ["a", "b"]) == {"a": 4}
    policy.reset()
    assert policy.act_named({"a": obs}, ["a", "b"], {"a": {"action_mask": mask}}) == {"a": 4}


def test_an_imported_games_own_numbers_are_decoded_as_in_training(battle: Path) -> None:
    """Pictures are bytes, of which the network learned shares; what is decoded already stays as it is."""
    policy = load_policy(taken(battle, "torchscript"))
    stored = np.random.default_rng(0).integers(101, size=(20, 7, 7, 5), dtype=np.uint8)
    for picture in stored:
        chosen = [policy.act_named({"a": seen}, ["a", "b"]) for seen in (picture, np.float32(picture * 0.01))]
        assert chosen[0] == chosen[1]
        policy.reset()


def test_actions_are_called_as_the_game_calls_them(battle: Path) -> None:
    policy = load_policy(taken(battle, "torchscript"))
    obs = {"a": np.zeros((7, 7, 5), np.float32)}
    chosen = policy.act_named(obs, ["a", "b"])["a"]
    policy.card = {**policy.card, "action": {**policy.card["action"], "first": 5}}
    policy.reset()
    assert policy.act_named(obs, ["a", "b"]) == {"a": chosen + 5}


@pytest.mark.parametrize("changed", [{"pad": True}, {"downscale": 2}])
def test_observations_that_a_game_does_not_give_are_asked_for(battle: Path, changed: dict[str, object]) -> None:
    policy = load_policy(taken(battle, "torchscript"))
    policy = Policy({**policy.card, "env_args": changed}, policy._values)
    ((key, value),) = changed.items()
    with pytest.raises(PolicyError, match=rf"learned with env_args\.{key}={value}\. Make its observations as docs/pet"):
        policy.act_named({"a": np.zeros((7, 7, 5))}, ["a", "b"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alive": np.ones(3, bool)}, r"expected alive of shape \(1, 3\), got \(3,\)"),
        ({"avail": np.ones((1, 3, 8), bool)}, r"expected avail of shape \(1, 3, 9\), got \(1, 3, 8\)"),
        ({"first": np.ones((1, 1), bool)}, r"expected first of shape \(1,\), got \(1, 1\)"),
    ],
)
def test_flags_of_other_shapes_are_refused(battle: Path, given: dict[str, np.ndarray], message: str) -> None:
    policy, obs = load_policy(taken(battle, "torchscript")), np.zeros((1, 3, 7, 7, 5))
    with pytest.raises(PolicyError, match=message):
        policy.act(obs, **given)
    first = policy.act(obs, avail=np.eye(9)[None, [4, 5, 6]])  # numbers are read as flags
    assert first.tolist() == [[4, 5, 6]]


def test_who_died_in_this_step_is_seen_by_nobody(tmp_path: Path) -> None:
    """MFQ's agents see what the others did; PettingZoo hands out one more observation of each that has died."""
    assert run(tmp_path, "mfq", "battle") == 0
    policy = load_policy(taken(tmp_path, "torchscript"))
    env = to_parallel_env("battle", n_agents=6, n_enemies=40, map_size=24, hp=1.0, opponent="random")
    observations, infos = env.reset(seed=1)
    deaths, seen, values = 0, list[np.ndarray](), policy._values

    def noticed(inputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        seen.append(inputs["alive"][0])
        return values(inputs)

    policy._values = noticed
    while env.agents:
        deaths += len(observations) - len(env.agents)
        actions = policy.act_named(observations, env.possible_agents, infos, living=env.agents)
        assert list(actions) == env.agents
        assert seen[-1].tolist() == [agent in env.agents for agent in env.possible_agents]
        observations, _, _, _, infos = env.step(actions)
    assert deaths > 0


def test_the_page_s_example_plays_an_episode(battle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/policies.md").read_text(), re.DOTALL)
    monkeypatch.chdir(battle)
    named = re.search(r'"(results/policies/.*?)"', example)
    assert named is not None
    monkeypatch.setattr(sys, "path", [*sys.path])
    program = example.replace(named[1], str(taken(battle, "torchscript")))
    small = "n_agents=6, n_enemies=6, map_size=16, episode_limit=5, opponent='random', opponent_checkpoint=''"
    program = program.replace('to_parallel_env("battle")', f'to_parallel_env("battle", {small})')
    names: dict[str, Any] = {}
    exec(program, names)
    assert names["env"].agents == []


def test_masks_and_first_rows_count(battle: Path) -> None:
    policy = load_policy(taken(battle, "safetensors"))
    obs = np.random.default_rng(0).random((2, 4, 7, 7, 5)).astype(np.float32)
    best = policy.act(obs)
    avail = np.ones((2, 4, 9), bool)
    np.put_along_axis(avail, best[..., None], False, axis=-1)
    policy.reset()
    assert (policy.act(obs, avail=avail) != best).all()
    with pytest.raises(PolicyError, match=r"expected \(2, 4\) games and agents as in the step before, got \(1, 4\)"):
        policy.act(obs[:1])
    with pytest.raises(PolicyError, match=r"expected observations \(E, N, 7, 7, 5\), got \(2, 4, 7, 7\)"):
        policy.act(obs[..., 0])


def test_a_policy_of_the_zoo_is_loaded_by_file_and_by_name(
    tmp_path: Path, battle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert zoo.main(["add", "1", "--results", str(battle), "--zoo", str(tmp_path)]) == 0
    (path,) = tmp_path.rglob(checkpoint.POLICY)
    assert differences(battle, path, 2_000) == 0
    monkeypatch.setattr("policies.play.default_zoo", lambda: tmp_path)
    name = str(path.parent.relative_to(tmp_path))
    assert load_policy(name).card == load_policy(f"zoo:{name}").card == load_policy(path).card
    with pytest.raises(PolicyError, match=f"expected the name of a policy in .* Did you mean '{name}'"):
        load_policy(f"zoo:{name[:-1]}")
    renamed = tmp_path / checkpoint.POLICY  # an exported file may have this name
    exported = taken(battle, "torchscript")
    for ending in ("", ".json"):
        shutil.copy(f"{exported}{ending}", f"{renamed}{ending}")
    assert load_policy(renamed).card["format"] == "torchscript"
    with pytest.raises(PolicyError, match=r"A run's own policy\.pt has none: python src/runs\.py export"):
        load_policy(checkpoint.named_folder(battle / "sacred/1", "newest") / checkpoint.POLICY)


def test_a_run_is_no_policy_but_has_one_to_export(battle: Path, tmp_path: Path) -> None:
    run_dir = battle / "sacred" / "1"
    said = f"got the folder {run_dir}. Export .*: python src/runs.py export 1 --to onnx --results {battle}$"
    with pytest.raises(PolicyError, match=said):
        load_policy(run_dir)
    with pytest.raises(PolicyError, match=f"got the folder {tmp_path}. .* export ID --to onnx --results DIR$"):
        load_policy(tmp_path)


def test_what_was_changed_or_lost_is_refused(battle: Path, tmp_path: Path) -> None:
    path = taken(battle, "safetensors")
    card = path.with_name(f"{path.name}.json")
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    with pytest.raises(PolicyError, match=r"expected the file .*\.json, it does not exist"):
        load_policy(copy)
    (tmp_path / card.name).write_text(card.read_text())
    load_policy(copy)
    copy.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(PolicyError, match="its SHA-256 digest is not the one of its card"):
        load_policy(copy)
    (tmp_path / card.name).write_text("{}")
    with pytest.raises(PolicyError, match="is no card of a policy"):
        load_policy(copy)


def test_a_policy_imports_nothing_new(battle: Path, tmp_path: Path) -> None:
    path = taken(battle, "safetensors")
    state = checkpoint.load(next(battle.glob("sacred/1/checkpoints/*/policy.pt")), CPU)
    del state["mac"]
    state["config"]["mac"] = "foreign:Mac"
    data = save({}, {"policy": json.dumps(state)})
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(data)
    card = json.loads(path.with_name(f"{path.name}.json").read_text())
    card["sha256"] = hashlib.sha256(data).hexdigest()
    foreign.with_name("foreign.safetensors.json").write_text(json.dumps(card))
    with pytest.raises(PolicyError, match="got 'foreign:Mac', whose import would run foreign code"):
        load_policy(foreign)


@pytest.mark.parametrize("kind", ["onnx", "safetensors"])
def test_a_missing_package_is_named_with_its_cure(
    battle: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = util.find_spec
    monkeypatch.setattr("utils.cli.find_spec", lambda name: None if name == kind else found(name))
    assert runs.main(["export", "1", "--to", kind, "--results", str(battle), "--out", str(battle / "none")]) == 2
    said = capsys.readouterr().err
    cure = "./install_dependencies.sh --extras"
    assert said == f"error: expected the package {kind}, it is not installed. Install it: {cure}\n"
    assert not (battle / "none").exists()


def test_what_cannot_be_taken_away(
    battle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, "random", "bar") == 0
    capsys.readouterr()
    (tmp_path / "file").touch()

    def refused(results: Path, *words: str) -> str:
        to = ["--to", "torchscript", "--results", str(results), "--out", str(tmp_path)]
        assert runs.main(["export", *to, *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "selector=random plays at random; there is no network" in refused(tmp_path, "1")
    assert "run 7: not in" in refused(battle, "7")
    assert "--step: expected best, newest or a step that" in refused(battle, "1", "--step", "7")
    assert "checkpoints are not copied to MongoDB" in refused(battle, "1", "--mongo-url", "mongodb://x")
    assert "--out: cannot write" in refused(battle, "1", "--out", str(tmp_path / "file"))
    monkeypatch.setattr("policies.take.greedy", lambda q, avail: q.argmin(-1))
    assert "the file chooses actions that are" in refused(battle, "1")
    assert list(tmp_path.glob("*.torchscript*")) == []
