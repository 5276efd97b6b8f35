"""What makes two runs the same experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from config.schema import RECORDING
from config.since import without
from records.query import flatten

PLACE = (*RECORDING, "use_cuda")  # keys that say where a run is recorded and computed, not what it is


def identity(config: Mapping[str, Any]) -> str:
    """Return the resolved configuration, except where it is recorded and computed, as sorted JSON; see `since_first`.

    A CUDA device changes the rounding of a run, as another machine or another torch does; the record tells of all
    three.
    """
    flat = since_first(flatten(config))
    return json.dumps({key: value for key, value in flat.items() if key not in PLACE}, sort_keys=True)


def since_first(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat configuration without the keys whose value is what runs did before these keys existed.

    So older runs are the same as newer ones that do so, whether a resumed one has recorded the key or not.
    """
    before = flatten(without(flat.get("env", "")))
    return {key: value for key, value in flat.items() if key not in before or value != before[key]}
