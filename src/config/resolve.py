"""Layers of values to a checked `Config`, and the changes that a checked one allows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from config.loader import Layer, for_regime, merge, named_layer
from config.ranges import check_ranges
from config.registry import Registries, config_keys, resolve
from config.schema import NESTED, RECORDING, Config, ConfigError, check_value, framework_keys, type_name
from config.schemas import Schema, schema
from config.since import without
from config.trust import NOTHING, Trust
from utils.errors import InputError
from utils.seeding import derive_seed
from utils.version import made_by
from utils.words import nearest, to_yaml, word

NAME = r"\w[\w .+-]*"  # of an algorithm, in tables, filters and paths
OPTIONAL = ("mixer", "grouping")  # may be "none"
CONSTRUCTOR = "the keys of a class are the keyword-only parameters of its constructor, those after a *"
LEARNER = "learner"  # env_args.opponent: enemies that learn too
RESUMABLE = (  # keys that may differ in a resumed run, because they do not change what is learned
    "t_max",
    "test_interval",
    "test_nepisode",
    "log_interval",
    "save_model_interval",
    "keep_checkpoints",
    "save_replay",
    *RECORDING,
)


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
    """Key -> class that the configuration names, without those that are "none"."""
    return {key: resolve(registries[key], values[key], key, trust) for key in _chosen(values, registries)}


def _chosen(values: Mapping[str, Any], registries: Registries) -> list[str]:
    """The registries' keys whose values are not "none"."""
    return [key for key in registries if not (key in OPTIONAL and values[key] == "none")]


def imported_names(env: Schema, env_args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and name of what environments with these arguments import themselves."""
    return ((key, env_args[key]) for key in env.imports if key in env_args)


def component_keys(registries: Registries) -> set[str]:
    """Keys of every registered component but environments, whose keys stand in ``env_args``."""
    return {
        key
        for part, kind in registries.items()
        for name in kind.known
        if part != "env"
        for key in schema(kind, name, part).keys
    }


def make_config(layers: list[Layer], registries: Registries, trust: Trust = NOTHING) -> tuple[Config, list[str]]:
    """Check layered values against the framework's keys and the chosen components' constructors.

    Returns the configuration, which trusts the names that the layers hold beside those of ``trust``, and a sentence for
    every key that was set for nothing. Raises ConfigError or RegistryError.
    """
    values: dict[str, Any] = {}
    stack, layers = layers, for_regime(layers)
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
    _check_ranges(config)
    idle = sorted(key for key in layers[-1].values if key not in {*own, *read, *NESTED})
    idle += sorted(key for key in layers[-2].values if key not in {*own, *read, *NESTED} and key not in idle)
    notes = [f"note: {origin[key]} sets {key}, which {config.name} never reads." for key in idle]
    if config.env_args.get("opponent") != LEARNER:
        for key in ("opponent_config", "opponent_args"):
            if getattr(config, key):
                raise ConfigError(
                    f"{origin[key]}: {key} expects env_args.opponent={LEARNER}, whose algorithm it chooses, got "
                    f"opponent={config.env_args.get('opponent', 'none')}. Set that too, or leave {key} out."
                )
        return config, notes
    enemies, of_theirs = _enemies(config, stack, registries)
    return enemies, notes + of_theirs


def _of_own_classes(names: Mapping[str, str], registries: Registries, trust: Trust) -> str:
    """A clause of messages: where keys come from, if classes from outside this tree add none to their base's."""
    classes = {kind: resolve(registries[kind], name, kind, trust) for kind, name in names.items() if ":" in name}
    bare = [
        f"{kind}={names[kind]}"
        for kind, found in classes.items()
        if config_keys(found).keys() <= config_keys(found.__mro__[1]).keys()
    ]
    return f" {', '.join(bare)} adds no key: {CONSTRUCTOR}." if bare else ""


def _enemies(config: Config, stack: Sequence[Layer], registries: Registries) -> tuple[Config, list[str]]:
    """``config`` with all that enemies which learn have for their own, and sentences of `make_config` about it."""
    where, teams, trust = stack[-1].where, teams_of(config), config.trust
    if teams == [""]:
        if not isinstance(config.opponent_config, str):
            raise ConfigError(
                f"{where}: opponent_config expects the name of an algorithm, got {config.opponent_config!r}. Write "
                "opponent_config=NAME; names by team need env_args.teams."
            )
        other, notes = _team("opponent_args", config.opponent_config, config.opponent_args, config, stack, registries)
        found = MappingProxyType(_own_values(other, registries))
        trust = trust.also(other.trust.names)
        return replace(config, opponent_config=other.name, opponent_args=found, trust=trust), notes
    chosen = config.opponent_config
    for key, given in (("opponent_config", chosen), ("opponent_args", config.opponent_args)):
        for name in () if isinstance(given, str) else given:
            if name not in teams:  # a number in YAML is none of them either
                raise ConfigError(
                    f"{where}: {key} expects the names of env_args.teams ({', '.join(teams)}), got {name!r}. Write "
                    f"{key}.{teams[0]}{'=...' if key == 'opponent_config' else '.KEY=...'}."
                )
    names, args, sentences = dict[str, str](), dict[str, Any](), list[str]()
    for team in teams:
        key = args_of(team)
        named = chosen if isinstance(chosen, str) else chosen.get(team, "")
        name = check_value(f"opponent_config.{team}", named, str, where)
        given = check_value(key, config.opponent_args.get(team, {}), dict, where)
        other, notes = _team(key, name, given, config, stack, registries)
        names[team], args[team] = other.name, _own_values(other, registries)
        sentences += [note for note in notes if note not in sentences]
        trust = trust.also(other.trust.names)
    return replace(config, opponent_config=names, opponent_args=MappingProxyType(args), trust=trust), sentences


def _team(
    key: str, name: str, args: Mapping[str, Any], config: Config, stack: Sequence[Layer], registries: Registries
) -> tuple[Config, list[str]]:
    """The configuration of one team of enemies that learn, and sentences of `make_config` about it.

    It gets the values of the layers below the algorithm, of its own algorithm ``name`` and of ``args``, called ``key``.
    The keys of an algorithm that stand on the command line are the learners', unless both have the same. ``args`` that
    name all parts hold all keys, as `printed` wrote them, and need no file. Raises ConfigError.
    """
    *below, algorithm, given = stack
    parts = _of_a_side(registries)
    own = [part for part in framework_keys() if part not in parts]
    for arg in args:
        if arg in own or arg in NESTED:
            raise ConfigError(
                f"{given.where}: {key} expects keys of an algorithm, got {arg}, which all sides share. Set {arg} "
                "itself."
            )
    if all(part in args for part in parts):
        if name not in ("", args["name"]):
            raise ConfigError(
                f"{given.where}: opponent_config = {name}, but {key} hold all of {args['name']}. Set one of the two."
            )
        theirs = list[Layer]()
    elif name:
        theirs = [named_layer("algs", name)]
    else:
        alike = {arg: value for arg, value in given.values.items() if arg not in own and arg not in NESTED}
        theirs = [algorithm, Layer(given.where, alike)]
    shared = {part: getattr(config, part) for part in own} | {"opponent_config": "", "opponent_args": {}}
    played = {"env_args": {**config.env_args, "opponent": "random"}, "test_env_args": {}}
    lower = [replace(layer, values={**layer.values, "opponent_args": {}}) for layer in (*below, *theirs)]
    top = [Layer("run", {**shared, **played}), Layer(key, dict(args))]
    with blamed(key):
        return make_config([*lower, *top], registries, config.trust)


@contextmanager
def blamed(key: str) -> Iterator[None]:
    """Let messages about the configuration of enemies begin with ``key``, where their keys are."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(key):
            raise
        raise ConfigError(f"{key}: {error} Keys of these enemies are set by {key}.KEY=VALUE.") from error


def args_of(team: str) -> str:
    """The key that holds what a team of enemies has for its own."""
    return f"opponent_args{team and '.'}{team}"


def _own_values(other: Config, registries: Registries) -> dict[str, Any]:
    """What a side's configuration does not share with the other sides."""
    return {key: getattr(other, key) for key in _of_a_side(registries)} | dict(other.args)


def teams_of(config: Config) -> list[str]:
    """The teams of enemies that learn; "" is the only one of a game of two sides."""
    return list(config.env_args.get("teams", ())) or [""]


def _of_a_side(registries: Registries) -> list[str]:
    """The framework's keys that differ from side to side."""
    return ["name", *(key for key in registries if key != "env")]


def enemy_config(config: Config, team: str = "") -> Config:
    """The configuration of enemies that learn: ``config`` with the algorithm and the random streams of their own."""
    theirs = dict(config.opponent_args[team] if team else config.opponent_args)
    own = {key: theirs.pop(key) for key in framework_keys() if key in theirs}
    return replace(
        config,
        **own,
        seed=derive_seed(config.seed, f"enemies{team and ' '}{team}") % 2**32,
        opponent_config="",
        opponent_args=MappingProxyType({}),
        args=MappingProxyType(theirs),
    )


def check_env_args(env: Schema, given: Any, where: str, key: str) -> dict[str, Any]:
    """``given`` as arguments of an environment. Raises ConfigError, calling them ``key``."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: {key} expects keys and values, got {given!r}.")
    keys = env.keys
    for name in given:
        if name not in keys:
            hint = nearest(name, keys, within=f"{key}.")
            known = ", ".join(keys) or f"none; {CONSTRUCTOR}"
            raise ConfigError(f"{where}: unknown key '{key}.{name}'.{hint} Known: {known}.")
    return {name: check_value(f"{key}.{name}", value, keys[name], where) for name, value in given.items()}


def _check_ranges(config: Config) -> None:
    check_ranges(config.to_dict())
    if config.evaluate and not config.checkpoint_path:
        raise ConfigError("configuration: evaluate=true plays loaded networks. Set checkpoint_path as well.")


def config_from_dict(
    values: Mapping[str, Any], record: Mapping[str, Any] = MappingProxyType({}), trust: Trust = NOTHING
) -> Config:
    """The configuration that `Config.to_dict` recorded, from which ``trust`` says what may be imported.

    ``record``: run.json or the checkpoint beside it, which knows the version for messages. Raises ConfigError when a
    key is missing.
    """
    own = framework_keys()
    values = merge(without(values.get("env", ""), values.get("learner", "")), values)
    for key in (*own, "env_args", "test_env_args", "opponent_args"):
        if key not in values:
            raise ConfigError(f"recorded configuration: the key '{key}' has no value ({made_by(record)}).")
    args = {key: value for key, value in values.items() if key not in own and key not in NESTED}
    return Config(
        **{key: values[key] for key in own},
        env_args=MappingProxyType(dict(values["env_args"])),
        test_env_args=MappingProxyType(dict(values["test_env_args"])),
        opponent_args=MappingProxyType(dict(values["opponent_args"])),
        args=MappingProxyType(args),
        trust=trust,
    )


def printed(config: Config, layers: Sequence[Layer]) -> str:
    """Write the configuration as YAML, with the layer that set each value behind it, for `loader.named_layer`."""
    return "\n".join(_printed(config.to_dict(), [(layer.where, layer.values) for layer in layers], ""))


def _printed(values: Mapping[str, Any], layers: Sequence[tuple[str, Any]], indent: str) -> Iterator[str]:
    for key, value in values.items():
        above = [(where, given[key]) for where, given in layers if isinstance(given, Mapping) and key in given]
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _printed(value, above, f"{indent}  ")
        else:
            where = above[-1][0] if above else "older than this key"
            yield f"{f'{indent}{key}: {to_yaml(value)}':40}  # {where}"


def env_values(config: Config, test: bool) -> dict[str, Any]:
    """env_args of the training or the evaluation environments."""
    return {**config.env_args, **(config.test_env_args if test else {})}


def with_env_args(config: Config, **env_args: Any) -> Config:
    """``config`` with some env_args changed."""
    return replace(config, env_args=MappingProxyType({**config.env_args, **env_args}))


def with_run_keys(config: Config, overrides: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """A resumed run's configuration, and a sentence where that changes what is learned, or when it is evaluated.

    Only keys that do not change the experiment may differ. Raises ConfigError.
    """
    hints, before, notes = framework_keys(), config, list[str]()
    for key, value in overrides.items():
        if key not in RESUMABLE:
            raise ConfigError(
                f"command line: {key} cannot change when a run is resumed (allowed: {', '.join(RESUMABLE)}). "
                "For a different experiment, start a new run with checkpoint_path=..."
            )
        config = replace(config, **{key: check_value(key, value, hints[key], "command line")})
    _check_ranges(config)
    theirs = {"the enemies'": config.opponent_args}
    if teams_of(config) != [""]:
        theirs = {f"{team}'s": args for team, args in config.opponent_args.items()}
    for whose, args in {"the": config.args, **theirs}.items():
        if config.t_max != before.t_max and args.get("lr_finish", 1.0) != 1.0:
            notes.append(
                f"note: from here on {whose} learning rate falls until the new t_max, {config.t_max:,}, to lr_finish = "
                f"{args['lr_finish']} of lr; until here it fell until {before.t_max:,}."
            )
    if config.test_interval != before.test_interval:
        notes.append(
            f"note: test_interval was {before.test_interval:,}; from here on evaluations come at multiples of "
            f"{config.test_interval:,} steps."
        )
    return config, notes
