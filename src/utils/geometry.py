"""Distances between points."""

from __future__ import annotations

import torch
from torch import Tensor


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute Euclidean distances (E, A, B) of points (E, A, F) and (E, B, F); exactly zero between equal points."""
    # The matrix-product form is faster for large F and cancels between near points.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
