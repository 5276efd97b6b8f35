"""Prose: a function's docstring starts with a verb, and no sentence needs decoding."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.support.paths import SRC

VERBS = """
add advance align allocate arrange average blend bring build call check choose cluster compare compute continue copy
count cut decide declare delete derive describe dim divide draw encode escape estimate explain fill find flatten
format gather give group halve hand import insert interpolate join judge keep label lay learn let list make map mark
move multiply name number pay place play prepare print put raise rate read record redirect redraw release
remember remove replace replay return run scale send sort start store subtract tabulate turn wait write
"""  # what functions do; a new entry is a verb in the imperative
# An agent has a number, and a tensor has entries.
UNCLEAR = ("everybody", "everyone", "somebody", "someone", "anybody", "nobody's", "oneself", "take leave")
ROOMS = ("analysis", "envs", "pictures", "records", "utils")
FILES = [
    *(path for room in ROOMS for path in sorted((SRC / room).rglob("*.py"))),
    *(SRC / "components" / f"{name}.py" for name in ("clustering", "grouping", "mean_field", "mean_policy", "sparse")),
]


def starts_with_a_verb(text: str) -> bool:
    """Return whether a docstring starts with a verb of VERBS; 'Number of agents' does not."""
    first, second, *_ = [*text.lower().split(), "", ""]
    return first.strip(",:") in VERBS.split() and second != "of"


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
