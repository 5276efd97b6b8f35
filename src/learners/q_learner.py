"""Q-learning for populations: independent (IQL/DQN), or with a team mixer (VDN, QMIX)."""

from __future__ import annotations

import torch
from torch import Tensor

from components.batch import Batch
from components.returns import Aggregation, double_q_value, gather_action, td_target, team_reward, weighted_mean
from controllers.basic_controller import BasicMAC
from learners.base import Learner, LearningError, Metrics, agent_target, agent_weight, td_loss
from modules.mixers.base import TeamMixer


class QLearner(Learner):
    """Without a mixer each agent learns from its own reward; with one, the team value learns from the team reward."""

    mixer: TeamMixer | None
    target_mixer: TeamMixer | None

    def __init__(
        self,
        mac: BasicMAC,
        mixer: TeamMixer | None,
        *,
        gamma: float,
        double_q: bool,
        team_reward: Aggregation,
        lr: float,
        grad_norm_clip: float,
        target_update_tau: float,
    ) -> None:
        super().__init__(mac, mixer, lr=lr, grad_norm_clip=grad_norm_clip, target_update_tau=target_update_tau)
        self.gamma = gamma
        self.double_q = double_q
        self.aggregation: Aggregation = team_reward

    def loss(self, batch: Batch, t_env: int) -> tuple[Tensor, Metrics]:
        q_taken_BN = gather_action(self.mac.q_values(batch), batch.action)
        with torch.no_grad():
            next_target_BNA = self.target_mac.next_q_values(batch)
            next_select_BNA = self.mac.next_q_values(batch) if self.double_q else next_target_BNA
            next_value_BN = double_q_value(next_select_BNA, next_target_BNA, batch.next_avail)
        if self.mixer is None or self.target_mixer is None:
            target_BN = agent_target(batch, next_value_BN, self.gamma)
            loss, metrics = td_loss(q_taken_BN, target_BN, agent_weight(batch))
        else:
            value_B = self.mixer(q_taken_BN, batch.alive, batch.obs.flatten(2))
            if value_B.shape != batch.weight.shape:  # would broadcast into a loss between strangers
                raise LearningError(
                    f"mixer={type(self.mixer).__name__}: expected one value per transition, of shape "
                    f"{tuple(batch.weight.shape)}, got {tuple(value_B.shape)}. Correct its forward(); see "
                    "src/modules/mixers/base.py."
                )
            with torch.no_grad():
                next_value_B = self.target_mixer(next_value_BN, batch.next_alive, batch.next_obs.flatten(2))
                reward_B = team_reward(batch.reward, self.aggregation)
                target_B = td_target(reward_B, batch.terminated, next_value_B, self.gamma)
            loss, metrics = td_loss(value_B, target_B, batch.weight)
        return loss, {**metrics, "q_taken_mean": weighted_mean(q_taken_BN.detach(), agent_weight(batch))}
