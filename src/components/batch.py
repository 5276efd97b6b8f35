"""The records that travel through the framework, and the letters used as shape suffixes everywhere.

E parallel environments, B batch of joint transitions, N agents (fixed slots, the dead are masked), A actions,
m groups, O observation shape. A tensor with three or more axes carries its letters in its name: ``q_BNA``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from components.kernels import decode_rows
from components.sparse import SparseObs

R = TypeVar("R")


@dataclass(frozen=True)
class EnvInfo:
    """What an environment says about itself, once, before the first step."""

    name: str
    n_agents: int
    n_actions: int
    obs_shape: tuple[int, ...]
    obs_dtype: torch.dtype  # the dtype in which observations are stored (uint8 where that is exact)
    obs_scale: float  # decoded observation = stored observation * obs_scale
    episode_limit: int  # steps after which an episode is truncated
    stats: tuple[str, ...] = ()  # the keys of Step.info
    has_avail: bool = False  # Step.avail is a mask rather than None
    has_position: bool = False  # Step.position is given rather than None
    torus_side: float = 0.0  # of the torus that positions, in [0, side), are on; 0: a plane
    compact_dim: int = 0  # numbers in a row of Step.compact; 0: it is None
    kinds: tuple[int, ...] = ()  # of every agent, from 0; (): all are of one
    first_action: int = 0  # what an imported game itself calls action 0
    meaning: tuple[str, ...] = ()  # "key = value" of what decides, beside shapes, what observations and actions mean


def misfit(learned: EnvInfo, played: EnvInfo, any_number: bool) -> tuple[str, str] | None:
    """Name what a policy would read or do otherwise in the game ``played`` than in the one it ``learned``.

    ``any_number``: it can play any number of agents. Policies of versions that did not record ``meaning`` are compared
    without it. Returns what it learned with, and what there is instead, as "key = value, ..."; None where it fits.
    """
    names = ["n_actions", "obs_shape", "obs_scale", "has_avail", "has_position"]
    names = names if any_number else ["n_agents", *names]
    was, here = ([f"{name} = {getattr(info, name)}" for name in names] for info in (learned, played))
    if learned.meaning:
        was, here = [*was, *learned.meaning], [*here, *played.meaning]
    if was == here:
        return None
    return ", ".join(one for one in was if one not in here), ", ".join(one for one in here if one not in was)


@dataclass(frozen=True)
class Step:
    """One instant of E parallel environments.

    ``reward``, ``terminated`` and ``truncated`` belong to the transition that led here. The call after a row with
    ``done`` ignores its actions and returns the next episode's first row (reward 0, not done).
    """

    obs: Tensor  # (E, N, *O) EnvInfo.obs_dtype, zero for the dead
    alive: Tensor  # (E, N) bool
    reward: Tensor  # (E, N) float32, zero for those who were dead before the step
    terminated: Tensor  # (E,) bool, a true end: no bootstrap
    truncated: Tensor  # (E,) bool, a time limit: bootstrap
    info: dict[str, Tensor]  # EnvInfo.stats -> (E,) float32, totals of the running episode so far
    avail: Tensor | None = None  # (E, N, A) bool; None: every action is always available
    position: Tensor | None = None  # (E, N, 2) float32
    compact: Tensor | None = None  # (E, compact_dim) int16, all that Env.observations needs to make ``obs`` again

    @cached_property  # asked for five times in a step of a rollout
    def done(self) -> Tensor:
        """(E,) bool, this row ends an episode."""
        return self.terminated | self.truncated


@dataclass(frozen=True)
class GroupHistory:
    """The last grouping of E environments, kept for the next one and for what is logged about it."""

    latest: Tensor  # (E, N) int64 in [0, m), as assigned; -1 for those dead then
    previous: Tensor  # (E, N) int64, the grouping before
    centre: Tensor | None = None  # (m, F) float32, last centres of groupings that cluster, inf where never occupied
    inertia: Tensor | None = None  # (E,) float32, mean squared distance to the centre, of groupings that cluster
    locality: Tensor | None = None  # (E,) float32, share of places' variance between groups; NaN: cannot be told


@dataclass(frozen=True)
class Memory:
    """What a controller carries from one step to the next, passed in and out explicitly."""

    age: Tensor  # (E,) int64, rows of the running episode played so far; 0: the coming row is its first
    prev_action: Tensor  # (E, N) int64, -1 on the first row and for agents that were dead
    group: Tensor  # (E, N) int64 in [0, m), -1 for the dead and for controllers without groups
    hidden: Tensor | None = None  # (E, N, H) float32, recurrent agents only
    groups: GroupHistory | None = None  # controllers with groups only


@dataclass(frozen=True)
class Window:
    """Consecutive rows around the learned transitions, for recurrent agents: S windows of ``W`` rows.

    The last ``L + 1`` rows hold the L learned transitions; the rows before them only warm the hidden state up.
    """

    obs: Tensor  # (S, W, N, *O) float32
    prev_action: Tensor  # (S, W, N) int64, -1 on an episode's first row and for agents that were dead
    alive: Tensor  # (S, W, N) bool, may act
    first: Tensor  # (S, W) bool, the hidden state is reset before this row
    length: int  # L


@dataclass(frozen=True)
class Batch:
    """B joint transitions, decoded to float32 and on the learner's device."""

    obs: Tensor  # (B, N, *O) float32
    next_obs: Tensor  # (B, N, *O) float32
    action: Tensor  # (B, N) int64, 0 for the dead
    prev_action: Tensor  # (B, N) int64, -1 on an episode's first row and for agents that were dead
    reward: Tensor  # (B, N) float32
    alive: Tensor  # (B, N) bool, may act
    next_alive: Tensor  # (B, N) bool, may act at t + 1
    group: Tensor  # (B, N) int64 in [0, m), -1 for the dead and for controllers without groups
    terminated: Tensor  # (B,) bool, no bootstrap; a time limit counts only without `RowSpec.bootstrap_at_limit`
    weight: Tensor  # (B,) float32, 0 removes a transition from every loss
    avail: Tensor | None = None  # (B, N, A) bool
    next_avail: Tensor | None = None  # (B, N, A) bool
    position: Tensor | None = None  # (B, N, 2) float32
    next_position: Tensor | None = None  # (B, N, 2) float32
    window: Window | None = None  # recurrent agents only


def decode_obs(obs: Tensor, scale: float, rows: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Decode stored observations (any dtype) to float32 in natural units; if given, only ``rows`` (n,) int64 of axis 0.

    ``out``: float32 memory of the result's shape to use, unless nothing has to be decoded. On an accelerator nothing
    waits for the host. Lists stay lists.
    """
    if isinstance(obs, SparseObs) and rows is None:
        return obs.decoded(scale)
    if scale == 1.0:
        return (obs if rows is None else obs.index_select(0, rows)).to(torch.float32)
    if out is None:
        n_rows = len(obs) if rows is None else len(rows)
        out = torch.empty(n_rows, *obs.shape[1:], device=obs.device)
    if obs.device.type == "cpu":
        picked = np.arange(len(obs)) if rows is None else rows.numpy()
        decode_rows(obs.flatten(1).numpy(), picked, np.float32(scale), out.flatten(1).numpy())
        return out
    return out.copy_(obs if rows is None else obs.index_select(0, rows)).mul_(scale)


def to_device(record: R, device: torch.device) -> R:
    """Return a record with its tensors, and those of the records inside it, on ``device``."""
    moved: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            moved[field.name] = value.to(device)
        elif is_dataclass(value):
            moved[field.name] = to_device(value, device)
    return replace(record, **moved)  # type: ignore[type-var]


def same_kind(value: object, like: Tensor) -> bool:
    """Return whether ``value``, out of a checkpoint, is a tensor of the shape and dtype of ``like``."""
    return isinstance(value, Tensor) and (value.shape, value.dtype) == (like.shape, like.dtype)
