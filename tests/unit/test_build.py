"""Configurations that cannot be put together are refused with the reason."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support import small_runs
from tests.support.factory import config_for
from torch import Tensor, nn

import build
from assembly.registries import REGISTRIES
from components.batch import EnvInfo
from components.rows import ReplayError
from config.loader import Layer, layers
from config.resolve import make_config
from config.schema import ConfigError
from envs.torch_env import State, TorchEnv
from learners.q_learner import QLearner
from utils.errors import InputError

RNN = {"agent": "rnn", "rnn_hidden_dim": 4}


def built(**overrides: Any) -> build.System:
    return build.build(config_for("hmf", "bar", env_args={"n_agents": 6, "capacity": 3}, **overrides))


def test_groups_that_change_are_common_to_several_processes_and_others_are_not() -> None:
    """Also those of a grouping that learns nothing: its centres decide which number a group keeps."""
    for grouping, keys in (("random", {"grouping", "centre"}), ("contiguous", set())):
        system = built(grouping=grouping, share_gmf=True)
        assert system.mac.common(system.mac.init_memory(2)).keys() == keys


class LoneMixer(nn.Module):
    """A mixer with no base of this project's."""


class PyMARLLearner(QLearner):
    def __init__(self, mac, scheme, logger, args) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"n_groups": 7},
            r"n_groups: expected between 1 and the number of agents \(6\), got 7\. Set n_groups\.",
        ),
        ({"n_groups": 0}, "n_groups: expected between 1 and the number of agents"),
        ({"grouping": "none"}, "mac=group_mac needs a grouping. Set grouping=contiguous, for example."),
        (
            {"mac": "basic_mac", "learner": "q_learner", "mixer": "none", "team_reward": "sum"},
            "mac=basic_mac has no groups, got grouping=contiguous. Set grouping=none.",
        ),
        ({"grouping": "spatial"}, "grouping=spatial needs an environment with positions, bar has none"),
        ({"mixer": "none"}, "learner=hmf_learner expects mixer: HMFMixer, got mixer=none. Start from the files of"),
        ({"mac": "basic_mac", "grouping": "none"}, "learner=hmf_learner expects mac: GroupMAC, got mac=basic_mac"),
        (
            {"learner": "q_learner", "team_reward": "sum"},
            r"learner=q_learner expects mixer: TeamMixer \| null, got mixer=hmf\. Start from the files of",
        ),
        (
            {"learner": "q_learner", "team_reward": "sum", "mixer": f"{__name__}:LoneMixer"},
            r"got mixer=\w+:LoneMixer\. Derive the class from modules\.mixers\.base\.TeamMixer\.$",
        ),
        (
            {"learner": f"{__name__}:PyMARLLearner", "mixer": "none"},
            "PyMARLLearner: expected positional parameters among info, .*, got scheme. Configuration keys",
        ),
        (
            {**RNN, "burn_in": 0, "sequence_length": 1},
            "expected burn_in and sequence_length of at least 1, got 0 and 1",
        ),
        (
            {"buffer_size": 10**12},
            "replay does not fit: 1,000,000,000,000 joint transitions x .* bytes .* Keep at most",
        ),
    ],
    ids=str,
)
def test_parts_that_do_not_fit(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(**overrides)


@pytest.mark.parametrize(
    ("algorithm", "environment", "words", "message"),
    [
        ("iql", "battle", {"env_args": {"map_size": 40000}}, "env_args.map_size: expected at most 32,768, whose cells"),
        (
            "iql",
            "battle",
            {"env_args": {"episode_limit": 2**40}},
            "battle: 2 environments of 1,099,511,627,776 steps of 12 agents on 16 x 16 cells would take 98,304.0 GiB",
        ),
        (
            "iql",
            "battle",
            {"env_args": {"map_size": 400, "view_radius": 90, "speed": 90, "attack_radius": 90}},
            "battle: expected at most 32,768 actions, which is what a row can number, got 50,8",
        ),
        (
            "iql",
            "battle",
            {"env_args": {"n_agents": 10**11}},
            "battle: 2 environments of 6 steps of 100,000,000,006 agents on 16 x 16 cells would take",
        ),
        (
            "iql",
            "bar",
            {"env_args": {"n_agents": 10**12, "capacity": 3}},
            "bar: observations of 1,000,000,000,000 agents in 2 environments would take 7,450.6 GiB",
        ),
        ("iql", "spread", {"batch_size_run": 10**12}, "spread: observations of 3 agents in 1,000,000,000,000 envir"),
        (
            "hmf",
            "bar",
            {"hidden_dims": [10**6, 10**6]},
            r"networks of [\d,]+ parameters, each with its target, its gradient and two moments, would take [\d,.]+ ",
        ),
        ("hmf", "bar", {"gmf_hidden_dims": [10**6, 10**6]}, r"networks of [\d,]+ parameters, each with"),
        ("iql", "bar", {"hidden_dims": [2**62, 2**62]}, "networks expect sizes that can be counted"),
        (
            "hmf",
            "bar",
            {"env_args": {"n_agents": 40000}, "n_groups": 40000},
            "n_groups: expected at most 32,768, which is what a row can number, got 40,000",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_into_rows_or_memory_is_refused_at_once(
    algorithm: str,
    environment: str,
    words: dict[str, Any],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert small_runs.run(tmp_path, algorithm, environment, **words) == 2
    refusal = capsys.readouterr().err
    assert re.match(f"error: (configuration: )?{message}", refusal)
    assert refusal.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(
        ConfigError, match=r"no CUDA device. Use use_cuda=false, or run ./install_dependencies.sh --cuda"
    ):
        built(use_cuda=True)


def without(key: str, nested: str | None = None) -> list[Layer]:
    """IQL on Bar from files that forgot a key, or one of ``nested``."""
    stack = layers("iql", "bar", [])
    for layer in stack:
        values = layer.values.get(nested, {}) if nested else layer.values
        values.pop(key, None)
    return stack


def test_a_framework_key_without_a_value() -> None:
    with pytest.raises(ConfigError, match=r"the key 't_max' has no value. Set it in src/config/default"):
        make_config(without("t_max"), REGISTRIES)


def test_a_component_key_without_a_value() -> None:
    with pytest.raises(
        ConfigError, match=r"learner=q_learner needs the key 'double_q'. Set it in src/config/algs or with"
    ):
        make_config(without("double_q"), REGISTRIES)


def test_an_environment_argument_without_a_value() -> None:
    with pytest.raises(ConfigError, match=r"env=bar needs env_args\.capacity \(int\)\. Set it in its YAML\."):
        make_config(without("capacity", "env_args"), REGISTRIES)


class Gallery(TorchEnv):
    """Black pictures."""

    def __init__(self, n_envs: int, device: torch.device, *, side: int) -> None:
        shape = (side, side, 3)
        super().__init__(n_envs, device, EnvInfo("gallery", 1, 2, shape, torch.uint8, 1 / 255, 5))

    def _start(self) -> State:
        return {}

    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        raise NotImplementedError

    def _observe(self, state: State) -> Tensor:
        return torch.zeros(self.n_envs, 1, *self.info.obs_shape, dtype=torch.uint8)

    def _stats(self, state: State) -> dict[str, Tensor]:
        return {}


@pytest.mark.parametrize(("side", "warned"), [(100, True), (10, False)])
def test_a_network_of_millions_of_parameters_for_pictures_is_announced(side: int, warned: bool, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery.yaml"
    gallery.write_text(f"env: {__name__}:Gallery\nenv_args: {{side: {side}}}\nhidden_dims: [256]\nbuffer_size: 100\n")
    notes = build.build(make_config(layers("iql", str(gallery), []), REGISTRIES)[0]).notes
    expected = "pictures of 100 x 100 x 3, of which agent=mlp makes a network of 7,680,770 parameters"
    assert any(expected in note and "env_args.downscale=7" in note for note in notes) is warned


def test_a_replay_too_large_for_pictures_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "free_bytes", lambda _: 10**6)
    gallery = tmp_path / "gallery.yaml"
    gallery.write_text(f"env: {__name__}:Gallery\nenv_args: {{side: 100}}\nhidden_dims: [2]\n")
    for agent, cure in (("mlp", r"env=pettingzoo\), and read them with agent=conv\."), ("conv", r"env=pettingzoo\)\.")):
        with pytest.raises(ReplayError, match=rf"does not fit.*Make pictures smaller, .*downscale=7 where {cure}$"):
            build.build(make_config(layers("iql", str(gallery), [f"agent={agent}"]), REGISTRIES)[0])


@pytest.mark.parametrize(
    ("environment", "env_args", "at_once"),
    [
        ("bar", {"n_agents": 6, "capacity": 3}, 5),
        ("bar", {"n_agents": 4096, "capacity": 3}, 3),
        ("bar", {"n_agents": 16384, "capacity": 3}, 2),
        ("battle", {"n_agents": 6, "n_enemies": 6, "map_size": 16}, 2),
    ],
    ids=["all", "in two rounds", "too large", "engines"],
)
def test_evaluations_play_all_episodes_at_once_where_that_costs_nothing(
    environment: str, env_args: dict[str, Any], at_once: int
) -> None:
    rollouts = {"batch_size_run": 2, "test_nepisode": 5, "n_groups": 2}
    with contextlib.closing(build.build(config_for("hmf", environment, env_args=env_args, **rollouts))) as system:
        assert system.test_runner.env.n_envs == at_once
        assert system.runner.env.n_envs == 2
