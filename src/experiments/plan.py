"""Experiments: a YAML of algorithms x environments x seeds x factors becomes a list of checked runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assembly.registries import REGISTRIES
from config.loader import Layer, layers, merge, named_layer, parse_overrides
from config.resolve import make_config
from config.schema import Config, ConfigError, check_value, from_values
from config.trust import NOTHING, Trust
from records.files import RecordError
from records.identity import identity
from records.query import flatten
from records.store import RunRecord, RunStore, completed
from utils.cli import say
from utils.words import word


@dataclass(frozen=True)
class Experiment:
    """One file of src/config/experiments.

    Later values win: overrides, per_environment, those of ``keys_of``, per_algorithm, variants, factors. All keys
    are those of a configuration, nested or with dots (``env_args.capacity``).
    """

    algorithms: list[str]  # files of src/config/algs
    environments: list[str]  # files of src/config/envs
    seeds: list[int]
    overrides: Mapping[str, Any] = field(default_factory=dict)  # for every run
    per_environment: Mapping[str, Any] = field(default_factory=dict)  # environment -> overrides
    keys_of: str = ""  # an experiment whose per_algorithm holds for these runs too: the tuned keys, written once
    per_algorithm: Mapping[str, Any] = field(default_factory=dict)  # algorithm -> overrides
    variants: Mapping[str, Any] = field(default_factory=dict)  # name in reports -> overrides; every one is run
    factors: Mapping[str, Any] = field(default_factory=dict)  # key -> list of values; every combination is run


@dataclass(frozen=True)
class PlannedRun:
    """One run: its checked configuration and the command line that makes it."""

    method: str  # its algorithm, variant and factors
    environment: str  # file of src/config/envs
    config: Config
    arguments: tuple[str, ...]  # of main.py

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.method} {self.environment} seed={self.config.seed}"

    @property
    def identity(self) -> str:
        """See `records.identity.identity`."""
        return identity(self.config.to_dict())


def load_experiment(name: str) -> tuple[Experiment, str]:
    """Read the experiment of a name, or of a path ending in .yaml, and its place for messages. Raises ConfigError."""
    layer = named_layer("experiments", name)
    where = layer.where
    experiment = from_values(Experiment, layer.values, where)
    for key in ("algorithms", "environments", "seeds"):
        if not getattr(experiment, key):
            raise ConfigError(f"{where}: {key} is empty; expected a list of at least one.")
    if experiment.keys_of:
        experiment = replace(experiment, per_algorithm=merge(_tuned(experiment, where), experiment.per_algorithm))
    for key, known in (("per_environment", experiment.environments), ("per_algorithm", experiment.algorithms)):
        for entry, overrides in getattr(experiment, key).items():
            if entry not in known:
                raise ConfigError(f"{where}: {key} names '{entry}', which the experiment does not run.")
            check_value(f"{key}.{entry}", overrides, Mapping[str, Any], where)
    for name, overrides in experiment.variants.items():
        check_value(f"variants.{name}", overrides, Mapping[str, Any], where)
    for key, choices in experiment.factors.items():
        if not isinstance(choices, list) or not choices:
            raise ConfigError(f"{where}: factors.{key} expects a list of values, got {choices!r}.")
    return experiment, where


def _tuned(experiment: Experiment, where: str) -> dict[str, Any]:
    """Return what ``keys_of`` says about the algorithms of ``experiment``. Raises ConfigError where it lacks one."""
    layer = named_layer("experiments", experiment.keys_of)
    tuned = check_value("per_algorithm", layer.values.get("per_algorithm", {}), Mapping[str, Any], layer.where)
    for algorithm in experiment.algorithms:
        if algorithm not in tuned:
            known = ", ".join(tuned) or "none"
            raise ConfigError(
                f"{where}: keys_of names '{experiment.keys_of}', whose per_algorithm has no '{algorithm}'. "
                f"It has: {known}."
            )
    return {algorithm: tuned[algorithm] for algorithm in experiment.algorithms}


def plan_run(
    algorithm: str, environment: str, overrides: Mapping[str, Any], where: str, method: str, trust: Trust = NOTHING
) -> PlannedRun:
    """Plan one run of main.py with flat ``overrides``, which may import what ``trust`` says. Raises InputError."""
    words = [word(key, value) for key, value in overrides.items()]
    stack = [*layers(algorithm, environment, [])[:-1], Layer(where, parse_overrides(words).values)]
    config, _ = make_config(stack, REGISTRIES, trust)
    options = (f"--config={algorithm}", f"--env-config={environment}", *trust.words())
    return PlannedRun(method, environment, config, (*options, "with", *words))


def plan(experiment: Experiment, where: str, results: Path) -> list[PlannedRun]:
    """Plan every run of an experiment, recorded under ``results``; all methods of one seed before the next seed.

    Runs that differ only in keys that they never read are one run. Raises ConfigError, also for a key that no run
    reads.
    """
    runs: dict[str, PlannedRun] = {}
    given: set[str] = set()
    variants = experiment.variants or {"": {}}
    used = set()
    idle = {(factor, str(value)) for factor, values in experiment.factors.items() for value in values}
    for seed, environment, algorithm, variant, *values in itertools.product(
        experiment.seeds, experiment.environments, experiment.algorithms, variants, *experiment.factors.values()
    ):
        factors = dict(zip(experiment.factors, values, strict=True))
        overrides = {
            **flatten(experiment.overrides),
            **flatten(experiment.per_environment.get(environment, {})),
            **flatten(experiment.per_algorithm.get(algorithm, {})),
            **flatten(variants[variant]),
            **factors,
        }
        given |= overrides.keys()
        method = " ".join([algorithm, *filter(None, [variant]), *(word(*item) for item in factors.items())])
        placed = {**overrides, "seed": seed, "local_results_path": str(results)}
        run = plan_run(algorithm, environment, placed, where, method)
        if runs.setdefault(run.identity, run) is run:
            used.add(variant)
            idle -= {(factor, str(value)) for factor, value in factors.items()}
    for key, cure in (("seed", "seeds: [1, 2]"), ("local_results_path", "src/sweep.py --results DIR")):
        if key in given:
            raise ConfigError(f"{where}: {key} is no key that may stand here. Write: {cure}")
    _check_all_read(given, list(runs.values()), where)
    for variant in variants:
        if variant not in used:
            raise ConfigError(f"{where}: variants.{variant} makes the same runs as the variants before it. Remove it.")
    for factor, value in sorted(idle):
        raise ConfigError(f"{where}: factors.{factor}: {value} makes the same runs as the values before it. Remove it.")
    return list(runs.values())


def _check_all_read(given: set[str], runs: Sequence[PlannedRun], where: str) -> None:
    read = {key for run in runs for key in flatten(run.config.to_dict())}
    for key in sorted(given):
        if key not in read and not any(known.startswith(f"{key}.") for known in read):
            raise ConfigError(f"{where}: no algorithm of this experiment reads '{key}'. Remove it.")


def completed_runs(
    store: RunStore, filters: Sequence[str], experiments: Sequence[str], results: Path
) -> tuple[Sequence[RunRecord], dict[str, str]]:
    """Find completed runs that meet ``filters`` and belong to one of ``experiments`` (none: any); see `belonging`."""
    return belonging(store, completed(store, filters), bool(filters), experiments, results)


def _but_for_longer(store: RunStore, records: Sequence[RunRecord]) -> list[RunRecord]:
    longer = {record.id for record in records if store.extended(record)}
    meant = {record.identity: record for record in records if record.id not in longer}
    found = []
    for record in records:
        other = meant.get(record.identity)
        if record.id in longer and other is not None:
            say(f"left out: run {record.id}, made longer, beside run {other.id}, which was as long from the start")
        else:
            found.append(record)
    return found


def belonging(
    store: RunStore, records: Sequence[RunRecord], filtered: bool, experiments: Sequence[str], results: Path
) -> tuple[Sequence[RunRecord], dict[str, str]]:
    """Pick those of the completed ``records`` of ``store`` that belong to one of the ``experiments`` (none: to any).

    Says which runs of these are missing. Runs made longer (`RunStore.extended`) belong to no experiment, and with none
    they give way to runs that were meant to be as long from the start. The second part is identity -> method, for runs
    of experiments that name their variants. ``filtered``: some may be missing from ``records``; ``results``: where the
    experiments were recorded. Raises RecordError when no run is left.
    """
    if not experiments:
        return _but_for_longer(store, records), {}
    names: dict[str, str] = {}
    records = [record for record in records if not store.extended(record)]
    recorded = {record.identity for record in records}
    wanted, missing = set[str](), list[str]()
    for name in experiments:
        experiment, place = load_experiment(name)
        planned = {run.identity: run.method for run in plan(experiment, place, results)}
        wanted |= planned.keys()
        if experiment.variants:
            names |= planned
        n_missing = len(planned.keys() - recorded)
        if n_missing:
            why = "not finished, or do not meet the filters" if filtered else "not finished"
            missing.append(f"{n_missing} of {len(planned)} runs of {name} are {why}: python src/sweep.py {name}")
    records = [record for record in records if record.identity in wanted]
    if not records:
        see = "python src/runs.py ls --status COMPLETED"
        raise RecordError(f"runs: no completed run fits. {'. '.join(missing)}. See: {see}")
    for line in missing:
        say(line)
    return records, names
