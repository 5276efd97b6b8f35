"""Layers of values to a checked `Config`, and the changes that a checked one allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from config.checked import check_layers, check_values
from config.enemies import teams_of, with_enemies
from config.loader import Layer, merge
from config.registry import Registries
from config.schema import NESTED, RECORDING, Config, ConfigError, check_value, framework_keys
from config.since import without
from config.trust import NOTHING, Trust
from utils.version import made_by
from utils.words import to_yaml

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


def make_config(layers: list[Layer], registries: Registries, trust: Trust = NOTHING) -> tuple[Config, list[str]]:
    """Check layered values against the framework's keys and the chosen components' constructors.

    Returns the configuration, which trusts the names that the layers hold beside those of ``trust``, and a sentence for
    every key that was set for nothing, by the learners or by enemies that learn. Raises ConfigError or RegistryError.
    """
    config, notes = check_layers(layers, registries, trust)
    config, of_theirs = with_enemies(config, layers, registries)
    return config, notes + of_theirs


def config_from_dict(
    values: Mapping[str, Any], record: Mapping[str, Any] = MappingProxyType({}), trust: Trust = NOTHING
) -> Config:
    """Make the configuration that `Config.to_dict` recorded, from which ``trust`` says what may be imported.

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
    """Return the env_args of the training or the evaluation environments."""
    return merge(config.env_args, config.test_env_args if test else {})


def with_env_args(config: Config, **env_args: Any) -> Config:
    """Return ``config`` with some env_args changed."""
    return replace(config, env_args=MappingProxyType({**config.env_args, **env_args}))


def with_run_keys(config: Config, overrides: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Make a resumed run's configuration, and a sentence where that changes what is learned, or when it is evaluated.

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
    check_values(config, dict.fromkeys(overrides, "command line"))
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
