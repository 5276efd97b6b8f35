"""What makes two runs the same experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from records.query import flatten


def identity(config: Mapping[str, Any]) -> str:
    """The whole resolved configuration but where it is recorded, as sorted JSON."""
    flat = flatten(config)
    flat.pop("local_results_path", None)
    return json.dumps(flat, sort_keys=True)
