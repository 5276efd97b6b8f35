"""Filters of runs, the differences between their configurations, and what their environments are called."""

from __future__ import annotations

import contextlib
import functools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from config.loader import available, named_layer
from config.schema import ConfigError
from records.files import RecordError
from utils.words import from_yaml, nearest

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}


ALWAYS_SHOWN = ("name", "env", "seed")  # of the configuration, in lists of runs; first in legends


@dataclass(frozen=True)
class Condition:
    """``key operator value``, as in ``env=battle`` or ``test_return_mean>3``."""

    key: str
    operator: str
    value: Any

    def met(self, values: Mapping[str, Any]) -> bool:
        """Return whether a run of these configuration or metric values meets the condition; false without the key.

        An environment may be named as recorded, as in tables (`env_name`) or as in lists (`env_title`).
        """
        if self.key not in values:
            return False
        if self.key == "env" and self.operator in ("=", "!="):
            return (self.value in self.named(values)) == (self.operator == "=")
        return self.holds(values[self.key])

    def named(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what the value of the key is called, which these values must have."""
        more = (env_name(values), env_title(values)) if self.key == "env" else ()
        return values[self.key], *more

    def holds(self, value: Any) -> bool:
        """Return whether ``value`` meets the condition; false where the two cannot be ordered (text and a number)."""
        try:
            return OPERATORS[self.operator](value, self.value)
        except TypeError:
            return False


def env_name(config: Mapping[str, Any]) -> str:
    """Return what tables and files call the environment of a flat configuration.

    ``battle``; of one's own class (``guess:Guess``) its name; of PettingZoo the game (``simple_spread_v3``).
    """
    env = str(config["env"])
    path = str(config.get("env_args.entry", "")) if env == "pettingzoo" else env
    module, _, attribute = path.partition(":")
    return module.rpartition(".")[2] if attribute in ("", "parallel_env", "env") else attribute


def env_file(config: Mapping[str, Any]) -> str:
    """Return which file of src/config/envs the environment of a flat configuration is of: a run of bar_80 says bar.

    It is the one whose arguments differ least from the run's, which may lack newer ones. Of equals it is the
    environment's own, else the one with the fewest arguments. What the run says, where there is no file.
    """
    env, missing = str(config["env"]), object()

    def distance(file: str) -> tuple[int, bool, int]:
        differing = sum(config.get(key, missing) != value for key, value in arguments[file].items())
        return differing, file != env, len(arguments[file])

    arguments = {file: own for file, (its, own) in _env_files().items() if its == env}
    return min(arguments, key=distance, default=env)


def env_title(config: Mapping[str, Any]) -> str:
    """Return what lists call the environment of a flat configuration: a variant by its file, others like tables."""
    file = env_file(config)
    return env_name(config) if file == config["env"] else file


def titled(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat configuration with its environment as lists call it."""
    return {**config, "env": env_title(config)} if "env" in config else dict(config)


@functools.cache
def _env_files() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Map the files of src/config/envs to their environment and its arguments. One that cannot be read has no runs."""
    found = {}
    for file in available("envs"):
        with contextlib.suppress(ConfigError):
            values = named_layer("envs", file).values
            arguments = {key: values.get(key) or {} for key in ("env_args", "test_env_args")}
            found[file] = values.get("env"), flatten(arguments)
    return found


def parse_condition(text: str) -> Condition:
    """Read a condition from ``text``. Raises RecordError when it is none."""
    found = re.fullmatch(r"\s*([\w./-]+)\s*(!=|>=|<=|=|>|<)\s*(.+?)\s*", text)
    if found is None:
        raise RecordError(f"filter '{text}': expected key=value or key>value, such as 'env=battle' (with the quotes).")
    key, sign, value = found.groups()
    try:
        return Condition(key, sign, from_yaml(value))
    except yaml.YAMLError as error:
        raise RecordError(f"filter '{text}': cannot read the value '{value}'.") from error


def nearest_value(where: Sequence[Condition], configs: Sequence[Mapping[str, Any]]) -> str:
    """Return a did-you-mean clause for the first ``key=TEXT`` that no flat configuration meets and one nearly does."""
    for condition in where:
        texts = {
            name
            for config in configs
            if condition.key in config
            for name in condition.named(config)
            if isinstance(name, str)
        }
        unmet = condition.operator == "=" and isinstance(condition.value, str) and condition.value not in texts
        if unmet and (near := nearest(condition.value, texts, f"{condition.key}=")):
            return near
    return ""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join nested keys by dots: ``{"env_args": {"size": 16}}`` to ``{"env_args.size": 16}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the keys of flat configurations whose values are not the same in all, or that some lack."""
    missing = object()
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if any(config.get(key, missing) != configs[0].get(key, missing) for config in configs)]


def telling_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the differing keys that all configurations have, for columns and legends.

    The keys that only some have follow from an algorithm's name.
    """
    return [key for key in differing_keys(configs) if all(key in config for config in configs)]
