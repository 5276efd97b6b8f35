"""What every learner shares: online and target networks, one optimiser, one update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from components.batch import Batch
from components.returns import td_target, weighted_mean
from components.target_net import frozen_copy, soft_update
from controllers.basic_controller import BasicMAC
from utils.errors import InputError

Metrics = dict[str, Tensor]  # name -> 0-dim tensor on the learner's device


class LearningError(InputError):
    """Learning that cannot go on: a part that computes the wrong thing, or values that are no numbers any more."""


class Learner(ABC):
    """Minimises ``loss`` by Adam with clipped gradients; targets follow softly."""

    needs_position = False  # the replay stores positions for this learner

    def __init__(
        self, mac: BasicMAC, mixer: nn.Module | None, *, lr: float, grad_norm_clip: float, target_update_tau: float
    ) -> None:
        self.mac, self.mixer = mac, mixer
        self.target_mac = frozen_copy(mac)
        self.target_mixer = None if mixer is None else frozen_copy(mixer)
        self.grad_norm_clip = grad_norm_clip
        self.tau = target_update_tau
        self.lr = lr
        self.n_updates = 0
        self.parameters = [*mac.parameters(), *(mixer.parameters() if mixer is not None else [])]
        self.optimiser = torch.optim.Adam(self.parameters, lr=lr, fused=True)

    @abstractmethod
    def loss(self, batch: Batch, t_env: int) -> tuple[Tensor, Metrics]:
        """The loss (0-dim, with gradients) of a batch, and what to log about it."""

    def train(self, batch: Batch, t_env: int) -> Metrics:
        """One update. Never waits for the device: metrics are tensors."""
        loss, metrics = self.loss(batch, t_env)
        self.optimiser.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.grad_norm_clip)
        self.optimiser.step()
        soft_update(self.target_mac, self.mac, self.tau)
        if self.mixer is not None and self.target_mixer is not None:
            soft_update(self.target_mixer, self.mixer, self.tau)
        self.n_updates += 1
        return {"loss": loss.detach(), "grad_norm": grad_norm, **metrics}

    def diagnose(self, batch: Batch, t_env: int) -> Metrics:
        """Metrics that cost too much for every update; called when metrics are written."""
        return {}

    def _modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"mac": self.mac, "target_mac": self.target_mac}
        if self.mixer is not None and self.target_mixer is not None:
            modules |= {"mixer": self.mixer, "target_mixer": self.target_mixer}
        return modules

    def state_dict(self) -> dict[str, Any]:
        """Networks, targets, optimiser, counters."""
        states: dict[str, Any] = {name: module.state_dict() for name, module in self._modules().items()}
        return {**states, "optimiser": self.optimiser.state_dict(), "n_updates": self.n_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict` of a learner of the same shapes, at this learner's own learning rate.

        Raises KeyError, RuntimeError or ValueError for what does not fit.
        """
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr
        self.n_updates = state["n_updates"]


def agent_target(batch: Batch, next_value_BN: Tensor, gamma: float) -> Tensor:
    """Every agent's own one-step target (B, N): no bootstrap for those dead at t + 1, nor at a true end."""
    return td_target(batch.reward, batch.terminated[:, None] | ~batch.next_alive, next_value_BN, gamma)


def agent_weight(batch: Batch) -> Tensor:
    """(B, N) float32: the transition's weight for agents that acted, 0 for the dead."""
    return batch.alive * batch.weight[:, None]


def td_loss(value: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Metrics]:
    """Weighted mean squared TD error of values and targets of one shape, and its metrics."""
    error = value - target
    metrics = {
        "td_error_abs": weighted_mean(error.detach().abs(), weight),
        "target_mean": weighted_mean(target, weight),
    }
    return weighted_mean(error.square(), weight), metrics
