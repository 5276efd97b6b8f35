"""Checkpoints: whole or refused, newest and best kept, and what does not fit is said."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.factory import config_for

import build
from assembly.registries import REGISTRIES
from assembly.saved import SHAPING, load_policy, policy_state
from components.batch import Memory
from config.checked import component_keys
from records import checkpoint
from records.checkpoint import CheckpointError
from records.ids import create_run_folder
from records.store import FileStore
from utils.version import VERSION

CPU = torch.device("cpu")
BAR = {"n_agents": 6, "capacity": 3, "episode_limit": 5}


def save_steps(folder: Path, steps: list[int], keep: int) -> None:
    for step in steps:
        checkpoint.save_step(
            folder, step, {checkpoint.LEARNER: {"learner": step}, checkpoint.POLICY: {"policy": step}}, keep
        )


def test_a_folder_whose_name_is_no_number_is_no_step_and_no_run(tmp_path: Path) -> None:
    """² is a digit to Python, and no number."""
    for folder in ("²", "7"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / checkpoint.LEARNER).touch()
        (tmp_path / folder / "run.json").touch()
    assert checkpoint.steps(tmp_path) == [7]
    assert FileStore(tmp_path).ids() == [7]
    assert create_run_folder(tmp_path) == 8


def system_for(algorithm: str = "iql", **overrides: Any) -> build.System:
    return build.build(config_for(algorithm, "bar", **{"env_args": BAR, "n_groups": 2, **overrides}))


def saved(folder: Path, system: build.System, step: int = 7) -> Path:
    """A checkpoints folder with one step of ``system``."""
    policy, learner = policy_state(system.config, system.mac), system.learner.state_dict()
    checkpoint.save_step(folder, step, {checkpoint.POLICY: policy, checkpoint.LEARNER: learner}, keep=1)
    return folder


def test_what_is_saved_is_loaded_records_included(tmp_path: Path) -> None:
    nobody = torch.full((2, 3), -1)
    checkpoint.save(tmp_path / "new" / "x.pt", {"memory": Memory(nobody[:, 0], nobody, nobody), "text": "a", "n": 1.5})
    state = checkpoint.load(tmp_path / "new" / "x.pt", CPU)
    assert torch.equal(state["memory"].group, nobody)
    assert (state["text"], state["n"]) == ("a", 1.5)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["x.pt", "x.pt.sha256"], "more was left"


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"n": 1})
    with pytest.raises(Exception, match=r"pickle|lambda"):
        checkpoint.save(path, {"n": lambda: 2})
    assert checkpoint.load(path, CPU) == {"version": VERSION, "n": 1}


def test_a_disk_without_room_is_an_error_of_the_disk(tmp_path: Path) -> None:
    """torch hides it behind an error of its own; here a limit of the process stands for the disk's end."""
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"weight": torch.zeros(10)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.save(path, {"weight": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.load(path, CPU)["weight"].shape == (10,)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["x.pt", "x.pt.sha256"]


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected the file .*x\.pt, it does not exist"):
        checkpoint.load(tmp_path / "x.pt", CPU)


@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_torn(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"weight": torch.zeros(1000)})
    whole = path.read_bytes()
    checkpoint.digest_file(path).unlink()  # as in a folder of an earlier version
    path.write_bytes({"cut": whole[: len(whole) // 2], "noise": b"hello" * 100, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=r"x\.pt cannot be read .* It is torn or not a checkpoint"):
        checkpoint.load(path, CPU)


def test_the_digest_is_what_sha256sum_prints(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for n in range(2):
        checkpoint.save(path, {"n": n})
        assert checkpoint.digest_file(path).read_text().split() == [hashlib.sha256(path.read_bytes()).hexdigest()]


@pytest.mark.parametrize("name", ["x.pt", "x.pt.sha256"])
def test_a_save_that_was_cut_short_leaves_a_file_that_can_be_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new digest is there before the new file."""
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"n": 1})
    replace = os.replace

    def refused(source: Path, target: Path) -> None:
        if target.name == name:
            raise OSError(errno.EIO, "broken")
        replace(source, target)

    for n in (2, 3):  # tried again
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", refused)
            with pytest.raises(OSError, match="broken"):
                checkpoint.save(path, {"n": n})
        assert checkpoint.load(path, CPU)["n"] == 1
    checkpoint.save(path, {"n": 4})
    assert checkpoint.load(path, CPU)["n"] == 4


def test_code_is_never_run(tmp_path: Path) -> None:
    torch.save({"path": re.compile("x")}, tmp_path / "x.pt")  # unpickling it would call a function
    with pytest.raises(CheckpointError, match=r"cannot be read \(UnpicklingError\)"):
        checkpoint.load(tmp_path / "x.pt", CPU)


def test_the_nearest_step_and_the_newest(tmp_path: Path) -> None:
    save_steps(tmp_path, [100, 200, 1000], keep=9)
    (tmp_path / "5000").mkdir()  # killed before learner.pt completed it
    found = {step: checkpoint.step_folder(tmp_path, step).name for step in (1, 140, 170, 10**6, 0)}
    assert found == {1: "100", 140: "100", 170: "200", 10**6: "1000", 0: "1000"}


def test_step_0_is_a_step(tmp_path: Path) -> None:
    """On a command line, where the newest has a word of its own; as load_step, 0 means the newest."""
    run_dir, folder = tmp_path, tmp_path / "checkpoints"
    save_steps(folder, [0, 100, 200], keep=9)
    checkpoint.mark_best(folder, 0, 1.0)
    for step, expected in (("0", "0"), ("best", "0"), ("newest", "200")):
        assert checkpoint.exact_folder(run_dir, step).name == expected
    assert checkpoint.named_folder(run_dir, "30").name == "0"


def test_no_steps(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected folders named by step with learner\.pt inside, found none in"):
        checkpoint.step_folder(tmp_path, 0)


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    save_steps(tmp_path, [1], keep=2)
    checkpoint.mark_best(tmp_path, 1, 0.5)
    save_steps(tmp_path, [2, 3, 4], keep=2)
    assert checkpoint.steps(tmp_path) == [1, 3, 4]
    checkpoint.mark_best(tmp_path, 4, 0.6)
    save_steps(tmp_path, [5, 6, 7], keep=2)
    assert checkpoint.steps(tmp_path) == [4, 6, 7]
    assert checkpoint.best_step(tmp_path) == 4


def test_a_step_that_the_disk_cut_short_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, [1], keep=2)
    whole = checkpoint.save

    def refuse(path: Path, state: dict[str, Any]) -> None:
        if path.name == checkpoint.LEARNER:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, state)

    monkeypatch.setattr(checkpoint, "save", refuse)
    for step in (1, 2):
        with pytest.raises(OSError, match="No space"):
            save_steps(tmp_path, [step], keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"], "the whole one stays"
    assert checkpoint.steps(tmp_path) == [1]


def test_the_best_of_the_past_is_carried_over(tmp_path: Path) -> None:
    save_steps(tmp_path / "old", [1, 2], keep=2)
    checkpoint.copy_best(tmp_path / "old", tmp_path / "none", until=2)
    assert checkpoint.best_step(tmp_path / "none") is None
    checkpoint.mark_best(tmp_path / "old", 1, 0.5)
    checkpoint.copy_best(tmp_path / "old", tmp_path / "new", until=1)
    assert checkpoint.best_step(tmp_path / "new") == 1
    assert checkpoint.load(tmp_path / "new" / "1" / checkpoint.POLICY, CPU)["policy"] == 1
    checkpoint.copy_best(tmp_path / "old", tmp_path / "earlier", until=0)
    assert checkpoint.best_step(tmp_path / "earlier") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"test_return_mean": 1.0}'])
def test_a_spoilt_mark_of_the_best_is_one_line_that_names_it(content: str, tmp_path: Path) -> None:
    path = tmp_path / checkpoint.BEST
    path.write_text(content)
    with pytest.raises(
        checkpoint.CheckpointError, match=f"checkpoint: {path} cannot be read .*Remove it; the next best"
    ):
        checkpoint.best_step(tmp_path)


def test_networks_start_where_another_run_ended(tmp_path: Path) -> None:
    """checkpoint_path takes over networks, not the number of updates nor the learning rate."""
    first = system_for(lr=0.01)
    with torch.no_grad():
        for parameter in first.learner.parameters:
            parameter.add_(1.0)
    first.learner.n_updates = 9
    second = system_for(lr=0.02, seed=5, checkpoint_path=str(saved(tmp_path, first)))
    for old, new in zip(first.learner.parameters, second.learner.parameters, strict=True):
        assert torch.equal(old, new)
    assert second.learner.n_updates == 0
    assert [group["lr"] for group in second.learner.optimiser.param_groups] == [0.02]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"hidden_dims": [8]}, "iql on bar (hidden_dims: checkpoint [16], here [8]"),
        ({"env_args": {**BAR, "n_agents": 5}}, "iql on bar (n_agents: checkpoint 6, here 5"),
        ({"algorithm": "vdn", "lr": 0.3, "seed": 4}, "vdn on bar (mixer: checkpoint none, here vdn"),
        (
            {"algorithm": "hmf", "dueling": True},
            "hmf on bar (mac: checkpoint basic_mac, here group_mac; mixer: checkpoint none, here hmf; "
            "learner: checkpoint q_learner, here hmf_learner; dueling: checkpoint False, here True",
        ),
    ],
)
def test_networks_of_another_shape_name_the_keys_that_differ(other: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, system_for())
    with pytest.raises(CheckpointError, match=re.escape(f"/7 does not fit {said}). Use the algorithm, networks and")):
        system_for(**{"checkpoint_path": str(folder), **other})


def test_networks_of_another_shape_without_their_configuration(tmp_path: Path) -> None:
    """What torch says of them, cut: it lists every tensor."""
    folder = saved(tmp_path, system_for())
    (folder / "7" / checkpoint.POLICY).unlink()
    with pytest.raises(CheckpointError, match=r"iql on bar \(RuntimeError: .* \.\.\.\)\. Use the") as told:
        system_for(checkpoint_path=str(folder), hidden_dims=[8, 8, 8])
    assert len(str(told.value)) < 600


def test_keys_that_shape_networks_are_keys() -> None:
    assert set(SHAPING) <= component_keys(REGISTRIES) | set(REGISTRIES)


@pytest.mark.parametrize("inside", [True, False], ids=["checkpoints", "run"])
@pytest.mark.parametrize(
    ("load_step", "which"), [(0, " (the newest)"), (8, ""), (3, " (no step 3; nearest 2)"), (2, "")], ids=str
)
def test_networks_loaded_are_named(load_step: int, which: str, inside: bool, tmp_path: Path) -> None:
    """By the folder of their step, whether a run is given or its checkpoints."""
    first, folder = system_for(), tmp_path / "27" / "checkpoints"
    for step in (2, 8):
        checkpoint.save_step(folder, step, {checkpoint.LEARNER: first.learner.state_dict()}, keep=2)
    given = folder if inside else folder.parent
    system = system_for(checkpoint_path=str(given), load_step=load_step)
    step = 2 if load_step in (2, 3) else 8
    assert system.notes[0] == f"note: the networks loaded are those of {folder}/{step}{which}."
    resumed = build.build(system.config, resumed=True)
    assert [note for note in resumed.notes if "networks loaded" in note] == []


def test_a_policy_file_is_a_controller(tmp_path: Path) -> None:
    system = system_for("hmf_ipc")
    mac = load_policy(saved(tmp_path, system) / "7" / checkpoint.POLICY, CPU)
    assert mac.info == system.mac.info
    assert not any(parameter.requires_grad for parameter in mac.parameters())
    for old, new in zip(system.mac.parameters(), mac.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("part", ["info", "config", "mac"])
def test_a_file_that_is_no_policy(part: str, tmp_path: Path) -> None:
    system = system_for()
    state = policy_state(system.config, system.mac)
    state[part] = {}
    checkpoint.save(tmp_path / "policy.pt", state)
    with pytest.raises(CheckpointError, match=r"policy\.pt is no policy that can be loaded \("):
        load_policy(tmp_path / "policy.pt", CPU)
