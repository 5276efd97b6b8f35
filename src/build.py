"""Composition root: checked configuration in, connected parts out. All algorithms and tasks are found here."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import psutil
import torch
from torch import nn

import controllers
import envs
import learners
from components import grouping as groupings
from components import selectors
from components.batch import EnvInfo
from components.rows import Rows, RowSpec
from config.loader import available, named_layer
from config.registry import Kind, Registries, RegistryError, make, resolve
from config.resolve import (
    LEARNER,
    args_of,
    blamed,
    chosen_classes,
    config_from_dict,
    enemy_config,
    env_values,
    imported_names,
)
from config.schema import Config, ConfigError, type_name
from config.trust import NOTHING, Trust, TrustError
from controllers.basic_controller import BasicMAC
from controllers.league import League
from controllers.policy import MACPolicy
from envs.base import Env
from envs.opponents import TwoSidedEnv, WithTeam
from learners import regimes
from learners.base import Learner, Setting
from learners.regimes import Regime
from modules import agents, mixers
from modules.agents.base import Agent
from records import checkpoint
from records.files import read_json
from runners.opponent import LearningOpponent
from runners.vector_runner import VectorRunner
from side import Side
from utils import seeding
from utils.allocator import keep_freed_memory
from utils.errors import InputError
from utils.memory import check_fits
from utils.paths import ROOT
from utils.processes import ALONE, Processes
from utils.version import made_by

REGISTRIES: Registries = {
    "env": Kind(Env, envs.REGISTRY),
    "agent": Kind(Agent, agents.REGISTRY),
    "mac": Kind(BasicMAC, controllers.REGISTRY),
    "mixer": Kind(nn.Module, mixers.REGISTRY),
    "learner": Kind(Learner, learners.REGISTRY),
    "grouping": Kind(groupings.Grouping, groupings.REGISTRY),
    "selector": Kind(selectors.ActionSelector, selectors.REGISTRY),
    "regime": Kind(Regime, regimes.REGISTRY),
}
LARGE = 5_000_000  # parameters
ENEMIES = "enemy_"  # begins the names of what belongs to enemies that learn


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
    enemies: Mapping[str, Side]  # those that learn too, by what their metrics and files are called by
    opponents: Mapping[str, LearningOpponent]  # who plays these

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the person who started the run."""
        own = list(self.side.notes)
        for whose, side in self.enemies.items():
            own += [f"{f'enemies {team_of(whose)}'.strip()}: {note}" for note in side.notes]
        return tuple(own)

    @property
    def sides(self) -> dict[str, Side]:
        """All that learn, by what their metrics and files are called by."""
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


def recorded_config(run_dir: Path, trust: Trust) -> Config:
    """The configuration of a recorded run, from which ``trust`` says what may be imported. Raises InputError."""
    return config_from_dict(read_json(run_dir / "config.json"), read_json(run_dir / "run.json"), trust)


def device_of(config: Config) -> torch.device:
    """Where networks and batched environments live. Raises ConfigError."""
    if config.use_cuda and not torch.cuda.is_available():
        raise ConfigError(
            "use_cuda=true, but torch sees no CUDA device. Use use_cuda=false, or run ./install_dependencies.sh --cuda."
        )
    return torch.device("cuda" if config.use_cuda else "cpu")


def make_env(config: Config, n_envs: int, test: bool) -> Env:
    """Training or evaluation environments, without their opponent. Raises TrustError before anything is imported."""
    values = env_values(config, test)
    env_class = resolve(REGISTRIES["env"], config.env, "env", config.trust)
    shipped = named_layer("envs", config.env).values["env_args"] if config.env in available("envs") else {}
    for key, name in imported_names(env_class, values):
        if name != shipped.get(key):
            config.trust.require(f"env_args.{key}", name)
    return make(env_class, values, {"n_envs": n_envs, "device": device_of(config)})


def check_same_game(trained: EnvInfo, played: EnvInfo, key: str, any_number: bool = False) -> None:
    """Raise ConfigError, naming ``key``, where a policy of one environment would play another game in the other.

    ``any_number``: it may have been trained with another number of agents. Policies of versions that did not record
    ``meaning`` are compared without it.
    """
    pairs = [
        (f"{field} = {getattr(trained, field)}", f"{field} = {getattr(played, field)}")
        for field in (
            *(() if any_number else ("n_agents",)),
            "n_actions",
            "obs_shape",
            "obs_dtype",
            "obs_scale",
            "has_avail",
            "has_position",
        )
    ]
    if trained.meaning:
        pairs.append((", ".join(trained.meaning), ", ".join(played.meaning)))
    for expected, got in pairs:
        if expected != got:
            raise ConfigError(
                f"{key}: the policy is trained with {expected}, this environment has {got}. Change only what "
                "leaves the population, observations and actions as they are."
            )


def make_mac(config: Config, info: EnvInfo) -> BasicMAC:
    """Controller with its network, exploration and grouping."""
    classes = chosen_classes(config.to_dict(), REGISTRIES, config.trust)
    values = config.args
    mac_class = classes["mac"]
    given = _shapes(config, info, mac_class)
    for kind in ("agent", "selector", "grouping"):
        if kind in classes:
            given[kind] = make(classes[kind], values, given)
    if "grouping" not in given and "grouping" in inspect.signature(mac_class).parameters:
        raise ConfigError(f"configuration: mac={config.mac} needs a grouping. Set grouping=contiguous, for example.")
    return make(mac_class, values, given)


def _shapes(config: Config, info: EnvInfo, mac_class: type) -> dict[str, Any]:
    """What decides the sizes of networks."""
    return {
        "info": info,
        "obs_shape": info.obs_shape,
        "n_agents": info.n_agents,
        "n_actions": info.n_actions,
        "extra_dim": mac_class.extra_dim(info, config.args["obs_last_action"]),  # type: ignore[attr-defined]
    }


def make_learner(config: Config, mac: BasicMAC, processes: Processes = ALONE) -> Learner:
    """Learner with its mixer, on the controller's device."""
    classes = chosen_classes(config.to_dict(), REGISTRIES, config.trust)
    _check_parts(config, classes)
    given: dict[str, Any] = {
        "mac": mac,
        "mixer": None,
        "obs_dim": math.prod(mac.info.obs_shape),
        "n_agents": mac.info.n_agents,
        "n_actions": mac.info.n_actions,
        "setting": Setting(config.t_max, make_regime(config).target_update_tau, processes),
        "generator": seeding.generator(config.seed, "learner", mac.device),
    }
    if "mixer" in classes:
        mixer: nn.Module = make(classes["mixer"], config.args, given)
        given["mixer"] = mixer.to(mac.device)
    return make(classes["learner"], config.args, given)


def _check_networks_fit(config: Config, info: EnvInfo, device: torch.device) -> None:
    """Raise MemoryLimit for an agent and a mixer that do not fit with their targets, gradients and optimiser.

    They are made without memory to be counted. Own parts that read values while they are made, or need more than
    shapes, are not.
    """
    classes = chosen_classes(config.to_dict(), REGISTRIES, config.trust)
    given = {**_shapes(config, info, classes["mac"]), "obs_dim": math.prod(info.obs_shape)}
    try:
        with torch.device("meta"):
            parts: list[nn.Module] = [
                make(classes[kind], config.args, given) for kind in ("agent", "mixer") if kind in classes
            ]
    except RegistryError:
        return
    except RuntimeError as error:
        if "overflow" not in str(error).lower():
            return
        raise ConfigError(f"configuration: networks expect sizes that can be counted ({error}).") from error
    count = sum(parameter.numel() for part in parts for parameter in part.parameters())
    check_fits(
        f"networks of {count:,} parameters, each with its target, its gradient and two moments,",
        5 * 4 * count,
        "Lower hidden_dims and other sizes of layers, or share_params=true.",
        _free_bytes(device),
    )


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def _picture_note(config: Config, mac: BasicMAC) -> tuple[str, ...]:
    """A warning where every pixel of large pictures has weights of its own; else nothing."""
    shape, count = mac.info.obs_shape, sum(parameter.numel() for parameter in mac.agent.parameters())
    if len(shape) < 2 or count <= LARGE:
        return ()
    side = min(shape[:2])
    return (
        f"warning: observations are pictures of {' x '.join(map(str, shape))}, of which agent={config.agent} makes a "
        f"network of {count:,} parameters, and the replay keeps every pixel. Make them smaller, to 14 cells or so "
        f"(env_args.downscale={max(2, side // 14)} where env=pettingzoo), and read them with agent=conv.",
    )


def make_regime(config: Config) -> Regime[Any]:
    """How the learner learns from what is played."""
    return make(resolve(REGISTRIES["regime"], config.regime, "regime", config.trust), config.args, {})


def called(team: str) -> str:
    """What begins the names of all that belongs to a team of enemies that learn."""
    return f"{ENEMIES}{team}_" if team else ENEMIES


def team_of(whose: str) -> str:
    """The team whose names `called` begins."""
    return whose.removeprefix(ENEMIES).removesuffix("_")


def row_spec(config: Config, env: Env, mac: BasicMAC, learner: Learner, enemies: bool = False) -> RowSpec:
    """What rows of a run hold and where; ``enemies``: those of the other side of a `TwoSidedEnv`."""
    if enemies:
        assert isinstance(env, TwoSidedEnv)
        observations = env.enemy_observations
    else:
        observations = env.observations
    return RowSpec(
        info=mac.info,
        n_envs=config.batch_size_run,
        storage=env.device,  # rows stay where the environment makes them
        device=mac.device,
        with_position=learner.needs_position,
        window=mac.agent.window,
        observations=observations if mac.info.compact_dim else None,
    )


def make_side(config: Config, env: Env, processes: Processes, team: str | None = None) -> Side:
    """A side of ``env`` that learns: the learners, or a ``team`` of a `TwoSidedEnv`'s enemies. Raises InputError."""
    device, info = device_of(config), env.info
    if team is not None:
        assert isinstance(env, TwoSidedEnv)
        info = env.others[team]
    _check_networks_fit(config, info, device)
    torch.manual_seed(seeding.derive_seed(config.seed, "networks"))  # initial weights; nothing else is global
    mac = make_mac(config, info).to(device)
    learner = make_learner(config, mac, processes)
    regime = make_regime(config)
    _check_regime(config, mac, learner, regime)
    _check_learns(config, processes, regime)
    spec = row_spec(config, env, mac, learner, team is not None)
    memory = spec.check_memory(regime.name, regime.kept(spec.n_envs), _free_bytes(spec.storage))
    rows = regime.rows(spec, seeding.generator(config.seed, "replay", index=processes.rank))
    return Side(config, mac, learner, regime, rows, (*_picture_note(config, mac), memory, regime.describe()))


def _check_regime(config: Config, mac: BasicMAC, learner: Learner, regime: Regime[Any]) -> None:
    """Raises ConfigError for what learns from a replay alone."""
    reason = learner.replay_only or ("it learns from sequences with a warm-up" if mac.agent.window else "")
    if reason and regime.target_update_tau is None:
        part = f"learner={config.learner}" if learner.replay_only else f"agent={config.agent}"
        raise ConfigError(
            f"configuration: {part} expects regime=replay ({reason}), got regime={config.regime}. Set regime=replay."
        )


def _check_learns(config: Config, processes: Processes, regime: Regime[Any]) -> None:
    """Raises ConfigError for a run that would end before its first update; ``t_max=1`` asks for no learning."""
    first = regime.first_update(config.batch_size_run * processes.size)
    if 1 < config.t_max < first and not config.evaluate:
        raise ConfigError(
            f"configuration: t_max = {config.t_max}, but the first update comes at step {first} of regime="
            f"{config.regime}: {config.name} would learn nothing. Raise t_max to {first} or more; t_max=1 only plays."
        )


def _check_processes(config: Config, processes: Processes) -> None:
    """Raises ConfigError for what several processes cannot share."""
    for key, one, many in (("regime", "replay", "rollout"), ("evaluate", "true", "false")):
        if processes.size > 1 and str(getattr(config, key)).lower() == one:
            raise ConfigError(
                f"configuration: {processes.size} processes expect {key}={many}, got {one}. Set it, or start one "
                "process, without torchrun."
            )
    if processes.size > 1 and config.env_args.get("opponent") == LEARNER:
        raise ConfigError(
            f"configuration: {processes.size} processes expect one side that learns, got env_args.opponent={LEARNER}. "
            "Start one process, without torchrun, or choose another opponent."
        )


def _check_parts(config: Config, classes: Mapping[str, type]) -> None:
    """The learner's annotations say which controllers and mixers it works with; ConfigError for another."""
    hints = {"mixer": type(None), **get_type_hints(classes["learner"].__init__)}  # type: ignore[misc]
    for part in ("mac", "mixer"):
        if not issubclass(classes.get(part, type(None)), hints[part]):
            raise ConfigError(
                f"configuration: learner={config.learner} expects {part}: {type_name(hints[part])}, got "
                f"{part}={getattr(config, part)}. Start from the files of src/config/algs."
            )


def build(config: Config, resumed: bool = False, processes: Processes = ALONE) -> System:
    """Everything connected and seeded; nothing is written. Raises InputError for parts that do not fit together.

    ``resumed``: networks come from the run's own state later, not from ``checkpoint_path``. ``processes`` play with
    random streams of their own, the first with those of a process alone.
    """
    _check_processes(config, processes)
    torch.set_num_threads(config.threads)  # before anything computes: sums over shares round differently
    keep_freed_memory()
    device = device_of(config)
    if config.use_cuda:
        processes.use_gpu()
    env = make_env(config, config.batch_size_run, test=False)
    test_env = make_env(config, min(config.batch_size_run, config.test_nepisode), test=True)
    check_same_game(env.info, test_env.info, "test_env_args")

    side = make_side(config, env, processes)
    league, enemies, opponents = None, dict[str, Side](), dict[str, LearningOpponent]()
    if isinstance(env, TwoSidedEnv) and env.opponent == "league":
        league = League(side.mac, env.league_interval, env.league_self_play)
        env.set_opponent(league)
    elif isinstance(env, TwoSidedEnv) and env.opponent == LEARNER:
        for team in env.others:
            whose = called(team)
            with blamed(args_of(team)):
                enemies[whose] = make_side(enemy_config(config, team), env, processes, team)
            opponents[whose] = LearningOpponent(enemies[whose].mac, enemies[whose].rows)
            env.set_opponent(opponents[whose], team)
    else:
        set_opponent(env, side.mac, greedy=False, trust=config.trust)
    acting = {whose: enemy.learner.acting() for whose, enemy in enemies.items()}
    set_opponent(test_env, side.learner.acting(), greedy=True, trust=config.trust, enemies=acting)

    def stream(name: str) -> torch.Generator:
        return seeding.generator(config.seed, name, device, processes.rank)

    start = seeding.derive_seed(config.seed, "environment", processes.rank)
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
    )
    if config.checkpoint_path and not resumed:
        load_networks(system, checkpoint.step_folder(Path(config.checkpoint_path), config.load_step))
    return system


def set_opponent(
    env: Env, mac: BasicMAC, greedy: bool, trust: Trust, enemies: Mapping[str, BasicMAC] = MappingProxyType({})
) -> None:
    """Give an environment of two sides the policies that play its enemies: the learning controller or frozen ones.

    One that plays its learner's teammates too gets their frozen policy.
    ``greedy`` environments are the evaluation's; ``trust``: what a frozen policy may import; ``enemies``: the
    controllers of enemies that learn. Raises ConfigError for a league, which only a run in training has, and for
    enemies that should learn where none do.
    """
    if not isinstance(env, TwoSidedEnv):
        return
    if isinstance(env, WithTeam) and env.team == "checkpoint":
        env.set_team(frozen_policy(env.team_checkpoint, mac.device, trust))
    if env.opponent == "league":
        raise ConfigError(
            "env_args.opponent=league trains; evaluations need an opponent that stays what it is. Set "
            "test_env_args.opponent=random, checkpoint or self_play (evaluate.py: env_args.opponent)."
        )
    if env.opponent == LEARNER:
        if not enemies:
            raise ConfigError(
                "test_env_args.opponent=learner expects env_args.opponent=learner, whose enemies it would play. Set "
                "that too, or another opponent."
            )
        if {called(team) for team in env.others} != enemies.keys():
            raise ConfigError(
                "test_env_args.teams expects those of env_args.teams, which learn, got "
                f"{', '.join(env.others) or 'none'}. Leave it out."
            )
        for team in env.others:
            env.set_opponent(MACPolicy(enemies[called(team)], greedy=True), team)
    elif env.opponent == "self_play":
        env.set_opponent(MACPolicy(mac, greedy))
    elif env.opponent == "checkpoint":
        path, several = ROOT / env.opponent_checkpoint, "" not in env.others
        if path.is_dir() != several:
            expected = "a checkpoint's folder, with a policy for every team" if several else "one policy file"
            raise ConfigError(
                f"env_args.opponent_checkpoint: expected {expected}, got '{env.opponent_checkpoint}'. Choose another, "
                "or change env_args.teams."
            )
        for team in env.others:
            file = enemy_file(path, checkpoint.POLICY, called(team)) if several else path
            env.set_opponent(frozen_policy(str(file), mac.device, trust), team)


def frozen_policy(path: str, device: torch.device, trust: Trust) -> MACPolicy:
    """The greedy policy of an exported file; a relative path starts at the project. Raises CheckpointError."""
    return MACPolicy(load_policy(ROOT / path, device, trust), greedy=True)


def policy_state(config: Config, mac: BasicMAC) -> dict[str, Any]:
    """What an exported policy holds: the controller's networks and what rebuilds them; no folders of this machine."""
    info = {field: getattr(mac.info, field) for field in EnvInfo.__dataclass_fields__}
    info["obs_dtype"] = str(mac.info.obs_dtype).removeprefix("torch.")
    portable = replace(config, local_results_path="results", tensorboard=False, tracker="none", checkpoint_path="")
    return {"config": portable.to_dict(), "info": info, "mac": mac.state_dict()}


def mac_of_policy(state: Mapping[str, Any], trust: Trust) -> BasicMAC:
    """The controller that `policy_state` describes, with new networks. Raises what a state that is none leads to."""
    dtype = getattr(torch, state["info"]["obs_dtype"])
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"obs_dtype is {state['info']['obs_dtype']}")
    shape = tuple(state["info"]["obs_shape"])  # a list in JSON
    info = EnvInfo(**{**state["info"], "obs_dtype": dtype, "obs_shape": shape})
    return make_mac(config_from_dict(state["config"], state, trust), info)


def read_policy(path: Path, device: torch.device, trust: Trust = NOTHING) -> tuple[Mapping[str, Any], BasicMAC]:
    """What an exported policy file holds (`policy_state`), and its controller, frozen. Raises CheckpointError.

    ``trust``: what it may import.
    """
    state = checkpoint.load(path, device)
    try:
        mac = mac_of_policy(state, trust).to(device)
        mac.load_state_dict(state["mac"])
    except TrustError:
        raise
    except (InputError, AttributeError, KeyError, TypeError, RuntimeError) as error:
        raise checkpoint.CheckpointError(
            f"checkpoint: {path} is no policy that can be loaded ({checkpoint.one_line(error)}); {made_by(state)}."
        ) from error
    return state, mac.requires_grad_(False)


def load_policy(path: Path, device: torch.device, trust: Trust = NOTHING) -> BasicMAC:
    """A frozen controller from an exported policy file, as `read_policy`."""
    return read_policy(path, device, trust)[1]


def enemy_file(folder: Path, name: str, whose: str = ENEMIES) -> Path:
    """The file ``name`` of enemies that learned, in a checkpoint folder. Raises CheckpointError where none did."""
    path = folder / f"{whose}{name}"
    if not path.exists():
        raise checkpoint.CheckpointError(
            f"checkpoint: expected {path}, which runs with env_args.opponent={LEARNER} keep, it does not exist. Choose "
            "a checkpoint of such a run, or another opponent."
        )
    return path


def load_networks(system: System, folder: Path) -> None:
    """Networks, targets and optimiser from a checkpoint folder of a run with the same shapes; a league begins with it.

    Raises CheckpointError for what is missing or does not fit.
    """
    for whose, side in system.sides.items():
        path = enemy_file(folder, checkpoint.LEARNER, whose) if whose else folder / checkpoint.LEARNER
        state = checkpoint.load(path, system.device)
        try:
            # Another run: it counts its own updates and draws its own noise.
            networks = {key: value for key, value in state.items() if key != "generator"}
            side.learner.load_state_dict({**networks, "n_updates": 0})
        except (KeyError, RuntimeError, ValueError) as error:
            raise checkpoint.CheckpointError(
                f"checkpoint: {folder} does not fit {side.config.name} on {side.config.env}: "
                f"{checkpoint.one_line(error)}. Use the algorithm, networks and population it was trained with "
                f"({made_by(state)})."
            ) from error
    if system.league is not None:
        system.league.add(0, system.learner.acting())
