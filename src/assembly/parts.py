"""One part each of a run, made from a checked configuration."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import torch

from assembly.registries import REGISTRIES
from components.batch import EnvInfo
from components.rows import RowSpec
from config.checked import chosen_classes, imported_names
from config.loader import available, named_layer
from config.registry import make, resolve
from config.resolve import env_values
from config.schema import Config, ConfigError, type_name
from config.schemas import Schema
from controllers.basic_controller import BasicMAC
from envs.base import Env
from envs.opponents import TwoSidedEnv
from envs.torch_env import TorchEnv
from learners.base import Learner, Setting
from learners.regimes import Regime
from utils import seeding
from utils.processes import ALONE, Processes

AT_ONCE, PER_AGENT = 2**22, 256  # numbers that an evaluation's step may hold (16 MiB), at least so many of an agent


def device_of(config: Config) -> torch.device:
    """Return the device where networks and batched environments live. Raises ConfigError."""
    if config.use_cuda and not torch.cuda.is_available():
        raise ConfigError(
            "use_cuda=true, but torch sees no CUDA device. Use use_cuda=false, or run ./install_dependencies.sh --cuda."
        )
    return torch.device("cuda" if config.use_cuda else "cpu")


def make_env(config: Config, n_envs: int, test: bool) -> Env:
    """Make the training or evaluation environments, without opponent. Raises TrustError before anything is imported."""
    values = env_values(config, test)
    env_class = resolve(REGISTRIES["env"], config.env, "env", config.trust)
    shipped = named_layer("envs", config.env).values["env_args"] if config.env in available("envs") else {}
    for key, name in imported_names(Schema.of(env_class), values):
        if name != shipped.get(key):
            config.trust.require(f"env_args.{key}", name)
    return make(env_class, values, {"n_envs": n_envs, "device": device_of(config)})


def make_test_env(config: Config) -> Env:
    """Make the evaluation environments of training, without their opponent; raises as `make_env`.

    As many as in training, which is what engines bear. Where games are rows of tensors, a step of all costs hardly more
    than one of a few: there all episodes are played at once, unless their observations are large.
    """
    n_episodes = config.test_nepisode
    env = make_env(config, min(config.batch_size_run, n_episodes), test=True)
    most = max(1, AT_ONCE // (env.info.n_agents * max(PER_AGENT, math.prod(env.info.obs_shape))))
    n_envs = math.ceil(n_episodes / math.ceil(n_episodes / most))  # rounds of equal size
    if not isinstance(env, TorchEnv) or n_envs <= env.n_envs:
        return env
    env.close()
    return make_env(config, n_envs, test=True)


def make_mac(config: Config, info: EnvInfo) -> BasicMAC:
    """Make the controller with its network, exploration and grouping."""
    classes = chosen_classes(config.to_dict(), REGISTRIES, config.trust)
    values = config.args
    mac_class = classes["mac"]
    given = shapes(config, info, mac_class)
    for kind in ("agent", "selector", "grouping"):
        if kind in classes:
            given[kind] = make(classes[kind], values, given)
    grouped = "grouping" in inspect.signature(mac_class).parameters
    if grouped and "grouping" not in given:
        raise ConfigError(f"configuration: mac={config.mac} needs a grouping. Set grouping=contiguous, for example.")
    if "grouping" in given and not grouped:
        raise ConfigError(
            f"configuration: mac={config.mac} has no groups, got grouping={config.grouping}. Set grouping=none."
        )
    return make(mac_class, values, given).eval()  # dropout is for updates


def shapes(config: Config, info: EnvInfo, mac_class: type) -> dict[str, Any]:
    """Return what decides the sizes of networks."""
    return {
        "info": info,
        "obs_shape": info.obs_shape,
        "obs_dim": math.prod(info.obs_shape),
        "n_agents": info.n_agents,
        "n_actions": info.n_actions,
        "extra_dim": mac_class.extra_dim(info, config.args["obs_last_action"]),  # type: ignore[attr-defined]
    }


def make_learner(config: Config, mac: BasicMAC, processes: Processes = ALONE) -> Learner:
    """Make the learner with its mixer, on the controller's device."""
    classes = chosen_classes(config.to_dict(), REGISTRIES, config.trust)
    _check_parts(config, classes)
    given: dict[str, Any] = {
        **shapes(config, mac.info, classes["mac"]),
        "mac": mac,
        "setting": Setting(config.t_max, make_regime(config).target_update_tau, processes),
        "generator": seeding.generator(config.seed, "learner", mac.device),
    }
    mixer = make(classes["mixer"], config.args, given).to(mac.device) if "mixer" in classes else None
    return make(classes["learner"], config.args, {**given, "mixer": mixer})


def _check_parts(config: Config, classes: Mapping[str, type]) -> None:
    """Raise ConfigError for a controller or a mixer that the learner's annotations do not allow."""
    hints = {"mac": BasicMAC, "mixer": type(None), **get_type_hints(classes["learner"].__init__)}  # type: ignore[misc]
    for part in ("mac", "mixer"):
        got, bases = getattr(config, part), get_args(hints[part]) or (hints[part],)
        if not issubclass(classes.get(part, type(None)), bases):
            named = [f"{base.__module__}.{base.__name__}" for base in bases if base is not type(None)]
            own = ":" in got and named
            cure = f"Derive the class from {' or '.join(named)}." if own else "Start from the files of src/config/algs."
            raise ConfigError(
                f"configuration: learner={config.learner} expects {part}: {type_name(hints[part])}, got {part}={got}. "
                f"{cure}"
            )


def make_regime(config: Config) -> Regime[Any]:
    """Make the regime: how the learner learns from what is played."""
    return make(resolve(REGISTRIES["regime"], config.regime, "regime", config.trust), config.args, {})


def row_spec(config: Config, env: Env, mac: BasicMAC, learner: Learner, enemies: bool = False) -> RowSpec:
    """Return what rows of a run hold and where; ``enemies``: those of the other side of a `TwoSidedEnv`."""
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
        bootstrap_at_limit=config.bootstrap_at_limit,
    )
