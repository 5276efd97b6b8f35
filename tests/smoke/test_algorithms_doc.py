"""docs/algorithms.md names every algorithm, every key that one reads and every metric that one logs, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.factory import config_for
from tests.support.paths import ROOT
from tests.support.record import Points
from tests.support.small_runs import ENVIRONMENTS

import build
from assembly.parts import make_env
from config.loader import available
from run import Trainer
from utils.signals import StopRequest

DOC = (ROOT / "docs" / "algorithms.md").read_text()
BEFORE_LOGGED, LOGGED = DOC.split("## What is logged")
OTHERS: list[dict[str, Any]] = [  # what reads the keys that no algorithm reads by itself
    {"agent": "rnn", "burn_in": 1, "sequence_length": 2, "rnn_hidden_dim": 4},
    {"regime": "rollout"},
]


def named(text: str) -> set[str]:
    """Words in `code` font."""
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", code)}


def first_column(text: str) -> set[str]:
    return {name for cell in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE) for name in named(cell)}


def logged(folder: Path, algorithm: str, environment: str = "bar") -> tuple[set[str], set[str]]:
    """Keys that a short run read, and metrics that it logged without the prefix of evaluation."""
    env_args = ENVIRONMENTS[environment]
    overrides = {"env_args": env_args, "n_groups": 2, "t_max": 48, "test_nepisode": 2, "log_interval": 48}
    config = config_for(algorithm, environment, **overrides, save_model=False, save_replay="never")
    record = Points(folder)
    Trainer(build.build(config), record, StopRequest()).train()
    return set(config.args), {name.removeprefix("test_") for name, _, _ in record.points}


def test_every_algorithm_is_named() -> None:
    assert set(available("algs")) - named(DOC) - set(re.findall(r"^### (\w+)$", DOC, re.MULTILINE)) == set()


def test_every_metric_and_every_key_is_named_and_nothing_else(tmp_path: Path) -> None:
    runs = [logged(tmp_path, algorithm) for algorithm in available("algs")]
    runs.append(logged(tmp_path, "hmf", "spread"))  # some are of places, which Bar has not
    keys, metrics = (set.union(*column) for column in zip(*runs, strict=True))
    assert metrics - named(LOGGED) == set()
    played = [
        make_env(config_for("iql", name, env_args=ENVIRONMENTS[name]), 1, test=False) for name in ("bar", "spread")
    ]
    assert metrics == first_column(LOGGED).union(*(env.info.stats for env in played))
    keys |= {"conv_channels"}
    for part in OTHERS:
        keys |= set(config_for("iql", "bar", env_args=ENVIRONMENTS["bar"], **part).args)
    assert keys - named(BEFORE_LOGGED) == set()
    assert first_column(BEFORE_LOGGED) - keys - set(available("algs")) == {"grouping", "regime"}  # components


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_statistic_of_every_environment_is_named(environment: str) -> None:
    config = config_for("iql", environment, env_args=ENVIRONMENTS[environment])
    env = make_env(config, 1, test=False)
    assert set(env.info.stats) - named(LOGGED) == set()
    env.close()
