"""Typed, frozen configuration and the checks on every value.

`Config` holds the keys that the framework itself reads. The keys of environments, agents, mixers, learners and the
rest are the keyword-only parameters of their constructors (`config.registry.config_keys`); their checked values travel
in ``args`` and ``env_args``. YAML alone holds values.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

from config.trust import NOTHING, Trust
from utils.errors import InputError
from utils.words import nearest

T = TypeVar("T")


class ConfigError(InputError):
    """A configuration that cannot be run; the message says what was expected, what came, where and what to do."""


@dataclass(frozen=True)
class Config:
    """The framework's own keys, and the checked keys of the chosen components."""

    name: str  # label of the algorithm in tables
    env: str  # registered environment, or module:Class
    mac: str  # controller
    agent: str  # network that acts
    mixer: str  # value mixer, "none" for independent learners
    learner: str
    grouping: str  # how HMF's groups are made
    selector: str  # exploration
    regime: str  # from rows to updates: replay or rollout

    seed: int
    threads: int  # of the processor, in each process of a run
    t_max: int  # environment steps in all
    batch_size_run: int  # parallel environments
    test_interval: int  # environment steps between evaluations
    test_nepisode: int  # greedy episodes per evaluation
    test_online: bool  # and as many of the online networks, where averaged ones are evaluated
    log_interval: int  # environment steps between logged training metrics
    bootstrap_at_limit: bool  # value what would follow a time limit; False: nothing does, as after a true end
    save_model: bool
    save_model_interval: int  # environment steps between checkpoints
    keep_checkpoints: int  # newest checkpoints kept, besides the best
    save_replay: Literal["never", "running", "always"]  # keep exact-resume state: never, until the run ends, always
    checkpoint_path: str  # folder of a run, or of its checkpoints, whose networks are loaded at start
    load_step: int  # which step under checkpoint_path; 0: the newest
    evaluate: bool  # only evaluate the loaded networks
    opponent_config: str | dict[str, str]  # algorithm of enemies that learn, or of each team; "": the learners' own
    use_cuda: bool
    local_results_path: str
    tensorboard: bool  # also write the metrics as TensorBoard's event files
    tracker: Literal["none", "wandb", "trackio"]  # also send the metrics there

    env_args: Mapping[str, Any]
    test_env_args: Mapping[str, Any]  # overrides of env_args for evaluation
    opponent_args: Mapping[str, Any]  # what enemies that learn have for their own, by team where there are several
    args: Mapping[str, Any]  # keys of the chosen components

    trust: Trust = field(default=NOTHING, compare=False)  # never recorded

    def to_dict(self) -> dict[str, Any]:
        """Return a plain nested dictionary, as recorded: component keys are flat beside the framework's own."""
        own = {key: getattr(self, key) for key in framework_keys()}
        return {
            **own,
            "env_args": dict(self.env_args),
            "test_env_args": dict(self.test_env_args),
            "opponent_args": dict(self.opponent_args),
            **self.args,
        }


# Keys that say where a run is recorded and what is measured beside its score, not what it is.
RECORDING = ("local_results_path", "tensorboard", "tracker", "test_online")
PLACE = (*RECORDING, "use_cuda")  # and where it is computed, which changes its rounding, as another machine does
# Keys that make no other method: the place of a run, how often and how much of it is recorded.
BOOKKEEPING = (*PLACE, "log_interval", "save_model", "save_model_interval", "save_replay", "keep_checkpoints")
PLAIN = (bool, int, float, str, list, dict, type(None), Any)  # annotations without parts
NESTED = ("env_args", "test_env_args", "opponent_args", "args")


def framework_keys() -> dict[str, Any]:
    """Map the flat keys of `Config`: key -> annotation."""
    hints = typing.get_type_hints(Config)
    return {key: hint for key, hint in hints.items() if key not in (*NESTED, "trust")}


def type_name(annotation: Any) -> str:
    """Write an annotation as a person would."""
    if annotation is type(None):
        return "null"
    if get_origin(annotation) is Literal:
        return " | ".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (types.UnionType, typing.Union):
        return " | ".join(type_name(option) for option in get_args(annotation))
    return getattr(annotation, "__name__", str(annotation)) if not get_args(annotation) else str(annotation)


def is_supported(annotation: Any) -> bool:
    """Return whether YAML and JSON, which keep a run's configuration, have values of this type for `check_value`."""
    origin, options = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return True
    if origin in (dict, Mapping):
        return options[:1] == (str,) and is_supported(options[1])
    if origin in (list, tuple, types.UnionType, typing.Union):
        return bool(options) and all(is_supported(option) for option in options if option is not ...)
    return any(annotation is plain for plain in PLAIN)


def check_value(key: str, value: Any, annotation: Any, where: str) -> Any:
    """Return ``value`` if it has the annotated type; whole numbers are converted.

    1 becomes 1.0 where a float belongs, 1e6 becomes 1000000 where an int does; a tuple comes as a list, as which it is
    recorded. ``annotation`` is one that `is_supported`. Raises ConfigError naming the key, the place it came from, both
    types and how to write the value.
    """
    origin, options = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin is Literal:
        if value in options and type(value) in {type(option) for option in options}:
            return value
        hint = nearest(str(value), [str(option) for option in options])
        raise ConfigError(f"{where}: {key} = {value!r} is not one of {type_name(annotation)}.{hint}")
    if origin in (types.UnionType, typing.Union):
        for option in options:
            try:
                return check_value(key, value, option, where)
            except ConfigError:
                continue
        raise _wrong_type(key, value, annotation, where)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise _wrong_type(key, value, annotation, where)
        each = options if origin is tuple and options[-1] is not ... else options[:1] * len(value)
        if len(each) != len(value):
            raise _wrong_type(key, value, annotation, where)
        return [
            check_value(f"{key}[{index}]", item, option, where)
            for index, (item, option) in enumerate(zip(value, each, strict=True))
        ]
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise _wrong_type(key, value, annotation, where)
        return {name: check_value(f"{key}.{name}", item, options[1], where) for name, item in value.items()}
    if annotation is dict:
        if not isinstance(value, Mapping):
            raise _wrong_type(key, value, annotation, where)
        return dict(value)
    if annotation is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if annotation in (int, float) and type(value) is int:
        if abs(value) >= 2**63:
            raise ConfigError(f"{where}: {key} expects a number below 2^63, got one of {value.bit_length()} bits.")
        return annotation(value)
    if type(value) is not annotation:
        raise _wrong_type(key, value, annotation, where)
    return value


def check_recordable(key: str, value: Any, where: str) -> None:
    """Raise ConfigError for a nested ``value`` that a record, which is JSON, would not give back as it was."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str) or "." in name or "=" in name or name.startswith("$"):
                raise ConfigError(
                    f"{where}: {key} expects names that are text without '.' and '=' and do not start with '$', got "
                    f"{name!r}. Name it otherwise."
                )
            check_recordable(f"{key}.{name}", item, where)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            check_recordable(f"{key}[{index}]", item, where)
    elif not isinstance(value, (str, int, float, NoneType)):
        raise ConfigError(
            f"{where}: {key} expects text, numbers, booleans, null, lists or mappings, got {value!r} "
            f"({type(value).__name__}). Write it as text."
        )


def from_values(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make a dataclass from a YAML mapping, names and types checked. Raises ConfigError."""
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise ConfigError(f"{where}: unknown key '{key}'.{nearest(key, hints)} Known: {', '.join(hints)}.")
    for spec in fields(cls):  # type: ignore[arg-type]
        if spec.name not in values and spec.default is MISSING and spec.default_factory is MISSING:
            raise ConfigError(f"{where}: the key '{spec.name}' is missing.")
    return cls(**{key: check_value(key, value, hints[key], where) for key, value in values.items()})


def _wrong_type(key: str, value: Any, annotation: Any, where: str) -> ConfigError:
    hint = f" Write {key}=true or {key}=false." if annotation is bool else ""
    return ConfigError(f"{where}: {key} expects {type_name(annotation)}, got {value!r} ({type(value).__name__}).{hint}")
