"""Words of messages and command lines."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import yaml


def nearest(name: str, known: Iterable[str]) -> str:
    """A did-you-mean clause, empty when nothing is near."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""


def word(key: str, value: Any) -> str:
    """``key=value`` as main.py reads it back: YAML on one line."""
    return f"{key}={yaml.safe_dump([value], default_flow_style=True, width=float('inf')).strip()[1:-1]}"
