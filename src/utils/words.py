"""Words of messages and command lines."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import yaml


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a did-you-mean clause for messages, empty when no known name is near."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""


def word(key: str, value: Any) -> str:
    """Write ``key=value`` as main.py reads it: YAML on one line."""
    return f"{key}={yaml.safe_dump([value], default_flow_style=True, width=float('inf')).strip()[1:-1]}"


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Align rows of cells in columns, as text; the first row is the head."""
    texts = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in texts)
    return "\n".join(line.rstrip() for line in lines)
