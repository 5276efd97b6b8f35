"""What enemies that learn have for their own: algorithms and keys, by team."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from config.checked import check_layers
from config.loader import Layer, for_regime, named_layer
from config.registry import Registries
from config.schema import NESTED, Config, ConfigError, check_value, framework_keys
from utils.errors import InputError
from utils.seeding import derive_seed

LEARNER = "learner"  # env_args.opponent: enemies that learn too


def with_enemies(config: Config, layers: Sequence[Layer], registries: Registries) -> tuple[Config, list[str]]:
    """Return ``config``, of ``layers``, with all that enemies which learn have for their own, and sentences about that.

    Raises ConfigError for values that do not fit enemies which learn, or without such.
    """
    if config.env_args.get("opponent") != LEARNER:
        for key in ("opponent_config", "opponent_args"):
            if getattr(config, key):
                where = next(layer.where for layer in reversed(for_regime(layers)) if key in layer.values)
                raise ConfigError(
                    f"{where}: {key} expects env_args.opponent={LEARNER}, whose algorithm it chooses, got "
                    f"opponent={config.env_args.get('opponent', 'none')}. Set that too, or leave {key} out."
                )
        return config, []
    where, teams, trust = layers[-1].where, teams_of(config), config.trust
    if teams == [""]:
        if not isinstance(config.opponent_config, str):
            raise ConfigError(
                f"{where}: opponent_config expects the name of an algorithm, got {config.opponent_config!r}. Write "
                "opponent_config=NAME; names by team need env_args.teams."
            )
        other, notes = _team("opponent_args", config.opponent_config, config.opponent_args, config, layers, registries)
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
        other, notes = _team(key, name, given, config, layers, registries)
        names[team], args[team] = other.name, _own_values(other, registries)
        sentences += [note for note in notes if note not in sentences]
        trust = trust.also(other.trust.names)
    return replace(config, opponent_config=names, opponent_args=MappingProxyType(args), trust=trust), sentences


def _team(
    key: str, name: str, args: Mapping[str, Any], config: Config, layers: Sequence[Layer], registries: Registries
) -> tuple[Config, list[str]]:
    """Make the configuration of one team of enemies that learn, and sentences of `check_layers` about it.

    It gets the values of the layers below the algorithm, of its own algorithm ``name`` and of ``args``, called ``key``.
    The keys of an algorithm that stand on the command line are the learners', unless both have the same. ``args`` that
    name all parts hold all keys, as `printed` wrote them, and need no file. Raises ConfigError.
    """
    *below, algorithm, given = layers
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
        return check_layers([*lower, *top], registries, config.trust)


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
    """Name the key that holds what a team of enemies has for its own."""
    return f"opponent_args{team and '.'}{team}"


def _own_values(other: Config, registries: Registries) -> dict[str, Any]:
    """Return what a side's configuration does not share with the other sides."""
    return {key: getattr(other, key) for key in _of_a_side(registries)} | dict(other.args)


def teams_of(config: Config) -> list[str]:
    """List the teams of enemies that learn; "" is the only one of a game of two sides."""
    return list(config.env_args.get("teams", ())) or [""]


def _of_a_side(registries: Registries) -> list[str]:
    """List the framework's keys that differ from side to side."""
    return ["name", *(key for key in registries if key != "env")]


def enemy_config(config: Config, team: str = "") -> Config:
    """Make the configuration of enemies that learn: ``config`` with an algorithm and random streams of their own."""
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
