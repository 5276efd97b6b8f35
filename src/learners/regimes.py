"""Two ways from rows to updates: a replay that is drawn from again and again, and rollouts that are thrown away.

Both drive the same `Learner`; they differ in rows and targets. Their keyword-only parameters are configuration keys.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

from components.batch import Batch
from components.replay import Replay
from components.returns import Outcome, lambda_return
from components.rollout import Rollout
from components.rows import ReplayError, Rows, RowSpec
from learners.base import Learner, Metrics

R = TypeVar("R", bound=Rows)


class Regime(ABC, Generic[R]):
    """How a learner learns from what the runner plays."""

    name: str
    target_update_tau: float | None  # None: no target networks
    learning_starts = 0  # environment steps before the first update

    @property
    @abstractmethod
    def replay_ratio(self) -> float:
        """How often every transition is learned, on average."""

    @abstractmethod
    def cycle(self, n_envs: int) -> tuple[int, int]:
        """Return the environment steps after which updates are due, and how many then are."""

    @abstractmethod
    def first_update(self, n_envs: int, episode_limit: int) -> int:
        """Return the environment steps before which no update is due, where episodes last ``episode_limit`` steps."""

    @abstractmethod
    def kept(self, n_envs: int) -> int:
        """Count the joint transitions that ``rows`` keeps."""

    @abstractmethod
    def rows(self, spec: RowSpec, generator: torch.Generator) -> R:
        """Make the memory for the runner to fill. Raises ReplayError for one that cannot work."""

    @abstractmethod
    def batches(self, learner: Learner, rows: R, t_env: int) -> Iterator[tuple[Batch, list[Tensor]]]:
        """Give what to learn from at ``t_env``: batches, and for each problem of the learner its targets (B, U).

        Without an end in a replay; of a rollout all of one that has just become complete.
        """

    @abstractmethod
    def updates(self, learner: Learner, rows: R, t_env: int) -> Iterator[Metrics]:
        """Make every update that is due at ``t_env``; one item each."""

    @abstractmethod
    def may_have_made(self, n_updates: int, t_env: int) -> bool:
        """Return whether a run can have come to this number of updates at ``t_env``."""

    @abstractmethod
    def sample(self, rows: R, generator: torch.Generator) -> Batch:
        """Draw transitions of the size of an update, for diagnosis."""

    def describe(self) -> str:
        """Describe the regime in one line for the person who started the run."""
        return f"{self.name}: every transition is learned {self.replay_ratio:g} times"


class ReplayRegime(Regime[Replay]):
    """One update of ``batch_size`` drawn transitions every ``train_interval`` environment steps, one-step targets."""

    name = "replay"

    def __init__(
        self,
        *,
        buffer_size: int,
        batch_size: int,
        learning_starts: int,
        train_interval: int,
        target_update_tau: float,
    ) -> None:
        self.buffer_size = buffer_size
        self.batch_size = batch_size
        self.learning_starts = learning_starts
        self.train_interval = train_interval
        self.target_update_tau = target_update_tau

    @property
    def replay_ratio(self) -> float:
        return self.batch_size / self.train_interval

    def cycle(self, n_envs: int) -> tuple[int, int]:
        return self.train_interval, 1

    def first_update(self, n_envs: int, episode_limit: int) -> int:
        return self.learning_starts + self.train_interval

    def kept(self, n_envs: int) -> int:
        return self.buffer_size

    def rows(self, spec: RowSpec, generator: torch.Generator) -> Replay:
        replay = Replay(spec, self.buffer_size, generator)
        if self.learning_starts < replay.length * spec.n_envs:
            raise ReplayError(
                f"configuration: learning_starts = {self.learning_starts}, but the first update needs {replay.length} "
                f"transitions of each of batch_size_run = {spec.n_envs} environments. Set learning_starts to at least "
                f"{replay.length * spec.n_envs}."
            )
        return replay

    def batches(self, learner: Learner, rows: Replay, t_env: int) -> Iterator[tuple[Batch, list[Tensor]]]:
        """Draw batches with their one-step targets, one after the other."""
        while True:
            batch = rows.sample(self.batch_size)
            yield batch, learner.one_step_targets(batch, t_env)

    def updates(self, learner: Learner, rows: Replay, t_env: int) -> Iterator[Metrics]:
        """Make as many updates as the environment steps so far have earned."""
        drawn = self.batches(learner, rows, t_env)
        while learner.n_updates < self._earned(t_env):
            batch, targets = next(drawn)
            yield learner.train(batch, t_env, targets)

    def _earned(self, t_env: int) -> int:
        return max(t_env - self.learning_starts, 0) // self.train_interval

    def may_have_made(self, n_updates: int, t_env: int) -> bool:
        """Return whether every update was made that was earned, and no other."""
        return n_updates == self._earned(t_env)

    def sample(self, rows: Replay, generator: torch.Generator) -> Batch:
        return rows.sample(self.batch_size, generator)


class RolloutRegime(Regime[Rollout]):
    """Parallelised Q-learning (Gallici et al. 2024): ``epochs`` passes over the last ``rollout_length`` rows of every
    environment in ``minibatches`` parts each, with Q(lambda) targets from the networks that acted; then these go.
    """

    name = "rollout"
    target_update_tau = None

    def __init__(self, *, rollout_length: int, epochs: int, minibatches: int, td_lambda: float) -> None:
        self.rollout_length = rollout_length
        self.epochs = epochs
        self.minibatches = minibatches
        self.td_lambda = td_lambda

    @property
    def replay_ratio(self) -> float:
        return float(self.epochs)

    def cycle(self, n_envs: int) -> tuple[int, int]:
        return self.rollout_length * n_envs, self.epochs * self.minibatches

    def first_update(self, n_envs: int, episode_limit: int) -> int:
        """Return the environment steps until a row follows the last of the first rollout; last rows make no step."""
        ends = self.rollout_length // (episode_limit + 1)
        return (self.rollout_length - ends) * n_envs + 1

    def kept(self, n_envs: int) -> int:
        return n_envs * (self.rollout_length + 2)

    def rows(self, spec: RowSpec, generator: torch.Generator) -> Rollout:
        if self.minibatches > self.rollout_length * spec.n_envs:
            raise ReplayError(
                f"configuration: minibatches = {self.minibatches}, but a rollout has only rollout_length * "
                f"batch_size_run = {self.rollout_length * spec.n_envs} joint transitions. Lower minibatches."
            )
        return Rollout(spec, self.rollout_length, generator)

    def updates(self, learner: Learner, rows: Rollout, t_env: int) -> Iterator[Metrics]:
        """Learn from all of a rollout that has just become complete."""
        for batch, targets in self.batches(learner, rows, t_env):
            yield learner.train(batch, t_env, targets)

    def batches(self, learner: Learner, rows: Rollout, t_env: int) -> Iterator[tuple[Batch, list[Tensor]]]:
        """Give all passes over a rollout that has just become complete, with Q(lambda) targets."""
        if not rows.ready:
            return
        row_TE, env_TE = rows.window()
        row, env = row_TE.flatten(), env_TE.flatten()
        targets = self._targets(learner, rows, row, env, t_env)
        junction = rows.done[row, env]
        learned = (~junction).nonzero().squeeze(-1)
        # As many parts as the process with the most has to learn from: all processes make the same updates.
        n_parts = learner.processes.largest(min(self.minibatches, len(learned)))
        for _ in range(self.epochs):
            order = learned[torch.randperm(len(learned), generator=rows.generator)]
            for part in order.tensor_split(self.minibatches)[:n_parts]:
                chosen = part.to(rows.device)
                yield rows.gather(row[part], env[part]), [target[chosen] for target in targets]

    def may_have_made(self, n_updates: int, t_env: int) -> bool:
        """Return whether that is at most all passes over every step."""
        return 0 <= n_updates <= t_env * self.epochs * self.minibatches

    @torch.no_grad()
    def _targets(self, learner: Learner, rows: Rollout, row: Tensor, env: Tensor, t_env: int) -> list[Tensor]:
        """Compute (T * E, U) for each problem of the learner."""
        parts = [  # as large as an update: larger ones fall out of the cache
            learner.outcomes(rows.gather(*part), t_env)
            for part in zip(row.tensor_split(self.minibatches), env.tensor_split(self.minibatches), strict=True)
        ]
        carry_TE1 = rows.carry()[..., None]
        shape = carry_TE1.shape[:2]

        def in_time(name: str, problem: int) -> Tensor:
            return torch.cat([getattr(outcomes[problem], name) for outcomes in parts]).unflatten(0, shape)

        return [
            lambda_return(
                Outcome(in_time("reward", k), in_time("discount", k), in_time("next_value", k)),
                carry_TE1,
                self.td_lambda,
            ).flatten(0, 1)
            for k in range(len(parts[0]))
        ]

    def sample(self, rows: Rollout, generator: torch.Generator) -> Batch:
        return rows.sample(self.rollout_length * rows.n_envs // self.minibatches, generator)
