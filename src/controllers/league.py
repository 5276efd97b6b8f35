"""A run's own past as its opponents, and the record of who played whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from components.batch import Memory, Step, to_device
from components.sparse import SparseObs
from components.target_net import frozen_copy
from controllers.basic_controller import BasicMAC
from controllers.policy import FULLY_ANNEALED, Playing

LIMIT = 16  # past policies; when there are more, every second leaves, and from then on half as many come
NOW = -1  # instead of a number: the policy that is learning

Weights = dict[str, Tensor]


class League(Playing):
    """The `envs.opponents.Policy` of past policies of the run itself (fictitious self-play, Heinrich et al. 2015).

    Every copy of the game keeps its opponent for an episode: with probability ``self_play`` the policy as it is now,
    else one of the past, all alike. Past policies are numbered by the multiple of ``interval`` environment steps at
    which they were taken; the first is what the run starts with. All play with the exploration that remains at the end.
    """

    def __init__(self, mac: BasicMAC, interval: int, self_play: float) -> None:
        super().__init__(mac)
        self.interval = interval
        self.self_play = self_play
        self.past: dict[int, Weights] = {0: _weights(mac)}
        self.stride = 1  # between the numbers of past policies that may be chosen
        # Rows of: step of the newest past policy then, the opponent's step (the same: it played itself), games won,
        # drawn and lost by the learner.
        self.games: list[list[int]] = []
        self.opponent: Tensor | None = None  # (E,) int64, number of a past policy or NOW
        self.memory: Memory | None = None
        self._player = frozen_copy(mac)

    def due(self, t_env: int) -> bool:
        """Return whether it is time for another past policy."""
        return t_env // self.interval // self.stride > max(self.past) // self.stride

    def add(self, t_env: int, mac: BasicMAC) -> None:
        """Keep ``mac`` as it is now."""
        self.past[t_env // self.interval // self.stride * self.stride] = _weights(mac)
        if len(self._choices()) > LIMIT:
            self.stride *= 2
        playing = set() if self.opponent is None else set(self.opponent.tolist())
        stay = {*self._choices(), *playing, max(self.past)}
        self.past = {number: weights for number, weights in self.past.items() if number in stay}

    def __call__(self, step: Step, first: Tensor, generator: torch.Generator) -> Tensor:
        """Choose actions (E, N) int64 for a row; where ``first`` (E,) bool, choose opponents and restart memory."""
        opponent, memory = self.opponent, self.memory
        if opponent is None or memory is None:
            opponent = torch.full((len(first),), NOW)
            memory = self.mac.bare_memory(*step.alive.shape)
        if first.any():
            opponent = torch.where(first.cpu(), self._chosen(len(first), generator), opponent)
            memory = self.mac.restart(memory, first.to(self.mac.device))
        action = torch.zeros(step.alive.shape, dtype=torch.int64, device=self.mac.device)
        for number in opponent.unique().tolist():
            rows = (opponent == number).nonzero().squeeze(-1)
            chosen, kept = self._controller(number).select_actions(
                _picked_step(step, rows), _picked_memory(memory, rows), FULLY_ANNEALED, False, generator
            )
            action[rows] = chosen
            memory = _with_rows(memory, rows.to(self.mac.device), kept)
        self.opponent, self.memory = opponent, memory
        for row in step.done.nonzero().squeeze(-1).tolist():
            self._count(int(opponent[row]), float(step.info["score"][row]))
        return action

    def state_dict(self) -> dict[str, Any]:
        """Return past policies, games, who plays whom; weights of the policy that learns belong to its controller."""
        return {
            "past": dict(self.past),
            "stride": self.stride,
            "games": [list(row) for row in self.games],
            "opponent": self.opponent,
            "memory": self.memory,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        device = self.mac.device
        self.past = {
            number: {name: value.to(device) for name, value in weights.items()}
            for number, weights in state["past"].items()
        }
        self.stride = state["stride"]
        self.games[:] = state["games"]
        self.opponent = state["opponent"]
        self.memory = None if state["memory"] is None else to_device(state["memory"], device)

    def _choices(self) -> list[int]:
        """List the numbers of the past policies that may be chosen."""
        return [number for number in self.past if number % self.stride == 0]

    def _chosen(self, n_envs: int, generator: torch.Generator) -> Tensor:
        """Choose (E,) int64 opponents for new episodes."""
        lot = torch.rand(2, n_envs, generator=generator, device=generator.device).cpu()
        choices = torch.tensor(self._choices())
        return choices[(lot[0] * len(choices)).long()].masked_fill(lot[1] < self.self_play, NOW)

    def _controller(self, number: int) -> BasicMAC:
        if number == NOW:
            return self.mac
        self._player.load_state_dict(self.past[number])
        return self._player

    def _count(self, number: int, score: float) -> None:
        """Add a game that ended with ``score`` for the learner: 1 won, 0.5 drawn, 0 lost."""
        now = max(self.past) * self.interval
        pair = [now, now if number == NOW else number * self.interval]
        row = next((row for row in self.games if row[:2] == pair), None)
        if row is None:
            row = [*pair, 0, 0, 0]
            self.games.append(row)
        row[2 + round(2 * (1 - score))] += 1


def _weights(mac: BasicMAC) -> Weights:
    return {name: value.clone() for name, value in mac.state_dict().items()}


def _picked_step(step: Step, rows: Tensor) -> Step:
    """Pick the environments ``rows`` (K,) int64 of a row, as far as a controller looks at it."""
    obs = step.obs
    return replace(
        step,
        obs=obs.pick(rows) if isinstance(obs, SparseObs) else obs[rows],
        alive=step.alive[rows],
        reward=step.reward[rows],
        terminated=step.terminated[rows],
        truncated=step.truncated[rows],
        avail=None if step.avail is None else step.avail[rows],
        position=None if step.position is None else step.position[rows],
        info={},
        compact=None,
    )


def _picked_memory(memory: Memory, rows: Tensor) -> Memory:
    return replace(
        memory,
        age=memory.age[rows],
        prev_action=memory.prev_action[rows],
        group=memory.group[rows],
        hidden=None if memory.hidden is None else memory.hidden[rows],
    )


def _with_rows(memory: Memory, rows: Tensor, new: Memory) -> Memory:
    """Return ``memory`` with ``new`` (K environments) in the environments ``rows`` (K,) int64."""
    hidden = memory.hidden
    return replace(
        memory,
        age=memory.age.index_copy(0, rows, new.age),
        prev_action=memory.prev_action.index_copy(0, rows, new.prev_action),
        group=memory.group.index_copy(0, rows, new.group),
        hidden=hidden if hidden is None or new.hidden is None else hidden.index_copy(0, rows, new.hidden),
    )
