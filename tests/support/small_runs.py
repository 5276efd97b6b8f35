"""Runs of the real main with small numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

import main
from config.loader import named_layer
from records.store import FileStore

LEARNING = {
    "regime": "replay",  # on every task, whatever its own is
    "t_max": 24,
    "batch_size_run": 2,
    "learning_starts": 8,
    "batch_size": 4,
    "train_interval": 8,
    "buffer_size": 200,
    "test_nepisode": 2,
    "log_interval": 24,
    "hidden_dims": [8],
}
BATTLE = {"n_agents": 6, "n_enemies": 6, "map_size": 16, "episode_limit": 6, "opponent_checkpoint": ""}
# Name of a configuration in src/config/envs -> arguments that make its episodes short and its population small.
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "bar": {"n_agents": 6, "capacity": 3, "episode_limit": 5},
    "battle": {**BATTLE, "hp": 1, "enemy_hp": 1, "opponent": "random"},
    "battle_symmetric": {**BATTLE, "opponent": "self_play"},
    "matrix_game": {"n_agents": 2},
    "hawk_dove": {"n_agents": 3, "episode_limit": 2},
    "pettingzoo": {"kwargs": {"N": 3, "max_cycles": 6}},
    "pursuit": {"n_agents": 4, "episode_limit": 6},
    "spread": {"n_agents": 3, "episode_limit": 6},
}


def command(folder: Path, algorithm: str, environment: str, **overrides: Any) -> list[str]:
    """The arguments ``--config --env-config with ...`` of main.py for the small version of an environment."""
    env_args = {**ENVIRONMENTS[environment], **overrides.pop("env_args", {})}
    words = {**LEARNING, "n_groups": 2, "local_results_path": str(folder), **overrides}
    words |= {f"env_args.{key}": value for key, value in env_args.items()}
    words |= {
        f"test_env_args.{key}": env_args[key]
        for key in named_layer("envs", environment).values.get("test_env_args", {})
    }
    dumped = {key: yaml.safe_dump(value, default_flow_style=True, width=10_000) for key, value in words.items()}
    given = [f"{key}={value.splitlines()[0]}" for key, value in dumped.items()]
    return [f"--config={algorithm}", f"--env-config={environment}", "with", *given]


def run(folder: Path, algorithm: str, environment: str, **overrides: Any) -> int:
    """Exit code of main.py with these arguments."""
    return main.main(command(folder, algorithm, environment, **overrides))


def eventful(results: Path, **overrides: Any) -> list[str]:
    """Arguments of a run that evaluates, logs and saves again and again, and is over before the first beat."""
    intervals = {"t_max": 400, "test_interval": 100, "log_interval": 20, "save_model_interval": 100}
    return command(results, "iql", "bar", **{**intervals, "train_interval": 4, **overrides})


def points(results: Path, run_id: int) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every metric of a run and of those that it continues."""
    curves = FileStore(results / "sacred").metrics(run_id)
    return {name: list(zip(curve.steps, curve.values, strict=True)) for name, curve in curves.items()}
