"""Composition root: checked configuration in, connected parts out. The only reader of the registries."""

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
from components.replay import Replay, check_memory
from config.loader import Layer, merge
from config.ranges import check_ranges
from config.registry import config_keys, make, resolve
from config.schema import NESTED, Config, ConfigError, check_value, framework_keys, type_name
from controllers.basic_controller import BasicMAC
from controllers.policy import MACPolicy
from envs.base import Env
from envs.opponents import TwoSidedEnv
from learners.base import Learner
from modules import agents, mixers
from records import checkpoint
from runners.vector_runner import VectorRunner
from utils import seeding
from utils.allocator import keep_freed_memory
from utils.errors import InputError
from utils.words import nearest

REGISTRIES: dict[str, Mapping[str, type]] = {
    "env": envs.REGISTRY,
    "agent": agents.REGISTRY,
    "mac": controllers.REGISTRY,
    "mixer": mixers.REGISTRY,
    "learner": learners.REGISTRY,
    "grouping": groupings.REGISTRY,
    "selector": selectors.REGISTRY,
}
PROJECT = Path(__file__).parents[1]  # relative paths of opponents start here, wherever the command is run
OPTIONAL = ("mixer", "grouping")  # may be "none"
RESUMABLE = (  # keys that may differ in a resumed run, because they do not change what is learned
    "t_max",
    "test_interval",
    "test_nepisode",
    "log_interval",
    "save_model_interval",
    "keep_checkpoints",
    "save_replay",
    "local_results_path",
)


@dataclass(frozen=True)
class System:
    """Everything a run needs, connected."""

    config: Config
    device: torch.device
    mac: BasicMAC
    learner: Learner
    replay: Replay
    runner: VectorRunner
    test_runner: VectorRunner
    notes: tuple[str, ...]  # sentences for the person who started the run

    def close(self) -> None:
        """Release both sets of environments."""
        self.runner.env.close()
        self.test_runner.env.close()


def chosen_classes(values: Mapping[str, Any]) -> dict[str, type]:
    """Kind -> class that the configuration names, without those that are "none"."""
    return {
        kind: resolve(registry, values[kind], kind)
        for kind, registry in REGISTRIES.items()
        if not (kind in OPTIONAL and values[kind] == "none")
    }


def make_config(layers: list[Layer]) -> tuple[Config, list[str]]:
    """Check layered values against the framework's keys and the chosen components' constructors.

    Returns the configuration and a sentence for every key that was set for nothing. Raises ConfigError or
    RegistryError.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        values = merge(values, layer.values)
    origin = {key: layer.where for layer in layers for key in layer.values}
    own = framework_keys()
    for key in own:
        if key not in values:
            raise ConfigError(f"configuration: the key '{key}' has no value. Set it in src/config/default.yaml.")
    for kind in REGISTRIES:
        check_value(kind, values[kind], str, origin[kind])
    classes = chosen_classes(values)
    env_class = classes.pop("env")
    read = {key: hint for cls in classes.values() for key, hint in config_keys(cls).items()}
    parts = (registry for kind, registry in REGISTRIES.items() if kind != "env")
    every = {key for registry in parts for cls in registry.values() for key in config_keys(cls)}
    known = {*own, *read, *every, "env_args", "test_env_args"}
    for key in values:
        if key not in known:
            inside = key in config_keys(env_class)
            hint = f" Write env_args.{key}." if inside else nearest(key, known)
            raise ConfigError(f"{origin[key]}: unknown key '{key}'.{hint}")
    for key in read:
        if key not in values:
            users = [f"{kind}={values[kind]}" for kind, cls in classes.items() if key in config_keys(cls)]
            raise ConfigError(
                f"configuration: {', '.join(users)} needs the key '{key}'. Set it in src/config/algs or with {key}=..."
            )
    checked = {key: check_value(key, values[key], hint, origin[key]) for key, hint in {**own, **read}.items()}
    config = Config(
        **{key: checked[key] for key in own},
        env_args=MappingProxyType(check_env_args(env_class, values["env_args"], origin["env_args"], "env_args")),
        test_env_args=MappingProxyType(
            check_env_args(env_class, values["test_env_args"], origin["test_env_args"], "test_env_args")
        ),
        args=MappingProxyType({key: checked[key] for key in read}),
    )
    for key, hint in config_keys(env_class).items():
        if key not in config.env_args:
            raise ConfigError(
                f"configuration: env={config.env} needs env_args.{key} ({type_name(hint)}). Set it in its YAML."
            )
    _check_ranges(config)
    idle = sorted(key for key in layers[-1].values if key not in {*own, *read, *NESTED})
    idle += sorted(key for key in layers[-2].values if key not in {*own, *read, *NESTED} and key not in idle)
    return config, [f"note: {origin[key]} sets {key}, which {config.name} never reads." for key in idle]


def check_env_args(env_class: type, given: Any, where: str, key: str) -> dict[str, Any]:
    """``given`` as arguments of an environment. Raises ConfigError, calling them ``key``."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: {key} expects keys and values, got {given!r}.")
    keys = config_keys(env_class)
    for name in given:
        if name not in keys:
            raise ConfigError(f"{where}: unknown key '{key}.{name}'.{nearest(name, keys)} Known: {', '.join(keys)}.")
    return {name: check_value(f"{key}.{name}", value, keys[name], where) for name, value in given.items()}


def _check_ranges(config: Config) -> None:
    check_ranges(config.to_dict())
    if config.evaluate and not config.checkpoint_path:
        raise ConfigError("configuration: evaluate=true plays loaded networks. Set checkpoint_path as well.")
    if config.learning_starts < config.batch_size:
        raise ConfigError(
            f"configuration: learning_starts = {config.learning_starts} is less than batch_size = "
            f"{config.batch_size}; the first update needs a full batch. Raise learning_starts."
        )


def device_of(config: Config) -> torch.device:
    """Where networks and batched environments live. Raises ConfigError."""
    if config.use_cuda and not torch.cuda.is_available():
        raise ConfigError("use_cuda=true, but torch sees no CUDA device. Use use_cuda=false, or install a CUDA torch.")
    return torch.device("cuda" if config.use_cuda else "cpu")


def make_env(config: Config, n_envs: int, test: bool) -> Env:
    """Training or evaluation environments, without their opponent."""
    values = env_values(config, test)
    given = {"n_envs": n_envs, "device": device_of(config)}
    return make(resolve(REGISTRIES["env"], config.env, "env"), values, given)


def make_mac(config: Config, info: EnvInfo) -> BasicMAC:
    """Controller with its network, exploration and grouping."""
    classes = chosen_classes({kind: getattr(config, kind) for kind in REGISTRIES})
    values = config.args
    mac_class = classes["mac"]
    given: dict[str, Any] = {
        "info": info,
        "obs_shape": info.obs_shape,
        "n_agents": info.n_agents,
        "n_actions": info.n_actions,
        "extra_dim": mac_class.extra_dim(info, values["obs_last_action"]),  # type: ignore[attr-defined]
    }
    for kind in ("agent", "selector", "grouping"):
        if kind in classes:
            given[kind] = make(classes[kind], values, given)
    if "grouping" not in given and "grouping" in inspect.signature(mac_class).parameters:
        raise ConfigError(f"configuration: mac={config.mac} needs a grouping. Set grouping=contiguous, for example.")
    return make(mac_class, values, given)


def make_learner(config: Config, mac: BasicMAC) -> Learner:
    """Learner with its mixer, on the controller's device."""
    classes = chosen_classes({kind: getattr(config, kind) for kind in REGISTRIES})
    _check_parts(config, classes)
    given: dict[str, Any] = {
        "mac": mac,
        "mixer": None,
        "obs_dim": math.prod(mac.info.obs_shape),
        "n_agents": mac.info.n_agents,
        "n_actions": mac.info.n_actions,
        "n_groups": getattr(getattr(mac, "grouping", None), "n_groups", None),
        "generator": seeding.generator(config.seed, "learner", mac.device),
    }
    if "mixer" in classes:
        mixer: nn.Module = make(classes["mixer"], config.args, given)
        given["mixer"] = mixer.to(mac.device)
    return make(classes["learner"], config.args, given)


def _check_parts(config: Config, classes: Mapping[str, type]) -> None:
    """The learner's annotations say which controllers and mixers it works with; ConfigError for another."""
    hints = {"mixer": type(None), **get_type_hints(classes["learner"].__init__)}  # type: ignore[misc]
    for part in ("mac", "mixer"):
        if not issubclass(classes.get(part, type(None)), hints[part]):
            raise ConfigError(
                f"configuration: learner={config.learner} expects {part}: {type_name(hints[part])}, got "
                f"{part}={getattr(config, part)}. Start from the files of src/config/algs."
            )


def build(config: Config, resumed: bool = False) -> System:
    """Everything connected and seeded; nothing is written. Raises InputError for parts that do not fit together.

    ``resumed``: networks come from the run's own state later, not from ``checkpoint_path``.
    """
    keep_freed_memory()
    device = device_of(config)
    env = make_env(config, config.batch_size_run, test=False)
    test_env = make_env(config, min(config.batch_size_run, config.test_nepisode), test=True)

    torch.manual_seed(seeding.derive_seed(config.seed, "networks"))  # initial weights; nothing else is global
    mac = make_mac(config, env.info).to(device)
    learner = make_learner(config, mac)
    set_opponent(env, mac, greedy=False)
    set_opponent(test_env, mac, greedy=True)

    with_position = learner.needs_position
    storage = env.device  # rows stay where the environment makes them
    free = torch.cuda.mem_get_info(storage)[0] if storage.type == "cuda" else psutil.virtual_memory().available
    notes = [check_memory(env.info, config.buffer_size, config.batch_size_run, with_position, free)]
    replay = Replay(
        env.info,
        config.batch_size_run,
        config.buffer_size,
        seeding.generator(config.seed, "replay"),
        storage,
        device,
        with_position,
        mac.agent.window,
        env.observations if env.info.compact_dim else None,
    )
    if config.learning_starts < replay.length * config.batch_size_run:
        raise ConfigError(
            f"configuration: learning_starts = {config.learning_starts}, but the first update needs {replay.length} "
            f"transitions of each of batch_size_run = {config.batch_size_run} environments. Set learning_starts to at "
            f"least {replay.length * config.batch_size_run}."
        )
    system = System(
        config=config,
        device=device,
        mac=mac,
        learner=learner,
        replay=replay,
        runner=VectorRunner(env, mac, seeding.generator(config.seed, "behaviour", device)),
        test_runner=VectorRunner(test_env, mac, seeding.generator(config.seed, "evaluation", device)),
        notes=tuple(notes),
    )
    if config.checkpoint_path and not resumed:
        load_networks(system, checkpoint.step_folder(Path(config.checkpoint_path), config.load_step))
    return system


def with_env_args(config: Config, **env_args: Any) -> Config:
    """``config`` with some env_args changed."""
    return replace(config, env_args=MappingProxyType({**config.env_args, **env_args}))


def env_values(config: Config, test: bool) -> dict[str, Any]:
    """env_args of the training or the evaluation environments."""
    return {**config.env_args, **(config.test_env_args if test else {})}


def set_opponent(env: Env, mac: BasicMAC, greedy: bool) -> None:
    """Give an environment of two sides the policy that plays its enemies: the learning controller or a frozen one.

    ``greedy`` environments are the evaluation's.
    """
    if not isinstance(env, TwoSidedEnv):
        return
    if env.opponent == "self_play":
        env.set_opponent(MACPolicy(mac, greedy))
    elif env.opponent == "checkpoint":
        env.set_opponent(MACPolicy(load_policy(PROJECT / env.opponent_checkpoint, mac.device), greedy=True))


def policy_state(config: Config, mac: BasicMAC) -> dict[str, Any]:
    """What an exported policy holds: the controller's networks and what rebuilds them; no folders of this machine."""
    info = {field: getattr(mac.info, field) for field in EnvInfo.__dataclass_fields__}
    info["obs_dtype"] = str(mac.info.obs_dtype).removeprefix("torch.")
    portable = replace(config, local_results_path="results", checkpoint_path="")
    return {"config": portable.to_dict(), "info": info, "mac": mac.state_dict()}


def config_from_dict(values: dict[str, Any]) -> Config:
    """The configuration that `Config.to_dict` recorded."""
    own = framework_keys()
    for key in (*own, "env_args", "test_env_args"):
        if key not in values:
            raise ConfigError(f"recorded configuration: the key '{key}' has no value. Another version wrote it.")
    args = {key: value for key, value in values.items() if key not in own and key not in NESTED}
    return Config(
        **{key: values[key] for key in own},
        env_args=MappingProxyType(dict(values["env_args"])),
        test_env_args=MappingProxyType(dict(values["test_env_args"])),
        args=MappingProxyType(args),
    )


def load_policy(path: Path, device: torch.device) -> BasicMAC:
    """A frozen controller from an exported policy file. Raises CheckpointError."""
    state = checkpoint.load(path, device)
    try:
        info = EnvInfo(**{**state["info"], "obs_dtype": getattr(torch, state["info"]["obs_dtype"])})
        mac = make_mac(config_from_dict(state["config"]), info).to(device)
        mac.load_state_dict(state["mac"])
    except (InputError, AttributeError, KeyError, TypeError, RuntimeError) as error:
        raise checkpoint.CheckpointError(
            f"checkpoint: {path} is not a policy of this version of the project ({checkpoint.one_line(error)})."
        ) from error
    return mac.requires_grad_(False)


def load_networks(system: System, folder: Path) -> None:
    """Networks, targets and optimiser from a checkpoint folder of a run with the same shapes."""
    state = checkpoint.load(folder / checkpoint.LEARNER, system.device)
    try:
        # Another run: it counts its own updates and draws its own noise.
        networks = {key: value for key, value in state.items() if key != "generator"}
        system.learner.load_state_dict({**networks, "n_updates": 0})
    except (KeyError, RuntimeError, ValueError) as error:
        raise checkpoint.CheckpointError(
            f"checkpoint: {folder} does not fit {system.config.name} on {system.config.env}: "
            f"{checkpoint.one_line(error)}. Use the algorithm, networks and population it was trained with."
        ) from error


def with_run_keys(config: Config, overrides: Mapping[str, Any]) -> Config:
    """A resumed run's configuration: only keys that do not change the experiment may differ. Raises ConfigError."""
    hints = framework_keys()
    for key, value in overrides.items():
        if key not in RESUMABLE:
            raise ConfigError(
                f"command line: {key} cannot change when a run is resumed (allowed: {', '.join(RESUMABLE)}). "
                "For a different experiment, start a new run with checkpoint_path=..."
            )
        config = replace(config, **{key: check_value(key, value, hints[key], "command line")})
    _check_ranges(config)
    return config
