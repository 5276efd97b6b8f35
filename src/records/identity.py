"""What makes two runs the same experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from config.schema import PLACE
from config.since import without
from records.query import flatten

ALONE = {"processes": 1}  # beside the configuration: by how many a run is played, unless torchrun started more


def identity(config: Mapping[str, Any]) -> str:
    """Return the resolved configuration, except its place, as sorted JSON; see `since_first`."""
    flat = since_first(flatten(config))
    return json.dumps({key: value for key, value in flat.items() if key not in PLACE}, sort_keys=True)


def since_first(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat configuration without the keys whose value is what runs did before these keys existed.

    So older runs are the same as newer ones that do so, whether a resumed one has recorded the key or not.
    """
    then = before(flat.get("env", ""))
    return {key: value for key, value in flat.items() if key not in then or value != then[key]}


def before(env: str) -> dict[str, Any]:
    """Return, flat, the keys that came later than the first records of ``env``, with what runs did before."""
    return {**flatten(without(env)), **ALONE}
