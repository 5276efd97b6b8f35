"""Clustering of E populations at once: standardisation, farthest-first centres, Lloyd, matching, comparison."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from components.mean_field import group_mean, membership, to_members
from utils.geometry import distances

MIN_VARIANCE = 1e-10  # features that vary less count as constant
FAR = 1e6  # stands for infinity in a matching, beyond any distance of standardised features


class RunningMoments(nn.Module):
    """Mean and variance of each feature over all rows given to ``update`` (Chan et al. 1979); part of checkpoints."""

    count: Tensor
    mean: Tensor
    deviation: Tensor  # sum of squared deviations from the mean

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("deviation", torch.zeros(dim, dtype=torch.float64))

    def update(self, x_KF: Tensor) -> None:
        """Count K more rows (K, F)."""
        if len(x_KF) == 0:
            return
        x_KF, rows = x_KF.double(), len(x_KF)
        mean, total = x_KF.mean(0), self.count + rows
        shift = mean - self.mean
        self.deviation += (x_KF - mean).square().sum(0) + shift.square() * self.count * rows / total
        self.mean += shift * rows / total
        self.count += rows

    def standardise(self, x: Tensor) -> Tensor:
        """Scale (..., F) to mean 0 and variance 1 over the counted rows; constant features are only centred."""
        variance = self.deviation / self.count.clamp(min=1.0)
        scale = torch.where(variance > MIN_VARIANCE, variance.rsqrt(), torch.ones_like(variance))
        return ((x - self.mean) * scale).to(x.dtype)


def points(x_ENF: Tensor, index_Em: Tensor) -> Tensor:
    """Gather rows of ``x`` (E, N, F) by agent (E, m) int64: (E, m, F)."""
    return x_ENF.gather(1, index_Em[..., None].expand(-1, -1, x_ENF.shape[-1]))


def farthest_first(x_ENF: Tensor, alive_EN: Tensor, n_centres: int, generator: torch.Generator) -> Tensor:
    """Choose agents (E, m) int64 as first centres (Gonzalez 1985; paper, "The Dynamic Grouping Mechanism").

    The first is a random living one, every further one the living agent farthest from its nearest centre. Agents
    repeat when fewer than m live; where none lives, the choice has no meaning.
    """
    lot_EN = torch.rand(alive_EN.shape, generator=generator, device=generator.device).to(x_ENF.device)
    chosen = [lot_EN.masked_fill(~alive_EN, -1.0).argmax(-1)]
    nearest_EN = torch.full_like(x_ENF[..., 0], torch.inf)
    for _ in range(n_centres - 1):
        newest_E1F = points(x_ENF, chosen[-1][:, None])
        nearest_EN = torch.minimum(nearest_EN, distances(x_ENF, newest_E1F).squeeze(-1))
        chosen.append(nearest_EN.masked_fill(~alive_EN, -1.0).argmax(-1))
    return torch.stack(chosen, dim=1)


def nearest_centre(x_ENF: Tensor, centre_EmF: Tensor, alive_EN: Tensor) -> Tensor:
    """Find the centre (E, N) int64 in [0, m) that is nearest to each agent; -1 for the dead."""
    return distances(x_ENF, centre_EmF).argmin(-1).masked_fill(~alive_EN, -1)


def lloyd(x_ENF: Tensor, centre_EmF: Tensor, alive_EN: Tensor, iterations: int) -> Tensor:
    """Cluster agents by Lloyd's iteration: centre = plain mean (paper Eq. 17), then every agent to its nearest centre.

    A cluster that lost all its members restarts at the agent farthest from its own centre. Clusters stay empty only
    where the living are at fewer than m distinct points.

    Returns the clusters (E, N) int64 in [0, m), -1 for the dead.
    """
    label_EN = nearest_centre(x_ENF, centre_EmF, alive_EN)
    for _ in range(iterations):
        label_EN = nearest_centre(x_ENF, reseeded_means(x_ENF, label_EN, centre_EmF.shape[1]), alive_EN)
    return label_EN


def reseeded_means(x_ENF: Tensor, label_EN: Tensor, n_centres: int) -> Tensor:
    """Compute cluster means (E, m, F); the j-th empty one takes the agent that is j-th farthest from its own centre."""
    member_EmN = membership(label_EN, n_centres, x_ENF.dtype)
    mean_EmF = group_mean(x_ENF, member_EmN)
    alive_EN = label_EN >= 0
    own_ENF = to_members(mean_EmF, member_EmN)
    distance_EN = (x_ENF - own_ENF).square().sum(-1).masked_fill(~alive_EN, -1.0)
    farthest_EN = distance_EN.argsort(dim=-1, descending=True, stable=True)
    empty_Em = ~member_EmN.any(-1)
    # Modulo the living: with more empty clusters than agents, seeds repeat rather than fall on the dead.
    rank_Em = (empty_Em.cumsum(-1) - 1).clamp(min=0) % alive_EN.sum(-1, keepdim=True).clamp(min=1)
    seed_EmF = points(x_ENF, farthest_EN.gather(1, rank_Em))
    return torch.where(empty_Em[..., None], seed_EmF, mean_EmF)


def match_in_turn(centre_EmF: Tensor, occupied_Em: Tensor, reference_mF: Tensor) -> tuple[Tensor, Tensor]:
    """Number the clusters of E episodes in turn, so that they are nearest to their numbers' last centres (Hungarian).

    ``reference`` (m, F) holds the last centres, inf for numbers that never had members. Empty clusters take the
    numbers that are left over and do not change the reference.

    Returns (E, m) int64, the new number of every cluster, and the reference (m, F) after the last episode.
    """
    from scipy.optimize import linear_sum_assignment  # takes half a second, which fixed groups need not pay

    reference = reference_mF.cpu().double().numpy().copy()
    numbers = np.empty(occupied_Em.shape, dtype=np.int64)
    episodes = zip(centre_EmF.cpu().double().numpy(), occupied_Em.cpu().numpy(), strict=True)
    for episode, (centre, occupied) in enumerate(episodes):
        cost = np.minimum(np.linalg.norm(centre[:, None] - reference[None], axis=-1), FAR)
        cost[~occupied] = 0.0
        numbers[episode] = linear_sum_assignment(cost)[1]
        reference[numbers[episode][occupied]] = centre[occupied]
    return torch.from_numpy(numbers).to(occupied_Em.device), torch.from_numpy(reference).to(reference_mF)


def adjusted_rand_index(label_EN: Tensor, other_EN: Tensor, n_clusters: int) -> Tensor:
    """Compare two clusterings (E, N) int64, in which agents of label -1 do not count: (E,) float64.

    1 for equal partitions (whatever their numbers), about 0 for unrelated ones (Hubert and Arabie 1985). 1 where both
    are trivial: no agent counts, all are in one cluster, or each is in a cluster of its own.
    """

    def pairs(count: Tensor) -> Tensor:
        return count * (count - 1) / 2

    first_EmN, second_EmN = (membership(label, n_clusters, torch.float64) for label in (label_EN, other_EN))
    table_Emm = torch.bmm(first_EmN, second_EmN.transpose(1, 2))
    together = pairs(table_Emm).sum((1, 2))
    first, second = pairs(table_Emm.sum(2)).sum(1), pairs(table_Emm.sum(1)).sum(1)
    expected = first * second / pairs(table_Emm.sum((1, 2))).clamp(min=1.0)
    largest = (first + second) / 2
    trivial = largest == expected
    return torch.where(trivial, 1.0, (together - expected) / (largest - expected).masked_fill(trivial, 1.0))


def variance_between(x_ENF: Tensor, label_EN: Tensor, n_clusters: int) -> Tensor:
    """Compute how much of the variance of points lies between their clusters (E, N) int64: (E,) float64, at most 1.

    Corrected for the number of clusters (epsilon squared, Kelley 1935): 1 where every cluster is a single point, 0 on
    average for clusters at random, below 0 where these mix more than chance. Points of label -1 do not count. NaN where
    nothing can be told: all points are equal, or each is a cluster of its own.
    """
    x_ENF = x_ENF.double()

    def spread(member_EmN: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squared distances to the cluster's mean, added up, and how many of them are free: (E,) each."""
        free = member_EmN.sum((1, 2)) - (member_EmN.sum(-1) > 0).sum(-1)
        offset_ENF = x_ENF - to_members(group_mean(x_ENF, member_EmN), member_EmN)
        return (offset_ENF.square().sum(-1) * member_EmN.sum(1)).sum(-1), free

    within, free_within = spread(membership(label_EN, n_clusters, torch.float64))
    total, free = spread((label_EN >= 0)[:, None].double())
    told = (free_within > 0) & (total > MIN_VARIANCE * free)
    ratio = within * free / (total * free_within).masked_fill(~told, 1.0)
    return torch.where(told, 1 - ratio, torch.nan)
