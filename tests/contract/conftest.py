"""``pytest tests/contract [--env NAME|FILE.yaml|module:Class] [--env-args key=value ...] [--device cuda]
[--same-start]``, ``pytest tests/contract --alg NAME|FILE.yaml [--on ENV ...]``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contract.algorithm_checks import AlgorithmCase
from tests.contract.checks import Case
from tests.support.small_runs import ENVIRONMENTS

from config.loader import available, named_layer, parse_overrides
from config.registry import Kind, resolve
from config.resolve import check_env_args
from config.schema import check_value
from config.schemas import Schema
from config.trust import EVERYTHING
from envs import REGISTRY
from envs.base import Env
from utils.errors import InputError

SMALL: dict[str, dict[str, Any]] = {  # arguments that make a registered environment quick to check
    "bar": {"n_agents": 7, "capacity": 4, "episode_limit": 5},
    # One hit kills, so that some die while others live.
    "battle": {"n_agents": 30, "n_enemies": 30, "map_size": 24, "hp": 1, "enemy_hp": 1, "episode_limit": 40}
    | {"opponent": "random"},
    "battle_deviator": {"n_agents": 9, "n_enemies": 12, "map_size": 16, "hp": 1, "enemy_hp": 1, "episode_limit": 40}
    | {"enemy_speed": 3, "enemy_attack_radius": 3, "opponent": "random", "team": "random"},
    "matrix_game": {"n_agents": 3, "episode_limit": 2},
    "pettingzoo": {"kwargs": {"N": 3, "max_cycles": 6}, "episode_limit": 8},
    "spread": {"n_agents": 3, "episode_limit": 6},
    "pursuit": {"n_agents": 4, "episode_limit": 6},
}
KIND = Kind(Env, REGISTRY)
SAME_START = ("matrix_game",)
CASES = pytest.StashKey[list[Case]]()
ALGORITHM_CASES = pytest.StashKey[list[AlgorithmCase]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("environment contract")
    group.addoption("--env", metavar="NAME|FILE.yaml|module:Class", help="check this environment, and no other")
    group.addoption("--env-args", nargs="+", default=[], metavar="KEY=VALUE", help="laid over its YAML's env_args")
    group.addoption("--device", default="cpu", help="cpu or cuda")
    algorithms = parser.getgroup("algorithm contract")
    algorithms.addoption("--alg", metavar="NAME|FILE.yaml", help="check this algorithm, and no environment")
    algorithms.addoption(
        "--on", nargs="+", default=["bar", "battle"], choices=ENVIRONMENTS, metavar="ENV", help="where it is checked"
    )
    group.addoption("--same-start", action="store_true", help="nothing in this game is random")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CASES] = env_cases(config)
    config.stash[ALGORITHM_CASES] = _algorithm_cases(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "env_case" in metafunc.fixturenames:
        cases = metafunc.config.stash[CASES]
        metafunc.parametrize("env_case", cases, ids=[case.name for case in cases])
    if "algorithm_case" in metafunc.fixturenames:
        found = metafunc.config.stash[ALGORITHM_CASES]
        metafunc.parametrize("algorithm_case", found, ids=str)


def _algorithm_cases(config: pytest.Config) -> list[AlgorithmCase]:
    """The algorithm on each environment in each regime that it can learn in; IQL where none is given."""
    name = config.getoption("--alg", default=None)
    if name is None:
        return [] if config.getoption("--env", default=None) else [AlgorithmCase("iql", "bar", "replay")]
    cases = [AlgorithmCase(name, environment, "replay") for environment in config.getoption("--on")]
    try:
        systems = [case.system(Path("unused")) for case in cases]
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
    both = [
        case
        for case, system in zip(cases, systems, strict=True)
        if not (system.learner.replay_only or system.mac.agent.window)
    ]
    return [*cases, *(replace(case, regime="rollout") for case in both)]


def env_cases(config: pytest.Config) -> list[Case]:
    """The environment that is asked for, or all registered ones. Raises pytest.UsageError."""
    device = torch.device(config.getoption("--device", default="cpu"))
    name = config.getoption("--env", default=None)
    if name is None:
        return (
            []
            if config.getoption("--alg", default=None)
            else [
                Case(name, resolve(KIND, name, "env"), _yaml_args(name) | SMALL[name], device, name in SAME_START)
                for name in REGISTRY
            ]
        )
    try:
        env, args = _named(name)
        cls = resolve(KIND, env, "--env", EVERYTHING)
        wanted = Schema.of(cls)
        args = check_env_args(wanted, args | parse_overrides(config.getoption("--env-args")).values, name, "env_args")
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
    if args.keys() != wanted.keys.keys():
        raise pytest.UsageError(
            f"{name}: expected the env_args {sorted(wanted.keys)}, got {sorted(args)}. Write them in a YAML file with "
            f"'env: {env}' and give it as --env, or give --env-args key=value for each."
        )
    return [Case(Path(name).stem, cls, args, device, config.getoption("--same-start") or env in SAME_START)]


def _named(name: str) -> tuple[str, dict[str, Any]]:
    """The environment and the env_args that --env names, as a configuration or as a class."""
    if name not in available("envs") and not name.endswith((".yaml", ".yml")):
        return name, _yaml_args(name)
    layer = named_layer("envs", name)
    env = check_value("env", layer.values.get("env"), str, layer.where)
    return env, check_value("env_args", layer.values.get("env_args", {}), dict, layer.where)


def _yaml_args(env: str) -> dict[str, Any]:
    """env_args of the configuration of this name, or else of the first one for this environment; empty without one."""
    for name in sorted(available("envs"), key=lambda name: name != env):
        values = named_layer("envs", name).values
        if values.get("env") == env:
            return dict(values["env_args"])
    return {}
