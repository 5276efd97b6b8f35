"""The contract between environments and everything else.

An environment is E parallel copies of one game, array-first. ``pytest tests/contract --env module:Class`` checks it.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from components.batch import EnvInfo, Step
from utils.errors import InputError

Form = Mapping[str, tuple[tuple[int, ...], torch.dtype]]  # tensor -> shape, dtype


class EnvError(InputError):
    """A request that the environment cannot honour; the message says what was expected, what came and what to do."""


def require_at_least(key: str, value: float, minimum: float) -> None:
    """Raise EnvError, which names the configuration key, for a value below the minimum, infinite or NaN."""
    if value < minimum:
        raise EnvError(f"env_args.{key}: expected at least {minimum}, got {value}.")
    if not math.isfinite(value):
        raise EnvError(f"env_args.{key}: expected a finite number, got {value}.")


def announced(info: EnvInfo, n_envs: int) -> Form:
    """Return what the tensors of a `Step` of ``n_envs`` copies are: name -> shape, dtype.

    Those of Step.info are called ``info[KEY]``.
    """
    several, joint = (n_envs,), (n_envs, info.n_agents)
    return {
        "obs": ((*joint, *info.obs_shape), info.obs_dtype),
        "alive": (joint, torch.bool),
        "reward": (joint, torch.float32),
        "terminated": (several, torch.bool),
        "truncated": (several, torch.bool),
        **({"avail": ((*joint, info.n_actions), torch.bool)} if info.has_avail else {}),
        **({"position": ((*joint, 2), torch.float32)} if info.has_position else {}),
        **({"compact": ((n_envs, info.compact_dim), torch.int16)} if info.compact_dim else {}),
        **{f"info[{key}]": (several, torch.float32) for key in info.stats},
    }


def require_announced(row: Step, form: Form, name: str) -> None:
    """Raise EnvError where a tensor of ``row`` is missing, or of another shape or dtype than the `announced` ``form``.

    Memory would stretch or round it without a word. ``name``: of the environment, for the message.
    """
    tensors = vars(row) | {f"info[{key}]": value for key, value in row.info.items()}
    for part, (shape, dtype) in form.items():
        value = tensors.get(part)
        if value is None or value.shape != shape or value.dtype != dtype:
            came = "none" if value is None else f"{value.dtype} of shape {tuple(value.shape)}"
            raise EnvError(
                f"Step.{part}: expected {dtype} of shape {shape}, as EnvInfo of {name} announces, got {came}. "
                "Correct the environment, or what it announces."
            )


class Env(ABC):
    """E parallel copies of one game.

    Constructors take ``(n_envs, device)`` and then keyword-only arguments: those are the keys of ``env_args``, and
    their annotations are the types that a configuration is checked against.

    Autoreset happens on the next step: the row that ends an episode holds its last observation, and the following
    ``step`` ignores that copy's actions and returns the new episode's first row.
    """

    info: EnvInfo
    imports: ClassVar[tuple[str, ...]] = ()  # keys of ``env_args`` whose values the constructor imports
    meanings: ClassVar[Mapping[str, str]] = {}  # of the statistics whose names do not say it

    def __init__(self, n_envs: int, device: torch.device) -> None:
        if n_envs < 1:
            raise EnvError(f"n_envs: expected at least 1 parallel environment, got {n_envs}.")
        self.n_envs = n_envs
        self.device = device

    @classmethod
    def about(cls, env_args: Mapping[str, Any]) -> str:
        """Return what the task of ``env_args`` says of itself, for the cards of its policies."""
        return inspect.getdoc(cls) or ""

    @abstractmethod
    def reset(self, seed: int) -> Step:
        """Start E new episodes from a random stream that depends on ``seed`` alone."""

    @abstractmethod
    def step(self, action: Tensor) -> Step:
        """Advance every copy by one step.

        ``action``: (E, N) int64 in [0, A); entries of dead agents are ignored.
        """

    def observations(self, compact: Tensor) -> Tensor:
        """Make decoded observations (R, N, *O) float32 of (R, compact_dim) rows of ``Step.compact``, on their device.

        Exactly what `decode_obs` makes of ``Step.obs``. Only environments with an ``EnvInfo.compact_dim`` above 0 are
        asked: at any time, for any number of rows of any episode, and, on an accelerator, without reading values back.
        """
        raise EnvError(
            f"{type(self).__name__} announces EnvInfo.compact_dim = {self.info.compact_dim}, but has no method "
            "observations(compact). Write it, or announce 0."
        )

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that a fresh object of the same arguments needs to continue bit for bit."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict`` of an object built with the same arguments."""

    def scene(self, env_index: int) -> Any:
        """Return what there is to see of one copy as it stands: a record of `envs.scenes`, or a whole picture.

        A picture is (H, W, 3) uint8. Raises EnvError for an environment that shows nothing.
        """
        raise EnvError(
            f"There is no picture of {type(self).__name__}. "
            "docs/new_environment.md says what its method scene(env_index) would return."
        )

    def close(self) -> None:  # noqa: B027  (most environments hold nothing to release)
        """Release engines and files."""
