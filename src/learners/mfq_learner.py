"""Mean-field Q-learning (Yang et al. 2018): independent Q-learning on Q(o, a, mean action)."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from components.batch import Batch
from components.returns import (
    Outcome,
    TDProblem,
    agent_outcome,
    agent_weight,
    double_q_value,
    expected_value,
    gather_action,
    weighted_mean,
)
from controllers.basic_controller import BasicMAC
from learners.base import Learner, Prediction, Setting


class MFQLearner(Learner):
    """Each agent learns from its own reward; the controller appends the mean action.

    ``next_value``: ``expected`` is v_MF(s') = sum over a of pi(a | s') Q(s', a, mean action), with the behaviour policy
    (Yang et al. 2018; HMF Eq. 3); ``greedy`` is the best action's value, as in the authors' code. ``double_q`` lets
    the online network choose (the policy or the best action) and the target network value it.

    ``dying_transition: masked`` drops the transition in which an agent dies, as the authors' code does.
    """

    def __init__(
        self,
        mac: BasicMAC,
        setting: Setting,
        *,
        double_q: bool,
        next_value: Literal["expected", "greedy"],
        dying_transition: Literal["kept", "masked"],
        **keys: Any,
    ) -> None:
        super().__init__(mac, {}, setting, **keys)
        self.double_q = double_q
        self.next_value = next_value
        self.dying_transition = dying_transition

    def predict(self, batch: Batch, t_env: int) -> Prediction:
        q_taken_BN = gather_action(self.mac.q_values(batch), batch.action)
        weight_BN = agent_weight(batch)
        if self.dying_transition == "masked":
            weight_BN = weight_BN * batch.next_alive
        metrics = {"q_taken_mean": weighted_mean(q_taken_BN.detach(), weight_BN)}
        return Prediction([TDProblem("agent", q_taken_BN, weight_BN)], metrics)

    def outcomes(self, batch: Batch, t_env: int) -> list[Outcome]:
        return [agent_outcome(batch, self.reward(batch), self._next_value(batch, t_env), self.gamma)]

    def _next_value(self, batch: Batch, t_env: int) -> Tensor:
        """Compute the (B, N) value of the next observation and the mean action that acting there sees."""
        select_BNA, evaluate_BNA = self.next_q_values(batch, self.double_q)
        if self.next_value == "greedy":
            return double_q_value(select_BNA, evaluate_BNA, batch.next_avail)
        policy_BNA = self.mac.selector.probabilities(select_BNA, batch.next_avail, t_env)
        return expected_value(policy_BNA, evaluate_BNA)
