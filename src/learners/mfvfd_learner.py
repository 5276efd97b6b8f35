"""MFVFD (Zhang et al. 2021): a local value to act on, and the others' part of the value for training."""

from __future__ import annotations

from typing import Any

from components.batch import Batch
from components.returns import Outcome, TDProblem, agent_outcome, agent_weight, gather_action, weighted_mean
from components.selectors import greedy_action
from controllers.basic_controller import BasicMAC
from learners.base import Learner, LearningError, Prediction, Setting
from modules.mixers.mfvfd_mixer import MFVFDMixer


class MFVFDLearner(Learner):
    """Q^k = Q_LOC(o_k, a_k) + Q_MF^k learns from agent k's own reward (HMF Eq. 5); agents act on Q_LOC."""

    def __init__(self, mac: BasicMAC, mixer: MFVFDMixer, setting: Setting, *, double_q: bool, **keys: Any) -> None:
        self.needs_position = mixer.neighbours > 0
        if self.needs_position and not mac.info.has_position:
            raise LearningError(
                f"mf_neighbours: expected 0 (all others) on {mac.info.name}, which has no positions to find the "
                f"nearest by, got {mixer.neighbours}. Set mf_neighbours=0."
            )
        super().__init__(mac, {"mixer": mixer}, setting, **keys)
        self.mixer, self.target_mixer = mixer, self.target_of(mixer)
        self.double_q = double_q

    def predict(self, batch: Batch, t_env: int) -> Prediction:
        q_local_BN = gather_action(self.mac.q_values(batch), batch.action)
        q_field_BN = self.mixer(batch.obs.flatten(2), batch.action, batch.alive, batch.position)
        weight_BN = agent_weight(batch)
        metrics = {
            "q_taken_mean": weighted_mean(q_local_BN.detach(), weight_BN),
            "q_field_mean": weighted_mean(q_field_BN.detach(), weight_BN),
        }
        return Prediction([TDProblem("agent", q_local_BN + q_field_BN, weight_BN)], metrics)

    def outcomes(self, batch: Batch, t_env: int) -> list[Outcome]:
        """Return values at t + 1 when all play the action that Q_LOC likes best."""
        select_BNA, evaluate_BNA = self.next_q_values(batch, self.double_q)
        action_BN = greedy_action(select_BNA, batch.next_avail)
        field_BN = self.target_mixer(batch.next_obs.flatten(2), action_BN, batch.next_alive, batch.next_position)
        return [agent_outcome(batch, self.reward(batch), gather_action(evaluate_BNA, action_BN) + field_BN, self.gamma)]
