"""The HMF learner (Algorithm 1): group values at the bottom, the whole population at the top.

Equations and readings: ``docs/equations.md``. Names follow the paper; a prime is written ``next_``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, one_hot

from components.batch import Batch
from components.mean_field import group_mean, group_sum, live_group, of_own_group, weight_entropy
from components.mean_policy import MeanPolicy, kl_divergence
from components.returns import Aggregation, gather_action, td_target, weighted_mean
from components.selectors import greedy_action, mask_unavailable
from controllers.group_controller import GroupMAC
from learners.base import Learner, Metrics, agent_weight
from modules.mixers.hmf_mixer import GroupValues, HMFMixer


class HMFLearner(Learner):
    """L = L_GRP (Eq. 12) + top_coef * L_TOT (Eq. 14 or 16) + reg_coef * R + kl_coef * KL (Eq. 18)."""

    mixer: HMFMixer
    target_mixer: HMFMixer

    def __init__(
        self,
        mac: GroupMAC,
        mixer: HMFMixer,
        *,
        gamma: float,
        double_q: bool,
        mean_field_action: Literal["expected", "taken"],
        td_level: Literal["group", "agent"],
        group_reward: Aggregation,
        top_coef: float,
        reg_coef: float,
        reg_action: Literal["policy", "taken"],
        kl_coef: float,
        mean_policy_decay: float,
        policy_temperature: float,
        lr: float,
        grad_norm_clip: float,
        target_update_tau: float,
    ) -> None:
        super().__init__(mac, mixer, lr=lr, grad_norm_clip=grad_norm_clip, target_update_tau=target_update_tau)
        self.gamma = gamma
        self.double_q = double_q
        self.expected = mean_field_action == "expected"
        self.td_level = td_level
        self.group_reward: Aggregation = group_reward
        self.top_coef = top_coef
        self.reg_coef = reg_coef
        self.reg_action = reg_action
        self.kl_coef = kl_coef
        self.policy_temperature = policy_temperature
        self.mean_policy = MeanPolicy(mixer.n_groups, mac.info.n_actions, mean_policy_decay).to(mac.device)

    def loss(self, batch: Batch, t_env: int) -> tuple[Tensor, Metrics]:
        q_BNA = self.mac.q_values(batch)
        q_taken_BN = gather_action(q_BNA, batch.action)
        action_BNA = self.field_action(q_BNA, batch.action, batch.avail, t_env)
        now = self.mixer(q_taken_BN, batch.obs.flatten(2), action_BNA, batch.group)
        with torch.no_grad():
            next_value_BN, following = self._following(batch, t_env)
            reward_Bm = self._group_reward(batch.reward, now)
            ended_Bm = batch.terminated[:, None] | ~following.occupied
            target_Bm = td_target(reward_Bm, ended_Bm, following.q_group, self.gamma)  # Eq. 12

        error_Bm, weight_Bm = now.q_group - target_Bm, now.occupied * batch.weight[:, None]
        if self.td_level == "group":
            bottom = weighted_mean(error_Bm.square(), weight_Bm)
        else:
            bottom = self._agent_level(batch, now, following, q_taken_BN, next_value_BN, weight_Bm)
        top = self._top_level(batch, now, following, reward_Bm)
        penalty = self._regulariser(batch, now, q_BNA)
        divergence = self._policy_divergence(batch, now, q_BNA)
        with torch.no_grad():
            metrics = {
                "loss_group": bottom.detach(),
                "loss_top": top.detach(),
                "regulariser": penalty.detach(),
                "policy_kl": divergence.detach(),
                "td_error_abs": weighted_mean(error_Bm.abs(), weight_Bm),
                "q_taken_mean": weighted_mean(q_taken_BN, agent_weight(batch)),
                "q_gmf_mean": weighted_mean(now.q_gmf, weight_Bm),
                "target_mean": weighted_mean(target_Bm, weight_Bm),
                "attention_entropy": weighted_mean(weight_entropy(now.weight), weight_Bm),
            }
        loss = bottom + self.top_coef * top + self.reg_coef * penalty + self.kl_coef * divergence
        return loss, metrics

    def field_action(self, q_BNA: Tensor, action_BN: Tensor, avail_BNA: Tensor | None, t_env: int) -> Tensor:
        """Action vectors (B, N, A) that enter the mean field: policies (ours) or the actions taken (as printed)."""
        if self.expected:
            return self.mac.selector.probabilities(q_BNA.detach(), avail_BNA, t_env)
        return one_hot(action_BN, q_BNA.shape[-1]).to(q_BNA.dtype)

    def _following(self, batch: Batch, t_env: int) -> tuple[Tensor, GroupValues]:
        """Target values at t + 1: of each agent's next action (B, N), and of the groups of those still alive."""
        target_BNA = self.target_mac.next_q_values(batch)
        select_BNA = self.mac.next_q_values(batch) if self.double_q else target_BNA
        greedy_BN = greedy_action(select_BNA, batch.next_avail)
        value_BN = gather_action(target_BNA, greedy_BN)
        action_BNA = self.field_action(select_BNA, greedy_BN, batch.next_avail, t_env)
        group_BN = live_group(batch.group, batch.next_alive)
        return value_BN, self.target_mixer(value_BN, batch.next_obs.flatten(2), action_BNA, group_BN)

    def _group_reward(self, reward_BN: Tensor, now: GroupValues) -> Tensor:
        """r^i (B, m): the sum over members alive at t (as printed), or their mean."""
        total = group_sum(reward_BN, now.member)
        return total if self.group_reward == "sum" else total / now.member.sum(-1).clamp(min=1.0)

    def _agent_level(
        self,
        batch: Batch,
        now: GroupValues,
        following: GroupValues,
        q_taken_BN: Tensor,
        next_value_BN: Tensor,
        weight_Bm: Tensor,
    ) -> Tensor:
        """Sum of lambda_k delta_k^2, which bounds Eq. 12 from above (Jensen; docs/equations.md, "Credit").

        lambda weighs without gradient, or attention would learn to look away from errors.
        """
        coef = self.mixer.gmf_coef
        with torch.no_grad():
            next_BN = next_value_BN + coef * of_own_group(following.q_gmf, batch.group)
            ended_BN = batch.terminated[:, None] | ~batch.next_alive
            target_BN = td_target(batch.reward, ended_BN, next_BN, self.gamma)
        delta_BN = q_taken_BN + coef * of_own_group(now.q_gmf, batch.group) - target_BN
        return weighted_mean(group_sum(delta_BN.square(), now.weight.detach()), weight_Bm)

    def _top_level(self, batch: Batch, now: GroupValues, following: GroupValues, reward_Bm: Tensor) -> Tensor:
        """L_TOT (Eq. 14, or 16 for the central critic) on the sum of the groups' rewards."""
        if now.q_top is None or following.q_top is None:
            return torch.zeros((), device=reward_Bm.device)
        ended_B = batch.terminated | ~following.occupied.any(-1)
        target_B = td_target(reward_Bm.sum(-1), ended_B, following.q_top, self.gamma)
        return weighted_mean((now.q_top - target_B).square(), batch.weight)

    def _regulariser(self, batch: Batch, now: GroupValues, q_BNA: Tensor) -> Tensor:
        """Mean over groups' members of |x_k - mu|^2 ("Error Reduction").

        With one-hot actions, as printed, it has no gradient into Q_LOC; with policies it does.
        """
        if self.reg_coef == 0.0:
            return torch.zeros((), device=q_BNA.device)
        if self.reg_action == "policy":
            action_BNA = self._policy(q_BNA, batch)
        else:
            action_BNA = one_hot(batch.action, q_BNA.shape[-1]).to(q_BNA.dtype)
        x_BNF = torch.cat((batch.obs.flatten(2), action_BNA), dim=-1)
        centre_BmF = torch.bmm(now.weight, x_BNF)
        centre_BNF = torch.bmm(now.member.transpose(1, 2), centre_BmF)
        distance_BN = (x_BNF - centre_BNF).square().sum(-1)
        return weighted_mean(distance_BN, (batch.group >= 0) * batch.weight[:, None])

    def _policy(self, q_BNA: Tensor, batch: Batch) -> Tensor:
        """pi_k (B, N, A) = softmax(Q_LOC / T) over available actions."""
        return torch.softmax(mask_unavailable(q_BNA, batch.avail) / self.policy_temperature, dim=-1)

    def _policy_divergence(self, batch: Batch, now: GroupValues, q_BNA: Tensor) -> Tensor:
        """Mean over members of KL(pi_k || mean policy of its group) (Eq. 18); the mean policies then follow this batch.

        Like batch normalisation's, their running averages move with every forward pass in training.
        """
        if self.kl_coef == 0.0:
            return torch.zeros((), device=q_BNA.device)
        policy_BNA = self._policy(q_BNA, batch)
        divergence_BN = kl_divergence(policy_BNA, self.mean_policy.of_own_group(batch.group))
        self.mean_policy.update(policy_BNA, now.member * batch.weight[:, None, None])
        return weighted_mean(divergence_BN, (batch.group >= 0) * batch.weight[:, None])

    def _modules(self) -> dict[str, nn.Module]:
        return {**super()._modules(), "mean_policy": self.mean_policy}

    def diagnose(self, batch: Batch, t_env: int) -> Metrics:
        """``slope_alignment``: cosine in [-1, 1] between the group's mean Q_LOC over actions and the slope of Q_GMF in
        the mean action. Near -1, local values learn the return backwards (docs/equations.md).
        """
        with torch.no_grad():
            q_BNA = self.mac.q_values(batch)
            action_BNA = self.field_action(q_BNA, batch.action, batch.avail, t_env)
            field = self.mixer(gather_action(q_BNA, batch.action), batch.obs.flatten(2), action_BNA, batch.group)
        mean_field = field.mean_field.requires_grad_(True)
        slope_BmF = torch.autograd.grad(self.mixer.gmf(mean_field).sum(), mean_field)[0]
        slope_BmA = slope_BmF[..., -self.mac.info.n_actions :]
        local_BmA = group_mean(q_BNA, field.member)
        slope, local = (value - value.mean(-1, keepdim=True) for value in (slope_BmA, local_BmA))
        alignment_Bm, weight_Bm = cosine_similarity(slope, local, dim=-1), field.occupied * batch.weight[:, None]
        size = field.member.sum(-1)
        return {
            "slope_alignment": weighted_mean(alignment_Bm, weight_Bm),
            "group_size_min": size.min(),
            "group_size_max": size.max(),
        }
