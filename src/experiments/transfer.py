"""Populations that change: policies of recorded runs play the same environment with other numbers of agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.collect import Task, arrange
from config.loader import named_layer
from config.schema import ConfigError, check_value
from config.trust import Trust
from envs.base import EnvError
from experiments.evaluation import Evaluation
from records.files import Curve
from records.query import flatten
from records.store import FileStore, RunRecord
from utils.cli import say
from utils.words import word

TRAINED = "as trained"
OPPONENT = "opponent"  # begins the keys that say who plays the enemies, which stays as it was


def settings(names: Sequence[str], records: Sequence[RunRecord]) -> dict[str, dict[str, Any]]:
    """Name -> the arguments that differ from those of training, for each of the environment files ``names``.

    Raises ConfigError for a file of an environment that none of the ``records`` was trained on, or two of one name.
    """
    trained = {str(record.config["env"]) for record in records}
    found = {}
    for name in dict.fromkeys(names):
        layer = named_layer("envs", name)
        if layer.values.get("env") not in trained:
            raise ConfigError(
                f"--at: expected an environment file of {', '.join(sorted(trained))}, which these runs were trained "
                f"on, got '{name}', one of {layer.values.get('env')}."
            )
        if Path(name).stem in found:
            raise ConfigError(f"--at: expected files of different names, which head the columns, got another '{name}'.")
        env_args = check_value("env_args", layer.values.get("env_args", {}), dict, layer.where)
        found[Path(name).stem] = {key: env_args[key] for key in env_args if not key.startswith(OPPONENT)}
    return found


def play(
    store: FileStore,
    records: Sequence[RunRecord],
    names: Mapping[str, str],
    chosen: Mapping[str, Mapping[str, Any]],
    episodes: int,
    seed: int,
    trust: Trust,
) -> dict[str, list[Task]]:
    """Setting -> tasks with the mean returns of their methods' runs, both sides together; the first is as trained.

    ``names``: identity -> method, of `plan.completed_runs`. A run whose policy, or whose enemies, cannot play a setting
    is left out there, and said to be.
    """
    found: dict[str, list[Task]] = {}
    for setting, env_args in {TRAINED: {}, **chosen}.items():
        curves = {}
        for record in records:
            words = [word(key, value) for key, value in flatten({"env_args": env_args}).items()] if env_args else []
            try:
                evaluation = Evaluation.of_run(store.folder(record.id), "newest", words, episodes, seed, trust)
                mean = evaluation.return_mean()
            except (ConfigError, EnvError) as error:
                say(f"run {record.id} at {setting}: left out ({error})")
                continue
            say(f"run {record.id} ({record.config['name']}) at {setting}: {mean:.3f}")
            curves[record.id] = Curve([int(evaluation.folder.name)], [mean], [""])
        found[setting] = arrange(records, curves, names)
    return found
