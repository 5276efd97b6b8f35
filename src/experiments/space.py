"""What a search searches: files of src/config/searches, read before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from config.loader import named_layer
from config.schema import ConfigError, check_value, from_values


@dataclass(frozen=True)
class Space:
    """A search: every algorithm gets its own study over the keys of ``space`` that it reads, and its ``own``."""

    algorithms: list[str]
    environment: str
    seeds: list[int]  # a trial runs all of them, its value is their mean
    metric: str  # statistic of episodes, such as test_return_mean; higher is better
    space: Mapping[str, Any]  # key -> list of values, or {low, high} with log: true or step
    score: Literal["final", "tail"] = "final"  # what counts: the last value, or the mean of the last five
    overrides: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # algorithm -> keys that it alone searches too
    final: Mapping[str, Any] = field(default_factory=dict)  # seeds and overrides of the comparison of the best trials


def load_space(path: str) -> Space:
    """Read and check a space file. Raises ConfigError."""
    layer = named_layer("searches", path)
    space = from_values(Space, layer.values, layer.where)
    if not (space.algorithms and space.seeds and space.space):
        raise ConfigError(f"{layer.where}: algorithms, seeds and space must not be empty.")
    if unknown := space.final.keys() - {"seeds", "overrides"}:
        raise ConfigError(f"{layer.where}: final: expected seeds and overrides, got {', '.join(sorted(unknown))}.")
    for key, annotation in (("seeds", list[int]), ("overrides", dict)):
        if key in space.final:
            check_value(f"final.{key}", space.final[key], annotation, layer.where)
    for name, values in (("space", space.space), ("overrides", space.overrides)):
        _require_free(values, f"{layer.where}: {name}")
    for algorithm, values in space.own.items():
        _require_free(values, f"{layer.where}: own.{algorithm}")
    return space


def _require_free(values: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for keys that a search sets itself."""
    if "seed" in values:
        raise ConfigError(f"{where}.seed: the seeds of a trial are those of 'seeds'. Remove it.")
    if "local_results_path" in values:
        raise ConfigError(f"{where}.local_results_path: say where trials are recorded with --results. Remove it.")
