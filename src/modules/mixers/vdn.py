"""Value decomposition: the team value is the sum of local values (Sunehag et al. 2017)."""

from __future__ import annotations

from torch import Tensor

from components.returns import Aggregation, team_reward
from modules.mixers.base import TeamMixer


class VDNMixer(TeamMixer):
    """Sum over the living; under ``team_reward: mean`` both sides of the update are divided by N, so that the optimum
    is the same and the scale does not grow with the population.
    """

    def __init__(self, *, team_reward: Aggregation) -> None:
        super().__init__()
        self.aggregation: Aggregation = team_reward

    def forward(self, q_BN: Tensor, alive_BN: Tensor, obs_BNO: Tensor) -> Tensor:
        return team_reward(q_BN * alive_BN, self.aggregation)
