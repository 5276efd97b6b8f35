"""Whether code outside this tree, named as ``module:Class``, is what a run was made with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from records.query import flatten

FOREIGN = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")


def digests(config: Mapping[str, Any]) -> dict[str, str]:
    """Compute module -> SHA-256 of its file, of every ``module:Class`` in ``config``; what they import is not seen.

    Modules without a file are left out. Packages above a module are imported.
    """
    named = (FOREIGN.fullmatch(value) for value in flatten(config).values() if isinstance(value, str))
    found = {}
    for module in sorted({name[1] for name in named if name}):
        try:
            spec = find_spec(module)
        except (ImportError, ValueError):  # what cannot be found is told where it is used
            continue
        if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
            found[module] = hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    return found


def changed(info: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """List the modules that ``config`` names whose files are not those that a run's ``info`` recorded, if it did."""
    recorded = info.get("sources", {})
    return [module for module, digest in digests(config).items() if recorded.get(module, digest) != digest]
