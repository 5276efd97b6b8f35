"""The contract of mixers that make one team value, used by `learners/q_learner.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class TeamMixer(nn.Module, ABC):
    """Local values in, team value out. Its constructor: docs/new_algorithm.md."""

    @abstractmethod
    def forward(self, q_BN: Tensor, alive_BN: Tensor, obs_BNO: Tensor) -> Tensor:
        """Map values of taken actions (B, N), alive (B, N) bool, flattened observations (B, N, O) to (B,)."""
