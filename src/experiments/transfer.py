"""Populations that change: policies of recorded runs play the same environment with other numbers of agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.collect import Task, arrange
from config.loader import named_layer
from config.schema import ConfigError, check_value
from config.trust import Trust
from envs.base import EnvError
from experiments.evaluation import CPU, Evaluation
from experiments.playing import playground
from policies.zoo import Entry
from records import checkpoint
from records.files import Curve
from records.query import env_title, flatten
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


@dataclass(frozen=True)
class Population:
    """A policy that plays in several settings."""

    name: str  # in what is said of it
    record: RunRecord  # of the run that trained it
    evaluation: Callable[[list[str]], Evaluation]  # of ``key=value`` words for its environment


def of_run(store: FileStore, record: RunRecord, episodes: int, seed: int, trust: Trust) -> Population:
    """Take the newest policy of a run."""
    folder = store.folder(record.id)
    return Population(
        f"run {record.id} ({record.config['name']})",
        record,
        lambda words: Evaluation.of_run(folder, "newest", words, episodes, seed, trust),
    )


def of_zoo(entry: Entry, number: int, results: Path, episodes: int, seed: int, trust: Trust) -> Population:
    """Take a policy of the zoo, whose run is known by ``number``, below 0. Raises InputError."""
    folder = entry.policy().parent
    state = checkpoint.load(folder / checkpoint.POLICY, CPU)
    return Population(
        entry.name,
        RunRecord(number, {}, state["config"], {}),
        lambda words: Evaluation.of_policy(folder, playground(results, entry), words, episodes, seed, trust),
    )


def play(
    populations: Sequence[Population], names: Mapping[str, str], chosen: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Task]]:
    """Play every setting; return setting -> tasks with the mean returns of their methods' runs, both sides together.

    The first setting is as trained. ``names``: identity -> method, of `plan.completed_runs`. A policy that cannot play
    a setting, or whose enemies cannot, is left out there, and said to be.
    """
    found: dict[str, list[Task]] = {}
    for setting, env_args in {TRAINED: {}, **chosen}.items():
        curves = {}
        for population in populations:
            words = [word(key, value) for key, value in flatten({"env_args": env_args}).items()] if env_args else []
            try:
                evaluation = population.evaluation(words)
                mean = evaluation.return_mean()
            except (ConfigError, EnvError) as error:
                say(f"{population.name} at {setting}: left out ({error})")
                continue
            say(f"{population.name} at {setting}: {mean:.3f}")
            curves[population.record.id] = Curve.of([mean])
        found[setting] = arrange([population.record for population in populations], curves, names)
    return called_by_file(found)


def called_by_file(found: Mapping[str, Sequence[Task]]) -> dict[str, list[Task]]:
    """Return the tasks called by their environment files, as the settings are, where these tell all of them apart."""
    titles = {task.label: env_title(task.config) for tasks in found.values() for task in tasks}
    if len(set(titles.values())) < len(titles):
        titles = {}
    return {
        setting: [replace(task, label=titles.get(task.label, task.label)) for task in tasks]
        for setting, tasks in found.items()
    }
