"""What many tests need: small systems from the real configuration files, and random batches."""

from __future__ import annotations

from typing import Any

import torch

from assembly.parts import make_learner, make_mac
from assembly.registries import REGISTRIES
from components.batch import Batch, EnvInfo
from config.loader import Layer, layers, merge
from config.resolve import make_config
from config.schema import Config
from learners.base import Learner

SMALL: dict[str, Any] = {
    "regime": "replay",  # on every task, whatever its own is
    "hidden_dims": [16],
    "gmf_hidden_dims": [16],
    "batch_size": 8,
    "learning_starts": 8,
    "buffer_size": 400,
    "batch_size_run": 2,
}


def config_for(algorithm: str, environment: str, **overrides: Any) -> Config:
    """The configuration of ``main.py --config --env-config with ...``; keys the algorithm does not know are dropped."""
    stack = layers(algorithm, environment, [])
    known = {key for layer in stack for key in layer.values}
    values = merge({key: value for key, value in SMALL.items() if key in known}, overrides)
    return make_config([*stack, Layer("test", values)], REGISTRIES)[0]


def info_for(n_agents: int, n_actions: int, obs_shape: tuple[int, ...] = (3,)) -> EnvInfo:
    """An environment that exists only as its description."""
    return EnvInfo("test", n_agents, n_actions, obs_shape, torch.float32, 1.0, 10)


def learner_for(config: Config, info: EnvInfo, seed: int = 0) -> Learner:
    """A learner with freshly seeded networks."""
    torch.manual_seed(seed)
    return make_learner(config, make_mac(config, info))


def disturb_targets(learner: Learner) -> None:
    """Move the target networks away from the online ones, so that a loss with the wrong ones shows."""
    rng = torch.Generator().manual_seed(1)
    for name, module in learner._modules().items():
        if name.startswith("target_"):
            for parameter in module.parameters():
                parameter.data += 0.3 * torch.randn(parameter.shape, generator=rng)


def random_batch(info: EnvInfo, size: int, n_groups: int = 1, death_rate: float = 0.3, seed: int = 0) -> Batch:
    """Transitions with random deaths and groups; the dead stay dead, and nothing of theirs is non-zero."""
    rng = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=rng)

    n = info.n_agents
    alive = random(size, n) >= death_rate
    next_alive = alive & (random(size, n) >= death_rate)
    action = torch.randint(info.n_actions, (size, n), generator=rng) * alive
    group = torch.randint(n_groups, (size, n), generator=rng).masked_fill(~alive, -1)
    shape = (1,) * len(info.obs_shape)
    return Batch(
        obs=random(size, n, *info.obs_shape) * alive.view(size, n, *shape),
        next_obs=random(size, n, *info.obs_shape) * next_alive.view(size, n, *shape),
        action=action,
        prev_action=torch.randint(info.n_actions, (size, n), generator=rng).masked_fill(~alive, -1),
        reward=(random(size, n) - 0.5) * alive,
        alive=alive,
        next_alive=next_alive,
        group=group,
        terminated=random(size) < 0.2,
        weight=torch.ones(size),
    )
