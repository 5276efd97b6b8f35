"""Where the project lies, its runs are recorded and its policies are kept."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def default_results() -> Path:
    """Return the folder ``results`` of the project, wherever one stands; for one who stands there, its name."""
    return _in_project("results")


def default_zoo() -> Path:
    """Return the folder ``zoo`` of the project, likewise."""
    return _in_project("zoo")


def existing(path: Path) -> Path:
    """Return ``path`` or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _in_project(name: str) -> Path:
    return Path(name) if Path.cwd() == ROOT else ROOT / name
