"""Recorded runs grouped as a report needs them: tasks, the methods compared on each, and their seeds."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from analysis.statistics import Array, area_under_curve
from config.schema import BOOKKEEPING
from records.files import Curve, RecordError
from records.identity import before, since_first
from records.presets import OPPONENT_CONFIG
from records.query import differing_keys, env_name, telling_keys
from records.store import RunRecord, RunStore
from utils.words import by_numbers, parted, to_yaml, word

logger = logging.getLogger(__name__)

TASK_KEYS = ("env", "env_args.", "test_env_args.")
NOT_COMPARED = ("seed", "name", "opponent_args.name", *BOOKKEEPING)
ENEMY_KEYS = "opponent_args."  # of the algorithm of enemies that learn
SCORES = ("final", "tail", "best", "auc")
TAIL = 5  # evaluations


def score(curve: Curve, kind: str) -> float:
    """Return one of SCORES: ``final``, the last value; ``tail``, the mean of the last TAIL; ``best``; ``auc``, the
    curve's mean height.
    """
    if kind == "final":
        return curve.values[-1]
    if kind == "tail":
        return float(np.mean(curve.values[-TAIL:]))
    if kind == "best":
        return float(np.max(curve.values))
    return area_under_curve(curve.steps, curve.values)


@dataclass(frozen=True)
class Method:
    """One algorithm with one configuration on one task."""

    label: str  # its name, and the keys in which methods of this name differ here
    curves: Mapping[int, Curve]  # seed -> the metric over t_env

    def scores(self, kind: str) -> dict[int, float]:
        """Return seed -> `score`."""
        return {seed: score(curve, kind) for seed, curve in self.curves.items()}

    @property
    def last_step(self) -> int:
        """t_env that all of its runs have reached."""
        return min(curve.steps[-1] for curve in self.curves.values())

    def array(self, kind: str) -> Array:
        """Return `scores` as an array (n_seeds,), in the order of seeds."""
        return np.array([score for _, score in sorted(self.scores(kind).items())])


@dataclass(frozen=True)
class Task:
    """One environment with one set of arguments."""

    env: str  # its name in tables
    label: str  # this name, and the arguments in which tasks of this name differ
    methods: Sequence[Method]
    config: Mapping[str, Any] = field(default_factory=dict)  # flat, of one of its runs
    agents: str = ""  # what tells agents apart: ids or own parameters; empty where methods differ in it

    def fits(self, described: str) -> bool:
        """Return whether ``ENV KEY=VALUE ...`` describes this task; other arguments may have any value."""
        env, wanted = parted(described)
        return env in (self.env, self.config.get("env")) and all(
            key in self.config and value in (str(self.config[key]), to_yaml(self.config[key]))
            for key, value in wanted.items()
        )


def newest(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the records without those whose method, task and seed a later start has again.

    So a repeated seed counts once, by the same run for every metric: what stands side by side is of one run.
    """
    repeated = grouped(records, lambda key: key in ("seed", "name") or key not in NOT_COMPARED)
    # the zoo's have no start
    last = {max(group, key=lambda record: (record.entry.get("start_time", ""), record.id)).id for group in repeated}
    return [record for record in records if record.id in last]


def is_task_key(key: str) -> bool:
    """Return whether a flat configuration key belongs to the task rather than to the method."""
    return key == TASK_KEYS[0] or key.startswith(TASK_KEYS[1:])


def grouped(records: Sequence[RunRecord], keys_of: Callable[[str], bool]) -> list[list[RunRecord]]:
    """Group records whose flat configurations agree on the keys that ``keys_of`` chooses, in order of appearance."""
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        chosen = {key: value for key, value in since_first(record.flat_config).items() if keys_of(key)}
        groups[json.dumps(chosen, sort_keys=True)].append(record)
    return list(groups.values())


def labels(configs: Sequence[Mapping[str, Any]], names: Sequence[str], keys_of: Callable[[str], bool]) -> list[str]:
    """Label every configuration: its name, and the chosen keys in which those of the same name differ.

    Keys of enemies that learn count among those of one algorithm: the rest follows from its name. Keys that came later
    than a record have the value that they stand for there.
    """
    configs, found = [{**config, **_later(config)} for config in configs], list[str]()
    for config, name in zip(configs, names, strict=True):
        namesakes = [other for other, its in zip(configs, names, strict=True) if its == name]
        alike = [other for other in namesakes if _enemies(other) == _enemies(config)]
        own, theirs = telling_keys(namesakes), telling_keys(alike)
        keys = [key for key in own if keys_of(key) and not key.startswith(ENEMY_KEYS)]
        keys += [key for key in theirs if keys_of(key) and key.startswith(ENEMY_KEYS)]
        found.append(" ".join([name, *(word(key, config[key]) for key in keys)]))
    return told_apart(found, configs, keys_of)


def told_apart(
    titles: Sequence[str], configs: Sequence[Mapping[str, Any]], keys_of: Callable[[str], bool]
) -> list[str]:
    """Add to every title that several configurations have those of its chosen keys in which they differ."""
    found = []
    for config, title in zip(configs, titles, strict=True):
        equals = [other for other, its in zip(configs, titles, strict=True) if its == title]
        keys = [key for key in differing_keys(equals) if keys_of(key) and key in config]
        found.append(" ".join([title, *(word(key, config[key]) for key in keys)]))
    return found


def _later(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that a flat configuration lacks because they came later, with what runs did before."""
    return {key: value for key, value in before(config.get("env", "")).items() if key not in config}


def _enemies(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the algorithms of enemies that learn, of one team or of several."""
    return {key: value for key, value in config.items() if key.partition(".")[0] == OPPONENT_CONFIG}


def collect(
    store: RunStore, records: Sequence[RunRecord], metric: str, names: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[RunRecord], list[Task]]:
    """Return the `newest` runs that logged ``metric``, and its curves arranged; ``names``: see `arrange`.

    Runs without it are left out, with one warning.
    """
    records = newest(records)
    curves, errors = curves_of(store, records, metric)
    if errors:
        logger.warning("left out: %d of %d runs; the first is %s", len(errors), len(records), errors[0])
    records = [record for record in records if record.id in curves]
    return records, arrange(records, curves, names)


def arrange(records: Sequence[RunRecord], curves: Mapping[int, Curve], names: Mapping[str, str]) -> list[Task]:
    """Sort records that have a curve into tasks with their methods, by label; ``curves``: run id -> curve.

    ``names``: identity -> label, for methods that have a name of their own. Of repeated runs see `newest`.
    """
    tasks = grouped(newest(records), is_task_key)
    configs = [{**group[0].flat_config, **_later(group[0].flat_config)} for group in tasks]
    titles = labels(configs, [env_name(config) for config in configs], is_task_key)
    found = [
        Task(env_name(config), title, methods(group, curves, names), config, agents(group))
        for group, config, title in zip(tasks, configs, titles, strict=True)
    ]
    return sorted((task for task in found if task.methods), key=lambda task: by_numbers(task.label))


def matched(tasks: Sequence[Task], others: Sequence[Task]) -> list[tuple[Task, Method, Method]]:
    """List (task, method, the same method of ``others``), for two curves of the same runs; those that are in both."""
    known = {(task.label, method.label): method for task in others for method in task.methods}
    return [
        (task, method, known[task.label, method.label])
        for task in tasks
        for method in task.methods
        if (task.label, method.label) in known
    ]


def curves_of(store: RunStore, records: Sequence[RunRecord], metric: str) -> tuple[dict[int, Curve], list[RecordError]]:
    """Read run id -> curve of ``metric``, for the runs that logged it, and an error for each of the others."""
    curves, errors = {}, []
    for record in records:
        try:
            curves[record.id] = store.metrics(record.id, [metric])[metric]
        except RecordError as error:
            errors.append(error)
    return curves, errors


def cpu_curves(store: RunStore, records: Sequence[RunRecord]) -> dict[int, Curve]:
    """Read run id -> curve of CPU seconds of training, for the runs on a CPU that recorded them."""
    found = {record.id: store.cpu_seconds(record) for record in records if not record.config.get("use_cuda")}
    return {run_id: Curve.of([*cpu.values()], [*cpu]) for run_id, cpu in found.items() if cpu}


def wall_minutes(records: Sequence[RunRecord]) -> dict[int, Curve]:
    """Return run id -> one point, the minutes from its start to its last sign of life."""
    return {record.id: Curve.of([(record.last_sign - record.started).total_seconds() / 60]) for record in records}


def agents(records: Sequence[RunRecord]) -> str:
    """Return what tells the agents of these runs apart, in words; empty where the runs differ in it."""
    found = {
        "own parameters"
        if not record.config.get("share_params", True)
        else "shared parameters with ids"
        if record.config.get("obs_agent_id")
        else "shared parameters"
        for record in records
    }
    return found.pop() if len(found) == 1 else ""


def methods(records: Sequence[RunRecord], curves: Mapping[int, Curve], names: Mapping[str, str]) -> list[Method]:
    """Sort one task's runs that have a curve into methods, by label, those with ``names`` in the order of these."""

    def compared(key: str) -> bool:
        return key not in NOT_COMPARED and not is_task_key(key)

    groups = grouped(records, lambda key: key == "name" or compared(key))
    configs = [group[0].flat_config for group in groups]
    described = labels(configs, [str(config["name"]) for config in configs], compared)
    given = [names.get(group[0].identity, name) for group, name in zip(groups, described, strict=True)]
    found = []
    for group, label in zip(groups, told_apart(given, configs, compared), strict=True):
        seeds = {int(record.config["seed"]): curves[record.id] for record in group if record.id in curves}
        if seeds:
            found.append(Method(label, seeds))
    order = {name: place for place, name in enumerate(names.values())}
    return sorted(found, key=lambda method: (order.get(method.label, -1), by_numbers(method.label)))
