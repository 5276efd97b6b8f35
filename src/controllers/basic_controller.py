"""The controller of independent decentralised agents: one network, one selector, and what they need between steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from components.batch import Batch, EnvInfo, Memory, Step, Window, decode_obs
from components.selectors import ActionSelector
from components.sparse import SparseObs
from modules.agents.base import Agent


class BasicMAC(nn.Module):
    """Multi-agent controller over a shared (or stacked) `Agent`."""

    _anchor: Tensor

    def __init__(self, info: EnvInfo, agent: Agent, selector: ActionSelector, *, obs_last_action: bool) -> None:
        super().__init__()
        self.info = info
        self.agent = agent
        self.selector = selector
        self.obs_last_action = obs_last_action
        self._decoded: dict[tuple[torch.Size, torch.device], Tensor] = {}
        self.register_buffer("_anchor", torch.empty(0), persistent=False)  # moves with the networks

    @classmethod
    def extra_dim(cls, info: EnvInfo, obs_last_action: bool) -> int:
        """Count the inputs that the controller appends to each observation."""
        return info.n_actions if obs_last_action else 0

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return self._anchor.device

    def init_memory(self, n_envs: int) -> Memory:
        """Make the memory before the first step of E environments."""
        return self.bare_memory(n_envs, self.info.n_agents)

    def bare_memory(self, n_envs: int, n_agents: int) -> Memory:
        """Make what any number of agents need to play, without what only their training needs."""
        nobody = torch.full((n_envs, n_agents), -1, dtype=torch.int64, device=self.device)
        hidden_dim = self.agent.hidden_dim
        return Memory(
            age=torch.zeros(n_envs, dtype=torch.int64, device=self.device),
            prev_action=nobody,
            group=nobody,
            hidden=torch.zeros(*nobody.shape, hidden_dim, device=self.device) if hidden_dim else None,
        )

    @torch.no_grad()
    def select_actions(
        self, step: Step, memory: Memory, t_env: int, test_mode: bool, generator: torch.Generator
    ) -> tuple[Tensor, Memory]:
        """Choose actions (E, N) int64 for a row; return them and the memory for the next one.

        ``memory.group`` of the result is the grouping that this row was played under.
        """
        device = self.device
        obs = self._decode(step.obs.to(device, non_blocking=True))
        alive = step.alive.to(device)
        avail = None if step.avail is None else step.avail.to(device)
        q_ENA, hidden = self.agent(obs, self.extra(memory.prev_action, alive), memory.hidden)
        action = self.selector.select(q_ENA, avail, t_env, test_mode, generator)
        position = None if step.position is None else step.position.to(device)
        done = step.done.to(device)
        memory = self.remember(
            memory,
            obs=obs,
            action=action,
            alive=alive,
            done=done,
            position=position,
            test_mode=test_mode,
            generator=generator,
        )
        memory = replace(memory, age=memory.age + 1, prev_action=action.masked_fill(~alive, -1), hidden=hidden)
        return action, self.restart(memory, done) if step.done.any() else memory

    def _decode(self, stored: Tensor) -> Tensor:
        """Decode observations (E, N, *O), until the next call: the same memory again stays in the cache."""
        if self.info.obs_scale == 1.0 or isinstance(stored, SparseObs):  # nothing to decode, or nowhere
            return decode_obs(stored, self.info.obs_scale)
        key = (stored.shape, stored.device)  # training, evaluation and opponents alternate
        if key not in self._decoded:
            self._decoded[key] = torch.empty(stored.shape, device=stored.device)
        return decode_obs(stored, self.info.obs_scale, out=self._decoded[key])

    def extra(self, prev_action: Tensor, alive: Tensor) -> Tensor | None:
        """Return inputs beside the observation: (E, N) int64 previous actions, alive (E, N) -> (E, N, X) or None."""
        if not self.obs_last_action:
            return None
        known = (prev_action >= 0)[..., None]
        return one_hot(prev_action.clamp(min=0), self.info.n_actions).to(torch.float32) * known

    def remember(
        self,
        memory: Memory,
        *,
        obs: Tensor,
        action: Tensor,
        alive: Tensor,
        done: Tensor,
        position: Tensor | None,
        test_mode: bool,
        generator: torch.Generator,
    ) -> Memory:
        """Return ``memory``; a hook to keep more than the last action in. ``obs`` is overwritten by the next step's."""
        return memory

    def metrics(self, memory: Memory) -> dict[str, Tensor]:
        """Return what to log (0-dim tensors) about training environments' memory when metrics are written (a hook)."""
        return {}

    def common(self, memory: Memory) -> dict[str, Any]:
        """Return what playing has taught about the population, beside networks; the same in all processes (a hook)."""
        return {}

    def adopt(self, memory: Memory, common: dict[str, Any]) -> Memory:
        """Return ``memory`` after what another process's `common` says; this controller takes it over, too (a hook)."""
        return memory

    @staticmethod
    def restart(memory: Memory, where: Tensor) -> Memory:
        """Return memory as before an episode's first row in the environments ``where`` (E,) bool."""
        hidden = memory.hidden
        return replace(
            memory,
            age=memory.age.masked_fill(where, 0),
            prev_action=memory.prev_action.masked_fill(where[:, None], -1),
            hidden=None if hidden is None else hidden.masked_fill(where[:, None, None], 0.0),
        )

    def q_values(self, batch: Batch) -> Tensor:
        """Compute the Q-values (B, N, A) at t."""
        if batch.window is not None:
            return self._unroll(batch.window)[:, :-1].flatten(0, 1)
        return self.agent(batch.obs, self.extra(batch.prev_action, batch.alive), None)[0]

    def next_q_values(self, batch: Batch) -> Tensor:
        """Compute the Q-values (B, N, A) at t + 1."""
        if batch.window is not None:
            return self._unroll(batch.window)[:, 1:].flatten(0, 1)
        acted = batch.action.masked_fill(~batch.alive, -1)
        return self.agent(batch.next_obs, self.extra(acted, batch.next_alive), None)[0]

    def _unroll(self, window: Window) -> Tensor:
        """Compute the Q-values (S, L + 1, N, A) of the learned rows and their last successor.

        The rows before them warm up the hidden state, without gradient.
        """
        burn_in = window.obs.shape[1] - window.length - 1
        hidden = self.init_memory(len(window.obs)).hidden
        q_values = []
        for t in range(window.obs.shape[1]):
            assert hidden is not None
            with torch.set_grad_enabled(t >= burn_in and torch.is_grad_enabled()):
                hidden = hidden.masked_fill(window.first[:, t, None, None], 0.0)
                extra = self.extra(window.prev_action[:, t], window.alive[:, t])
                q_SNA, hidden = self.agent(window.obs[:, t], extra, hidden)
            q_values.append(q_SNA)
        return torch.stack(q_values[burn_in:], dim=1)
