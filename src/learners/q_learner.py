"""Q-learning for populations: independent (IQL/DQN), or with a team mixer (VDN, QMIX)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from components.batch import Batch
from components.returns import (
    Aggregation,
    Outcome,
    TDProblem,
    agent_outcome,
    agent_weight,
    discount,
    double_q_value,
    gather_action,
    team_reward,
    weighted_mean,
)
from controllers.basic_controller import BasicMAC
from learners.base import Learner, LearningError, Prediction, Setting
from modules.mixers.base import TeamMixer


class QLearner(Learner):
    """Without a mixer each agent learns from its own reward; with one, the team value learns from the team reward."""

    def __init__(
        self,
        mac: BasicMAC,
        mixer: TeamMixer | None,
        setting: Setting,
        *,
        double_q: bool,
        team_reward: Aggregation,
        **keys: Any,
    ) -> None:
        super().__init__(mac, {} if mixer is None else {"mixer": mixer}, setting, **keys)
        self.mixer = mixer
        self.target_mixer = None if mixer is None else self.target_of(mixer)
        self.double_q = double_q
        self.aggregation: Aggregation = team_reward

    def predict(self, batch: Batch, t_env: int) -> Prediction:
        q_taken_BN = gather_action(self.mac.q_values(batch), batch.action)
        metrics = {"q_taken_mean": weighted_mean(q_taken_BN.detach(), agent_weight(batch))}
        if self.mixer is None:
            return Prediction([TDProblem("agent", q_taken_BN, agent_weight(batch))], metrics)
        value_B = self._team_value(self.mixer, q_taken_BN, batch.alive, batch.obs)
        return Prediction([TDProblem("team", value_B[:, None], batch.weight[:, None])], metrics)

    @staticmethod
    def _team_value(mixer: TeamMixer, q_BN: Tensor, alive_BN: Tensor, obs: Tensor) -> Tensor:
        """Mix values, alive, observations (B, N, *O) into (B,). Raises LearningError for a mixer of another shape."""
        value_B = mixer(q_BN, alive_BN, obs.flatten(2))
        if value_B.shape != q_BN.shape[:1]:  # would broadcast into a loss between strangers
            raise LearningError(
                f"mixer={type(mixer).__name__}: expected one value per transition, of shape "
                f"{tuple(q_BN.shape[:1])}, got {tuple(value_B.shape)}. Correct its forward(); see "
                "src/modules/mixers/base.py."
            )
        return value_B

    def outcomes(self, batch: Batch, t_env: int) -> list[Outcome]:
        next_value_BN = double_q_value(*self.next_q_values(batch, self.double_q), batch.next_avail)
        if self.target_mixer is None:
            return [agent_outcome(batch, self.reward(batch), next_value_BN, self.gamma)]
        next_value_B = self._team_value(self.target_mixer, next_value_BN, batch.next_alive, batch.next_obs)
        reward_B = team_reward(self.reward(batch), self.aggregation)
        discount_B = discount(self.gamma, ~batch.terminated, next_value_B.dtype)
        return [Outcome(reward_B[:, None], discount_B[:, None], next_value_B[:, None])]
