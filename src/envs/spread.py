"""Spread: the dynamics and rewards of mpe2's ``simple_spread_v3`` (Lowe et al. 2017), all copies at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from components.batch import EnvInfo
from envs.base import EnvError
from envs.scenes import SpreadScene
from envs.torch_env import State, TorchEnv, relative_to_agents
from utils.geometry import distances

TIME_STEP = 0.1
DAMPING = 0.25
FORCE = 5.0  # of an action; the mass is 1
DIAMETER = 0.3  # of an agent
CONTACT_FORCE, CONTACT_MARGIN = 100.0, 1e-3
COVERED = 0.1  # a landmark counts as covered when an agent is nearer than this
DIRECTIONS = [[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]]  # stay, left, right, down, up


class Spread(TorchEnv):
    """N agents cover N landmarks without colliding.

    Agent k receives ``(1 - local_ratio) * G + local_ratio * (-collisions_k)`` where G is minus the sum over landmarks
    of the distance to the nearest agent. Observation (float32): own velocity 2, own position 2, the landmarks relative
    to the agent 2N, the other agents relative to it 2(N - 1), and with ``communication_slots`` 2(N - 1) zeros, which
    is then mpe2's own vector.

    Positions and velocities are float64: contacts are so stiff that float32 drifts from mpe2 by up to 4e-3 within one
    episode of 20 agents, where float64 stays within 1e-5.

    Stats: colliding pairs summed over the steps so far; landmarks covered now; mean distance from a landmark to its
    nearest agent now.
    """

    def __init__(
        self,
        n_envs: int,
        device: torch.device,
        *,
        n_agents: int,
        local_ratio: float,
        communication_slots: bool,
        episode_limit: int,
    ) -> None:
        self._silence = 2 * (n_agents - 1) if communication_slots else 0
        info = EnvInfo(
            name="spread",
            n_agents=n_agents,
            n_actions=len(DIRECTIONS),
            obs_shape=(4 * n_agents + 2 + self._silence,),
            obs_dtype=torch.float32,
            obs_scale=1.0,
            episode_limit=episode_limit,
            stats=("collisions", "covered", "distance"),
            has_position=True,
        )
        super().__init__(n_envs, device, info)
        if not 0 <= local_ratio <= 1:
            raise EnvError(f"env_args.local_ratio: expected a share in [0, 1], got {local_ratio}.")
        self.local_ratio = local_ratio
        self._forces = FORCE * torch.tensor(DIRECTIONS, dtype=torch.float64, device=device)
        self._self = torch.eye(n_agents, device=device)

    def _start(self) -> State:
        shape = (2, self.n_envs, self.info.n_agents, 2)
        uniform = torch.rand(shape, generator=self._generator, dtype=torch.float64, device=self.device)
        position, landmark = 2 * uniform - 1
        return {
            "position": position,
            "velocity": torch.zeros_like(position),
            "landmark": landmark,
            "collisions": torch.zeros(self.n_envs, device=self.device),
        }

    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        velocity = state["velocity"]
        force = self._forces[action] + self._contact_force(state["position"])
        position = state["position"] + TIME_STEP * velocity  # before the velocity changes, as in mpe2
        velocity = (1 - DAMPING) * velocity + TIME_STEP * force
        collisions_EN = (self._between_agents(position) < DIAMETER).sum(dim=2)
        coverage = -nearest_agent(state["landmark"], position).sum(dim=1, keepdim=True)
        played = {
            "position": position,
            "velocity": velocity,
            "landmark": state["landmark"],
            "collisions": state["collisions"] + collisions_EN.sum(dim=1) / 2,
        }
        reward = (1 - self.local_ratio) * coverage - self.local_ratio * collisions_EN
        return played, reward.to(torch.float32), torch.zeros_like(state["done"])

    def scene(self, env_index: int) -> SpreadScene:
        place = {key: self._state[key][env_index : env_index + 1] for key in ("position", "landmark")}
        distance, nearest = distances(place["landmark"], place["position"])[0].min(dim=1)
        colliding = (self._between_agents(place["position"])[0] < DIAMETER).any(dim=1)
        return SpreadScene(
            t=int(self._state["t"][env_index]),
            agent=place["position"][0].cpu().numpy(),
            landmark=place["landmark"][0].cpu().numpy(),
            nearest=nearest.cpu().numpy(),
            distance=distance.cpu().numpy(),
            covered=(distance < COVERED).cpu().numpy(),
            colliding=colliding.cpu().numpy(),
            collisions=int(self._state["collisions"][env_index]),
            radius=DIAMETER / 2,
            reach=COVERED,
        )

    def _between_agents(self, position: Tensor) -> Tensor:
        """Compute distances (E, N, N) between agents; 1, which is out of contact, from an agent to itself."""
        return distances(position, position) + self._self

    def _contact_force(self, position: Tensor) -> Tensor:
        """Compute the soft repulsion (E, N, 2); agents in exactly the same place do not repel each other."""
        distance = self._between_agents(position)
        penetration = functional.softplus(DIAMETER - distance, beta=1 / CONTACT_MARGIN)
        strength = CONTACT_FORCE * penetration / distance.clamp(min=1e-6)
        # sum_j strength_ij (position_i - position_j), without the (E, N, N, 2) differences
        return strength.sum(dim=2, keepdim=True) * position - strength @ position

    def _observe(self, state: State) -> Tensor:
        position, velocity, landmark = (state[key].to(torch.float32) for key in ("position", "velocity", "landmark"))
        relative = relative_to_agents(landmark, position)
        silence = position.new_zeros(self.n_envs, self.info.n_agents, self._silence)
        return torch.cat([velocity, position, relative.flatten(2), silence], dim=2)

    def _position(self, state: State) -> Tensor:
        return state["position"].to(torch.float32)

    def _stats(self, state: State) -> dict[str, Tensor]:
        nearest = nearest_agent(state["landmark"], state["position"])
        return {
            "collisions": state["collisions"],
            "covered": (nearest < COVERED).sum(dim=1).to(torch.float32),
            "distance": nearest.mean(dim=1).to(torch.float32),
        }


def nearest_agent(landmark: Tensor, position: Tensor) -> Tensor:
    """Compute the distance (E, N) from every landmark (E, N, 2) to the nearest of the agents (E, N, 2)."""
    return distances(landmark, position).amin(dim=2)
