"""One algorithm on one environment at one population, beside its floors."""

from __future__ import annotations

import math
import resource
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import build
from assembly.parts import make_env
from components.rollout import Rollout
from config.loader import named_layer
from config.resolve import config_from_dict, with_env_args
from config.schema import Config
from envs.battle.env import smallest_map
from performance.ceiling import ceiling_share, work_of_update
from performance.floors import NetworkCalls, bare_engine
from performance.timing import Stopwatch, alternate, clock
from run import Trainer, Unrecorded
from utils.signals import StopRequest

SECTIONS = ("engine", "observation", "act", "store", "sample", "learn", "rest")
WARM_UP = 64  # vector steps before anything is timed


@dataclass(frozen=True)
class Measurement:
    """Medians, in seconds of one core's CPU time (of wall time with an accelerator)."""

    algorithm: str
    environment: str
    n_agents: int
    n_envs: int
    accelerator: str  # its name; empty on a CPU
    steps_per_cycle: float  # vector steps until updates are due
    updates_per_cycle: int  # 1 in the replay regime, a whole rollout's in the other
    rollout: float  # observe, act, step, store: one vector step
    engine: float  # floor: the bare engine's vector step
    forward: float  # floor: the acting networks on a resident batch
    sample: float  # one batch
    update: float  # the updates of a cycle: one on a given batch, or those of a given rollout with its targets
    arithmetic: float  # floor: their networks, forward and backward, on resident inputs
    training: float  # a cycle: its vector steps and updates
    ceiling_share: float  # of the device's measured ceiling, that the update reaches
    split: dict[str, float]  # SECTIONS -> share of training
    replay_bytes: float  # per stored agent step
    obs_bytes: int  # of one observation in the environment's dtype
    peak_bytes: int  # of the process

    @property
    def env_steps(self) -> float:
        """Environment steps per second of training."""
        return self.n_envs * self.steps_per_cycle / self.training

    @property
    def rollout_share(self) -> float:
        """Rollout speed over what the two floors allow together."""
        return (self.engine + self.forward) / self.rollout

    @property
    def update_ratio(self) -> float:
        """The update over its bare arithmetic."""
        return self.update / self.arithmetic

    @property
    def overhead(self) -> float:
        """Share of training that is neither engine nor network arithmetic."""
        return 1 - (self.steps_per_cycle * (self.engine + self.forward) + self.arithmetic) / self.training

    @property
    def replay_ratio(self) -> float:
        """Replay memory over one observation and 16 bytes per agent step."""
        return self.replay_bytes / (self.obs_bytes + 16)


def population(environment: str, n_agents: int) -> dict[str, Any]:
    """Return the env_args of ``n_agents`` learners.

    Battle: at most 8 % of the cells occupied, half as many random enemies (as many in games of equal sides).
    """
    if not environment.startswith("battle"):
        return {"n_agents": n_agents}
    usual = named_layer("envs", environment).values["env_args"]
    n_enemies = n_agents if usual["n_agents"] == usual["n_enemies"] else n_agents // 2
    map_size = max(math.ceil(math.sqrt((n_agents + n_enemies) / 0.08)), smallest_map(n_agents, n_enemies))
    return {"n_agents": n_agents, "n_enemies": n_enemies, "map_size": map_size, "opponent": "random"}


def measure(values: dict[str, Any], environment: str, seconds: float) -> Measurement:
    """Build from a `Config.to_dict`, time everything in turn for ``seconds``, then training for as long again."""
    config = config_from_dict(values)
    system = build.build(config)
    runner, rows, learner, regime = system.runner, system.rows, system.learner, system.regime
    now = clock(system.device)
    for _ in range(WARM_UP):
        runner.collect(0, rows)
    draw = partial(regime.sample, rows, torch.Generator().manual_seed(0))
    batch = draw()
    acting = NetworkCalls(learner, lambda: runner.advance(0, test_mode=True))
    if isinstance(rows, Rollout):
        while not rows.ready:
            runner.collect(0, rows)

    def learn() -> None:
        """Make the updates of one cycle."""
        if isinstance(rows, Rollout):
            deque(regime.updates(learner, rows, 0), maxlen=0)
        else:
            learner.train(batch, 0)

    learning = NetworkCalls(learner, learn)
    trainer = Trainer(system, Unrecorded(), StopRequest())

    def train() -> None:
        """Train as the training loop does, up to the next updates."""
        before = learner.n_updates
        while learner.n_updates == before:
            trainer.counters.t_env += runner.collect(0, rows)
            trainer.learn()

    playing: dict[str, Callable[[], Any]] = {
        "rollout": lambda: runner.collect(0, rows),
        "engine": bare_engine(make_env(without_opponent(config), config.batch_size_run, test=False)),
        "forward": acting,
    }
    updating: dict[str, Callable[[], Any]] = {
        "sample": draw,
        "update": learn,
        "arithmetic": learning,
    }
    medians = alternate(updating, seconds / 2, now) | alternate(playing, seconds / 2, now)
    steps, n_updates = regime.cycle(rows.n_envs)
    trainer.counters.t_env = regime.learning_starts + learner.n_updates * steps // n_updates
    medians |= alternate({"training": train}, seconds / 2, now)
    split = sections(system, train, seconds / 2)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    work = work_of_update(learner, batch)
    agent_steps = rows.n_rows * rows.n_envs * system.mac.info.n_agents
    return Measurement(
        algorithm=config.name,
        environment=environment,
        n_agents=system.mac.info.n_agents,
        n_envs=config.batch_size_run,
        accelerator=torch.get_device_module(system.device).get_device_name() if config.use_cuda else "",
        steps_per_cycle=steps / rows.n_envs,
        updates_per_cycle=n_updates,
        **medians,
        ceiling_share=ceiling_share(lambda: learner.train(batch, 0), work, system.device, seconds / 2),
        split=split,
        replay_bytes=rows.nbytes / agent_steps,
        obs_bytes=math.prod(system.mac.info.obs_shape) * system.mac.info.obs_dtype.itemsize,
        peak_bytes=peak_bytes,
    )


def without_opponent(config: Config) -> Config:
    """Return ``config`` with opponents that need no policy: the bare engine's actions are drawn beforehand."""
    return with_env_args(config, opponent="random") if "opponent" in config.env_args else config


def sections(system: build.System, train: Callable[[], None], seconds: float) -> dict[str, float]:
    """Measure shares of SECTIONS in ``train``; the system's methods stay watched afterwards."""
    watch = Stopwatch(clock(system.device))
    env = system.runner.env
    watch.watch(env, "step", "engine")
    watch.watch(env, "_look" if hasattr(env, "_look") else "_observe", "observation")
    watch.watch(system.mac, "select_actions", "act")
    watch.watch(system.rows, "insert", "store")
    watch.watch(system.rows, "gather", "sample")
    watch.watch(system.learner, "train", "learn")
    watch.watch(system.runner, "collect", "rest")
    watch.seconds.clear()

    def timed() -> None:
        with watch.section("rest"):
            train()

    alternate({"training": timed}, seconds, watch.now)
    total = sum(watch.seconds.values())
    return {name: watch.seconds[name] / total for name in SECTIONS}
