"""One seed, many independent random streams, each named for what it drives."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, stream: str, index: int = 0) -> int:
    """Derive a 63-bit seed that depends on (seed, stream, index) alone."""
    entropy = (seed, zlib.crc32(stream.encode()), index)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def global_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return torch's own random streams, of the CPU and of ``device``; they drive nothing but networks of one's own."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    return {**states, "cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_global_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Set torch's random streams to what `global_state` returned; that of another kind of device stays."""
    import torch

    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def apart(seed: int, device: torch.device) -> Iterator[None]:
    """Set torch's own random streams to ``seed`` in the context; after it they go on as if it had not been."""
    import torch

    before = global_state(device)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        set_global_state(before, device)


def generator(seed: int, stream: str, device: torch.device | None = None, index: int = 0) -> torch.Generator:
    """Make a torch generator for one named stream."""
    import torch  # here: configurations, which need a seed alone, are shown without it

    return torch.Generator(device or torch.device("cpu")).manual_seed(derive_seed(seed, stream, index))
