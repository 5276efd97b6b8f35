"""What makes two runs the same experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from config.schema import RECORDING
from config.since import without
from records.query import flatten


def identity(config: Mapping[str, Any]) -> str:
    """Return the resolved configuration, except where it is recorded, as sorted JSON.

    A key whose value is what runs did before it existed is left out, so that older runs keep their identity.
    """
    before = flatten(without(config.get("env", "")))
    flat = {key: value for key, value in flatten(config).items() if key not in before or value != before[key]}
    return json.dumps({key: value for key, value in flat.items() if key not in RECORDING}, sort_keys=True)
