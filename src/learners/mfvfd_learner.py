"""MFVFD (Zhang et al. 2021): a local value to act on, and the others' part of the value for training."""

from __future__ import annotations

import torch
from torch import Tensor

from components.batch import Batch
from components.returns import gather_action, weighted_mean
from components.selectors import greedy_action
from controllers.basic_controller import BasicMAC
from learners.base import Learner, LearningError, Metrics, agent_target, agent_weight, td_loss
from modules.mixers.mfvfd_mixer import MFVFDMixer


class MFVFDLearner(Learner):
    """Q^k = Q_LOC(o_k, a_k) + Q_MF^k learns from agent k's own reward (HMF Eq. 5); everybody acts on Q_LOC."""

    mixer: MFVFDMixer
    target_mixer: MFVFDMixer

    def __init__(
        self,
        mac: BasicMAC,
        mixer: MFVFDMixer,
        *,
        gamma: float,
        double_q: bool,
        lr: float,
        grad_norm_clip: float,
        target_update_tau: float,
    ) -> None:
        self.needs_position = mixer.neighbours > 0
        if self.needs_position and not mac.info.has_position:
            raise LearningError(
                f"mf_neighbours: expected 0 (all others) on {mac.info.name}, which has no positions to find the "
                f"nearest by, got {mixer.neighbours}. Set mf_neighbours=0."
            )
        super().__init__(mac, mixer, lr=lr, grad_norm_clip=grad_norm_clip, target_update_tau=target_update_tau)
        self.gamma = gamma
        self.double_q = double_q

    def loss(self, batch: Batch, t_env: int) -> tuple[Tensor, Metrics]:
        q_local_BN = gather_action(self.mac.q_values(batch), batch.action)
        q_field_BN = self.mixer(batch.obs.flatten(2), batch.action, batch.alive, batch.position)
        with torch.no_grad():
            target_BN = agent_target(batch, self._next_value(batch), self.gamma)
        weight_BN = agent_weight(batch)
        loss, metrics = td_loss(q_local_BN + q_field_BN, target_BN, weight_BN)
        return loss, {
            **metrics,
            "q_taken_mean": weighted_mean(q_local_BN.detach(), weight_BN),
            "q_field_mean": weighted_mean(q_field_BN.detach(), weight_BN),
        }

    def _next_value(self, batch: Batch) -> Tensor:
        """(B, N) value at t + 1 when all play the action that Q_LOC likes best."""
        evaluate_BNA = self.target_mac.next_q_values(batch)
        select_BNA = self.mac.next_q_values(batch) if self.double_q else evaluate_BNA
        action_BN = greedy_action(select_BNA, batch.next_avail)
        field_BN = self.target_mixer(batch.next_obs.flatten(2), action_BN, batch.next_alive, batch.next_position)
        return gather_action(evaluate_BNA, action_BN) + field_BN
