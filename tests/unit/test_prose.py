"""Prose: a function's docstring starts with a verb, and no sentence needs decoding."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.support.paths import SRC

VERBS = """
add advance align allocate append apply arrange ask average blend bring build call charge check choose cluster
collect compare compute connect construct continue copy count cut decide declare decode delete derive describe dim
divide do draw drop encode escape estimate evaluate explain fill find flatten forget format gather give group halve
hand import insert interpolate join judge keep label lay learn leave let list load log make map mark measure mix
move multiply name note number open pair pay pick place plan play prepare print put raise rate read record redirect
redraw release remember remove replace replay report return run save say scale search send set shorten sort split
start store subtract sum tabulate take train turn wait watch write
"""  # what functions do; a new entry is a verb in the imperative
# An agent has a number, and a tensor has entries.
UNCLEAR = ("everybody", "everyone", "somebody", "someone", "anybody", "nobody's", "oneself", "take leave")
FILES = sorted(SRC.rglob("*.py"))


def starts_with_a_verb(text: str) -> bool:
    """Return whether a docstring starts with a verb of VERBS; 'Number of agents' does not."""
    first, second, *_ = [*text.lower().split(), "", ""]
    return first.strip(",:;") in VERBS.split() and second != "of"


@pytest.mark.parametrize("text", ["Number of agents.", "(E, N) actions.", "The actions.", "Returns actions.", ""])
def test_what_is_no_verb(text: str) -> None:
    assert not starts_with_a_verb(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_docstrings_of_functions_start_with_a_verb(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    values = [node for node in functions if any("property" in ast.unparse(one) for one in node.decorator_list)]
    texts = [(node.name, ast.get_docstring(node)) for node in functions if node not in values]
    wrong = [f"{name}: {text.splitlines()[0]}" for name, text in texts if text and not starts_with_a_verb(text)]
    assert not wrong, f"{path.name}: expected 'Compute ...', 'Return ...' or another verb of VERBS first, got {wrong}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_no_words_that_a_reader_must_decode(path: Path) -> None:
    text = path.read_text().lower()
    assert not [word for word in UNCLEAR if word in text]
