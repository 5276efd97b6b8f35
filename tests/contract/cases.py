"""The environments that the contract is checked for: by their names, their YAML files or their classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.contract.checks import Case

from config.checked import check_env_args
from config.loader import available, named_layer, parse_overrides
from config.registry import Kind, resolve
from config.schema import ConfigError, check_value
from config.schemas import Schema
from config.trust import EVERYTHING
from envs import REGISTRY
from envs.base import Env

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


def registered(device: torch.device) -> list[Case]:
    """All registered environments, small."""
    return [
        Case(name, resolve(KIND, name, "env"), _yaml_args(name) | SMALL[name], device, name in SAME_START)
        for name in REGISTRY
    ]


def asked_for(name: str, words: list[str], device: torch.device, same_start: bool) -> Case:
    """The environment that ``--env`` names, with ``words`` laid over the env_args of its YAML. Raises InputError."""
    env, args = _named(name)
    cls = resolve(KIND, env, "--env", EVERYTHING)
    wanted = Schema.of(cls)
    args = check_env_args(wanted, args | parse_overrides(words).values, name, "env_args")
    if args.keys() != wanted.keys.keys():
        raise ConfigError(
            f"{name}: expected the env_args {sorted(wanted.keys)}, got {sorted(args)}. Write them in a YAML file with "
            f"'env: {env}' and give it as --env, or give --env-args key=value for each."
        )
    return Case(Path(name).stem, cls, args, device, same_start or env in SAME_START)


def _named(name: str) -> tuple[str, dict[str, Any]]:
    """The environment and the env_args of a configuration, or of a class."""
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
