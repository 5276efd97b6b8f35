"""Names to classes, and constructors as the schema of their own configuration keys.

Convention of the whole code base: a component's positional parameters come from ``assembly/parts.py`` (shapes, devices,
other components), its keyword-only parameters are configuration keys, and their annotations are the keys' types.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from config.schema import is_supported, type_name
from config.trust import NOTHING, Trust
from utils.errors import InputError
from utils.words import nearest

T = TypeVar("T")


class RegistryError(InputError):
    """A name that no registry holds."""


@dataclass(frozen=True)
class Kind:
    """The classes of one kind, all of them subclasses of ``base``; "module:Class" is imported once it is asked for."""

    base: type | str
    known: Mapping[str, type | str]  # by name


Registries = Mapping[str, Kind]  # configuration key (env, agent, mixer ...) -> what it may name


def resolve(kind: Kind, name: str, key: str, trust: Trust = NOTHING) -> type:
    """Find the class behind a known name, or behind ``module:Class`` for code outside this tree, which takes ``trust``.

    Raises TrustError, or RegistryError for what is no class of the kind, naming the nearest known name.
    """
    entry = kind.known.get(name, name)
    if isinstance(entry, type):
        return entry
    if ":" not in entry:
        raise RegistryError(
            f"{key}: unknown name '{name}'.{nearest(name, kind.known)} "
            f"Known: {', '.join(sorted(kind.known))}; or module:Class for your own."
        )
    if name not in kind.known:
        trust.require(key, name)
    try:
        found = _imported(entry)
        base = kind.base if isinstance(kind.base, type) else _imported(kind.base)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two: of what is no module's name
        raise RegistryError(
            f"{key}: cannot import '{entry}' ({error}). Expected module:Class with the module on PYTHONPATH."
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise RegistryError(
            f"{key}: expected a subclass of {base.__module__}.{base.__name__}, got '{entry}', which is "
            f"{found if isinstance(found, type) else type(found)}. Known: {', '.join(sorted(kind.known))}."
        )
    return found


def _imported(entry: str) -> Any:
    module, _, attribute = entry.partition(":")
    return getattr(importlib.import_module(module), attribute)


def config_keys(cls: type) -> dict[str, Any]:
    """Map the keyword-only constructor parameters of ``cls``: configuration key -> type annotation.

    A constructor that takes ``**keys`` passes them on to the next one along its base classes, whose keys are then its
    own too. Raises RegistryError for a key without an annotation, or with one whose values YAML cannot hold.
    """
    keys: dict[str, Any] = {}
    for parameters, hints in _constructors(cls):
        for name, parameter in parameters.items():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                continue
            if name not in hints:
                raise RegistryError(
                    f"{cls.__name__}: the keyword-only parameter {name} is a configuration key, whose type is its "
                    "annotation, but it has none. Annotate it."
                )
            if not is_supported(hints[name]):
                raise RegistryError(
                    f"{cls.__name__}: expected a type that YAML has as annotation of the configuration key {name}, got "
                    f"{type_name(hints[name])}. Write bool, int, float, str, list[...], tuple[...], dict[str, ...] or "
                    "Literal[...] (docs/new_algorithm.md)."
                )
            keys.setdefault(name, hints[name])
    return keys


def _constructors(cls: type) -> Iterator[tuple[Mapping[str, inspect.Parameter], dict[str, Any]]]:
    """Give parameters and type hints of the constructor of ``cls``, and of those that get its further keywords."""
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        constructor = vars(base)["__init__"]
        try:
            parameters = inspect.signature(constructor).parameters
        except ValueError:  # one of C, which has no keys
            return
        yield parameters, get_type_hints(constructor)
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            return


def make(cls: type[T], values: Mapping[str, Any], given: Mapping[str, Any]) -> T:
    """Construct ``cls``: positional parameters by name from ``given``, configuration keys from ``values``.

    Raises RegistryError for a key without a value, and for a positional parameter that nobody gives.
    """
    for key in config_keys(cls):
        if key not in values:
            raise RegistryError(f"{cls.__name__} needs the key '{key}', which this configuration lacks.")
    names = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    for name in names:
        if name not in given:
            raise RegistryError(
                f"{cls.__name__}: expected positional parameters among {', '.join(given)}, got {name}."
                f"{nearest(name, given)} Configuration keys come after a *."
            )
    positional = [given[name] for name in names]
    return cls(*positional, **{key: values[key] for key in config_keys(cls)})
