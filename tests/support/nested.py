"""Nested states, compared."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def differences(left: Any, right: Any, where: str = "") -> list[str]:
    """Paths at which two nested states are not identical."""
    if isinstance(left, Tensor):
        return [] if torch.equal(left, right) and left.dtype == right.dtype else [where]
    if is_dataclass(left):
        left, right = ({part.name: getattr(side, part.name) for part in fields(left)} for side in (left, right))
    if isinstance(left, (list, tuple)):
        left, right = dict(enumerate(left)), dict(enumerate(right))
    if isinstance(left, dict):
        if left.keys() != right.keys():
            return [f"{where}: {left.keys() ^ right.keys()}"]
        return [path for key in left for path in differences(left[key], right[key], f"{where}/{key}")]
    return [] if left == right else [where]
