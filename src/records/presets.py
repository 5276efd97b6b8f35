"""What a run's algorithm and environment give it by their names, and what was set beside that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from config.loader import CONFIG_DIR, Layer, available, for_regime, merge, named_layer, read_yaml
from config.schema import RECORDING
from records.identity import ALONE
from records.query import ALWAYS_SHOWN, differing_keys, env_file, flatten, telling_keys, titled

Name = str | None
OPPONENT_CONFIG = "opponent_config"


def set_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the telling keys of flat configurations, algorithm, environment and seed first, and the teams' algorithms.

    Left out are those whose value follows in every run from the files of its algorithm and environment, and those that
    say where a run is recorded.
    """
    names = [_names(config) for config in configs]
    known = {its: _presets(*its) for its in set(names)}
    missing, shown = object(), [titled(config) for config in configs]
    keys = [
        key
        for key in (*telling_keys(shown), *_of_teams(shown))
        if key in ALWAYS_SHOWN
        or (
            key not in RECORDING
            and any(
                config.get(key, missing) != known[its].get(key, missing)
                for config, its in zip(configs, names, strict=True)
            )
        )
    ]
    return sorted(keys, key=lambda key: key not in ALWAYS_SHOWN)


def _of_teams(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the differing keys of enemies' algorithms that some lack: runs of several teams have one for each."""
    telling = telling_keys(configs)
    return [key for key in differing_keys(configs) if key.partition(".")[0] == OPPONENT_CONFIG and key not in telling]


def presets(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows from the names in a flat configuration, those of enemies that learn included.

    The files of ``src/config`` that have these names are laid over the default; names without a file give nothing. Of
    an environment's variants (bar_80), recorded under its name (bar), the nearest counts: `query.env_file`.
    """
    return _presets(*_names(config))


def own_keys(config: Mapping[str, Any]) -> set[str]:
    """Name the keys of a flat configuration whose values its `presets` do not give, but those of where it is recorded.

    They were set on the command line, or the files have changed since.
    """
    given, missing = presets(config), object()
    return {key for key, value in config.items() if key not in RECORDING and given.get(key, missing) != value}


def _presets(env: Name, *sides: tuple[str, Name, Name]) -> dict[str, Any]:
    return {
        f"{start}{key}": value for start, name, regime in sides for key, value in _preset(env, name, regime).items()
    }


def _preset(env: Name, name: Name, regime: Name) -> dict[str, Any]:
    stack = [Layer("", read_yaml(CONFIG_DIR / "default.yaml"))]
    for folder, file in (("envs", env), ("algs", name)):
        if file in available(folder):
            stack.append(named_layer(folder, str(file)))
    values: dict[str, Any] = {}
    for layer in for_regime([*stack, Layer("", {"regime": regime})])[:-1]:
        values = merge(values, layer.values)
    return {**flatten(values), **ALONE}


def _names(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the environment, and of every side what begins its keys, its algorithm and its regime."""
    sides = [("", config.get("name"), config.get("regime"))]
    for key, name in config.items():
        chosen, _, team = key.partition(".")
        if chosen == OPPONENT_CONFIG and name:
            start = f"opponent_args.{team}." if team else "opponent_args."
            sides.append((start, name, config.get(f"{start}regime")))
    return (env_file(config) if "env" in config else None), *sides
