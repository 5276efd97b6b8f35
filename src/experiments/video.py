"""A recorded policy's episode as a video, coloured by side, by group or by the attention that its mixer pays."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from assembly.parts import make_learner
from components.batch import Memory, Step, decode_obs
from components.returns import gather_action
from config.schema import Config, ConfigError
from controllers.basic_controller import BasicMAC
from controllers.policy import FULLY_ANNEALED
from envs.base import Env
from experiments.evaluation import Evaluation, make_game
from learners.hmf_learner import HMFLearner
from pictures import COLOURS
from pictures.render import render, write_video
from records import checkpoint
from utils import seeding


class Painter:
    """What colours a video: nothing but sides, groups, or the attention that the mixer pays as well."""

    def __init__(self, config: Config, mac: BasicMAC, folder: Path, colour: str) -> None:
        self.mac, self.colour = mac, colour
        if colour not in COLOURS:
            raise ConfigError(f"--colour: expected one of {', '.join(COLOURS)}, got {colour!r}.")
        if colour != "side" and not hasattr(mac, "grouping"):
            raise ConfigError(f"--colour={colour}: {config.name} has no groups. Use --colour=side.")
        self.learner: HMFLearner | None = None
        if colour == "attention":
            learner = make_learner(config, copy.deepcopy(mac))  # loading it brings the online network, not the policy
            if not isinstance(learner, HMFLearner):
                raise ConfigError(f"--colour=attention: learner={config.learner} pays none. Use --colour=group.")
            learner.load_state_dict(checkpoint.load(folder / checkpoint.LEARNER, mac.device))
            self.learner = learner

    def memory(self, env: Env) -> Memory:
        """Return what the controller begins with. Raises ConfigError where it has no groups of these agents."""
        played, trained = env.info.n_agents, self.mac.info.n_agents
        if self.colour == "side":
            return self.mac.bare_memory(env.n_envs, played)
        if played != trained:
            raise ConfigError(
                f"--colour={self.colour}: expected {trained} agents, as in training, whose groups it draws, got "
                f"{played}. Use --colour=side."
            )
        return self.mac.init_memory(env.n_envs)

    def __call__(self, row: Step, memory: Memory, action: Tensor, group: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Group (N,) and attention weight (N,) of the first environment.

        ``memory`` is the one that ``action`` (1, N) was chosen with, ``group`` (1, N) the one that was played under.
        """
        if self.colour == "side":
            return None, None
        if self.learner is None:
            return group[0], None
        obs = decode_obs(row.obs, self.mac.info.obs_scale)
        q_BNA = self.mac.agent(obs, self.mac.extra(memory.prev_action, row.alive), memory.hidden)[0]
        field_BNA = self.learner.field_action(q_BNA, action, row.avail, FULLY_ANNEALED)
        values = self.learner.mixer(gather_action(q_BNA, action), obs.flatten(2), field_BNA, group)
        return group[0], values.weight.sum(1)[0]


@torch.no_grad()
def frames(env: Env, mac: BasicMAC, painter: Painter, seed: int) -> Iterator[np.ndarray]:
    """Play one greedy episode of the first copy of ``env``, and give pictures of it."""
    generator = seeding.generator(seed, "video")
    row = env.reset(seeding.derive_seed(seed, "video"))
    memory = painter.memory(env)
    while True:
        action, following = mac.select_actions(row, memory, 0, True, generator)
        group, weight = painter(row, memory, action, following.group)
        yield render(env, 0, group, weight)
        if bool(row.done[0]):
            return
        row, memory = env.step(action), following


def film(evaluation: Evaluation, path: Path, colour: str, fps: int, every: int) -> None:
    """Write every ``every``-th picture of one episode as .gif, .mp4, .png (one sheet) or folder. Raises InputError."""
    env = make_game(evaluation.config, evaluation.mac, 1)
    painter = Painter(evaluation.config, evaluation.mac, evaluation.folder, colour)
    pictures = frames(env, evaluation.mac, painter, evaluation.seed)
    write_video(itertools.islice(pictures, 0, None, every), path, fps)
    env.close()
