"""Distances between points, and places on a torus."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute Euclidean distances (E, A, B) of points (E, A, F) and (E, B, F); exactly zero between equal points."""
    # The matrix-product form is faster for large F and cancels between near points.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def torus_distances(a: Tensor, b: Tensor, side: float) -> Tensor:
    """Compute distances (E, A, B) of places (E, A, 2) and (E, B, 2) in [0, side), the shortest way on the torus."""
    apart = (a.unsqueeze(2) - b.unsqueeze(1)).abs()
    return torch.minimum(apart, side - apart).norm(dim=-1)


def around(places: Tensor, side: float) -> Tensor:
    """Turn places (..., 2) on a torus into points (..., 4) without a seam, a circle of girth ``side`` for each axis.

    Near places keep their distance; the farthest along an axis are side / pi apart, not side / 2.
    """
    angle = places * (2 * math.pi / side)
    return torch.cat((angle.cos(), angle.sin()), dim=-1) * (side / (2 * math.pi))
