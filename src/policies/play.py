"""A policy that was taken away, played: numpy in, numpy out."""

from __future__ import annotations

import hashlib
import json
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from policies.base import CURE, PolicyError, Values
from policies.zoo import CARD, POLICY, find, is_name
from utils.cli import require
from utils.paths import default_zoo

if TYPE_CHECKING:
    from config.trust import Trust


def load_policy(path: str | Path, trust: Trust | None = None) -> Policy:
    """Load what ``src/runs.py export`` wrote, whose card lies beside it, or a policy of the zoo, also by its name.

    ``trust``: what a safetensors file or one of the zoo, which hold no code, may import (`config.trust`); by default
    nothing but this project. Raises PolicyError for a file that is missing, changed or none, and for a name that the
    zoo has not, InputError for a missing package.
    """
    given, path = str(path), Path(path)
    if is_name(given, default_zoo()):
        path = find(given, default_zoo()).policy()
    if path.is_dir():
        where = path.absolute()
        is_run = (where / "config.json").exists()
        place = shlex.quote(str(where.parents[1])) if is_run else "DIR"
        words = f"{where.name if is_run else 'ID'} --to onnx --results {place}"
        raise PolicyError(
            f"policy: expected the file of an exported policy, got the folder {path}. Export a run's policy and load "
            f"that file: python src/runs.py export {words}"
        )
    of_zoo = path.name == POLICY and not path.with_name(f"{POLICY}.json").exists()
    card_path = path.with_name(CARD if of_zoo else f"{path.name}.json")
    for needed in (path, card_path):
        if not needed.exists():
            cure = "python src/runs.py export, or python src/zoo.py add, gives one"
            hint = f" A run's own {POLICY} has none: {cure}." * of_zoo
            raise PolicyError(
                f"policy: expected the file {needed}, it does not exist. Keep policy and card together.{hint}"
            )
    try:
        card = json.loads(card_path.read_text())
        read, digest = READERS[POLICY if of_zoo else card["format"]], card["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise PolicyError(f"policy: {card_path} is no card of a policy ({error}). Export it again.") from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise PolicyError(f"policy: expected {path} as it was exported, its SHA-256 digest is not the one of its card.")
    return Policy(card, read(path, trust))


class Policy:
    """Greedy actions for E games of N agents, step by step. Remembers what the network needs of the episode so far."""

    def __init__(self, card: Mapping[str, Any], values: Values) -> None:
        self.card = card
        self._values = values
        self._inputs = [given["name"] for given in card["inputs"]]
        self.reset()

    def reset(self) -> None:
        """Forget the running episodes; to be called before the first step of new ones."""
        self._prev_action: np.ndarray | None = None
        self._hidden: np.ndarray | None = None

    def act(
        self,
        obs: np.ndarray,
        alive: np.ndarray | None = None,
        avail: np.ndarray | None = None,
        first: np.ndarray | None = None,
    ) -> np.ndarray:
        """Choose actions (E, N) int64 for observations (E, N, *O) in natural units.

        ``alive`` (E, N) bool, by default all; ``avail`` (E, N, A) bool, the actions that may be chosen, by default all;
        ``first`` (E,) bool, games of which this is an episode's first row. Raises PolicyError for other shapes.
        """
        obs = self._checked(obs)
        n_envs, n_agents = obs.shape[:2]
        alive = np.ones((n_envs, n_agents), bool) if alive is None else flags("alive", alive, (n_envs, n_agents))
        if avail is not None:
            avail = flags("avail", avail, (n_envs, n_agents, self.card["action"]["n"]))
        if self._prev_action is None:
            self._prev_action = np.full((n_envs, n_agents), -1, np.int64)
            self._hidden = np.zeros((n_envs, n_agents, self.card["hidden_dim"]), np.float32)
        elif self._prev_action.shape != alive.shape:
            raise PolicyError(
                f"act: expected {self._prev_action.shape} games and agents as in the step before, got {alive.shape}. "
                "Call reset() first."
            )
        if first is not None:
            first = flags("first", first, (n_envs,))
            self._prev_action[first], self._hidden[first] = -1, 0.0  # type: ignore[index]
        given = {"obs": obs, "prev_action": self._prev_action, "alive": alive, "hidden": self._hidden}
        q_ENA, *hidden = self._values({name: np.ascontiguousarray(given[name]) for name in self._inputs})
        action = greedy(q_ENA, avail)
        self._prev_action = np.where(alive, action, -1)
        self._hidden = hidden[0].copy() if hidden else self._hidden
        return action

    def act_named(
        self,
        observations: Mapping[str, Any],
        agents: Sequence[str],
        infos: Mapping[str, Mapping[str, Any]] | None = None,
        living: Sequence[str] | None = None,
    ) -> dict[str, int]:
        """Choose the actions of one PettingZoo step: name -> observation in, name -> action of the living out.

        ``agents``: the environment's ``possible_agents``; ``living``: its ``agents``, by default all that have an
        observation. In the step of its death PettingZoo gives an agent one more, which must not count: MFQ's agents
        would still see its action. An ``action_mask`` counts in ``infos``, and in observations that are dictionaries
        with ``observation`` and ``action_mask``, as in training; pictures of whole numbers are decoded as there.
        Raises PolicyError for a policy that learned from padded or shrunk observations, which only `act` plays.
        """
        args = self.card["env_args"]
        changed = [key for key, plain in (("pad", False), ("downscale", 1)) if args.get(key, plain) != plain]
        if changed:
            raise PolicyError(
                f"act_named: expected a policy that sees observations as its game gives them, this one learned with "
                f"{', '.join(f'env_args.{key}={args[key]}' for key in changed)}. Make its observations as "
                "docs/pettingzoo.md says, and give them to act()."
            )
        lives = {agent for agent in (agents if living is None else living) if agent in observations}
        alive = np.array([agent in lives for agent in agents])
        empty = np.zeros(self.card["observation"]["shape"], np.float32)
        given = [observations.get(agent, empty) for agent in agents]
        seen = [np.asarray(one["observation"] if isinstance(one, Mapping) else one) for one in given]
        unit = self.card["observation"]["unit_of_stored"]
        obs_NO = np.stack([one * unit if np.issubdtype(one.dtype, np.integer) else one for one in seen])
        places = [
            one if isinstance(one, Mapping) else (infos or {}).get(name, {})
            for name, one in zip(agents, given, strict=True)
        ]
        masks = [place.get("action_mask") for place in places]
        full = np.ones(self.card["action"]["n"], bool)
        avail_NA = np.stack([full if mask is None else np.asarray(mask, bool) for mask in masks])
        action = self.act(obs_NO[None], alive[None], avail_NA[None])[0]
        action = action + self.card["action"].get("first", 0)  # cards did not always tell
        return {agent: int(action[slot]) for slot, agent in enumerate(agents) if agent in lives}

    def _checked(self, obs: np.ndarray) -> np.ndarray:
        """Return observations as float32. Raises PolicyError for another shape or population."""
        shape, agents = tuple(self.card["observation"]["shape"]), self.card["agents"]
        obs = np.asarray(obs, np.float32)
        n_agents = obs.shape[1] if obs.ndim > 1 and agents["any_number"] else agents["trained_with"]
        if obs.ndim != 2 + len(shape) or obs.shape[1:] != (n_agents, *shape):
            expected = ", ".join(map(str, ("N" if agents["any_number"] else n_agents, *shape)))
            raise PolicyError(f"act: expected observations (E, {expected}), got {obs.shape}.")
        return obs


def flags(name: str, given: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return ``given`` as bool. Raises PolicyError, which names it, for another shape."""
    found = np.asarray(given, bool)
    if found.shape != shape:
        raise PolicyError(f"act: expected {name} of shape {shape}, got {found.shape}.")
    return found


def greedy(q_ENA: np.ndarray, avail_ENA: np.ndarray | None) -> np.ndarray:
    """Choose the first best available action, (E, N) int64; an agent without any is free."""
    if avail_ENA is not None:
        q_ENA = np.where(avail_ENA | ~avail_ENA.any(-1, keepdims=True), q_ENA, -np.inf)
    return q_ENA.argmax(-1)


def read_onnx(path: Path, trust: Trust | None) -> Values:
    """Return what an ONNX file computes, on one thread of the CPU."""
    require("onnxruntime", CURE)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, dict(inputs))


def read_torchscript(path: Path, trust: Trust | None) -> Values:
    """Return what a TorchScript file computes."""
    import torch

    from policies.network import values_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the format is, not its use here
        return values_of(torch.jit.load(path, map_location="cpu").eval())


def read_safetensors(path: Path, trust: Trust | None) -> Values:
    """Return what the network computes whose tensors a safetensors file holds. Raises PolicyError."""
    require("safetensors", CURE)
    from config.trust import NOTHING
    from policies.network import rebuilt, values_of

    return values_of(rebuilt(path, NOTHING if trust is None else trust))


def read_of_zoo(path: Path, trust: Trust | None) -> Values:
    """Return what the network of a run's policy computes, as the zoo holds it. Raises CheckpointError."""
    import torch

    from assembly.saved import read_policy
    from config.trust import NOTHING
    from policies.network import ActingNetwork, values_of

    _, mac = read_policy(path, torch.device("cpu"), NOTHING if trust is None else trust)
    return values_of(ActingNetwork(mac).eval())


READERS: dict[str, Callable[[Path, Trust | None], Values]] = {
    "onnx": read_onnx,
    "torchscript": read_torchscript,
    "safetensors": read_safetensors,
    POLICY: read_of_zoo,
}
