"""Digests of code outside this tree."""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from pathlib import Path

import pytest

from records.sources import changed, digests

CONFIG = {"mixer": "not_asked.inner:Mixer", "env_args": {"opponent": "learner"}}


def test_a_record_alone_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "not_asked"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("class Mixer: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert digests(CONFIG) == {}
    assert "not_asked" not in sys.modules
    import_module("not_asked.inner")
    now = hashlib.sha256((package / "inner.py").read_bytes()).hexdigest()
    assert digests(CONFIG) == {"not_asked.inner": now}
    assert changed({"sources": {"not_asked.inner": now}}, CONFIG) == changed({}, CONFIG) == []
    assert changed({"sources": {"not_asked.inner": "0"}}, CONFIG) == ["not_asked.inner"]
