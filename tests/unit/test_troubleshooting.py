"""docs/troubleshooting.md quotes what the software prints, and numbers exits as it does."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from tests.support.paths import ROOT, SRC

import sweep
from utils import cli

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = [
    quote
    for chapter in re.split(r"^## ", PAGE, flags=re.MULTILINE)
    if chapter.startswith(("Installing", "Configuration", "Records", "Learning"))
    for quote in re.findall(r"^\| `([^`]+)` \|", chapter, re.MULTILINE)
]


@cache
def texts() -> list[str]:
    """Every text in the source, with … for what an f-string fills in, and the installer."""
    found = [(ROOT / "install_dependencies.sh").read_text()]
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"\{\w+\}", "…", node.value))  # filled in by str.format
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(map(str, parts)))
    return found


def test_there_are_messages() -> None:
    assert len(QUOTED) > 20


@pytest.mark.parametrize("quote", QUOTED)
def test_every_quoted_message_is_printed_by_the_software(quote: str) -> None:
    assert any(quote in text for text in texts())


def test_exit_codes_are_those_of_the_commands() -> None:
    chapter = PAGE.partition("## Exit codes")[2]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", chapter, re.MULTILINE)}
    known = (cli.FAILED, cli.BAD_INPUT, cli.RECORDING_FAILED, sweep.LEFT_OUT, cli.COPY_INCOMPLETE, cli.INTERRUPTED)
    assert codes == {0, *known}
