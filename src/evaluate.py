"""Play a recorded run's checkpoint: statistics on both sides, and a video.

``python src/evaluate.py --run 3 [--step best] [--episodes 32] [--video battle.gif] [--colour group]
[with env_args.opponent=random ...]``
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import build
from components.batch import Memory, Step, decode_obs
from components.returns import gather_action
from config.loader import merge, parse_overrides
from config.registry import resolve
from config.resolve import check_env_args, config_from_dict, env_values, with_env_args
from config.schema import Config, ConfigError
from controllers.basic_controller import BasicMAC
from controllers.policy import FULLY_ANNEALED
from envs.base import Env
from learners.hmf_learner import HMFLearner
from pictures.render import render, write_video
from records import checkpoint
from records.files import read_json
from runners.vector_runner import VectorRunner
from utils import seeding
from utils.atomic import write_atomic
from utils.cli import exit_code

CPU = torch.device("cpu")


def find_run(run: str, results: str) -> Path:
    """Folder of a run given by id or path. Raises CheckpointError."""
    for folder in (Path(results) / "sacred" / run, Path(run)):
        if (folder / "config.json").exists():
            return folder
    raise checkpoint.CheckpointError(
        f"run: expected a run's id under {results}/sacred or its folder, got '{run}'. List them: src/runs.py ls"
    )


def run_config(run_dir: Path, overrides: list[str]) -> Config:
    """The run's configuration, on the CPU, in its evaluation environments with some arguments overridden."""
    given = parse_overrides(overrides).values
    unknown = [key for key in given if key != "env_args"]
    if unknown:
        raise ConfigError(f"command line: evaluation can change env_args only, not {', '.join(unknown)}.")
    config = config_from_dict(read_json(run_dir / "config.json"))
    values = merge(env_values(config, test=True), given.get("env_args", {}))
    env_class = resolve(build.REGISTRIES["env"], config.env, "env")
    checked = check_env_args(env_class, values, "command line", "env_args")
    return config_from_dict({**config.to_dict(), "use_cuda": False, "env_args": checked, "test_env_args": {}})


def checkpoint_folder(run_dir: Path, step: str) -> Path:
    """The folder of a step: the number nearest to it, ``best`` or ``newest``. Raises CheckpointError."""
    folder = run_dir / "checkpoints"
    if step == "best":
        best = checkpoint.best_step(folder)
        if best is None:
            raise checkpoint.CheckpointError(f"--step=best: no evaluation marked one in '{folder}'. Use newest.")
        return folder / str(best)
    if step != "newest" and not step.isdigit():
        raise checkpoint.CheckpointError(f"--step: expected a number, best or newest, got '{step}'.")
    return checkpoint.step_folder(folder, 0 if step == "newest" else int(step))


def exact_folder(run_dir: Path, step: str) -> Path:
    """The folder of a step that is there, ``best`` or ``newest``. Raises CheckpointError."""
    folder = checkpoint_folder(run_dir, step)
    if step.isdigit() and int(step) != int(folder.name):
        steps = ", ".join(map(str, checkpoint.steps(folder.parent)))
        raise checkpoint.CheckpointError(
            f"--step: expected best, newest or a step that '{folder.parent}' has ({steps}), got {step}."
        )
    return folder


def result_file(folder: Path, step: str, conditions: dict[str, Any]) -> Path:
    """``<step>.json``, or ``<step>_2.json`` and so on where that is the result of other conditions."""
    wanted = json.loads(json.dumps(conditions))
    names = itertools.chain([step], (f"{step}_{number}" for number in itertools.count(2)))
    for path in (folder / f"{name}.json" for name in names):
        found = read_json(path)
        if not found or wanted == {key: found.get(key) for key in wanted}:
            break
    return path


def sides(config: Config) -> dict[str, Config]:
    """The settings to evaluate: both sides, where an environment has sides."""
    if "swap_sides" not in config.env_args:
        return {"all": config}
    return {side: with_env_args(config, swap_sides=value) for side, value in (("left", "never"), ("right", "always"))}


def make_game(config: Config, mac: BasicMAC, n_envs: int) -> Env:
    """Evaluation environments with their opponent. Raises ConfigError when ``mac`` was trained on others."""
    env = build.make_env(config, n_envs, test=True)
    for key in ("n_agents", "n_actions", "obs_shape"):
        trained, given = getattr(mac.info, key), getattr(env.info, key)
        if trained != given:
            raise ConfigError(f"env_args: the policy was trained with {key} = {trained}, this environment has {given}.")
    build.set_opponent(env, mac, greedy=True)
    return env


def statistics(config: Config, mac: BasicMAC, episodes: int, seed: int) -> dict[str, float]:
    """Means over greedy episodes."""
    env = make_game(config, mac, min(config.batch_size_run, episodes))
    runner = VectorRunner(env, mac, seeding.generator(seed, "evaluation"))
    means = runner.evaluate(seeding.derive_seed(seed, "evaluation"), episodes, lambda: False)
    env.close()
    return means


class Painter:
    """What colours a video: nothing but sides, groups, or the attention that the mixer pays as well."""

    def __init__(self, config: Config, mac: BasicMAC, folder: Path, colour: str) -> None:
        self.mac, self.colour = mac, colour
        if colour != "side" and not hasattr(mac, "grouping"):
            raise ConfigError(f"--colour={colour}: {config.name} has no groups. Use --colour=side.")
        self.learner: HMFLearner | None = None
        if colour == "attention":
            learner = build.make_learner(config, mac)
            if not isinstance(learner, HMFLearner):
                raise ConfigError(f"--colour=attention: learner={config.learner} pays none. Use --colour=group.")
            learner.load_state_dict(checkpoint.load(folder / checkpoint.LEARNER, CPU))
            self.learner = learner

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
    """Pictures of one greedy episode of the first copy of ``env``."""
    generator = seeding.generator(seed, "video")
    row, memory = env.reset(seeding.derive_seed(seed, "video")), mac.init_memory(env.n_envs)
    while True:
        action, following = mac.select_actions(row, memory, 0, True, generator)
        group, weight = painter(row, memory, action, following.group)
        yield render(env, 0, group, weight)
        if bool(row.done[0]):
            return
        row, memory = env.step(action), following


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    options, overrides = argv, []
    if "with" in argv:
        split = argv.index("with")
        options, overrides = argv[:split], argv[split + 1 :]
    parser = argparse.ArgumentParser(prog="evaluate.py", description=__doc__)
    parser.add_argument("--run", required=True, help="id or folder of a recorded run")
    parser.add_argument("--step", default="newest", help="step of a checkpoint, best or newest")
    parser.add_argument("--episodes", type=int, default=16, help="greedy episodes a side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--video",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="PATH",
        help="also write one episode as .gif, .mp4, .png (one sheet) or folder (default: a GIF beside the statistics)",
    )
    parser.add_argument("--colour", choices=["side", "group", "attention"], default="side")
    parser.add_argument("--fps", type=int, default=12, help="pictures a second")
    parser.add_argument("--every", type=int, default=1, help="steps between pictures")
    parser.add_argument("--results", default="results", help="where runs are recorded")
    arguments = parser.parse_args(options)
    for option in ("episodes", "fps", "every"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option}: expected at least 1, got {getattr(arguments, option)}")
    arguments.overrides = overrides
    return arguments


def evaluate(argv: list[str]) -> None:
    """Write the video, print and save statistics. Raises InputError for what cannot be played."""
    arguments = parse(argv)
    run_dir = find_run(arguments.run, arguments.results)
    config = run_config(run_dir, arguments.overrides)
    folder = exact_folder(run_dir, arguments.step)
    mac = build.load_policy(folder / checkpoint.POLICY, CPU)
    conditions = {"config": config.to_dict(), "episodes": arguments.episodes, "seed": arguments.seed}
    out = result_file(run_dir / "evaluations", folder.name, conditions)
    out.parent.mkdir(exist_ok=True)
    if arguments.video is not None:  # first: what cannot be drawn is refused before all the episodes are played
        path = out.with_suffix(".gif") if arguments.video == Path() else arguments.video
        env = make_game(config, mac, 1)
        painter = Painter(config, mac, folder, arguments.colour)
        pictures = itertools.islice(frames(env, mac, painter, arguments.seed), 0, None, arguments.every)
        write_video(pictures, path, arguments.fps)
        env.close()
        print(f"written: {path}")
    found = {
        side: statistics(setting, mac, arguments.episodes, arguments.seed) for side, setting in sides(config).items()
    }
    print(f"{config.name} on {config.env}, step {folder.name}, {arguments.episodes} greedy episodes a side")
    print(f"{'':18s}" + "".join(f"{side:>12s}" for side in found))
    for name in next(iter(found.values())):
        print(f"{name:18s}" + "".join(f"{means[name]:12.4f}" for means in found.values()))
    write_atomic(out, json.dumps({**conditions, "sides": found}, indent=2).encode())
    print(f"written: {out}")


def main(argv: list[str]) -> int:
    """Evaluate; see `exit_code` for what goes wrong."""
    return exit_code(lambda: evaluate(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
