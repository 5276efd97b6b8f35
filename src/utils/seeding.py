"""One seed, many independent random streams, each named for what it drives."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, stream: str, index: int = 0) -> int:
    """Derive a 63-bit seed that depends on (seed, stream, index) alone."""
    entropy = (seed, zlib.crc32(stream.encode()), index)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, stream: str, device: torch.device | None = None, index: int = 0) -> torch.Generator:
    """Make a torch generator for one named stream."""
    import torch  # here: configurations, which need a seed alone, are shown without it

    return torch.Generator(device or torch.device("cpu")).manual_seed(derive_seed(seed, stream, index))
