"""Statistics of finished episodes: returns, lengths, and what the population did. Aggregates only."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.batch import EnvInfo, Step, same_kind
from components.kernels import tally


def gini(value: Tensor) -> Tensor:
    """Compute the Gini coefficient over the last axis with its minimum at zero: (E, N) -> (E,), 0 when all are equal.

    The shift makes it defined for negative returns; it then measures the inequality of what agents have above the
    worst-off agent.
    """
    ordered = (value - value.amin(-1, keepdim=True)).sort(-1).values
    n = value.shape[-1]
    rank = torch.arange(1, n + 1, device=value.device, dtype=value.dtype)
    total = ordered.sum(-1)
    coefficient = (2 * (rank * ordered).sum(-1) / total.clamp(min=1e-12) - (n + 1)) / n
    return torch.where(total > 1e-12, coefficient, torch.zeros_like(total))


def action_entropy(count: Tensor) -> Tensor:
    """Compute the entropy of an action histogram over log A: (E, A) -> (E,), in [0, 1]."""
    share = count / count.sum(-1, keepdim=True).clamp(min=1.0)
    entropy = -(share * share.clamp(min=1e-12).log()).sum(-1)
    return entropy / torch.tensor(float(max(count.shape[-1], 2))).log()


class EpisodeStats:
    """Accumulates E running episodes; `update` hands out the statistics of those that just ended.

    ``return_mean`` is the episode's return averaged over the N initial agents, ``return_sum`` its sum over them.
    """

    def __init__(self, info: EnvInfo, n_envs: int) -> None:
        self.info = info
        self.returns = np.zeros((n_envs, info.n_agents), dtype=np.float32)
        self.length = np.zeros(n_envs, dtype=np.float32)
        self.actions = np.zeros((n_envs, info.n_actions), dtype=np.float32)

    def update(self, before: Step, action: Tensor, after: Step) -> dict[str, Tensor]:
        """Add one transition; statistics (K,) of the K episodes that ended with it, in the order of environments.

        The transition from a row that ended an episode to the next episode's first row does not count.
        """
        counted = ~before.done.cpu().numpy()
        alive, reward, taken = (part.cpu().contiguous().numpy() for part in (before.alive, after.reward, action))
        tally(counted, alive, reward, taken, self.returns, self.length, self.actions)
        ended = after.done.cpu().numpy() & counted
        if not ended.any():
            return {}
        returns = torch.from_numpy(self.returns[ended])
        spread = torch.quantile(returns, torch.tensor([0.1, 0.5, 0.9]), dim=-1)
        statistics = {
            "return_mean": returns.mean(-1),
            "return_sum": returns.sum(-1),
            "return_gini": gini(returns),
            "return_q10": spread[0],
            "return_q50": spread[1],
            "return_q90": spread[2],
            "ep_length": torch.from_numpy(self.length[ended]),
            "action_entropy": action_entropy(torch.from_numpy(self.actions[ended])),
            **{name: after.info[name].cpu()[torch.from_numpy(ended)] for name in self.info.stats},
        }
        for total in (self.returns, self.length, self.actions):
            total[ended] = 0.0
        return statistics

    def state_dict(self) -> dict[str, Any]:
        """Return the running totals."""
        totals = {"returns": self.returns, "length": self.length, "actions": self.actions}
        return {name: torch.from_numpy(total) for name, total in totals.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`. Raises KeyError or ValueError for what is none of this game's."""
        for name, total in self.state_dict().items():
            saved = state[name]
            if not same_kind(saved, total):
                raise ValueError(
                    f"stats.{name}: expected {total.dtype} of shape {tuple(total.shape)}, got {saved!r:.80}"
                )
            setattr(self, name, saved.numpy().copy())


class EpisodeLog:
    """Means over the episodes that ended since the last `flush`."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)

    def add(self, statistics: dict[str, Tensor]) -> None:
        """Add the statistics (K,) of K episodes."""
        for name, value in statistics.items():
            self.values[name] += value.tolist()

    def extend(self, values: dict[str, list[float]]) -> None:
        """Add the ``values`` of another log."""
        for name, more in values.items():
            self.values[name] += more

    def deviations(self) -> dict[str, float]:
        """Name -> standard deviation over the episodes since the last `flush`, divided by their number."""
        return {name: float(torch.tensor(values).std(unbiased=False)) for name, values in self.values.items()}

    def flush(self) -> dict[str, float]:
        """Name -> mean, with ``return_std`` over episodes and ``n_episodes``; empty when none ended."""
        if not self.values:
            return {}
        means = {name: sum(values) / len(values) for name, values in self.values.items()}
        returns = torch.tensor(self.values["return_mean"])
        means["return_std"] = float(returns.std(unbiased=False))
        means["n_episodes"] = float(len(returns))
        self.values.clear()
        return means
