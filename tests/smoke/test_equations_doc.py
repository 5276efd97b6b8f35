"""docs/equations.md points at files and names that exist."""

from __future__ import annotations

import re

import pytest
from tests.support.paths import ROOT

TABLE = [line for line in (ROOT / "docs" / "equations.md").read_text().splitlines() if line.startswith("| ")]
QUOTED = [quoted for line in TABLE for quoted in re.findall(r"`([^`]+)`", line)]
FILES = [quoted.split(":")[0] for quoted in QUOTED if ".py" in quoted]
NAMES = [name for quoted in QUOTED for name in re.findall(r"(?<![\w/])(?:[A-Z]\w+\.)?(_?[a-z]+_[a-z_]+)$", quoted)]


def test_the_table_is_read() -> None:
    assert len(FILES) >= 12
    assert len(NAMES) >= 10


@pytest.mark.parametrize("file", sorted(set(FILES)))
def test_every_file_exists(file: str) -> None:
    assert (ROOT / "src" / file).exists()


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_every_function_or_key_is_in_the_code(name: str) -> None:
    code = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    assert re.search(rf'(def {name}\b|\b{name}: |"{name}")', code), name
