"""MADDPG with discrete actions (Lowe et al. 2017): decentralised actors, critics that see everybody."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import one_hot

from components.batch import Batch
from components.returns import weighted_mean
from components.selectors import mask_unavailable
from controllers.basic_controller import BasicMAC
from learners.base import Learner, Metrics, agent_target, agent_weight, td_loss
from modules.critics.central import CentralCritic


class MADDPGLearner(Learner):
    """Loss of the critics (own rewards) plus loss of the actors, whose gradients do not meet.

    The controller's network gives logits: sampling them, as ``selector: boltzmann`` at temperature 1 does, is the
    policy. In the loss actions are straight-through Gumbel-softmax samples. The critic takes the mixer's place in
    `Learner`: its target copy, optimiser and checkpoint.
    """

    mixer: CentralCritic
    target_mixer: CentralCritic

    def __init__(
        self,
        mac: BasicMAC,
        obs_dim: int,
        n_agents: int,
        n_actions: int,
        generator: torch.Generator,
        *,
        gamma: float,
        max_agents: int,
        critic_hidden_dims: list[int],
        share_params: bool,
        gumbel_temperature: float,
        logit_reg_coef: float,
        lr: float,
        grad_norm_clip: float,
        target_update_tau: float,
    ) -> None:
        critic = CentralCritic(obs_dim, n_agents, n_actions, critic_hidden_dims, share_params, max_agents)
        super().__init__(
            mac, critic.to(mac.device), lr=lr, grad_norm_clip=grad_norm_clip, target_update_tau=target_update_tau
        )
        self.generator = generator
        self.gamma = gamma
        self.temperature = gumbel_temperature
        self.logit_reg_coef = logit_reg_coef

    def loss(self, batch: Batch, t_env: int) -> tuple[Tensor, Metrics]:
        obs_BNO, weight_BN = batch.obs.flatten(2), agent_weight(batch)
        taken_BNA = one_hot(batch.action, self.mac.info.n_actions) * batch.alive[..., None].to(obs_BNO.dtype)
        value_BN = self.mixer(obs_BNO, taken_BNA[:, None])
        with torch.no_grad():
            next_BNA = self._sample(self.target_mac.next_q_values(batch), batch.next_avail, batch.next_alive)
            next_value_BN = self.target_mixer(batch.next_obs.flatten(2), next_BNA[:, None])
            target_BN = agent_target(batch, next_value_BN, self.gamma)
        critic_loss, metrics = td_loss(value_BN, target_BN, weight_BN)

        logits_BNA = self.mac.q_values(batch)
        sample_BNA = self._sample(logits_BNA, batch.avail, batch.alive)
        own_N1N = torch.eye(sample_BNA.shape[1], dtype=torch.bool, device=sample_BNA.device)[..., None]
        joint_BNNA = torch.where(own_N1N, sample_BNA[:, None], taken_BNA[:, None])  # k's own action sampled anew
        fixed = {name: parameter.detach() for name, parameter in self.mixer.named_parameters()}
        judged_BN = functional_call(self.mixer, fixed, (obs_BNO, joint_BNNA))
        actor_loss = -weighted_mean(judged_BN, weight_BN)
        penalty = weighted_mean(logits_BNA.square().mean(-1), weight_BN)
        return critic_loss + actor_loss + self.logit_reg_coef * penalty, {
            **metrics,
            "critic_loss": critic_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "q_taken_mean": weighted_mean(value_BN.detach(), weight_BN),
        }

    def _sample(self, logits_BNA: Tensor, avail_BNA: Tensor | None, alive_BN: Tensor) -> Tensor:
        """One-hot actions (B, N, A) from the policy, zero for the dead; gradients as if they were its softmax."""
        logits_BNA = mask_unavailable(logits_BNA, avail_BNA)
        return straight_through_gumbel(logits_BNA, self.temperature, self.generator) * alive_BN[..., None]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if "generator" in state:  # not where another run starts from these networks
            self.generator.set_state(state["generator"].cpu())


def straight_through_gumbel(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One-hot sample of softmax(logits), with the gradient of softmax((logits + noise) / temperature).

    (..., A) -> (..., A). Jang et al. 2017.
    """
    tiny = torch.finfo(logits.dtype).tiny
    noise = -torch.empty_like(logits).exponential_(generator=generator).clamp_(min=tiny).log()
    soft = torch.softmax((logits + noise) / temperature, dim=-1)
    hard = one_hot(soft.argmax(-1), logits.shape[-1]).to(logits.dtype)
    return hard + (soft - soft.detach())
