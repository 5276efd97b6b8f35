"""What writing and playing a policy share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from utils.errors import InputError

Inputs = Mapping[str, np.ndarray]
Values = Callable[[Inputs], Sequence[np.ndarray]]  # inputs by name -> q (E, N, A), and the next hidden state if any
CURE = "./install_dependencies.sh --extras"


class PolicyError(InputError):
    """A policy that cannot be taken away or loaded, or what it cannot act on."""
