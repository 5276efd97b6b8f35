"""YAML files, and `key=value` words, to layers of plain values: default < environment < algorithm < command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from config.schema import ConfigError
from utils.paths import default_results
from utils.words import from_yaml, nearest

CONFIG_DIR = Path(__file__).parent


@dataclass(frozen=True)
class Layer:
    """Values from one place; ``where`` names the place in messages."""

    where: str
    values: dict[str, Any]


def available(folder: str) -> list[str]:
    """List the names of the files of a folder of src/config (``algs``, ``envs``, ``experiments``, ``searches``)."""
    return sorted(path.stem for path in (CONFIG_DIR / folder).glob("*.yaml"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file holding a mapping. Raises ConfigError with the file and line otherwise."""
    try:
        values = from_yaml(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: expected a YAML file, cannot read it ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines, got {type(values).__name__}.")
    for key in values:
        if not isinstance(key, str):
            raise ConfigError(f"{path}: expected words as keys, got {key!r}. Remove it, or put it in quotes.")
    return values


def named_layer(folder: str, name: str, above: tuple[str, ...] = ()) -> Layer:
    """Read ``src/config/<folder>/<name>.yaml`` (or a path ending in .yaml), laid over the file its ``base`` key names.

    What it says itself also counts before what its base says for one regime. An algorithm's file without a ``name``
    gives its own, not that of its base. ``above``: the names of the files that lie over this one. A path of a base is
    looked up beside the file that names it, then from the current folder. Raises ConfigError.
    """
    asked = f"{above[-1]}: base: " if above else ""
    names, own = available(folder), name.endswith((".yaml", ".yml"))
    path = Path(name) if own else CONFIG_DIR / folder / f"{name}.yaml"
    if own and not path.exists():
        beside = "beside this one, nor " if above else ""
        raise ConfigError(f"{asked}expected a file {name}, there is none {beside}in {Path.cwd()}.")
    if not own and name not in names:
        raise ConfigError(
            f"{asked}no {folder} configuration '{name}'.{nearest(name, names)} Known: {', '.join(names)}; or a path to "
            "a .yaml file of your own."
        )
    place = path.resolve().parent
    if place.is_relative_to(CONFIG_DIR.resolve()) and place != (CONFIG_DIR / folder).resolve():
        raise ConfigError(
            f"{path}: expected a file of src/config/{folder}, or one of your own, got one of {place.name}."
        )
    values = read_yaml(path)
    if folder == "algs":
        values.setdefault("name", path.stem)
    base = values.pop("base", None)
    if base is not None:
        if isinstance(base, str) and base.endswith((".yaml", ".yml")) and (path.parent / base).is_file():
            base = str((path.parent / base).resolve())
        if not isinstance(base, str) or base in (*above, name, str(path.resolve())):
            raise ConfigError(f"{path}: base expects the name of another file of src/config/{folder}, got {base!r}.")
        lower = named_layer(folder, base, (*above, name)).values
        if isinstance(parts := lower.get("regimes"), Mapping):
            lower = lower | {"regimes": {name: without(part, values) for name, part in parts.items()}}
        values = merge(lower, values)
    return Layer(str(path.relative_to(CONFIG_DIR.parents[1]) if path.is_relative_to(CONFIG_DIR) else path), values)


def parse_overrides(words: list[str]) -> Layer:
    """Read ``key=value`` and ``env_args.key=value`` words, values as YAML."""
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if word.startswith("--"):
            raise ConfigError(f"command line: expected {word} before the word with, key=value after it.")
        if not equals or not key:
            raise ConfigError(
                f"command line: expected key=value after with, got '{word}' (no spaces around =, quote the value)."
            )
        try:
            value = from_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"command line: cannot read the value of '{word}' as YAML.") from error
        node = values
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(
                    f"command line: '{word}' sets a part of {parent}, which has a value already. Set one."
                )
        node[leaf] = merge({leaf: node.get(leaf)}, {leaf: value})[leaf]
    return Layer("command line", values)


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``upper`` over ``lower``, mappings merged key by key."""
    merged = dict(lower)
    for key, value in upper.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both and old is not None and isinstance(value, Mapping) else value
    return merged


def without(lower: Any, upper: Mapping[str, Any]) -> Any:
    """Leave out of the mapping ``lower`` every value that ``upper`` has too, mappings key by key."""
    if not isinstance(lower, Mapping):
        return lower
    return {
        key: without(value, upper[key]) if key in upper else value
        for key, value in lower.items()
        if key not in upper or (isinstance(value, Mapping) and isinstance(upper[key], Mapping))
    }


def layers(config: str, env_config: str, overrides: list[str]) -> list[Layer]:
    """Read the four layers of a command line, lowest first."""
    return stacked(named_layer("envs", env_config), config, parse_overrides(overrides))


def stacked(env: Layer, config: str, given: Layer) -> list[Layer]:
    """List the four layers, lowest first: default.yaml, an environment, the algorithm ``config``, and ``given``."""
    values = read_yaml(CONFIG_DIR / "default.yaml") | {"local_results_path": str(default_results())}
    default = Layer("src/config/default.yaml", values)
    return [default, env, named_layer("algs", config), given]


def for_regime(stack: Sequence[Layer]) -> list[Layer]:
    """Lay over the values of each layer those that it has for the chosen regime (``regimes: {rollout: {...}}``).

    Raises ConfigError where ``regimes`` is no mapping of mappings.
    """
    chosen = next((layer.values["regime"] for layer in reversed(stack) if "regime" in layer.values), None)
    return [Layer(layer.where, _for_regime(layer, chosen)) for layer in stack]


def _for_regime(layer: Layer, chosen: Any) -> dict[str, Any]:
    values = dict(layer.values)
    regimes = values.pop("regimes", {})
    if not isinstance(regimes, Mapping) or not all(isinstance(part, Mapping) for part in regimes.values()):
        raise ConfigError(f"{layer.where}: regimes expects keys and values for each regime, got {regimes!r}.")
    return merge(values, regimes.get(chosen, {}) if isinstance(chosen, str) else {})
