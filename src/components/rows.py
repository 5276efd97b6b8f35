"""Rows of joint transitions as they are stored, whichever regime learns from them, and the batches made of them.

Observations are stored once: the next observation is simply the next row. The row that ends an episode is followed by
the next episode's first row; a transition over that junction weighs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.batch import Batch, EnvInfo, Step, Window, decode_obs, same_kind
from utils.errors import InputError
from utils.memory import size
from utils.words import amount

MAX_ACTIONS = 2**15  # rows keep actions as int16


class ReplayError(InputError):
    """A replay that does not fit or cannot be loaded."""


def is_finite(values: Tensor) -> bool:
    """Return whether no number of ``values`` is NaN or infinite."""
    # A sum is one pass without memory, and finite unless it overflows.
    return not values.is_floating_point() or bool(values.sum().isfinite()) or bool(values.isfinite().all())


@dataclass(frozen=True)
class RowSpec:
    """What rows hold and where they live."""

    info: EnvInfo
    n_envs: int
    storage: torch.device  # of the large arrays
    device: torch.device  # of the batches
    with_position: bool = False
    window: tuple[int, int] | None = None  # (burn-in rows, learned transitions) of sequences, for recurrent agents
    observations: Callable[[Tensor], Tensor] | None = None  # `Env.observations`, of environments with compact rows
    bootstrap_at_limit: bool = True  # False: a time limit is an end, after which nothing is worth anything

    def __post_init__(self) -> None:
        """Raise ReplayError for more actions than a row can number."""
        if self.info.n_actions > MAX_ACTIONS:
            raise ReplayError(
                f"{self.info.name}: expected at most {MAX_ACTIONS:,} actions, which is what a row can number, got "
                f"{self.info.n_actions:,}. Choose env_args that give fewer."
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one environment's row."""
        info = self.info
        per_agent = 4 + 2 + 2 + 1  # reward, action, group, alive
        per_agent += info.n_actions * info.has_avail + 8 * self.with_position
        if not info.compact_dim:
            per_agent += math.prod(info.obs_shape) * info.obs_dtype.itemsize
        return info.n_agents * per_agent + 2 * info.compact_dim + 3  # terminated, done, valid

    def bytes_of(self, transitions: int) -> int:
        """Count the bytes allocated for ``transitions`` joint transitions."""
        return math.ceil(transitions / self.n_envs) * self.n_envs * self.row_bytes

    def check_memory(self, name: str, transitions: int, available: int) -> str:
        """Return the sentence that states what ``name`` (a replay, a rollout) will allocate.

        Raises ReplayError, with the arithmetic, when it exceeds 80 % of the ``available`` bytes.
        """
        total, n_agents = self.bytes_of(transitions), self.info.n_agents
        arithmetic = (
            f"{transitions:,} joint transitions x {self.row_bytes:,} bytes ({amount(n_agents, 'agent')} x "
            f"{self.row_bytes // n_agents:,}) = {size(total)}"
        )
        if total > 0.8 * available:
            raise ReplayError(
                f"{name} does not fit: {arithmetic}, but only {size(available)} are free. Keep at most "
                f"{int(0.8 * available / self.row_bytes)} transitions (buffer_size in the replay regime, "
                "batch_size_run * (rollout_length + 2) in the rollout regime)."
            )
        return f"{name}: {arithmetic}"


class Rows:
    """Ring of the last ``n_rows`` rows of E environments.

    Indices and end flags live on the CPU, so that choosing rows never waits for an accelerator.
    """

    def __init__(self, spec: RowSpec, n_rows: int, generator: torch.Generator) -> None:
        info = spec.info
        if (spec.observations is None) == (info.compact_dim > 0):
            raise ReplayError(
                "rows: expected the environment's observations() when EnvInfo.compact_dim is above 0, and only then; "
                f"it is {info.compact_dim}, observations {'missing' if spec.observations is None else 'given'}."
            )
        self.spec = spec
        self.info, self.n_envs, self.device = info, spec.n_envs, spec.device
        self.observations = spec.observations
        self.n_rows = n_rows
        self.burn_in, self.length = spec.window or (1, 1)
        self.recurrent = spec.window is not None
        self.generator = generator
        storage = spec.storage
        self.pin = storage.type == "cpu" and self.device.type != "cpu"
        shape, agents = (n_rows, self.n_envs), (n_rows, self.n_envs, info.n_agents)
        arrays = {
            "reward": torch.zeros(agents, dtype=torch.float32, device=storage),
            "action": torch.zeros(agents, dtype=torch.int16, device=storage),
            "group": torch.zeros(agents, dtype=torch.int16, device=storage),
            "alive": torch.zeros(agents, dtype=torch.bool, device=storage),
            "terminated": torch.zeros(shape, dtype=torch.bool, device=storage),
        }
        if spec.observations is None:
            arrays["obs"] = torch.zeros(*agents, *info.obs_shape, dtype=info.obs_dtype, device=storage)
        else:
            arrays["compact"] = torch.zeros(*shape, info.compact_dim, dtype=torch.int16, device=storage)
        if info.has_avail:
            arrays["avail"] = torch.zeros(*agents, info.n_actions, dtype=torch.bool, device=storage)
        if spec.with_position:
            arrays["position"] = torch.zeros(*agents, 2, dtype=torch.float32, device=storage)
        self.arrays = arrays
        self.done = torch.zeros(shape, dtype=torch.bool)  # row ends an episode
        self.valid = torch.zeros(shape, dtype=torch.bool)  # row may start a sampled transition
        self.head = 0  # where the next row goes
        self.stored = 0  # rows ever stored

    def __len__(self) -> int:
        """Count the transitions that can be sampled."""
        return int(self.valid.sum())

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(array.nbytes for array in (*self.arrays.values(), self.done, self.valid))

    def insert(self, step: Step, action: Tensor, group: Tensor) -> None:
        """Store a row: an instant, the actions (E, N) taken in it and the groups (E, N) it was played under.

        Raises ReplayError if a reward, an observation or a position is not finite.
        """
        for what, value in (("a reward", step.reward), ("an observation", step.obs), ("a position", step.position)):
            if value is not None and not is_finite(value):
                raise ReplayError(f"replay: {what} is NaN or infinite; nothing was stored. Check the environment.")
        row = {
            "obs": step.obs,
            "compact": step.compact,
            "reward": step.reward,
            "action": action,
            "group": group,
            "alive": step.alive,
            "terminated": step.terminated if self.spec.bootstrap_at_limit else step.done,
            "avail": step.avail,
            "position": step.position,
        }
        for name, array in self.arrays.items():
            value = row[name]
            if value is None:
                raise ReplayError(f"replay: EnvInfo announces Step.{name}, but a row has none. Check the environment.")
            if array.device.type == "cpu":  # many small rows, for which NumPy's assignment is cheaper than torch's
                array.numpy()[self.head] = value.cpu().numpy()
            else:
                array[self.head].copy_(value, non_blocking=True)
        self._update_flags(step.done.cpu().numpy())
        self.head = (self.head + 1) % self.n_rows
        self.stored += 1

    def _update_flags(self, newest_done: np.ndarray) -> None:
        """Mark which rows may start.

        The newest row has no successor yet; the row that got one may start; rows too close to the tail may not.
        """
        done, valid = self.done.numpy(), self.valid.numpy()
        done[self.head] = newest_done
        valid[self.head] = False
        last_start = self.stored - self.length  # newest row with `length` successors
        if last_start >= 0:
            row = last_start % self.n_rows
            valid[row] = ~done[row]
        if self.stored >= self.n_rows:
            # Rows before a start are read too (the previous action, the burn-in): keep clear of the overwritten tail.
            for distance in range(1, self.burn_in + 1):
                valid[(self.head + distance) % self.n_rows] = False

    def gather(self, start: Tensor, env: Tensor) -> Batch:
        """Gather the transitions from start rows (S,) of environments (S,)."""
        steps = torch.arange(self.length)
        row_SL, env_SL = (start[:, None] + steps) % self.n_rows, env[:, None].expand(-1, self.length)
        # A sequence that runs over an episode's end goes on in the next episode; the junction itself weighs nothing.
        weight = (~self.done[row_SL, env_SL]).to(torch.float32).flatten()
        row, env_B = row_SL.flatten(), env_SL.flatten()
        previous = (row - 1) % self.n_rows
        fresh = self.done[previous, env_B] | self._before_first_row(row)

        nxt = (row + 1) % self.n_rows
        alive = self._read("alive", row, env_B)
        prev_action = self._read("action", previous, env_B).long()
        no_action = ~self._read("alive", previous, env_B) | fresh.to(self.device, non_blocking=True)[:, None]
        return Batch(
            obs=self._decoded(row, env_B),
            next_obs=self._decoded(nxt, env_B),
            action=self._read("action", row, env_B).long() * alive,
            prev_action=prev_action.masked_fill(no_action, -1),
            reward=self._read("reward", nxt, env_B),
            alive=alive,
            next_alive=self._read("alive", nxt, env_B),
            group=self._read("group", row, env_B).long().masked_fill(~alive, -1),
            terminated=self._read("terminated", nxt, env_B),
            weight=weight.to(self.device, non_blocking=True),
            avail=self._optional("avail", row, env_B),
            next_avail=self._optional("avail", nxt, env_B),
            position=self._optional("position", row, env_B),
            next_position=self._optional("position", nxt, env_B),
            window=self._window(start, env) if self.recurrent else None,
        )

    def _window(self, start: Tensor, env: Tensor) -> Window:
        rows = (start[:, None] + torch.arange(-self.burn_in, self.length + 1)) % self.n_rows  # (S, W)
        envs = env[:, None].expand_as(rows)
        previous = (rows - 1) % self.n_rows
        first = self.done[previous, envs] | self._before_first_row(rows)
        first[:, 0] = True
        prev_action = self._read("action", previous, envs).long()
        no_action = ~self._read("alive", previous, envs) | first.to(self.device, non_blocking=True)[..., None]
        return Window(
            obs=self._decoded(rows, envs),
            prev_action=prev_action.masked_fill(no_action, -1),
            alive=self._read("alive", rows, envs),
            first=first.to(self.device, non_blocking=True),
            length=self.length,
        )

    def _before_first_row(self, row: Tensor) -> Tensor:
        """Mark rows whose predecessor was never stored (only until the ring has filled once)."""
        return (row == 0) if self.stored <= self.n_rows else torch.zeros_like(row, dtype=torch.bool)

    def _flat(self, name: str) -> Tensor:
        """Lay all rows of all environments along one axis, as `_index` counts them."""
        return self.arrays[name].flatten(0, 1)

    def _index(self, row: Tensor, env: Tensor) -> Tensor:
        return row * self.n_envs + env

    def _read(self, name: str, row: Tensor, env: Tensor) -> Tensor:
        flat = self._flat(name)
        index = self._index(row, env).to(flat.device, non_blocking=True)
        shape = (index.numel(), *flat.shape[1:])
        # Pinned memory when the learner is elsewhere: the copy then overlaps with whatever the device does.
        picked = torch.empty(shape, dtype=flat.dtype, device=flat.device, pin_memory=self.pin)
        torch.index_select(flat, 0, index.flatten(), out=picked)
        return picked.unflatten(0, index.shape).to(self.device, non_blocking=True)

    def _optional(self, name: str, row: Tensor, env: Tensor) -> Tensor | None:
        return self._read(name, row, env) if name in self.arrays else None

    def _decoded(self, row: Tensor, env: Tensor) -> Tensor:
        if self.observations is not None:
            made = self.observations(self._read("compact", row, env).flatten(0, -2))
            return made if row.dim() == 1 else made.unflatten(0, row.shape)  # lists may stay lists
        if self.pin:  # stored bytes travel, the device decodes
            return decode_obs(self._read("obs", row, env), self.info.obs_scale)
        index = self._index(row, env).to(self.device, non_blocking=True)
        return decode_obs(self._flat("obs"), self.info.obs_scale, index.flatten()).unflatten(0, index.shape)

    def state_dict(self) -> dict[str, Any]:
        """Return filled rows, positions and the random stream."""
        filled = min(self.stored, self.n_rows)
        return {
            "arrays": {name: array[:filled] for name, array in self.arrays.items()},
            "done": self.done[:filled],
            "valid": self.valid[:filled],
            "head": self.head,
            "stored": self.stored,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict`` of a replay of the same arguments."""
        filled = min(state["stored"], self.n_rows)
        if state["done"].shape[0] != filled or state["done"].shape[1] != self.n_envs:
            raise ReplayError(
                f"replay: expected {filled} rows of {self.n_envs} environments, the checkpoint has "
                f"{tuple(state['done'].shape)}. Resume with the buffer_size and batch_size_run of the first run."
            )
        if state["arrays"].keys() != self.arrays.keys():
            raise ReplayError(
                f"replay: expected {', '.join(sorted(self.arrays))}, the checkpoint has "
                f"{', '.join(sorted(state['arrays']))}: another version wrote it. Resume with that version, or start a "
                "new run from its networks (checkpoint_path)."
            )
        kept = {**self.arrays, "done": self.done, "valid": self.valid}
        saved = {**state["arrays"], "done": state["done"], "valid": state["valid"]}
        for name, array in kept.items():
            part, value = array[:filled], saved[name]
            if not same_kind(value, part):
                raise ReplayError(
                    f"replay: expected {name} of {part.dtype} and shape {tuple(part.shape)}, the checkpoint has "
                    f"{value!r:.80}. It was changed: start a new run from its networks (checkpoint_path)."
                )
            part.copy_(value)
        self.head, self.stored = state["head"], state["stored"]
        self.generator.set_state(state["generator"])
