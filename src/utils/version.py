"""The project's version, which pyproject.toml alone says, and the one that made a file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from utils.paths import ROOT

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def made_by(state: Mapping[str, Any]) -> str:
    """Name the version that made a checkpoint or run.json, beside this one, for messages."""
    return f"made by version {state.get('version', 'before 0.2.0')}, this is {VERSION}"
