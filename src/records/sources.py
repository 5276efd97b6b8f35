"""Whether code outside this tree, named as ``module:Class``, is what a run was made with."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from records.query import flatten

FOREIGN = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")


def digests(config: Mapping[str, Any]) -> dict[str, str]:
    """Compute module -> SHA-256 of its file, of every ``module:Class`` in ``config``; what they import is not seen.

    Only of modules that are imported already, as what a run is made of is: a record alone imports no code.
    """
    named = (FOREIGN.fullmatch(value) for value in flatten(config).values() if isinstance(value, str))
    found = {}
    for module in sorted({name[1] for name in named if name}):
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is not None and Path(file).is_file():
            found[module] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return found


def changed(info: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """List the modules that ``config`` names whose files are not those that a run's ``info`` recorded, if it did."""
    recorded = info.get("sources", {})
    return [module for module, digest in digests(config).items() if recorded.get(module, digest) != digest]
