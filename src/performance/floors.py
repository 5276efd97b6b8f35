"""What cannot be avoided: the bare engine and the bare arithmetic of the networks."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.sparse import SparseObs
from controllers.basic_controller import BasicMAC
from envs.base import Env
from envs.battle.env import BattleEnv
from envs.battle.library import import_engine
from learners.base import Learner

STEPS = 200  # before a bare engine starts anew


def bare_engine(env: Env) -> Callable[[], Any]:
    """Return a step of all ``env``'s copies with random actions drawn before; ``env`` serves nothing else any more.

    Battle: the engine's set_action of both sides, step, the learners' get_observation and clear_dead. Other tasks:
    their own ``step``.
    """
    if isinstance(env, BattleEnv):
        engines = _with_engine_views(env)
        env.reset(seed=1)
        battles = [BareBattle(engine) for engine in engines]
        count = 0

        def steps() -> None:
            nonlocal count
            count += 1
            if count % STEPS == 0:
                env.reset(seed=1)
            for battle in battles:
                battle.step(count % STEPS)

        return steps
    env.reset(seed=1)
    actions = torch.randint(env.info.n_actions, (env.n_envs, env.info.n_agents), device=env.device)
    return lambda: env.step(actions)


def _with_engine_views(env: Any) -> list[Any]:
    """Let ``env`` play on engines that compute whole views; those engines, as magent2's own objects."""
    env._battles = type(env._battles)(env._battles.world.with_engine_views(), env.info.episode_limit)
    return list(env._battles.world.engines)


class BareBattle:
    """What one battle's engine does in a step: its raw functions, on buffers and actions made beforehand."""

    def __init__(self, engine: Any) -> None:
        """Prepare buffers and actions; ``engine``: a magent2 GridWorld in which an episode has begun."""
        self._engine, self._lib = engine, import_engine()[1]
        self._handles = engine.get_handles()
        rng = np.random.default_rng(0)
        self._actions = [
            rng.integers(engine.get_action_space(handle)[0], size=(STEPS, engine.get_num(handle)), dtype=np.int32)
            for handle in self._handles
        ]
        self._chosen = [[ctypes.c_void_p(row.ctypes.data) for row in actions] for actions in self._actions]
        learners = self._handles[0]
        n = engine.get_num(learners)
        self.view = np.zeros((n, *engine.get_view_space(learners)), np.float32)
        self._feature = np.zeros((n, *engine.get_feature_space(learners)), np.float32)
        self._seen = (ctypes.c_void_p * 2)(self.view.ctypes.data, self._feature.ctypes.data)
        self._done = ctypes.c_int32()

    def step(self, t: int) -> None:
        """Play one step with the actions number ``t`` in [0, STEPS)."""
        game, lib = self._engine.game, self._lib
        for handle, chosen in zip(self._handles, self._chosen, strict=True):
            lib.env_set_action(game, handle, chosen[t])
        lib.env_step(game, ctypes.byref(self._done))
        lib.env_get_observation(game, self._handles[0], self._seen)
        lib.gridworld_clear_dead(game)


class NetworkCalls:
    """The networks' calls during one use of a learner, to be made again on the same, resident inputs.

    Networks are controllers' agents and the parts of mixers and critics. What surrounds them (observations decoded,
    mean fields, targets, losses, clipping, the optimiser) is left out.
    """

    def __init__(self, learner: Learner, use: Callable[[], Any]) -> None:
        """Watch ``use()``, which must call networks of ``learner``."""
        self._learner = learner
        self._calls: list[tuple[nn.Module, list[Any], bool]] = []
        hooks = [network.register_forward_pre_hook(self._record) for network in networks(learner)]
        use()
        for hook in hooks:
            hook.remove()

    def __call__(self) -> None:
        """Call them forward, and backward from ones where the use had gradients."""
        self._learner.optimiser.zero_grad()
        for network, inputs, with_grad in self._calls:
            with torch.set_grad_enabled(with_grad):
                output = network(*inputs)
            output = output[0] if isinstance(output, tuple) else output
            if output.requires_grad:
                output.backward(torch.ones_like(output))

    def _record(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._calls.append((network, [_resident(value) for value in inputs], torch.is_grad_enabled()))


def _resident(value: Any) -> Any:
    """Copy a tensor; lists, which nobody writes into, and what is no tensor stay themselves."""
    if not isinstance(value, Tensor) or isinstance(value, SparseObs):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def networks(learner: Learner) -> list[nn.Module]:
    """List a learner's networks, online and target."""
    found: list[nn.Module] = []
    for module in learner._modules().values():
        found += [module.agent] if isinstance(module, BasicMAC) else module.children()
    return found
