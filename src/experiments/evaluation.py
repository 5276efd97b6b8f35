"""Recorded policies played again: greedy episodes in a run's evaluation environments, or in changed ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assembly.checks import check_same_game
from assembly.opponents import enemies_at, policy_digests, set_opponent
from assembly.parts import make_env
from assembly.registries import REGISTRIES
from assembly.saved import load_policy, read_policy, recorded_config
from config.checked import check_env_args, imported_names
from config.enemies import LEARNER
from config.loader import merge, parse_overrides
from config.registry import resolve
from config.resolve import config_from_dict, env_values, with_env_args
from config.schema import Config, ConfigError
from config.schemas import schema
from config.trust import NOTHING, Trust
from controllers.basic_controller import BasicMAC
from envs.base import Env
from records import checkpoint
from records.files import RecordError, read_json
from runners.episodes import EpisodeLog
from runners.vector_runner import VectorRunner
from utils import seeding
from utils.atomic import write_atomic
from utils.lock import Lock

CPU = torch.device("cpu")
LOCK = ".lock"  # in a folder of statistics, of the process that writes there
SIDES = {"left": "never", "right": "always"}  # where the learners play -> env_args.swap_sides


@dataclass(frozen=True)
class Evaluation:
    """A recorded policy, the game that it plays, and how often."""

    results: Path  # folder of the statistics
    config: Config
    folder: Path  # of the policy
    mac: BasicMAC
    episodes: int  # a side
    seed: int

    @classmethod
    def of_run(
        cls, run_dir: Path, step: str, overrides: list[str], episodes: int, seed: int, trust: Trust
    ) -> Evaluation:
        """Take the checkpoint ``step`` of a run, in its game with ``env_args`` overridden. Raises InputError."""
        config = run_config(run_dir, overrides, trust)
        folder = checkpoint.exact_folder(run_dir, step)
        mac = load_policy(folder / checkpoint.POLICY, CPU, trust)
        return cls.of_folder(folder, config, mac, run_dir / "evaluations", episodes, seed)

    @classmethod
    def of_policy(
        cls, folder: Path, results: Path, overrides: list[str], episodes: int, seed: int, trust: Trust
    ) -> Evaluation:
        """Take the policy in ``folder``, in the game that it says it learned, likewise. Raises InputError."""
        path = folder / checkpoint.POLICY
        state, mac = read_policy(path, CPU, trust)
        config = played_config(config_from_dict(state["config"], state, trust), overrides, f"{path}", trust)
        return cls.of_folder(folder, config, mac, results, episodes, seed)

    @classmethod
    def of_folder(
        cls, folder: Path, config: Config, mac: BasicMAC, results: Path, episodes: int, seed: int
    ) -> Evaluation:
        """Take the policy ``mac``, read from ``folder``, in the game of ``config``."""
        if config.env_args.get("opponent") == LEARNER:  # as it was at that step
            config = with_env_args(config, opponent="checkpoint", opponent_checkpoint=str(enemies_at(folder, config)))
        return cls(results, config, folder, mac, episodes, seed)

    @property
    def conditions(self) -> dict[str, Any]:
        """What the statistics depend on beside the networks."""
        others = policy_digests(self.config)
        played = {"config": self.config.to_dict(), "episodes": self.episodes, "seed": self.seed}
        return {**played, "policies": others} if others else played

    @property
    def meanings(self) -> Mapping[str, str]:
        """What those statistics of its game mean whose names do not say it."""
        env_class: type[Env] = resolve(REGISTRIES["env"], self.config.env, "env", self.config.trust)
        return env_class.meanings

    @property
    def file(self) -> Path:
        """Where the statistics are, or will be."""
        return result_file(self.results, self.folder.name, self.conditions)

    def found(self) -> dict[str, dict[str, float]]:
        """Read side -> statistics, where `play` wrote them before; else empty."""
        sides: dict[str, dict[str, float]] = read_json(self.file).get("sides", {})
        return sides

    def return_mean(self) -> float:
        """Return the mean return over both sides, played where it was not before."""
        sides = self.found() or self.play()
        return sum(side["return_mean"] for side in sides.values()) / len(sides)

    def play(self) -> dict[str, dict[str, float]]:
        """Play, and return side -> statistics, also written to ``file``. Raises RecordError when the disk refuses."""
        found, deviations = self.measure()
        self.keep(found, deviations)
        return found

    def measure(self) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
        """Play, and return side -> statistics and side -> their deviations over episodes."""
        logs = {
            side: play_episodes(config, self.mac, self.episodes, self.seed)
            for side, config in sides(self.config).items()
        }
        deviations = {side: log.deviations() for side, log in logs.items()}
        return {side: log.flush() for side, log in logs.items()}, deviations

    def keep(self, found: dict[str, dict[str, float]], deviations: dict[str, dict[str, float]]) -> Path:
        """Write what `measure` returned to ``file``, and return it. Raises RecordError when the disk refuses."""
        record = {**self.conditions, "sides": found, "deviations": deviations}
        try:
            lock = Lock.take(self.results / LOCK, wait=True)  # others may choose a file's name here now
            try:
                file = self.file
                write_atomic(file, json.dumps(record, indent=2).encode())
            finally:
                if lock is not None:
                    lock.release()
        except OSError as error:
            raise RecordError(
                f"evaluation: the statistics were not kept, cannot write in {self.results} ({error.strerror}). Free "
                "space there, or mend its rights, and play again."
            ) from error
        return file


def run_config(run_dir: Path, overrides: list[str], trust: Trust = NOTHING) -> Config:
    """Return the `played_config` of a run."""
    return played_config(recorded_config(run_dir, trust), overrides, f"{run_dir}", trust)


def played_config(config: Config, overrides: list[str], where: str, trust: Trust) -> Config:
    """Return ``config``, of ``where``, on the CPU, in its evaluation environments with some args overridden.

    Names that ``overrides`` give are trusted beside those of ``trust``.
    """
    given = parse_overrides(overrides).values
    unknown = [key for key in given if key != "env_args"]
    if unknown:
        raise ConfigError(f"command line: evaluation can change env_args only, not {', '.join(unknown)}.")
    env = schema(REGISTRIES["env"], config.env, "env", trust)
    changed = check_env_args(env, given.get("env_args", {}), "command line", "env_args")
    env_args = check_env_args(env, merge(env_values(config, test=True), changed), where, "env_args")
    return config_from_dict(
        {**config.to_dict(), "use_cuda": False, "env_args": env_args, "test_env_args": {}},
        trust=trust.also(name for _, name in imported_names(env, changed)),
    )


def result_file(folder: Path, step: str, conditions: dict[str, Any]) -> Path:
    """Choose ``<step>.json``, or ``<step>_2.json`` and so on where that is the result of other conditions."""
    wanted = json.loads(json.dumps(conditions))
    names = itertools.chain([step], (f"{step}_{number}" for number in itertools.count(2)))
    for path in (folder / f"{name}.json" for name in names):
        found = read_json(path)
        if not found or wanted == {key: found.get(key) for key in wanted}:
            break
    return path


def sides(config: Config) -> dict[str, Config]:
    """Return the settings to evaluate: both sides, where an environment has sides."""
    if "swap_sides" not in config.env_args:
        return {"all": config}
    return {side: with_env_args(config, swap_sides=value) for side, value in SIDES.items()}


def make_game(config: Config, mac: BasicMAC, n_envs: int) -> Env:
    """Make evaluation environments with their opponent, for this process to play as the configuration says.

    Raises ConfigError when ``mac`` was trained on others.
    """
    torch.set_num_threads(config.threads)
    env = make_env(config, n_envs, test=True)
    check_same_game(mac.info, env.info, "env_args", any_number=mac.agent.n_agents is None)
    set_opponent(env, mac, greedy=True, trust=config.trust)
    return env


def statistics(config: Config, mac: BasicMAC, episodes: int, seed: int) -> dict[str, float]:
    """Play greedy episodes, and return the means over them."""
    return play_episodes(config, mac, episodes, seed).flush()


def play_episodes(config: Config, mac: BasicMAC, episodes: int, seed: int) -> EpisodeLog:
    """Play greedy episodes, and return their statistics, one by one."""
    env = make_game(config, mac, min(config.batch_size_run, episodes))
    start = seeding.derive_seed(seed, "evaluation")
    runner = VectorRunner(env, mac, seeding.generator(seed, "evaluation"), start)
    runner.play(start, episodes, lambda: False)
    env.close()
    return runner.log
