"""What every learner shares: online and target networks by name, the loss over TD problems, one optimiser, an average.

A learner says what is learned (`predict`, `outcomes`); the regime (`learners/regimes.py`) says from which rows and with
which targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from components.batch import Batch
from components.returns import Outcome, TDProblem, shared_reward, td_target, weighted_mean
from components.schedules import LinearSchedule
from components.target_net import frozen_copy, soft_update
from controllers.basic_controller import BasicMAC
from utils.errors import InputError
from utils.processes import ALONE, Processes

Metrics = dict[str, Tensor]  # name -> 0-dim tensor on the learner's device
M = TypeVar("M", bound=nn.Module)


class LearningError(InputError):
    """Learning that cannot go on: a part that computes the wrong thing, or values that are no numbers any more."""


@dataclass(frozen=True)
class Setting:
    """What a learner has to know about its run."""

    t_max: int  # environment steps over which the learning rate falls
    target_update_tau: float | None  # rate at which target networks follow; None: there are none
    processes: Processes = ALONE  # that learn the same networks


@dataclass(frozen=True)
class Term:
    """One of the means that a learner minimises the weighted sum of."""

    coef: float
    mean: Tensor  # 0-dim, with gradient
    weight: Tensor  # 0-dim, sum of the weights that ``mean`` was made with

    @classmethod
    def of(cls, coef: float, value: Tensor, weight: Tensor) -> Term:
        """Average ``value`` by ``weight`` (same shape, >= 0)."""
        return cls(coef, weighted_mean(value, weight), weight.sum())


@dataclass(frozen=True)
class Prediction:
    """What a learner says about a batch, with gradient."""

    problems: Sequence[TDProblem]  # the first one is what ``td_error_abs`` and ``target_mean`` report
    metrics: Metrics
    extras: Mapping[str, Term] = field(default_factory=dict)  # further losses, by name


class Learner(ABC):
    """Minimises the sum of its TD losses and extras with clipped gradients; targets and the average follow softly."""

    needs_position = False  # rows hold positions for this learner
    replay_only = ""  # why it cannot learn in the rollout regime, if so

    def __init__(
        self,
        mac: BasicMAC,
        networks: Mapping[str, nn.Module],
        setting: Setting,
        *,
        gamma: float,
        reward_sharing: float,
        optimiser: Literal["adam", "radam"],
        lr: float,
        lr_finish: float,
        grad_norm_clip: float,
        average_decay: float,
    ) -> None:
        """Prepare targets, average and optimiser; ``networks``: by name, what learns beside the controller.

        ``average_decay``: of the averaged weights that are evaluated and exported (Polyak and Juditsky 1992); 0: the
        online weights are. ``lr_finish``: the share of ``lr`` that is left at the end, falling linearly.
        """
        self.mac = mac
        self.networks: dict[str, nn.Module] = {"mac": mac, **networks}
        self.tau = setting.target_update_tau
        self.processes = setting.processes
        self.has_targets = self.tau is not None
        self.targets = {name: frozen_copy(net) if self.has_targets else net for name, net in self.networks.items()}
        self.target_mac = self.target_of(mac)
        self.average = frozen_copy(mac) if average_decay > 0.0 else None
        self.average_decay = average_decay
        self.gamma = gamma
        self.reward_sharing = reward_sharing
        self.grad_norm_clip = grad_norm_clip
        self.schedule = LinearSchedule(lr, lr * lr_finish, setting.t_max)
        self.n_updates = 0
        self.parameters = [parameter for net in self.networks.values() for parameter in net.parameters()]
        self.optimiser: torch.optim.Optimizer = (
            torch.optim.Adam(self.parameters, lr=lr, fused=True)
            if optimiser == "adam"
            else torch.optim.RAdam(self.parameters, lr=lr, foreach=True)
        )

    def target_of(self, online: M) -> M:
        """Return the network that follows ``online``; itself where there are no targets."""
        return cast(M, next(self.targets[name] for name, net in self.networks.items() if net is online))

    @abstractmethod
    def predict(self, batch: Batch, t_env: int) -> Prediction:
        """Return the TD problems of a batch, and what to log about it."""

    @abstractmethod
    def outcomes(self, batch: Batch, t_env: int) -> list[Outcome]:
        """Return what follows, one for each problem of `predict`; called without gradients, before `predict`."""

    def reward(self, batch: Batch, member_BmN: Tensor | None = None) -> Tensor:
        """Return rewards (B, N), shared by ``reward_sharing`` among the living of a group, or else of the team."""
        return shared_reward(
            batch.reward,
            batch.alive[:, None, :].to(batch.reward.dtype) if member_BmN is None else member_BmN,
            self.reward_sharing,
        )

    def next_q_values(self, batch: Batch, double_q: bool) -> tuple[Tensor, Tensor]:
        """Return Q-values (B, N, A) at t + 1: to select actions by (online for ``double_q``), and to value them by."""
        evaluate_BNA = self.target_mac.next_q_values(batch)
        return (self.mac.next_q_values(batch) if double_q and self.has_targets else evaluate_BNA), evaluate_BNA

    @torch.no_grad()
    def one_step_targets(self, batch: Batch, t_env: int) -> list[Tensor]:
        """Compute one-step targets, (B, U) for each problem."""
        return [td_target(outcome) for outcome in self.outcomes(batch, t_env)]

    def loss(self, batch: Batch, t_env: int, targets: Sequence[Tensor] | None = None) -> tuple[Tensor, Metrics]:
        """Compute the loss (0-dim, with gradients) of a batch, and what to log about it.

        ``targets``: (B, U) for each problem; one-step targets if not given. With several processes, this one's part of
        the loss of all their batches together; the parts add up to it.
        """
        if targets is None:
            targets = self.one_step_targets(batch, t_env)
        prediction = self.predict(batch, t_env)
        problems = prediction.problems
        terms = {
            problem.name: Term(problem.coef, problem.loss(target), problem.weight.sum())
            for problem, target in zip(problems, targets, strict=True)
        }
        terms |= prediction.extras
        metrics = {**problems[0].metrics(targets[0]), **prediction.metrics}
        if len(terms) > 1:
            metrics |= {f"loss_{name}": term.mean.detach() for name, term in terms.items()}
        first, *others = self._parts(list(terms.values()))
        return sum(others, start=first), metrics

    def _parts(self, terms: Sequence[Term]) -> list[Tensor]:
        """Return what each term adds to the loss; with several processes, scaled to this one's share of its weight."""
        parts = [term.coef * term.mean for term in terms]
        if self.processes.size == 1:
            return parts
        weight_L = torch.stack([term.weight for term in terms])
        whole_L = weight_L.clone()
        self.processes.add_up([whole_L])
        share_L = weight_L / whole_L.clamp(min=torch.finfo(whole_L.dtype).tiny)
        return [share * part for share, part in zip(share_L, parts, strict=True)]

    def train(self, batch: Batch, t_env: int, targets: Sequence[Tensor] | None = None) -> Metrics:
        """Make one update. Never waits for the device: metrics are tensors."""
        self._set_training(True)
        loss, metrics = self.loss(batch, t_env, targets)
        self._set_training(False)
        self.optimiser.zero_grad()
        loss.backward()
        loss = loss.detach()
        self.processes.add_up([loss, *(net.grad for net in self.parameters if net.grad is not None)])
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.grad_norm_clip)
        self._set_lr(self.schedule.value(t_env))
        self.optimiser.step()
        if self.tau is not None:
            for name, online in self.networks.items():
                soft_update(self.targets[name], online, self.tau)
        if self.average is not None:
            soft_update(self.average, self.mac, 1.0 - self.average_decay)
        self.n_updates += 1
        return {"loss": loss, "grad_norm": grad_norm, **metrics}

    def acting(self) -> BasicMAC:
        """Return the controller to evaluate and export: the averaged one, if there is one."""
        if self.average is None:
            return self.mac
        for averaged, online in zip(self.average.buffers(), self.mac.buffers(), strict=True):
            averaged.copy_(online)  # statistics of the groups' features, which no update moves
        return self.average

    def diagnose(self, batch: Batch, t_env: int) -> Metrics:
        """Compute metrics that cost too much for every update; called when metrics are written."""
        return {}

    def _set_lr(self, lr: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = lr

    def _set_training(self, training: bool) -> None:
        """Set whether networks learn or play: dropout, in those of one's own, is for learning."""
        for module in self._modules().values():
            module.train(training)

    def _modules(self) -> dict[str, nn.Module]:
        """Return everything that a checkpoint holds, by name."""
        modules = dict(self.networks)
        if self.tau is not None:
            modules |= {f"target_{name}": target for name, target in self.targets.items()}
        return modules

    def state_dict(self) -> dict[str, Any]:
        """Return networks, targets, average, optimiser, counters."""
        states: dict[str, Any] = {name: module.state_dict() for name, module in self._modules().items()}
        if self.average is not None:
            states["average"] = self.average.state_dict()
        return {**states, "optimiser": self.optimiser.state_dict(), "n_updates": self.n_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict` of a learner of the same shapes, at this learner's own learning rate.

        Networks of a regime without targets, or of a run without an average, start these as copies. Raises KeyError,
        RuntimeError or ValueError for what does not fit.
        """
        for name, module in self._modules().items():
            module.load_state_dict(state.get(name, state[name.removeprefix("target_")]))
        if self.average is not None:
            self.average.load_state_dict(state.get("average", state["mac"]))
        self.optimiser.load_state_dict(state["optimiser"])
        self._set_lr(self.schedule.start)
        self.n_updates = state["n_updates"]
