"""Where the project lies, and where its runs are recorded."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def default_results() -> Path:
    """Return the folder ``results`` of the project, wherever one stands; for one who stands there, its name."""
    return Path("results") if Path.cwd() == ROOT else ROOT / "results"
