"""Random rows, as a runner would store them, for tests of what is learned from them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from components.batch import EnvInfo, Step

Row = tuple[Step, Tensor, Tensor]  # the instant, actions (E, N), groups (E, N)


def random_rows(info: EnvInfo, n_envs: int, rows: int, *, seed: int, survivors: int | None = None) -> Iterator[Row]:
    """Rows of episodes of 1 to 6 steps. Agents die; groups 0 and 1 change in mid-episode; positions tell rows apart.

    ``survivors``: so many agents live, always, instead.
    """
    rng = torch.Generator().manual_seed(seed)

    def chance(share: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=rng) < share

    agents = (n_envs, info.n_agents)
    ends, alive = chance(1.0, n_envs), chance(1.0, *agents)
    group = torch.zeros(agents, dtype=torch.int64)
    age = torch.zeros(n_envs, dtype=torch.int64)
    for _ in range(rows):
        before, fresh, age = alive, ends, torch.where(ends, 0, age + 1)
        alive = fresh[:, None] | (alive & ~chance(0.1, *agents))
        if survivors is not None:
            alive = (torch.arange(info.n_agents) < survivors).expand(agents)
        ends = ~fresh & (chance(0.25, n_envs) | (age == 6))
        regrouped = fresh | chance(0.2, n_envs)
        group = torch.where(regrouped[:, None], torch.randint(2, agents, generator=rng), group)
        terminated = ends & chance(0.5, n_envs)
        step = Step(
            obs=torch.randn(*agents, *info.obs_shape, generator=rng) * alive[..., None],
            alive=alive,
            reward=torch.randn(agents, generator=rng) * ~fresh[:, None] * before,
            terminated=terminated,
            truncated=ends & ~terminated,
            info={},
            position=torch.randn(*agents, 2, generator=rng) if info.has_position else None,
        )
        yield step, torch.randint(info.n_actions, agents, generator=rng), group.masked_fill(~alive, -1)


def goes_on(history: list[Row], t: int, e: int) -> bool:
    """Whether transition t + 1 of environment e goes on from transition t, in the same episode and groups."""
    (now, _, group), (after, _, next_group) = history[t], history[t + 1]
    if now.done[e] or after.done[e]:
        return False
    pairs = zip(group[e].tolist(), next_group[e].tolist(), strict=True)
    return all(new in (old, -1) for old, new in pairs)
