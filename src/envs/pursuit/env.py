"""Pursuit evasion on a torus: many pursuers, one evader twice as fast (Hüttenrauch et al. 2019, JMLR 20)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from components.batch import EnvInfo
from envs.base import require_at_least
from envs.pursuit.laws import PURSUER_MOVES, evader_direction, on_torus, relative, wrap
from envs.scenes import PursuitScene
from envs.torch_env import State, TorchEnv, relative_to_agents

MARGIN = 5.0  # of the square in which an episode begins
EVADER_SPEED = 2.0  # units per step of 0.1 s; pursuers move 1
CAPTURE_DISTANCE = 1.0
REWARD_UNIT = 141.4  # sqrt(2) * 100 units, the world size of Hüttenrauch et al., at every size
OBSERVATION_UNIT = 50.0

# Unicycle: (speed in units per step, turn in rad per step) of turning on the spot, of curves and of straight ahead;
# limits 10 units/s and pi rad/s, integrated in ten parts during which the heading is constant.
UNICYCLE = [(0.0, -0.1), (0.0, 0.1), (1.0, -0.1), (1.0, 0.0), (1.0, 0.1)]
SUBSTEPS = 10


class Pursuit(TorchEnv):
    """N pursuers hunt an evader that flees by its Voronoi cell, on a torus of ``world_size`` x ``world_size`` units.

    The evader moves first, seeing the pursuers before their move. It is caught, which terminates the episode, when
    the nearest pursuer is closer than 1. Every pursuer receives -(distance of the nearest pursuer) / 141.4.

    ``dynamics``: ``point`` moves one unit along an axis or stays; ``unicycle`` turns and drives. Observation (float32,
    units of 50): the evader and the other pursuers in order, relative to the agent by the shortest way, 2N values;
    with unicycles also cosine and sine of the own heading.

    Stats: capture (0 or 1), capture_time (steps; the limit until caught), min_distance (the smallest so far; 1.414
    world sizes before the first step).
    """

    def __init__(
        self,
        n_envs: int,
        device: torch.device,
        *,
        n_agents: int,
        dynamics: Literal["point", "unicycle"],
        world_size: float,
        episode_limit: int,
    ) -> None:
        require_at_least("world_size", world_size, 4 * MARGIN)
        self._size, self._farthest = world_size, REWARD_UNIT * (world_size / 100.0)
        self._drives = dynamics == "unicycle"
        info = EnvInfo(
            name="pursuit",
            n_agents=n_agents,
            n_actions=5,
            obs_shape=(2 * n_agents + 2 * self._drives,),
            obs_dtype=torch.float32,
            obs_scale=1.0,
            episode_limit=episode_limit,
            stats=("capture", "capture_time", "min_distance"),
            has_position=True,
            torus_side=world_size,
        )
        super().__init__(n_envs, device, info)
        moves, turns = unicycle_moves() if self._drives else (PURSUER_MOVES, [0.0] * len(PURSUER_MOVES))
        self._moves, self._turns = torch.tensor(moves, device=device), torch.tensor(turns, device=device)

    def _start(self) -> State:
        n_agents, device = self.info.n_agents, self.device
        uniform = torch.rand(self.n_envs, n_agents + 1, 3, generator=self._generator, device=device)
        places = MARGIN + (self._size - 2 * MARGIN) * uniform[..., :2]
        pursuers, evader = places[:, :-1], places[:, -1]
        return {
            "pursuers": pursuers,
            "heading": 2 * math.pi * self._drives * uniform[:, :-1, 2],
            "evader": evader,
            "caught": torch.zeros(self.n_envs, dtype=torch.bool, device=device),
            "min_distance": torch.full((self.n_envs,), self._farthest, device=device),
        }

    def _play(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        before = relative(state["pursuers"], state["evader"], self._size)
        distance_before = before.norm(dim=2)
        fleeing = evader_direction(before, distance_before, self._size)
        evader = on_torus(state["evader"] + EVADER_SPEED * fleeing, self._size)
        moved, heading = functional.embedding(action, self._moves), state["heading"]
        if self._drives:
            moved = turned(moved, heading)
            heading = torch.remainder(heading + self._turns[action], 2 * math.pi)
        pursuers = on_torus(state["pursuers"] + moved, self._size)
        distance = relative(pursuers, evader, self._size).norm(dim=2).amin(dim=1)
        caught = distance < CAPTURE_DISTANCE
        played = {
            "pursuers": pursuers,
            "heading": heading,
            "evader": evader,
            "caught": caught,
            "min_distance": torch.minimum(state["min_distance"], torch.minimum(distance_before.amin(dim=1), distance)),
        }
        reward = (-distance / REWARD_UNIT).unsqueeze(1).repeat(1, self.info.n_agents)
        return played, reward, caught

    def scene(self, env_index: int) -> PursuitScene:
        state = {key: value[env_index].cpu() for key, value in self._state.items()}
        from_evader = wrap(state["pursuers"] - state["evader"], self._size)
        distance, nearest = from_evader.norm(dim=1).min(dim=0)
        return PursuitScene(
            t=int(state["t"]),
            world_size=self._size,
            pursuer=state["pursuers"].numpy(),
            heading=state["heading"].numpy() if self._drives else None,
            evader=state["evader"].numpy(),
            nearest=from_evader[nearest].numpy(),
            distance=float(distance),
            min_distance=float(state["min_distance"]),
            caught=bool(state["caught"]),
        )

    def _observe(self, state: State) -> Tensor:
        seen = wrap(relative_to_agents(state["evader"].unsqueeze(1), state["pursuers"]), self._size)
        places = seen.div_(OBSERVATION_UNIT).flatten(2)
        if not self._drives:
            return places
        heading = state["heading"].unsqueeze(2)
        return torch.cat([places, heading.cos(), heading.sin()], dim=2)

    def _position(self, state: State) -> Tensor:
        return state["pursuers"]

    def _stats(self, state: State) -> dict[str, Tensor]:
        time = torch.where(state["caught"], state["t"], self.info.episode_limit)
        return {
            "capture": state["caught"].to(torch.float32),
            "capture_time": time.to(torch.float32),
            "min_distance": state["min_distance"],
        }


def turned(vector: Tensor, angle: Tensor) -> Tensor:
    """Turn vectors (E, N, 2) anticlockwise by (E, N) radians."""
    cos, sin = angle.cos(), angle.sin()
    x, y = vector.unbind(dim=2)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=2)


def unicycle_moves() -> tuple[list[list[float]], list[float]]:
    """Compute, for each action, the displacement at heading 0 and the turn of one step."""
    turns = [math.pi * turn for _, turn in UNICYCLE]
    moves = []
    for (speed, _), turn in zip(UNICYCLE, turns, strict=True):
        headings = [turn * part / SUBSTEPS for part in range(SUBSTEPS)]
        moves.append([speed * sum(f(heading) for heading in headings) / SUBSTEPS for f in (math.cos, math.sin)])
    return moves, turns
