"""Composition root: checked configuration in, connected parts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assembly.checks import (
    check_learns,
    check_networks_fit,
    check_processes,
    check_regime,
    check_same_game,
    free_bytes,
    picture_cure,
    picture_note,
)
from assembly.opponents import set_opponent
from assembly.parts import device_of, make_env, make_learner, make_mac, make_regime, make_test_env, row_spec
from assembly.saved import (
    differences,
    enemy_file,
    prefix_of,
    team_of,
)
from components.rows import ReplayError, Rows
from config.enemies import LEARNER, args_of, blamed, enemy_config
from config.schema import Config
from controllers.basic_controller import BasicMAC
from controllers.league import League
from envs.base import Env
from envs.opponents import TwoSidedEnv
from learners.base import Learner
from learners.regimes import Regime
from records import checkpoint
from runners.opponent import LearningOpponent
from runners.vector_runner import VectorRunner
from side import Side
from utils import seeding
from utils.allocator import keep_freed_memory
from utils.processes import ALONE, Processes
from utils.version import made_by


@dataclass(frozen=True)
class System:
    """Everything a run needs, connected."""

    config: Config
    device: torch.device
    side: Side  # that learns
    runner: VectorRunner
    test_runner: VectorRunner
    processes: Processes
    league: League | None  # who plays the enemies in training, if its past does
    enemies: Mapping[str, Side]  # those that learn too, by their prefix (`prefix_of`)
    opponents: Mapping[str, LearningOpponent]  # who plays these
    loaded: Path | None  # folder of the checkpoint whose networks these are, if any

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the person who started the run."""
        own = [] if self.loaded is None else [checkpoint.step_note(self.loaded, self.config.load_step)]
        own += self.side.notes
        for prefix, side in self.enemies.items():
            own += [f"{f'enemies {team_of(prefix)}'.strip()}: {note}" for note in side.notes]
        return tuple(own)

    @property
    def sides(self) -> dict[str, Side]:
        """All that learn, by what their metrics and files begin with."""
        return {"": self.side, **self.enemies}

    @property
    def players(self) -> dict[str, VectorRunner | LearningOpponent]:
        """What each of these plays with in training, by the same names."""
        return {"": self.runner, **self.opponents}

    @property
    def mac(self) -> BasicMAC:
        """The learners' controller."""
        return self.side.mac

    @property
    def learner(self) -> Learner:
        """The learners' learner."""
        return self.side.learner

    @property
    def regime(self) -> Regime[Any]:
        """How the learners learn from rows."""
        return self.side.regime

    @property
    def rows(self) -> Rows:
        """The learners' rows."""
        return self.side.rows

    def close(self) -> None:
        """Release both sets of environments."""
        self.runner.env.close()
        self.test_runner.env.close()


def make_side(config: Config, env: Env, processes: Processes, team: str | None = None) -> Side:
    """Make a side of ``env`` that learns: learners, or a ``team`` of a `TwoSidedEnv`'s enemies. Raises InputError."""
    device, info = device_of(config), env.info
    if team is not None:
        assert isinstance(env, TwoSidedEnv)
        info = env.others[team]
    check_networks_fit(config, info, device)
    torch.manual_seed(seeding.derive_seed(config.seed, "networks"))  # initial weights; nothing else is global
    mac = make_mac(config, info).to(device)
    learner = make_learner(config, mac, processes)
    regime = make_regime(config)
    check_regime(config, mac, learner, regime)
    check_learns(config, processes, regime, env.info.episode_limit)
    spec = row_spec(config, env, mac, learner, team is not None)
    try:
        memory = spec.check_memory(regime.name, regime.kept(spec.n_envs), free_bytes(spec.storage))
    except ReplayError as error:
        raise ReplayError(f"{error} {picture_cure(config, mac)}".rstrip()) from error
    rows = regime.rows(spec, seeding.generator(config.seed, "replay", index=processes.rank))
    return Side(config, mac, learner, regime, rows, (*picture_note(config, mac), memory, regime.describe()))


def build(config: Config, resumed: bool = False, processes: Processes = ALONE) -> System:
    """Connect and seed everything; write nothing. Raises InputError for parts that do not fit together.

    ``resumed``: networks come from the run's own state later, not from ``checkpoint_path``. ``processes`` play with
    random streams of their own, the first with those of a process alone.
    """
    check_processes(config, processes)
    torch.set_num_threads(config.threads)  # before anything computes: sums over shares round differently
    keep_freed_memory()
    device = device_of(config)
    if config.use_cuda:
        processes.use_gpu()
    env = make_env(config, config.batch_size_run, test=False)
    test_env = make_test_env(config)
    check_same_game(env.info, test_env.info, "test_env_args")

    side = make_side(config, env, processes)
    league, enemies, opponents = None, dict[str, Side](), dict[str, LearningOpponent]()
    if isinstance(env, TwoSidedEnv) and env.opponent == "league":
        league = League(side.mac, env.league_interval, env.league_self_play)
        env.set_opponent(league)
    elif isinstance(env, TwoSidedEnv) and env.opponent == LEARNER:
        for team in env.others:
            prefix = prefix_of(team)
            with blamed(args_of(team)):
                enemies[prefix] = make_side(enemy_config(config, team), env, processes, team)
            opponents[prefix] = LearningOpponent(enemies[prefix].mac, enemies[prefix].rows)
            env.set_opponent(opponents[prefix], team)
    else:
        set_opponent(env, side.mac, greedy=False, trust=config.trust)
    acting = {prefix: enemy.learner.acting() for prefix, enemy in enemies.items()}
    set_opponent(test_env, side.learner.acting(), greedy=True, trust=config.trust, enemies=acting)

    def stream(name: str) -> torch.Generator:
        return seeding.generator(config.seed, name, device, processes.rank)

    start = seeding.derive_seed(config.seed, "environment", processes.rank)
    fresh = not config.checkpoint_path or resumed
    loaded = None if fresh else checkpoint.step_folder(Path(config.checkpoint_path), config.load_step)
    system = System(
        config=config,
        device=device,
        side=side,
        runner=VectorRunner(env, side.mac, stream("behaviour"), start),
        test_runner=VectorRunner(test_env, side.learner.acting(), stream("evaluation"), start),
        processes=processes,
        league=league,
        enemies=enemies,
        opponents=opponents,
        loaded=loaded,
    )
    if loaded is not None:
        load_networks(system, loaded)
    return system


def load_networks(system: System, folder: Path) -> None:
    """Load networks, targets, optimiser of a checkpoint folder of a run with the same shapes; a league begins with it.

    Raises CheckpointError for what is missing or does not fit.
    """
    for prefix, side in system.sides.items():
        path = enemy_file(folder, checkpoint.LEARNER, prefix) if prefix else folder / checkpoint.LEARNER
        state = checkpoint.load(path, system.device)
        try:
            # Another run: it counts its own updates and draws its own noise.
            networks = {key: value for key, value in state.items() if key != "generator"}
            side.learner.load_state_dict({**networks, "n_updates": 0})
        except (KeyError, RuntimeError, ValueError) as error:
            differing = differences(folder / f"{prefix}{checkpoint.POLICY}", side.config, side.mac.info)
            why = "; ".join(differing) or checkpoint.one_line(error)
            raise checkpoint.CheckpointError(
                f"checkpoint: {folder} does not fit {side.config.name} on {side.config.env} ({why}). Use the "
                f"algorithm, networks and population it was trained with ({made_by(state)})."
            ) from error
    if system.league is not None:
        system.league.add(0, system.learner.acting())
