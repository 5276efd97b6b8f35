"""MADDPG with discrete actions (Lowe et al. 2017): decentralised actors, critics that see all agents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import one_hot

from components.batch import Batch
from components.returns import Outcome, TDProblem, agent_outcome, agent_weight, weighted_mean
from components.selectors import mask_unavailable
from controllers.basic_controller import BasicMAC
from learners.base import Learner, Prediction, Setting, Term
from modules.critics.central import CentralCritic


class MADDPGLearner(Learner):
    """Loss of the critics (own rewards) plus loss of the actors, whose gradients do not meet.

    The controller's network gives logits: sampling them, as ``selector: boltzmann`` at temperature 1 does, is the
    policy. In the loss actions are straight-through Gumbel-softmax samples.
    """

    replay_only = "its critics learn from the actions of other policies, one step at a time"

    def __init__(
        self,
        mac: BasicMAC,
        setting: Setting,
        obs_dim: int,
        n_agents: int,
        n_actions: int,
        generator: torch.Generator,
        *,
        max_agents: int,
        critic_hidden_dims: list[int],
        share_params: bool,
        gumbel_temperature: float,
        logit_reg_coef: float,
        **keys: Any,
    ) -> None:
        critic = CentralCritic(obs_dim, n_agents, n_actions, critic_hidden_dims, share_params, max_agents)
        super().__init__(mac, {"critic": critic.to(mac.device)}, setting, **keys)
        self.critic, self.target_critic = critic, self.target_of(critic)
        self.generator = generator
        self.temperature = gumbel_temperature
        self.logit_reg_coef = logit_reg_coef

    def predict(self, batch: Batch, t_env: int) -> Prediction:
        obs_BNO, weight_BN = batch.obs.flatten(2), agent_weight(batch)
        taken_BNA = one_hot(batch.action, self.mac.info.n_actions) * batch.alive[..., None].to(obs_BNO.dtype)
        value_BN = self.critic(obs_BNO, taken_BNA[:, None])

        logits_BNA = self.mac.q_values(batch)
        sample_BNA = self._sample(logits_BNA, batch.avail, batch.alive)
        own_N1N = torch.eye(sample_BNA.shape[1], dtype=torch.bool, device=sample_BNA.device)[..., None]
        joint_BNNA = torch.where(own_N1N, sample_BNA[:, None], taken_BNA[:, None])  # k's own action sampled anew
        fixed = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        judged_BN = functional_call(self.critic, fixed, (obs_BNO, joint_BNNA))
        return Prediction(
            [TDProblem("critic", value_BN, weight_BN)],
            {"q_taken_mean": weighted_mean(value_BN.detach(), weight_BN)},
            {
                "actor": Term.of(1.0, -judged_BN, weight_BN),
                "logits": Term.of(self.logit_reg_coef, logits_BNA.square().mean(-1), weight_BN),
            },
        )

    def outcomes(self, batch: Batch, t_env: int) -> list[Outcome]:
        next_BNA = self._sample(self.target_mac.next_q_values(batch), batch.next_avail, batch.next_alive)
        next_value_BN = self.target_critic(batch.next_obs.flatten(2), next_BNA[:, None])
        return [agent_outcome(batch, self.reward(batch), next_value_BN, self.gamma)]

    def _sample(self, logits_BNA: Tensor, avail_BNA: Tensor | None, alive_BN: Tensor) -> Tensor:
        """Draw one-hot actions (B, N, A) from the policy, zero for the dead; gradients as if they were its softmax."""
        logits_BNA = mask_unavailable(logits_BNA, avail_BNA)
        return straight_through_gumbel(logits_BNA, self.temperature, self.generator) * alive_BN[..., None]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if "generator" in state:  # not where another run starts from these networks
            self.generator.set_state(state["generator"].cpu())


def straight_through_gumbel(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw a one-hot sample of softmax(logits), with the gradient of softmax((logits + noise) / temperature).

    (..., A) -> (..., A). Jang et al. 2017.
    """
    tiny = torch.finfo(logits.dtype).tiny
    noise = -torch.empty_like(logits).exponential_(generator=generator).clamp_(min=tiny).log()
    soft = torch.softmax((logits + noise) / temperature, dim=-1)
    hard = one_hot(soft.argmax(-1), logits.shape[-1]).to(logits.dtype)
    return hard + (soft - soft.detach())
