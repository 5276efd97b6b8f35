"""What classes say of their configuration keys, kept between processes."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from assembly.registries import REGISTRIES
from config import schemas
from config.registry import Kind, RegistryError, config_keys, resolve
from config.schemas import Schema, schema
from config.trust import TrustError

NAMES = [(part, name) for part, kind in REGISTRIES.items() for name in kind.known]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty place to keep schemas in."""
    path = tmp_path / "cache" / "schemas.pickle"
    monkeypatch.setattr(schemas, "KEPT", path)
    schemas._kept.cache_clear()
    yield path
    schemas._kept.cache_clear()


def new_process() -> None:
    """Forget what this one has read."""
    schemas._kept.cache_clear()


@pytest.mark.parametrize(("part", "name"), NAMES)
def test_kept_schemas_are_those_of_the_classes(part: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = REGISTRIES[part]
    found = resolve(kind, name, part)
    first = schema(kind, name, part)
    new_process()
    monkeypatch.setattr(schemas, "resolve", lambda *_: pytest.fail("imported again"))
    again = schema(kind, name, part)
    assert first == again == Schema(config_keys(found), getattr(found, "imports", ()))


def test_a_changed_source_file_is_read_anew(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "sources" / "part.py"
    source.parent.mkdir()
    source.write_text("KEY = 1")
    monkeypatch.setattr(schemas, "SOURCES", source.parent)
    kind = REGISTRIES["selector"]
    real = schema(kind, "random", "selector")
    wrong = Schema({"wrong": int}, ())
    kept.write_bytes(pickle.dumps((schemas._sources(), {kind.known["random"]: wrong})))
    new_process()
    assert schema(kind, "random", "selector") == wrong, "taken as it is, while no file has changed"
    os.utime(source, (1, 1))
    new_process()
    assert schema(kind, "random", "selector") == real


@pytest.mark.parametrize("content", [b"", b"torn", pickle.dumps(3)])
def test_a_torn_copy_is_read_anew(content: bytes, kept: Path) -> None:
    kept.parent.mkdir()
    kept.write_bytes(content)
    kind = REGISTRIES["selector"]
    assert "epsilon_start" in schema(kind, "epsilon_greedy", "selector").keys
    new_process()
    assert pickle.loads(kept.read_bytes())[1].keys() == {kind.known["epsilon_greedy"]}


def test_a_place_that_cannot_be_written_costs_nothing_but_time(kept: Path) -> None:
    kept.parent.write_text("a file where the folder should be")
    assert "epsilon_start" in schema(REGISTRIES["selector"], "epsilon_greedy", "selector").keys


class Outside:
    """A part from outside this tree."""

    def __init__(self, *, mine: int) -> None:
        self.mine = mine


def test_what_stands_outside_is_never_kept(kept: Path) -> None:
    assert schema(Kind(Outside, {"known": Outside}), "known", "part").keys == {"mine": int}
    with pytest.raises(TrustError):
        schema(REGISTRIES["mixer"], "mymodule:Mixer", "mixer")
    with pytest.raises(RegistryError, match="unknown name 'qmax'"):
        schema(REGISTRIES["mixer"], "qmax", "mixer")
    assert not kept.exists()
