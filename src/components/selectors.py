"""Exploration: Q-values to actions, and the action distribution that this amounts to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from components.kernels import epsilon_greedy
from components.schedules import LinearSchedule


def mask_unavailable(q: Tensor, avail: Tensor | None) -> Tensor:
    """Return ``q`` (..., A) with -inf where an action is unavailable; the dead, who have none, keep their values."""
    if avail is None:
        return q
    return q.masked_fill(~avail & avail.any(-1, keepdim=True), -torch.inf)


def greedy_action(q: Tensor, avail: Tensor | None) -> Tensor:
    """Choose the first best available action, (..., A) -> (...) int64."""
    return mask_unavailable(q, avail).max(-1).indices  # torch's argmax takes nearly twice as long


def _uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw numbers in (0, 1), float32: an exact zero, one in 2^24, would choose the first action at any probability."""
    return torch.rand(tuple(shape), generator=generator, device=generator.device).clamp_(min=2.0**-25)


class ActionSelector(ABC):
    """Samples actions in training; greedy in test mode."""

    @abstractmethod
    def probabilities(self, q: Tensor, avail: Tensor | None, t_env: int) -> Tensor:
        """Compute the behaviour distribution at ``t_env``, (..., A) -> (..., A) float32."""

    def select(
        self, q: Tensor, avail: Tensor | None, t_env: int, test_mode: bool, generator: torch.Generator
    ) -> Tensor:
        """Choose actions, (..., A) -> (...) int64."""
        if test_mode:
            return greedy_action(q, avail)
        probabilities = self.probabilities(q, avail, t_env)
        # Inverse transform sampling: one uniform number per agent, far cheaper than torch.multinomial.
        uniform = _uniform((*q.shape[:-1], 1), generator).to(q.device)
        cumulative = probabilities.cumsum(-1)
        action = torch.searchsorted(cumulative, uniform.mul_(cumulative[..., -1:]))
        return action.squeeze(-1).clamp_(max=q.shape[-1] - 1)


class EpsilonGreedySelector(ActionSelector):
    """Uniform over available actions with probability epsilon, else greedy."""

    def __init__(self, *, epsilon_start: float, epsilon_finish: float, epsilon_anneal_time: int) -> None:
        self.schedule = LinearSchedule(epsilon_start, epsilon_finish, epsilon_anneal_time)

    def probabilities(self, q: Tensor, avail: Tensor | None, t_env: int) -> Tensor:
        epsilon = self.schedule.value(t_env)
        if avail is None:
            probabilities = torch.full_like(q, 1.0 / q.shape[-1])
        else:
            allowed = (avail | ~avail.any(-1, keepdim=True)).to(q.dtype)
            probabilities = allowed / allowed.sum(-1, keepdim=True)
        probabilities *= epsilon
        best = greedy_action(q, avail)[..., None]
        return probabilities.scatter_(-1, best, 1.0 - epsilon, reduce="add")

    def select(
        self, q: Tensor, avail: Tensor | None, t_env: int, test_mode: bool, generator: torch.Generator
    ) -> Tensor:
        if test_mode or avail is not None or q.device.type != "cpu":
            return super().select(q, avail, t_env, test_mode, generator)
        # The same actions from the same numbers, in one compiled call.
        epsilon, n_actions = self.schedule.value(t_env), q.shape[-1]
        uniform = _uniform(q.shape[:-1], generator)
        action = torch.empty(q.shape[:-1], dtype=torch.int64)
        share, greedy = np.float32(1.0 / n_actions) * np.float32(epsilon), np.float32(1.0 - epsilon)
        flat = q.detach().reshape(-1, n_actions).numpy()
        epsilon_greedy(flat, share, greedy, uniform.view(-1).numpy(), action.view(-1).numpy())
        return action


class BoltzmannSelector(ActionSelector):
    """softmax(Q / T), temperature annealed linearly (paper Eq. 4 with the sign mended: docs/equations.md)."""

    def __init__(self, *, temperature_start: float, temperature_finish: float, temperature_anneal_time: int) -> None:
        self.schedule = LinearSchedule(temperature_start, temperature_finish, temperature_anneal_time)

    def probabilities(self, q: Tensor, avail: Tensor | None, t_env: int) -> Tensor:
        return torch.softmax(mask_unavailable(q, avail) / self.schedule.value(t_env), dim=-1)


class RandomSelector(ActionSelector):
    """Uniform over available actions, in test mode too: the reference line of random play."""

    def probabilities(self, q: Tensor, avail: Tensor | None, t_env: int) -> Tensor:
        return torch.softmax(mask_unavailable(torch.zeros_like(q), avail), dim=-1)

    def select(
        self, q: Tensor, avail: Tensor | None, t_env: int, test_mode: bool, generator: torch.Generator
    ) -> Tensor:
        return super().select(q, avail, t_env, False, generator)
