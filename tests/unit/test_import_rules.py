"""The layers of the house: imports run one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
EVERYBODY = {"utils", "components.batch"}
ALLOWED: dict[str, set[str]] = {
    "utils": set(),
    "config": {"config"},
    "records": {"records"},
    "analysis": {"analysis", "records"},
    "experiments": {"experiments", "records", "config", "build"},
    "pictures": {"pictures", "envs"},
    "components": {"components"},
    "modules": {"modules", "components"},
    "envs": {"envs"},
    "controllers": {"controllers", "components", "modules"},
    "learners": {"learners", "controllers", "components", "modules"},
    "runners": {"runners", "controllers", "components", "envs.base"},
}
OURS = {path.stem for path in SRC.glob("*.py")} | {path.name for path in SRC.iterdir() if path.is_dir()}
FILES = [path for layer in ALLOWED for path in sorted((SRC / layer).rglob("*.py"))]


def imported_modules(path: Path) -> list[str]:
    """Dotted names of this project that a file imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] in OURS]


def permitted(layer: str, name: str) -> bool:
    """Whether a file of ``layer`` may import ``name``."""
    allowed = ALLOWED[layer] | EVERYBODY
    return any(name == entry or name.startswith(entry + ".") for entry in allowed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_run_one_way(path: Path) -> None:
    layer = path.relative_to(SRC).parts[0]
    wrong = [name for name in imported_modules(path) if not permitted(layer, name)]
    assert not wrong, f"{path.relative_to(SRC)} may not import {wrong}"


def test_components_do_not_read_a_configuration() -> None:
    """Only the top of the tree knows the configuration: everything else takes plain numbers."""
    for path in FILES:
        if path.relative_to(SRC).parts[0] not in {"config", "experiments"}:
            assert not any(name.startswith("config") for name in imported_modules(path)), path


def test_only_main_imports_the_experiment_and_only_build_reads_registries() -> None:
    for path in SRC.rglob("*.py"):
        text = path.read_text()
        if path.name != "main.py":
            assert "import Experiment" not in text, path
            assert "sacred import SETTINGS" not in text, path
        # export.py builds environments for people who want none of the training code that build.py brings along.
        if path.name not in {"build.py", "export.py", "__init__.py"} and path.parent == SRC:
            assert "REGISTRY" not in text, path
