"""Pursuit and evasion by Voronoi cells (Zhou et al. 2016, Automatica 72) on the torus of Hüttenrauch et al. (2019).

Coordinates are relative to the evader, on a torus of ``size`` x ``size`` units. The evader's border with a pursuer at p
is the bisector {p / 2 + s n} with n = p turned by 90 degrees, cut by the bisectors with all other sites q, including
torus images and the evader's own:

    s * 2 (n . q) <= q . q - p . q
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

EVADER_NEIGHBOURS = 10  # pursuers that the evader takes into account
PURSUER_MOVES = [[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]]  # stay, left, right, down, up
UNLIMITED = 1e6  # instead of infinity, so that an evader exactly on a pursuer makes no NaN


def wrap(relative: Tensor, size: float) -> Tensor:
    """Return the shortest of the equivalent differences on the torus, each coordinate in [-size / 2, size / 2]."""
    turns = (relative / size).round_()
    return torch.sub(relative, turns, alpha=size, out=turns)


def on_torus(places: Tensor, size: float) -> Tensor:
    """Return the same places with coordinates in [0, size)."""
    found = torch.remainder(places, size)
    return found.masked_fill_(found >= size, 0.0)  # rounded up from a little less


def relative(places: Tensor, origin: Tensor, size: float) -> Tensor:
    """Subtract an origin (E, 2) from places (E, N, 2), the shortest way; as complex numbers meanwhile: faster."""
    return wrap(torch.view_as_real(torch.view_as_complex(places) - torch.view_as_complex(origin).unsqueeze(1)), size)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Multiply vectors (2, ...) to scalars (...); far cheaper than a sum over so short an axis."""
    return a[0] * b[0] + a[1] * b[1]


def images(sites: Tensor, size: float) -> Tensor:
    """Add the torus images of sites (E, K, 2) and of the evader at the origin: (E, 9 (K + 1), 2).

    In memory all x come before all y.
    """
    shift = size * torch.arange(-1, 2, dtype=sites.dtype, device=sites.device)
    shifts = torch.stack([shift.repeat_interleave(3), shift.repeat(3)])
    with_evader = functional.pad(sites.movedim(2, 0), (0, 1))
    return (with_evader.unsqueeze(3) + shifts[:, None, None]).flatten(2).movedim(0, 2)


def shared_border(p: Tensor, sites: Tensor) -> tuple[Tensor, Tensor]:
    """Return the midpoint (..., 2) of the border between the evader and p (..., 2), and whether (...) there is one.

    ``sites`` (..., K, 2) may hold p and the evader: neither limits their common border.
    """
    normal = torch.stack([-p[..., 1], p[..., 0]], dim=-1)
    q = sites.movedim(-1, 0)
    along = dot(2 * normal.movedim(-1, 0).unsqueeze(-1), q)  # exactly 0 for q = p and q = 0
    limit = (dot(q, q) - dot(p.movedim(-1, 0).unsqueeze(-1), q)).div_(along)
    # q with along > 0 limit s from above, with along < 0 from below, with 0 not at all. torch.where would take several
    # times as long as these bounds: the processor cannot guess the sides.
    bound = along.sign_().mul_(-UNLIMITED)
    high = torch.maximum(limit.nan_to_num(nan=UNLIMITED, posinf=UNLIMITED, neginf=UNLIMITED), bound).amin(dim=-1)
    low = torch.minimum(limit.nan_to_num_(nan=-UNLIMITED, posinf=-UNLIMITED, neginf=-UNLIMITED), bound).amax(dim=-1)
    return p / 2 + ((low + high) / 2).unsqueeze(-1) * normal, low < high


def evader_direction(pursuers: Tensor, distance: Tensor, size: float) -> Tensor:
    """Compute the unit direction (E, 2) of the evader's flight.

    Pursuers (E, N, 2) are relative to it and wrapped, ``distance`` (E, N) are their norms.

    Zhou et al. give, for the nearest pursuer at distance R in direction h with v = h turned by 90 degrees and a border
    of length L from t_lo to t_hi along v: -(L / 2) h + (t_hi^2 - t_lo^2) / (2 R) v. That is parallel to the way from
    this pursuer to the border's midpoint.
    """
    k = min(EVADER_NEIGHBOURS, pursuers.shape[1])
    nearest = distance.topk(k, largest=False).indices
    sites = torch.view_as_real(torch.view_as_complex(pursuers).gather(1, nearest))
    p = sites[:, 0]
    midpoint, _ = shared_border(p, images(sites, size))
    return functional.normalize(midpoint - p, dim=1)


def voronoi_pursuit(pursuers: Tensor, size: float) -> Tensor:
    """Choose the actions (E, N) of Zhou et al.'s scripted point pursuers, at (E, N, 2) relative to the evader.

    A pursuer that borders on the evader goes to the midpoint of the border, any other straight to the evader, each by
    the move that is nearest to this direction.
    """
    midpoint, bordering = shared_border(pursuers, images(pursuers, size).unsqueeze(1))
    target = torch.where(bordering.unsqueeze(2), midpoint, torch.zeros_like(midpoint))
    moves = torch.tensor(PURSUER_MOVES, dtype=pursuers.dtype, device=pursuers.device)
    return ((target - pursuers) @ moves.T).argmax(dim=2)
