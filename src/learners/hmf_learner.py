"""The HMF learner (Algorithm 1): group values at the bottom, the whole population at the top.

Equations and readings: ``docs/equations.md``. Names follow the paper; a prime is written ``next_``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, one_hot

from components.batch import Batch
from components.mean_field import (
    group_mean,
    group_sum,
    live_group,
    membership,
    of_own_group,
    to_members,
    weight_entropy,
)
from components.mean_policy import MeanPolicy, kl_divergence
from components.returns import (
    Aggregation,
    Outcome,
    TDProblem,
    agent_outcome,
    agent_weight,
    discount,
    gather_action,
    weighted_mean,
)
from components.selectors import greedy_action, mask_unavailable
from controllers.group_controller import GroupMAC
from learners.base import Learner, Metrics, Prediction, Setting, Term
from modules.mixers.hmf_mixer import GroupValues, HMFMixer, MeanFieldAction


class HMFLearner(Learner):
    """L = L_GRP (Eq. 12) + top_coef * L_TOT (Eq. 14 or 16) + reg_coef * R + kl_coef * KL (Eq. 18)."""

    def __init__(
        self,
        mac: GroupMAC,
        mixer: HMFMixer,
        setting: Setting,
        *,
        double_q: bool,
        mean_field_action: MeanFieldAction,
        td_level: Literal["group", "agent"],
        group_reward: Aggregation,
        death_share: bool,
        top_coef: float,
        reg_coef: float,
        reg_action: Literal["policy", "taken"],
        kl_coef: float,
        mean_policy_decay: float,
        policy_temperature: float,
        **keys: Any,
    ) -> None:
        super().__init__(mac, {"mixer": mixer}, setting, **keys)
        self.mixer, self.target_mixer = mixer, self.target_of(mixer)
        self.double_q = double_q
        self.mean_field_action: MeanFieldAction = mean_field_action
        self.td_level = td_level
        self.group_reward: Aggregation = group_reward
        self.death_share = death_share
        self.top_coef = top_coef
        self.reg_coef = reg_coef
        self.reg_action = reg_action
        self.kl_coef = kl_coef
        self.policy_temperature = policy_temperature
        self.mean_policy = MeanPolicy(mixer.n_groups, mac.info.n_actions, mean_policy_decay, setting.processes)
        self.mean_policy.to(mac.device)

    def predict(self, batch: Batch, t_env: int) -> Prediction:
        q_BNA = self.mac.q_values(batch)
        q_taken_BN = gather_action(q_BNA, batch.action)
        action_BNA = self.field_action(q_BNA, batch.action, batch.avail, t_env)
        now = self.mixer(q_taken_BN, batch.obs.flatten(2), action_BNA, batch.group)
        weight_Bm = now.occupied * batch.weight[:, None]
        problems = [self._bottom_level(batch, now, q_taken_BN, weight_Bm)]
        if now.q_top is not None:  # L_TOT (Eq. 14, or 16 for the central critic)
            problems.append(TDProblem("top", now.q_top, batch.weight[:, None], self.top_coef, total=True))
        extras: dict[str, Term] = {}
        weight_BN = (batch.group >= 0) * batch.weight[:, None]
        if self.reg_coef > 0.0:
            extras["regulariser"] = Term.of(self.reg_coef, self._error_reduction(batch, now, q_BNA), weight_BN)
        if self.kl_coef > 0.0:
            extras["policy_kl"] = Term.of(self.kl_coef, self._policy_divergence(batch, now, q_BNA), weight_BN)
        with torch.no_grad():
            metrics = {
                "q_taken_mean": weighted_mean(q_taken_BN, agent_weight(batch)),
                "q_gmf_mean": weighted_mean(now.q_gmf, weight_Bm),
                "attention_entropy": weighted_mean(weight_entropy(now.weight, now.member), weight_Bm),
            }
        return Prediction(problems, metrics, extras)

    def _bottom_level(self, batch: Batch, now: GroupValues, q_taken_BN: Tensor, weight_Bm: Tensor) -> TDProblem:
        """Return the problem of Q_GRP (Eq. 12); or of the sum of lambda_k delta_k^2, which bounds Eq. 12 from above.

        The bound is Jensen's (docs/equations.md, "Credit"). There lambda weighs without gradient, or attention would
        learn to look away from errors.
        """
        if self.td_level == "group":
            return TDProblem("group", now.q_group, weight_Bm)
        q_BN = q_taken_BN + self.mixer.gmf_coef * of_own_group(now.q_gmf, batch.group)
        return TDProblem("agent", q_BN, weight_Bm, unit_weight=now.weight.detach())

    def outcomes(self, batch: Batch, t_env: int) -> list[Outcome]:
        member_BmN = membership(batch.group, self.mixer.n_groups, batch.reward.dtype)
        reward_BN = self.reward(batch, member_BmN)
        reward_Bm = group_sum(reward_BN, member_BmN)
        size_Bm = member_BmN.sum(-1)
        if self.group_reward == "mean":
            reward_Bm = reward_Bm / size_Bm.clamp(min=1.0)
        next_value_BN, following = self._following(batch, t_env)
        goes_on_Bm, next_size_Bm = ~batch.terminated[:, None] & following.occupied, following.member.sum(-1)
        discount_Bm = self._discount(goes_on_Bm, size_Bm, next_size_Bm)
        if self.td_level == "group":
            found = [Outcome(reward_Bm, discount_Bm, following.q_group)]  # Eq. 12
        else:
            next_BN = next_value_BN + self.mixer.gmf_coef * of_own_group(following.q_gmf, batch.group)
            found = [agent_outcome(batch, reward_BN, next_BN, self.gamma)]
        if following.q_top is not None and self.mixer.top_level == "central":  # one value, not one for each group
            team_B1, next_team_B1 = (size.sum(-1, keepdim=True) for size in (size_Bm, next_size_Bm))
            discount_B1 = self._discount(goes_on_Bm.any(-1, keepdim=True), team_B1, next_team_B1)
            found.append(Outcome(reward_Bm.sum(-1, keepdim=True), discount_B1, following.q_top))
        elif following.q_top is not None:
            found.append(Outcome(reward_Bm, discount_Bm, following.q_top))
        return found

    def _discount(self, goes_on: Tensor, size: Tensor, next_size: Tensor) -> Tensor:
        """Compute gamma where ``goes_on``, times the share of those alive at t who are at t + 1 (all of one shape).

        That is what one of them earns later, per head of t: without it a mean over the living costs a group nothing
        when a member dies (docs/equations.md, "Deaths"). Sums need none.
        """
        found = discount(self.gamma, goes_on, size.dtype)
        return found * next_size / size.clamp(min=1.0) if self.death_share and self.group_reward == "mean" else found

    def field_action(self, q_BNA: Tensor, action_BN: Tensor, avail_BNA: Tensor | None, t_env: int) -> Tensor:
        """Choose action vectors (B, N, A) that enter the mean field, without gradient; (B, N, 0) for ``none``.

        ``expected`` behaviour (ours), ``softmax`` of Q_LOC (ours), the actions ``taken`` (as printed).
        """
        if self.mean_field_action == "expected":
            return self.mac.selector.probabilities(q_BNA.detach(), avail_BNA, t_env)
        if self.mean_field_action == "softmax":
            return self._policy(q_BNA.detach(), avail_BNA)
        if self.mean_field_action == "taken":
            return one_hot(action_BN, q_BNA.shape[-1]).to(q_BNA.dtype)
        return q_BNA.detach()[..., :0]

    def _following(self, batch: Batch, t_env: int) -> tuple[Tensor, GroupValues]:
        """Return target values at t + 1: of each agent's next action (B, N), and of the groups of those still alive."""
        select_BNA, evaluate_BNA = self.next_q_values(batch, self.double_q)
        greedy_BN = greedy_action(select_BNA, batch.next_avail)
        value_BN = gather_action(evaluate_BNA, greedy_BN)
        action_BNA = self.field_action(select_BNA, greedy_BN, batch.next_avail, t_env)
        group_BN = live_group(batch.group, batch.next_alive)
        return value_BN, self.target_mixer(value_BN, batch.next_obs.flatten(2), action_BNA, group_BN)

    def _error_reduction(self, batch: Batch, now: GroupValues, q_BNA: Tensor) -> Tensor:
        """Compute |x_k - mu|^2 of groups' members, (B, N) (the paper's "Error Reduction").

        With one-hot actions, as printed, it has no gradient into Q_LOC; with policies it does.
        """
        if self.reg_action == "policy":
            action_BNA = self._policy(q_BNA, batch.avail)
        else:
            action_BNA = one_hot(batch.action, q_BNA.shape[-1]).to(q_BNA.dtype)
        x_BNF = torch.cat((batch.obs.flatten(2), action_BNA), dim=-1)
        centre_BmF = torch.bmm(now.weight, x_BNF)
        centre_BNF = to_members(centre_BmF, now.member)
        return (x_BNF - centre_BNF).square().sum(-1)

    def _policy(self, q_BNA: Tensor, avail_BNA: Tensor | None) -> Tensor:
        """Compute pi_k (B, N, A) = softmax(Q_LOC / T) over available actions."""
        return torch.softmax(mask_unavailable(q_BNA, avail_BNA) / self.policy_temperature, dim=-1)

    def _policy_divergence(self, batch: Batch, now: GroupValues, q_BNA: Tensor) -> Tensor:
        """Compute KL(pi_k || mean policy of its group) (B, N) (Eq. 18); the mean policies then follow this batch.

        Like batch normalisation's, their running averages move with every forward pass in training.
        """
        policy_BNA = self._policy(q_BNA, batch.avail)
        divergence_BN = kl_divergence(policy_BNA, self.mean_policy.of_own_group(batch.group))
        self.mean_policy.update(policy_BNA, now.member * batch.weight[:, None, None])
        return divergence_BN

    def _modules(self) -> dict[str, nn.Module]:
        return {**super()._modules(), "mean_policy": self.mean_policy}

    def diagnose(self, batch: Batch, t_env: int) -> Metrics:
        """Compute the sizes of groups, and ``slope_alignment``.

        That is the cosine in [-1, 1] between the group's mean Q_LOC over actions and the slope of Q_GMF in the mean
        action. Near -1, local values learn the return backwards (docs/equations.md).
        """
        with torch.no_grad():
            q_BNA = self.mac.q_values(batch)
            action_BNA = self.field_action(q_BNA, batch.action, batch.avail, t_env)
            field = self.mixer(gather_action(q_BNA, batch.action), batch.obs.flatten(2), action_BNA, batch.group)
        size = field.member.sum(-1)
        sizes = {"group_size_min": size.min(), "group_size_max": size.max()}
        if self.mean_field_action == "none":
            return sizes
        mean_field = field.mean_field.requires_grad_(True)
        slope_BmF = torch.autograd.grad(self.mixer.gmf(mean_field).sum(), mean_field)[0]
        slope_BmA = slope_BmF[..., -self.mac.info.n_actions :]
        local_BmA = group_mean(q_BNA, field.member)
        slope, local = (value - value.mean(-1, keepdim=True) for value in (slope_BmA, local_BmA))
        alignment_Bm, weight_Bm = cosine_similarity(slope, local, dim=-1), field.occupied * batch.weight[:, None]
        return {"slope_alignment": weighted_mean(alignment_Bm, weight_Bm), **sizes}
