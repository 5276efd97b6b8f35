"""What is refused before anything is played: parts that do not fit together, into memory or into the steps of a run."""

from __future__ import annotations

from typing import Any

import psutil
import torch
from torch import nn

from assembly.parts import shapes
from assembly.registries import REGISTRIES
from components.batch import EnvInfo, misfit
from config.checked import chosen_classes
from config.enemies import LEARNER
from config.registry import RegistryError, make
from config.schema import Config, ConfigError
from controllers.basic_controller import BasicMAC
from learners.base import Learner
from learners.regimes import Regime
from utils.memory import check_fits
from utils.processes import Processes

LARGE = 5_000_000  # parameters
CELLS = 14  # the side of a picture that networks of usual sizes read well


def check_same_game(trained: EnvInfo, played: EnvInfo, key: str, any_number: bool = False) -> None:
    """Raise ConfigError, naming ``key``, where a policy of one environment would play another game in the other.

    ``any_number``: it may have been trained with another number of agents.
    """
    unlike = misfit(trained, played, any_number)
    if unlike:
        raise ConfigError(
            f"{key}: the policy is trained with {unlike[0]}; this environment has {unlike[1]}. Change only what "
            "leaves the population, observations and actions as they are."
        )


def check_processes(config: Config, processes: Processes) -> None:
    """Raise ConfigError for what several processes cannot share."""
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


def check_networks_fit(config: Config, info: EnvInfo, device: torch.device) -> None:
    """Raise MemoryLimit for an agent and a mixer that do not fit with their targets, gradients and optimiser.

    They are made without memory to be counted. Own parts that read values while they are made, or need more than
    shapes, are not.
    """
    classes = chosen_classes(config.to_dict(), REGISTRIES, config.trust)
    given = shapes(config, info, classes["mac"])
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
        free_bytes(device),
    )


def free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def picture_note(config: Config, mac: BasicMAC) -> tuple[str, ...]:
    """Return a warning where every pixel of large pictures has weights of its own; else nothing."""
    shape, count = mac.info.obs_shape, sum(parameter.numel() for parameter in mac.agent.parameters())
    if len(shape) < 2 or count <= LARGE:
        return ()
    return (
        f"warning: observations are pictures of {' x '.join(map(str, shape))}, of which agent={config.agent} makes a "
        f"network of {count:,} parameters, and the replay keeps every pixel. {picture_cure(config, mac)}",
    )


def picture_cure(config: Config, mac: BasicMAC) -> str:
    """Say what to do about large pictures; empty where observations are none."""
    shape = mac.info.obs_shape
    if len(shape) < 2 or min(shape[:2]) < 2 * CELLS:
        return ""
    read = "" if config.agent == "conv" else ", and read them with agent=conv"
    return (
        f"Make pictures smaller, to {CELLS} cells or so (env_args.downscale={min(shape[:2]) // CELLS} where "
        f"env=pettingzoo){read}."
    )


def check_regime(config: Config, mac: BasicMAC, learner: Learner, regime: Regime[Any]) -> None:
    """Raise ConfigError for what learns from a replay alone."""
    reason = learner.replay_only or ("it learns from sequences with a warm-up" if mac.agent.window else "")
    if reason and regime.target_update_tau is None:
        part = f"learner={config.learner}" if learner.replay_only else f"agent={config.agent}"
        raise ConfigError(
            f"configuration: {part} expects regime=replay ({reason}), got regime={config.regime}. Set regime=replay."
        )


def check_learns(config: Config, processes: Processes, regime: Regime[Any], episode_limit: int) -> None:
    """Raise ConfigError for a run that would end before its first update; ``t_max=1`` asks for no learning."""
    first = regime.first_update(config.batch_size_run * processes.size, episode_limit)
    if 1 < config.t_max < first and not config.evaluate:
        raise ConfigError(
            f"configuration: t_max = {config.t_max}, but the first update comes at step {first} of regime="
            f"{config.regime}: {config.name} would learn nothing. Raise t_max to {first} or more; t_max=1 only plays."
        )
