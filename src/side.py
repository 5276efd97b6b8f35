"""A population that learns: who acts, what is kept of its play, and what learns from that."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from components.rows import Rows
from config.schema import Config
from controllers.basic_controller import BasicMAC
from learners.base import Learner, LearningError, Metrics
from learners.regimes import Regime
from utils import seeding


class UpdateLog:
    """Means over the updates since the last `flush`."""

    def __init__(self) -> None:
        self.sums: Metrics = {}
        self.count = 0

    def add(self, metrics: Metrics) -> None:
        """Add those of one update."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in metrics.items()}
        self.count += 1

    def flush(self) -> Metrics:
        """Name -> mean; empty without an update."""
        means = {name: total / self.count for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return sums and count."""
        return {"sums": self.sums, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`. Raises ValueError for what no updates can have summed up to."""
        sums, count = state["sums"], state["count"]
        if not isinstance(sums, dict) or not isinstance(count, int):
            raise ValueError(f"updates: expected sums by name and a count, got {state!r:.80}")
        for name, total in sums.items():
            if torch.as_tensor(total).numel() != 1:
                raise ValueError(f"updates: expected one number for {name}, got {total!r:.80}")
        self.sums, self.count = sums, count


@dataclass(frozen=True)
class Side:
    """One population of a run: the learners, or in a game of two sides the enemies that learn too."""

    config: Config  # its algorithm's; what both sides share is the run's
    mac: BasicMAC
    learner: Learner
    regime: Regime[Any]
    rows: Rows
    notes: tuple[str, ...]  # for the person who started the run
    log: UpdateLog = field(default_factory=UpdateLog)

    def learn(self, t_env: int) -> None:
        """Make every update that is due."""
        for metrics in self.regime.updates(self.learner, self.rows, t_env):
            self.log.add(metrics)

    def diagnose(self, t_env: int, seed: int) -> Metrics:
        """Return what the learner says about one more batch; nothing while a short rollout holds junctions only."""
        if not len(self.rows):
            return {}
        # A stream of its own: how often metrics are written does not change what is learned.
        generator = torch.Generator().manual_seed(seeding.derive_seed(seed, "diagnosis", t_env))
        return self.learner.diagnose(self.regime.sample(self.rows, generator), t_env)

    def check_counts(self, t_env: int) -> None:
        """Raise ValueError for numbers of updates that no run can have made at ``t_env``."""
        n_updates = self.learner.n_updates
        if not self.regime.may_have_made(n_updates, t_env):
            raise ValueError(f"n_updates = {n_updates} cannot be at t_env = {t_env}")
        if not 0 <= self.log.count <= n_updates:
            raise ValueError(f"updates: {self.log.count} of n_updates = {n_updates} cannot be unlogged")


def check_numbers(means: Metrics, t_env: int, prefix: str = "") -> None:
    """Raise LearningError when learning no longer computes numbers."""
    for key in ("loss", "grad_norm"):
        value = float(means.get(key, 0.0))
        if not math.isfinite(value):
            name = f"{prefix}{key}"
            raise LearningError(
                f"learning diverged: expected a finite {name}, got {value} before step {t_env:,}. "
                "Lower lr, or correct what makes the loss; start again, or from an earlier checkpoint "
                "(checkpoint_path, load_step)."
            )
