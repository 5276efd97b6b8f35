"""``pytest tests/contract [--env NAME|FILE.yaml|module:Class] [--env-args key=value ...] [--device cuda]
[--same-start]``, ``pytest tests/contract --alg NAME|FILE.yaml [--on ENV ...]``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.contract.algorithm_checks import AlgorithmCase
from tests.contract.cases import asked_for, registered
from tests.contract.checks import Case
from tests.support.small_runs import ENVIRONMENTS

from utils.errors import InputError

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
    config.stash[CASES] = _cases(config)
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


def _cases(config: pytest.Config) -> list[Case]:
    """The environment that is asked for, or all registered ones unless it is an algorithm."""
    device = torch.device(config.getoption("--device", default="cpu"))
    name = config.getoption("--env", default=None)
    if name is None:
        return [] if config.getoption("--alg", default=None) else registered(device)
    try:
        return [asked_for(name, config.getoption("--env-args"), device, config.getoption("--same-start"))]
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
