"""docs/tutorial.ipynb: its cells name what exists, and all of it runs, with a small budget."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import pytest
from tests.support.paths import ROOT

import hmf
from assembly.registries import REGISTRIES
from config.loader import Layer, named_layer, stacked
from config.resolve import make_config

NOTEBOOK = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text())
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
WORDS = "".join("".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")
CALLED = {"hmf": vars(hmf), "run": vars(hmf.Run)}


def test_it_is_committed_without_outputs() -> None:
    assert [cell["outputs"] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"] == [[]] * len(CELLS)


def test_its_calls_are_those_of_the_module() -> None:
    calls = [node for cell in CELLS for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Call)]
    named = [(node, ast.unparse(node.func).split(".")) for node in calls]
    found = [(node, path[1], CALLED[path[0]]) for node, path in named if len(path) == 2 and path[0] in CALLED]
    assert {name for _, name, _ in found} == {"train", "curves", "evaluate", "video", "compare"}
    for node, name, known in found:
        keywords = {keyword.arg for keyword in node.keywords}
        assert keywords <= inspect.signature(known[name]).parameters.keys(), ast.unparse(node)


def test_its_keys_are_accepted_in_all_its_runs() -> None:
    names: dict[str, Any] = {}
    exec(next(cell for cell in CELLS if "battle = {" in cell).partition("run = ")[0], names)
    for algorithm in re.findall(r'hmf\.train\("(\w+)", "battle"', "".join(CELLS)):
        stack = stacked(named_layer("envs", "battle"), algorithm, Layer("tutorial", names["battle"]))
        _, notes = make_config(stack, REGISTRIES)
        assert notes == []


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#\s]+)", WORDS)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_all_of_it_with_a_small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, str] = {}
    display = ModuleType("IPython.display")  # Jupyter is no dependency: what it would show is kept
    vars(display).update(Image=lambda filename: shown.update(video=filename))
    vars(display).update(Markdown=lambda text: shown.update(table=text))
    jupyter = ModuleType("IPython")
    vars(jupyter).update(get_ipython=lambda: None, version_info=(8, 0))  # matplotlib asks
    monkeypatch.setitem(sys.modules, "IPython", jupyter)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(ROOT / "docs")
    matplotlib.use("agg")
    names: dict[str, Any] = {}
    for cell in CELLS:
        exec(cell.replace("STEPS = 8_000", "STEPS = 400"), names)
    assert names["STEPS"] == 400
    assert Path(shown["video"]).read_bytes().startswith(b"GIF")
    assert re.search(r"\| battle \| hmf \|.*\(n=2\)[\s\S]*\| battle \| iql \|.*\(n=2\)", shown["table"])
