"""What cannot be avoided: the bare engine and the bare arithmetic of the networks."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from controllers.basic_controller import BasicMAC
from envs.base import Env
from envs.battle import Battle, BattleEnv
from envs.gridworld import GridWorld
from learners.base import Learner

STEPS = 200  # before a bare engine starts anew


def bare_engine(env: Env) -> Callable[[], None]:
    """One step of all of ``env``'s copies with random actions drawn beforehand; ``env`` serves nothing else any more.

    Battle: the engine's set_action of both sides, step, the learners' get_observation and clear_dead. Other tasks:
    their own ``step``.
    """
    if isinstance(env, BattleEnv):
        if hasattr(GridWorld, "with_engine_views"):  # commits that benchmark_compare.sh measures may have no others
            env._battles = [Battle(battle.world.with_engine_views(), battle.episode_limit) for battle in env._battles]
        steps = [_bare_battle(battle.world) for battle in env._battles]
        count = 0

        def battles() -> None:
            nonlocal count
            if count % STEPS == 0:
                env.reset(seed=1)
            count += 1
            for step in steps:
                step(count % STEPS)

        return battles
    env.reset(seed=1)
    actions = torch.randint(env.info.n_actions, (env.n_envs, env.info.n_agents), device=env.device)
    return lambda: _discard(env.step(actions))


def _discard(_: Any) -> None:
    pass


def _bare_battle(world: GridWorld) -> Callable[[int], None]:
    """What one battle's engine does in a step, with the side's own buffers."""
    rng = np.random.default_rng(0)
    actions = [rng.integers(side.n_actions, size=(STEPS, side.n_agents), dtype=np.int32) for side in world.sides]

    def step(t: int) -> None:
        for side, action in zip(world.sides, actions, strict=True):
            np.copyto(side._action, action[t])
            world._lib.env_set_action(*side._address, side._pointer["action"])
        world._lib.env_step(world._world.game, ctypes.byref(world._done))
        learners = world.sides[0]
        world._lib.env_get_observation(*learners._address, learners._views)
        world._lib.gridworld_clear_dead(world._world.game)

    return step


class NetworkCalls:
    """The networks' calls during one use of a learner, to be made again on the same, resident inputs.

    Networks are controllers' agents and the parts of mixers and critics. What surrounds them (observations decoded,
    mean fields, targets, losses, clipping, the optimiser) is left out.
    """

    def __init__(self, learner: Learner, use: Callable[[], Any]) -> None:
        """Watches ``use()``, which must call networks of ``learner``."""
        self._learner = learner
        self._calls: list[tuple[nn.Module, list[Any], bool]] = []
        hooks = [network.register_forward_pre_hook(self._record) for network in networks(learner)]
        use()
        for hook in hooks:
            hook.remove()

    def __call__(self) -> None:
        """Forward, and backward from ones where the use had gradients."""
        self._learner.optimiser.zero_grad()
        for network, inputs, with_grad in self._calls:
            with torch.set_grad_enabled(with_grad):
                output = network(*inputs)
            output = output[0] if isinstance(output, tuple) else output
            if output.requires_grad:
                output.backward(torch.ones_like(output))

    def _record(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        resident = [
            value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value
            for value in inputs
        ]
        self._calls.append((network, resident, torch.is_grad_enabled()))


def networks(learner: Learner) -> list[nn.Module]:
    """A learner's networks, online and target."""
    found: list[nn.Module] = []
    for module in learner._modules().values():
        found += [module.agent] if isinstance(module, BasicMAC) else module.children()
    return found
