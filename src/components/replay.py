"""Replay for large populations: every observation once, in the environment's dtype, or what it can be made from.

Row t of a ring holds E environments' observation, and the reward and end flags of the transition that led to it, so
the next observation is simply the next row. The row that ends an episode is followed by the next episode's first row;
that junction is never sampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.batch import Batch, EnvInfo, Step, Window, decode_obs
from utils.errors import InputError


class ReplayError(InputError):
    """A replay that does not fit or cannot be loaded."""


def row_bytes(info: EnvInfo, with_position: bool) -> int:
    """Bytes of one environment's row."""
    per_agent = 4 + 2 + 2 + 1  # reward, action, group, alive
    per_agent += info.n_actions * info.has_avail + 8 * with_position
    if not info.compact_dim:
        per_agent += math.prod(info.obs_shape) * info.obs_dtype.itemsize
    return info.n_agents * per_agent + 2 * info.compact_dim + 3  # terminated, done, valid


def replay_bytes(info: EnvInfo, buffer_size: int, n_envs: int, with_position: bool) -> int:
    """Bytes that a `Replay` of these arguments allocates."""
    return math.ceil(buffer_size / n_envs) * n_envs * row_bytes(info, with_position)


class Replay:
    """Ring buffer of ``buffer_size`` joint transitions of E environments.

    The generator that samples is the replay's own. Indices and end flags live on the CPU, so that sampling never waits
    for an accelerator; the large arrays live on ``storage``.
    """

    def __init__(
        self,
        info: EnvInfo,
        n_envs: int,
        buffer_size: int,
        generator: torch.Generator,
        storage: torch.device,
        device: torch.device,
        with_position: bool = False,
        window: tuple[int, int] | None = None,
        observations: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """``window``: (burn-in rows, learned transitions) of each sampled sequence, for recurrent agents.

        ``observations``: `Env.observations` of an environment with compact rows, which are then what is stored.
        """
        if (observations is None) == (info.compact_dim > 0):
            raise ReplayError(
                "replay: expected the environment's observations() when EnvInfo.compact_dim is above 0, and only then; "
                f"it is {info.compact_dim}, observations {'missing' if observations is None else 'given'}."
            )
        self.info = info
        self.observations = observations
        self.n_envs = n_envs
        self.rows = math.ceil(buffer_size / n_envs)
        self.burn_in, self.length = window or (1, 1)
        if self.rows < self.burn_in + self.length + 1:
            raise ReplayError(
                f"buffer_size: expected at least {(self.burn_in + self.length + 1) * n_envs} joint transitions for "
                f"{n_envs} parallel environments, got {buffer_size}. Raise buffer_size or lower batch_size_run."
            )
        self.recurrent = window is not None
        self.generator = generator
        self.device = device
        self.pin = storage.type == "cpu" and device.type != "cpu"
        shape, agents = (self.rows, n_envs), (self.rows, n_envs, info.n_agents)
        arrays = {
            "reward": torch.zeros(agents, dtype=torch.float32, device=storage),
            "action": torch.zeros(agents, dtype=torch.int16, device=storage),
            "group": torch.zeros(agents, dtype=torch.int16, device=storage),
            "alive": torch.zeros(agents, dtype=torch.bool, device=storage),
            "terminated": torch.zeros(shape, dtype=torch.bool, device=storage),
        }
        if observations is None:
            arrays["obs"] = torch.zeros(*agents, *info.obs_shape, dtype=info.obs_dtype, device=storage)
        else:
            arrays["compact"] = torch.zeros(*shape, info.compact_dim, dtype=torch.int16, device=storage)
        if info.has_avail:
            arrays["avail"] = torch.zeros(*agents, info.n_actions, dtype=torch.bool, device=storage)
        if with_position:
            arrays["position"] = torch.zeros(*agents, 2, dtype=torch.float32, device=storage)
        self.arrays = arrays
        self.done = torch.zeros(shape, dtype=torch.bool)  # row ends an episode
        self.valid = torch.zeros(shape, dtype=torch.bool)  # row may start a sampled transition
        self.head = 0  # where the next row goes
        self.stored = 0  # rows ever stored

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return int(self.valid.sum())

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(array.nbytes for array in (*self.arrays.values(), self.done, self.valid))

    def insert(self, step: Step, action: Tensor, group: Tensor) -> None:
        """Store a row: an instant, the actions (E, N) taken in it and the groups (E, N) it was played under.

        Raises ReplayError if a reward is not finite.
        """
        if not np.isfinite(step.reward.cpu().numpy()).all():
            raise ReplayError("replay: a reward is NaN or infinite; nothing was stored. Check the environment.")
        row = {
            "obs": step.obs,
            "compact": step.compact,
            "reward": step.reward,
            "action": action,
            "group": group,
            "alive": step.alive,
            "terminated": step.terminated,
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
        self.head = (self.head + 1) % self.rows
        self.stored += 1

    def _update_flags(self, newest_done: np.ndarray) -> None:
        """The newest row has no successor yet; the row that got one may start; rows too close to the tail may not."""
        done, valid = self.done.numpy(), self.valid.numpy()
        done[self.head] = newest_done
        valid[self.head] = False
        last_start = self.stored - self.length  # newest row with `length` successors
        if last_start >= 0:
            row = last_start % self.rows
            valid[row] = ~done[row]
        if self.stored >= self.rows:
            # Rows before a start are read too (the previous action, the burn-in): keep clear of the overwritten tail.
            for distance in range(1, self.burn_in + 1):
                valid[(self.head + distance) % self.rows] = False

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Batch:
        """``batch_size`` transitions, uniformly; sequences of ``length`` transitions for recurrent agents.

        Drawn from the replay's own random stream, or from ``generator``. Raises ReplayError when there are none.
        """
        n_starts = max(1, batch_size // self.length)
        row, env = self._sample_starts(n_starts, generator or self.generator)
        return self._gather(row, env)

    def _sample_starts(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        flat = self.valid.view(-1)
        if not flat.any():
            raise ReplayError(
                f"replay: nothing to sample yet, no row is followed by {self.length} others. Raise learning_starts."
            )
        filled = min(self.stored, self.rows) * self.n_envs

        def draw(n: int) -> Tensor:
            return torch.randint(filled, (n,), generator=generator)

        index = draw(count)
        while (wrong := ~flat[index]).any():  # a few per cent: junctions and the newest row
            index[wrong] = draw(int(wrong.sum()))
        return index // self.n_envs, index % self.n_envs

    def _gather(self, start: Tensor, env: Tensor) -> Batch:
        """Transitions from start rows (S,) of environments (S,)."""
        steps = torch.arange(self.length)
        row_SL, env_SL = (start[:, None] + steps) % self.rows, env[:, None].expand(-1, self.length)
        # A sequence that runs over an episode's end goes on in the next episode; the junction itself weighs nothing.
        weight = (~self.done[row_SL, env_SL]).to(torch.float32).flatten()
        row, env_B = row_SL.flatten(), env_SL.flatten()
        previous = (row - 1) % self.rows
        fresh = self.done[previous, env_B] | self._before_first_row(row)

        nxt = (row + 1) % self.rows
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
        rows = (start[:, None] + torch.arange(-self.burn_in, self.length + 1)) % self.rows  # (S, W)
        envs = env[:, None].expand_as(rows)
        previous = (rows - 1) % self.rows
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
        """Rows whose predecessor was never stored (only until the ring has filled once)."""
        return (row == 0) if self.stored <= self.rows else torch.zeros_like(row, dtype=torch.bool)

    def _flat(self, name: str) -> Tensor:
        """All rows of all environments along one axis, as `_index` counts them."""
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
            return self.observations(self._read("compact", row, env).flatten(0, -2)).unflatten(0, row.shape)
        if self.pin:  # stored bytes travel, the device decodes
            return decode_obs(self._read("obs", row, env), self.info.obs_scale)
        index = self._index(row, env).to(self.device, non_blocking=True)
        return decode_obs(self._flat("obs"), self.info.obs_scale, index.flatten()).unflatten(0, index.shape)

    def state_dict(self) -> dict[str, Any]:
        """Filled rows, positions and the random stream."""
        filled = min(self.stored, self.rows)
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
        filled = min(state["stored"], self.rows)
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
        for name, array in self.arrays.items():
            array[:filled].copy_(state["arrays"][name])
        self.done[:filled] = state["done"]
        self.valid[:filled] = state["valid"]
        self.head, self.stored = state["head"], state["stored"]
        self.generator.set_state(state["generator"])


def check_memory(info: EnvInfo, buffer_size: int, n_envs: int, with_position: bool, available: int) -> str:
    """The sentence that states what the replay will allocate.

    Raises ReplayError, with the arithmetic, when it exceeds 80 % of the ``available`` bytes.
    """
    total = replay_bytes(info, buffer_size, n_envs, with_position)
    per_row = row_bytes(info, with_position)
    arithmetic = (
        f"{buffer_size:,} joint transitions x {per_row:,} bytes ({info.n_agents} agents x "
        f"{per_row // info.n_agents:,}) = {total / 2**30:.2f} GiB"
    )
    if total > 0.8 * available:
        largest = int(0.8 * available / per_row)
        raise ReplayError(
            f"replay does not fit: {arithmetic}, but only {available / 2**30:.2f} GiB are free. "
            f"Use buffer_size={largest} or less."
        )
    return f"replay: {arithmetic}"
