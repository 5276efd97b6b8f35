"""Build backend of ``pip install .``, which pyproject.toml names: it refuses.

Commands read YAML beside themselves and write into ``results``; as an installed package they would have neither.
"""

from __future__ import annotations

from typing import NoReturn


def refuse(*_: object, **__: object) -> NoReturn:
    """Stop pip with one sentence. Raises SystemExit."""
    raise SystemExit("HMF runs from its own folder and is not installed: ./install_dependencies.sh sets everything up.")


build_wheel = build_editable = build_sdist = refuse
