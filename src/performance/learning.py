"""What a step of training costs in the rollout regime, beside the replay regime that the first version had."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

import build
from config.schema import Config
from modules import sparse
from performance.tasks import CPU, task_config
from performance.timing import alternate, clock

# Battle's preset in version 0.1.0: no average, every view dense; small replays cost the same per update.
BEFORE = {
    "regime": "replay",
    "average_decay": 0.0,
    "batch_size": 32,
    "batch_size_run": 2,
    "hidden_dims": [256, 128],
    "buffer_size": 2048,
}
GROWTH = (64, 2000)  # agents


@contextmanager
def dense_views() -> Iterator[None]:
    """Let first layers read every entry of a view inside the context."""
    kept, sparse.MIN_ROWS = sparse.MIN_ROWS, math.inf
    try:
        yield
    finally:
        sparse.MIN_ROWS = kept


class Training:
    """A system in training, cycle by cycle: the steps after which updates are due, and these."""

    def __init__(self, config: Config, dense: bool = False) -> None:
        self.system = build.build(config)
        self.dense = dense
        regime, n_envs = self.system.regime, config.batch_size_run
        self.steps = regime.cycle(n_envs)[0] // n_envs  # vector steps of a cycle
        self.agent_steps = self.steps * n_envs * self.system.mac.info.n_agents
        self.t_env = regime.learning_starts
        for _ in range(self.t_env // n_envs + 1):
            self.system.runner.collect(0, self.system.rows)

    def __call__(self) -> None:
        """Run one cycle."""
        system = self.system
        with dense_views() if self.dense else nullcontext():
            for _ in range(self.steps):
                system.runner.collect(self.t_env, system.rows)
                self.t_env += system.config.batch_size_run
                deque(system.regime.updates(system.learner, system.rows, self.t_env), maxlen=0)

    def update(self) -> Callable[[], Any]:
        """Return one update of a batch of the replay."""
        batch = self.system.regime.sample(self.system.rows, torch.Generator().manual_seed(0))

        def learn() -> None:
            with dense_views() if self.dense else nullcontext():
                self.system.learner.train(batch, 0)

        return learn


def speed_up(algorithm: str, environment: str, env_args: Mapping[str, Any], seconds: float) -> float:
    """Divide training agent steps per second of the rollout regime by those of the replay regime of version 0.1.0."""
    before = Training(task_config(algorithm, environment, {**BEFORE, "env_args": dict(env_args)}), dense=True)
    now = Training(task_config(algorithm, environment, {"regime": "rollout", "env_args": dict(env_args)}))
    medians = alternate({"before": before, "now": now}, seconds, clock(CPU))
    return medians["before"] / before.agent_steps / (medians["now"] / now.agent_steps)


def sparse_update(environment: str, env_args: Mapping[str, Any], seconds: float) -> float:
    """Divide seconds of an update of iql in the replay regime with a dense first layer by those with a sparse one."""
    config = task_config("iql", environment, {**BEFORE, "env_args": dict(env_args)})
    updates = {str(dense): Training(config, dense).update() for dense in (True, False)}
    medians = alternate(updates, seconds, clock(CPU))
    return medians["True"] / medians["False"]


def growth(algorithm: str, env_args: Callable[[int], Mapping[str, Any]], seconds: float) -> float:
    """Divide the cost per agent step in the rollout regime at the larger number of GROWTH by that at the smaller."""
    trainings = {
        n: Training(task_config(algorithm, "battle", {"regime": "rollout", "env_args": dict(env_args(n))}))
        for n in GROWTH
    }
    medians = alternate({str(n): training for n, training in trainings.items()}, seconds, clock(CPU))
    few, many = (medians[str(n)] / trainings[n].agent_steps for n in GROWTH)
    return many / few
