"""Layers of values to the checked `Config` of one side that learns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from config.loader import Layer, for_regime, merge
from config.ranges import check_ranges
from config.registry import Registries, config_keys, resolve
from config.schema import NESTED, Config, ConfigError, check_recordable, check_value, framework_keys, type_name
from config.schemas import Schema, schema
from config.trust import Trust
from utils.words import nearest, word

NAME = r"\w[\w .+-]*"  # of an algorithm, in tables, filters and paths
OPTIONAL = ("mixer", "grouping")  # may be "none"
CONSTRUCTOR = "the keys of a class are the keyword-only parameters of its constructor, those after a *"
ELSEWHERE = {  # what other frameworks call a key -> the key
    "learning_rate": "lr",
    "discount": "gamma",
    "batch": "batch_size",
    "epsilon": "epsilon_start",
    "hidden_dim": "hidden_dims",
    "hidden_size": "hidden_dims",
    "n_envs": "batch_size_run",
    "num_envs": "batch_size_run",
    "total_timesteps": "t_max",
    "total_steps": "t_max",
}


def chosen_classes(values: Mapping[str, Any], registries: Registries, trust: Trust) -> dict[str, type]:
    """Map each key to the class that the configuration names, without those that are "none"."""
    return {key: resolve(registries[key], values[key], key, trust) for key in _chosen(values, registries)}


def _chosen(values: Mapping[str, Any], registries: Registries) -> list[str]:
    """List the registries' keys whose values are not "none"."""
    return [key for key in registries if not (key in OPTIONAL and values[key] == "none")]


def imported_names(env: Schema, env_args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give key and name of what environments with these arguments import themselves."""
    return ((key, env_args[key]) for key in env.imports if key in env_args)


def component_keys(registries: Registries) -> set[str]:
    """Collect the keys of every registered component but environments, whose keys stand in ``env_args``."""
    return {
        key
        for part, kind in registries.items()
        for name in kind.known
        if part != "env"
        for key in schema(kind, name, part).keys
    }


def check_layers(layers: Sequence[Layer], registries: Registries, trust: Trust) -> tuple[Config, list[str]]:
    """Check the layered values of one side against the framework's keys and the chosen components' constructors.

    Returns the configuration, which trusts the names that the layers hold beside those of ``trust``, and a sentence for
    every key that was set for nothing. Raises ConfigError or RegistryError.
    """
    values: dict[str, Any] = {}
    layers = for_regime(layers)
    for layer in layers:
        values = merge(values, layer.values)
    origin = {key: layer.where for layer in layers for key in layer.values}
    own = framework_keys()
    for key in own:
        if key not in values:
            raise ConfigError(f"configuration: the key '{key}' has no value. Set it in src/config/default.yaml.")
    if isinstance(values["env"], Mapping):
        meant = ", ".join(word(f"env_args.{key}", value) for key, value in values["env"].items())
        raise ConfigError(
            f"{origin['env']}: env expects the name of an environment, whose arguments are env_args, got "
            f"{values['env']!r}. Write {meant}."
        )
    for kind in registries:
        check_value(kind, values[kind], str, origin[kind])
    trust = trust.also(values[kind] for kind in registries if ":" in values[kind])
    parts = {key: schema(registries[key], values[key], key, trust) for key in _chosen(values, registries)}
    env = parts.pop("env")
    read = {key: hint for part in parts.values() for key, hint in part.keys.items()}
    known = {*own, *read, *component_keys(registries), "env_args", "test_env_args", "opponent_args"}
    for key in values:
        if key not in known:
            if key in env.keys:
                hint = f" Write env_args.{key}."
            elif key in ELSEWHERE:
                hint = f" Did you mean '{ELSEWHERE[key]}'?"
            else:
                hint = nearest(key, known) + _of_own_classes({part: values[part] for part in parts}, registries, trust)
            raise ConfigError(f"{origin[key]}: unknown key '{key}'.{hint}")
    for key in read:
        if key not in values:
            users = [f"{kind}={values[kind]}" for kind, part in parts.items() if key in part.keys]
            raise ConfigError(
                f"configuration: {', '.join(users)} needs the key '{key}'. Set it in src/config/algs or with {key}=..."
            )
    checked = {key: check_value(key, values[key], hint, origin[key]) for key, hint in {**own, **read}.items()}
    for key, value in checked.items():
        check_recordable(key, value, origin[key])
    env_args, test_env_args = (
        check_env_args(env, values[key], origin[key], key) for key in ("env_args", "test_env_args")
    )
    config = Config(
        **{key: checked[key] for key in own},
        env_args=MappingProxyType(env_args),
        test_env_args=MappingProxyType(test_env_args),
        opponent_args=MappingProxyType(
            check_value("opponent_args", values["opponent_args"], dict, origin["opponent_args"])
        ),
        args=MappingProxyType({key: checked[key] for key in read}),
        trust=trust.also(name for args in (env_args, test_env_args) for _, name in imported_names(env, args)),
    )
    for key, hint in env.keys.items():
        if key not in config.env_args:
            raise ConfigError(
                f"configuration: env={config.env} needs env_args.{key} ({type_name(hint)}). Set it in its YAML."
            )
    if not re.fullmatch(NAME, config.name):
        raise ConfigError(f"{origin['name']}: name expects letters, digits and _ - + . or spaces, got {config.name!r}.")
    check_values(config, origin)
    idle = sorted(key for key in layers[-1].values if key not in {*own, *read, *NESTED})
    idle += sorted(key for key in layers[-2].values if key not in {*own, *read, *NESTED} and key not in idle)
    return config, [f"note: {origin[key]} sets {key}, which {config.name} never reads." for key in idle]


def _of_own_classes(names: Mapping[str, str], registries: Registries, trust: Trust) -> str:
    """Return a clause of messages: where keys come from, if classes from outside this tree add none to their base's."""
    classes = {kind: resolve(registries[kind], name, kind, trust) for kind, name in names.items() if ":" in name}
    bare = [
        f"{kind}={names[kind]}"
        for kind, found in classes.items()
        if config_keys(found).keys() <= config_keys(found.__mro__[1]).keys()
    ]
    return f" {', '.join(bare)} adds no key: {CONSTRUCTOR}." if bare else ""


def check_env_args(env: Schema, given: Any, where: str, key: str) -> dict[str, Any]:
    """Check ``given`` as arguments of an environment. Raises ConfigError, calling them ``key``."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: {key} expects keys and values, got {given!r}.")
    keys = env.keys
    for name in given:
        if name not in keys:
            hint = nearest(name, keys, within=f"{key}.")
            known = ", ".join(keys) or f"none; {CONSTRUCTOR}"
            raise ConfigError(f"{where}: unknown key '{key}.{name}'.{hint} Known: {known}.")
    checked = {name: check_value(f"{key}.{name}", value, keys[name], where) for name, value in given.items()}
    check_recordable(key, checked, where)
    return checked


def check_values(config: Config, origin: Mapping[str, str]) -> None:
    """Check the ranges of values, and that they go together; ``origin``: key -> its place. Raises ConfigError."""
    check_ranges(config.to_dict(), origin)
    if not config.local_results_path:
        raise ConfigError("configuration: local_results_path (--results) expects a folder, got an empty name.")
    if config.evaluate and not config.checkpoint_path:
        raise ConfigError("configuration: evaluate=true plays loaded networks. Set checkpoint_path as well.")
    if config.load_step and not config.checkpoint_path:
        raise ConfigError("configuration: load_step is a step under checkpoint_path, which is empty. Set that as well.")
