"""Battle for one agent that leaves its population's policy, while its teammates keep to it.

What it earns more than the population's policy in the same seat is a lower bound of what one deviation gains, which
would be 0 at an equilibrium (docs/protocol.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from components.batch import Step, misfit, same_kind
from envs.base import EnvError
from envs.battle.env import BattleEnv
from envs.opponents import TeamPolicy
from utils.seeding import generator

STATS = ("survives",)


class BattleDeviator(BattleEnv):
    """E battles with one learner, the deviator, in a seat that each episode draws; the environment plays its teammates.

    Observations, actions, rewards and position are those of its seat in Battle. An episode terminates with its death:
    it earns nothing from then on. Statistic of the running episode: survives, 0 or 1. Raises EnvError like Battle.

    team: who plays the teammates: uniform random actions, or the policy given to ``set_team``, greedily.
    team_checkpoint: where that policy was saved, for team: checkpoint.
    deviates: false: the deviator's actions are ignored, and its seat is played like its teammates'. Episodes of one
        seed begin alike either way, so that the two returns can be compared.
    keys: those of Battle; the enemies are random or a frozen policy.
    """

    def __init__(
        self,
        n_envs: int,
        device: torch.device,
        *,
        team: Literal["random", "checkpoint"],
        team_checkpoint: str,
        deviates: bool,
        **keys: Any,
    ) -> None:
        super().__init__(n_envs, device, **keys)
        if self.opponent not in ("random", "checkpoint"):
            raise EnvError(
                f"env_args.opponent: expected random or checkpoint, got {self.opponent}, which would be the deviator's "
                "own policy. Name the policy that the enemies keep to in env_args.opponent_checkpoint."
            )
        if team == "checkpoint" and not team_checkpoint:
            raise EnvError(
                "env_args.team is 'checkpoint' and env_args.team_checkpoint is empty: expected the path of a policy "
                "file, such as results/sacred/7/checkpoints/40000/policy.pt."
            )
        self.team = team
        self.team_checkpoint = team_checkpoint
        self.deviates = deviates
        self.members = self.info  # of the whole team
        self.info = replace(self.info, name="battle_deviator", n_agents=1, stats=STATS, compact_dim=0)
        self._team_policy: TeamPolicy | None = None
        self._team_stream = torch.Generator()
        self._team_row: Step | None = None  # the present row, as the team sees it
        self._seat = torch.zeros(n_envs, dtype=torch.int64)  # the deviator's slot

    def set_team(self, policy: TeamPolicy) -> None:
        """Let ``policy`` play the teammates. Raises EnvError when it does not fit them."""
        unlike = misfit(policy.learned, self.members, policy.any_number)
        if unlike:
            raise EnvError(
                f"env_args.team_checkpoint: expected a policy that learned with {unlike[1]}, got {unlike[0]}. Give the "
                "env_args that it was trained with."
            )
        self._team_policy = policy

    def reset(self, seed: int) -> Step:
        self._require_team()
        row = super().reset(seed)
        self._team_stream = generator(seed, "battle team")
        return row

    def state_dict(self) -> dict[str, Any]:
        """Return Battle's state, the seats, and the stream and memory of the team."""
        return super().state_dict() | {
            "seat": self._seat.clone(),
            "team_stream": self._team_stream.get_state(),
            "team": {} if self._team_policy is None else self._team_policy.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`. Raises EnvError when the state is not of these arguments."""
        self._require_team()
        super().load_state_dict(state)
        seat = state["seat"]
        if not same_kind(seat, self._seat) or not ((seat >= 0) & (seat < self.members.n_agents)).all():
            raise EnvError(
                f"Battle state: expected a seat below {self.members.n_agents} for each of {self.n_envs} environments, "
                f"got {seat!r:.80}. Resume with the run's own env_args."
            )
        self._seat = seat.clone()
        self._team_stream.set_state(state["team_stream"])
        if self._team_policy is not None:
            self._team_policy.load_state_dict(state["team"])
        self._look_as_team()

    def _start(self, env: int, stream: torch.Generator) -> None:
        super()._start(env, stream)
        self._seat[env] = torch.randint(self.members.n_agents, (), generator=stream)

    def _acting(self, side: int) -> np.ndarray:
        acting = super()._acting(side)
        return acting if side else np.take_along_axis(acting, self._seat.numpy()[:, None], axis=1)

    def _own_action(self, action: Tensor) -> np.ndarray:
        """Return the actions (E, N) int64 of the team, the deviator's among them."""
        own = torch.from_numpy(super()._own_action(action))
        row, policy, shape = self._team_row, self._team_policy, (self.n_envs, self.members.n_agents)
        assert row is not None
        if policy is None:
            chosen = torch.randint(self.members.n_actions, shape, generator=self._team_stream)
        else:
            chosen = policy(row, torch.from_numpy(self._battles.t == 0), self._team_stream).cpu()
        if self.deviates:
            chosen = chosen.scatter(1, self._seat[:, None], own)
            if policy is not None:
                policy.acted(chosen)
        return chosen.numpy()

    def _look_as_team(self) -> Step:
        """Make the present row of the whole team and keep it; the deviator's death has ended its episode."""
        alive = self._battles.world.sides[0].alive
        self._battles.end(~np.take_along_axis(alive, self._seat.numpy()[:, None], axis=1)[:, 0])
        self._team_row = self._look(0, {})
        return self._team_row

    def _row(self) -> Step:
        team, seat = self._look_as_team(), self._seat[:, None]
        alive, each = team.alive.gather(1, seat), torch.arange(self.n_envs)[:, None]
        assert team.position is not None
        return replace(
            team,
            obs=team.obs[each, seat],
            alive=alive,
            reward=team.reward.gather(1, seat),
            info={"survives": alive[:, 0].to(torch.float32)},
            position=team.position[each, seat],
            compact=None,
        )

    def _require_team(self) -> None:
        if self.team == "checkpoint" and self._team_policy is None:
            raise EnvError(
                "env_args.team is 'checkpoint', but no policy plays the teammates: call set_team(policy) first, or "
                "choose team: random."
            )
