"""One copy of a PettingZoo environment: how it is made, and its running episode."""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import metadata
from typing import Any

import numpy as np
import torch
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import aec_to_parallel
from pettingzoo.utils.conversions import turn_based_aec_to_parallel_wrapper as Turns

from envs.base import EnvError
from envs.pettingzoo.spaces import MASK, TeamSpaces, action_space, stem
from utils.seeding import derive_seed
from utils.words import nearest

SEED_LIMIT = 2**31 - 1  # engines written in C take no larger seed
VERSION = r"_v\d+$"
FAMILIES = ("mpe2", *(f"pettingzoo.{name}" for name in ("atari", "butterfly", "classic", "sisl")))  # of games
DISTRIBUTIONS = {"pygame": "pygame-ce", "supersuit": "SuperSuit", "Box2D": "box2d"}  # that have another name


def make_parallel_env(entry: str, kwargs: dict[str, Any]) -> ParallelEnv:
    """Call ``module.parallel_env(**kwargs)``, or for ``module:callable`` that callable.

    A module without ``parallel_env`` has ``env``, a game of turns: all its agents then look in every step, and the
    action of the one whose turn it is counts. Raises EnvError when there is no such thing, when it refuses ``kwargs``
    or when it makes something else (a class that would, before it is called).
    """
    factory = _imported(entry)
    if isinstance(factory, type) and not issubclass(factory, ParallelEnv | AECEnv):
        raise _no_parallel_env(entry, factory)
    try:
        env = factory(**kwargs)
    except ModuleNotFoundError as error:
        raise _not_found(entry, error) from error
    except TypeError as error:
        raise EnvError(f"env_args.kwargs: {entry} refuses {kwargs} ({error}).") from error
    if isinstance(env, AECEnv):
        return aec_to_parallel(env) if env.metadata.get("is_parallelizable") else Turns(env)
    if not isinstance(env, ParallelEnv):
        raise _no_parallel_env(entry, type(env))
    return env


def agents_of(entry: str, env: ParallelEnv) -> list[str]:
    """Return all agents' names. Raises EnvError for names that are no text, missing or there twice."""
    named = list(getattr(env, "possible_agents", []))
    if not named or len({*named}) < len(named) or not all(isinstance(name, str) for name in named):
        raise EnvError(
            f"env_args.entry: expected '{entry}' to list different names, as text, in possible_agents, got "
            f"{named!r:.80}. Correct the environment, or wrap it."
        )
    return named


def description(entry: str) -> str:
    """Return the first docstring of: the module that wrote the game, the one that offers it, what makes it; else ''.

    Raises EnvError for what cannot be imported.
    """
    factory = _imported(entry)
    offered = sys.modules[entry.partition(":")[0]]
    author = sys.modules[getattr(offered, "raw_env", factory).__module__]
    wrapped = author.__name__.startswith("pettingzoo.utils.")
    found = [*([] if wrapped else [author]), offered, *([] if wrapped else [factory])]
    return next(filter(None, (inspect.getdoc(thing) for thing in found)), "")


def _imported(entry: str) -> Any:
    """Return what makes the environments. Raises EnvError."""
    name, _, attribute = entry.partition(":")
    try:
        module = importlib.import_module(name)
        return getattr(module, attribute or ("parallel_env" if hasattr(module, "parallel_env") else "env"))
    except ModuleNotFoundError as error:
        raise _not_found(entry, error) from error
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise _not_imported(entry, str(error), "" if attribute else _versions_beside(name)) from error


def _not_found(entry: str, error: ModuleNotFoundError) -> EnvError:
    """Name the module that is missing: the environment's own, or another that it needs and what installs it."""
    module, missing = entry.partition(":")[0], error.name or ""
    package, _, rest = module.partition(".")
    if not f"{module}.".startswith(f"{missing}."):
        family = rest.partition(".")[0]
        extra = package == "pettingzoo" and family in (metadata(package).get_all("Provides-Extra") or ())
        wanted = f"'pettingzoo[{family}]'" if extra else DISTRIBUTIONS.get(missing, missing.partition(".")[0])
        return EnvError(
            f"env_args.entry: '{entry}' needs the package {missing}, which is not installed. Install it: "
            f".venv/bin/pip install {wanted}"
        )
    if missing == package:
        return _not_imported(entry, f"no package '{package}' is installed or on PYTHONPATH", _in_families(module))
    above, _, last = missing.rpartition(".")
    here = _modules(above)
    return _not_imported(entry, f"{above} has no '{last}'", _versions_beside(missing) or nearest(last, here))


def _not_imported(entry: str, reason: str, hint: str = "") -> EnvError:
    return EnvError(
        f"env_args.entry: cannot import '{entry}' ({reason.removesuffix('.')}).{hint} Expected an installed module "
        "that holds parallel_env, such as mpe2.simple_spread_v3, or module:callable."
    )


def _modules(package: str) -> list[str]:
    """List the names of what is in a package; nothing where there is no such package."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, AttributeError, TypeError, ValueError):  # of what is above it
        return []
    return [found.name for found in pkgutil.iter_modules((spec and spec.submodule_search_locations) or [])]


def _versions_beside(module: str) -> str:
    """Name the modules beside ``module`` that are versions of the same game."""
    above, _, last = module.rpartition(".")
    found = [name for name in (_modules(above) if above else []) if _same_game(name, last)]
    return f" It has {', '.join(found)}." if found else ""


def _in_families(game: str) -> str:
    """Name the versions of ``game`` in PettingZoo's families that are installed."""
    found = [f"{family}.{name}" for family in FAMILIES for name in _modules(family) if _same_game(name, game, True)]
    return f" Did you mean {' or '.join(found)}?" if found else ""


def _same_game(name: str, other: str, also_equal: bool = False) -> bool:
    """Return whether ``name`` is a version of the game ``other``, whatever the version of that."""
    return (
        bool(re.search(VERSION, name))
        and re.sub(VERSION, "", name) == re.sub(VERSION, "", other)
        and (also_equal or name != other)
    )


def _no_parallel_env(entry: str, made: type) -> EnvError:
    return EnvError(f"env_args.entry: expected '{entry}' to make a ParallelEnv or AECEnv, got {made.__name__}.")


def split_teams(agents: list[str], team: str, others: Sequence[str] = ()) -> tuple[list[str], dict[str, list[str]]]:
    """Return the agents whose name starts with ``team``, and the rest by team; a whole name means that agent alone.

    ``others``: how the names of those teams start; without any, all are one team, called "". Raises EnvError for a
    team of nobody, and for agents of several or of none.
    """
    learners = _named(agents, "team", team)
    rest = [agent for agent in agents if agent not in learners]
    if not others:
        return learners, {"": rest} if rest else {}
    if not team:
        raise EnvError(
            "env_args.teams: expected env_args.team as well, how the names of the first team start, got none. Set it."
        )
    for name in others:
        if not re.fullmatch(r"[\w-]+", name):
            raise EnvError(
                f"env_args.teams: expected letters, digits, _ and -, which begin agents' names, got {name!r}."
            )
    teams = {name: _named(agents, "teams", name) for name in others}
    members = {team: learners, **teams}
    for agent in agents:
        whose = [name for name in (team, *others) if agent in members[name]]
        if len(whose) != 1:
            raise EnvError(
                f"env_args.teams: expected every agent in one team, {agent} is in {' and '.join(whose) or 'none'}. "
                f"Choose names for team and teams that each begin the names of other agents; they are "
                f"{', '.join(agents)}."
            )
    return learners, teams


def _named(agents: list[str], key: str, start: str) -> list[str]:
    """Return the agents whose name starts so, or the one called so. Raises EnvError, naming ``key``, for none."""
    found = [start] if start in agents else [agent for agent in agents if agent.startswith(start)]
    if not found:
        starts = sorted({stem(agent) for agent in agents})
        raise EnvError(f"env_args.{key}: no agent's name starts with '{start}'. Names start with {', '.join(starts)}.")
    return found


def _number(agent: str, reward: Any) -> float:
    """Return a reward as a number. Raises EnvError where it is none, or several."""
    try:
        return float(np.asarray(reward, dtype=np.float64).item())
    except (TypeError, ValueError) as error:
        raise EnvError(
            f"{agent}: expected a number as its reward, got {reward!r:.80}. Correct the environment, or wrap it."
        ) from error


class Game:
    """One copy's running episode. Arrays of P agents, the learners (first ``n_learners``) before the others.

    ``all_learn``: the others learn too. ``info_masked``: those with masks in infos.

    PettingZoo environments can neither be copied nor saved, so the episode's actions are kept for a replay.
    """

    def __init__(
        self,
        env: ParallelEnv,
        agents: list[str],
        n_learners: int,
        episode_limit: int,
        all_learn: bool,
        info_masked: Collection[str] = (),
    ) -> None:
        self.env = env
        self.agents = agents
        self.episode_limit = episode_limit
        self._learns = np.arange(len(agents)) < (len(agents) if all_learn else n_learners)
        self.n_actions = np.array([action_space(env, agent).n for agent in agents])
        self._start = np.array([action_space(env, agent).start for agent in agents])
        self._slot = {agent: slot for slot, agent in enumerate(agents)}
        self._info_masked = info_masked
        self.stream = 0  # seed of this copy's episode seeds
        self.episode = 0  # counts from 1

    def begin(self, stream: int, episode: int) -> None:
        """Start the ``episode``-th episode of the copy that draws its seeds from ``stream``."""
        self.stream, self.episode = stream, episode
        self.observations, self.infos = self.env.reset(seed=derive_seed(stream, "episode", episode) % SEED_LIMIT)
        self.actions: list[np.ndarray] = []  # (P,) int64 per step
        self.alive = self._among(self.env.agents)  # (P,) bool
        self.left = np.zeros(len(self.agents), dtype=bool)  # ended for good
        self._came = self.alive  # (P,) bool, was there in some step
        self.reward = np.zeros(len(self.agents), dtype=np.float32)  # of the step that led here
        self.returns = np.zeros(len(self.agents), dtype=np.float64)  # totals of the episode
        self.terminated = self.truncated = False

    @property
    def done(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated

    def next_episode(self) -> None:
        """Start the copy's next episode."""
        self.begin(self.stream, self.episode + 1)

    def step(self, action: np.ndarray) -> None:
        """Advance the episode. ``action``: (P,) int64 in [0, n_actions); those of the absent are ignored."""
        self.actions.append(action)
        acting = self.alive
        given = {self.agents[slot]: int(action[slot] + self._start[slot]) for slot in np.flatnonzero(acting)}
        self.observations, rewards, terminations, truncations, self.infos = self.env.step(given)
        earned = np.array([_number(agent, rewards.get(agent, 0.0)) for agent in self.agents], dtype=np.float32)
        self.reward = np.where(acting, earned, np.float32(0))
        self.returns += self.reward
        died = acting & self._among(agent for agent, flag in terminations.items() if flag)
        timed_out = acting & self._among(agent for agent, flag in truncations.items() if flag) & ~died
        self.left |= died | timed_out
        self.alive = self._among(self.env.agents) & ~self.left
        self._require_no_return(acting)
        self._require_known_masks()
        self._came = self._came | self.alive
        self._close(timed_out)

    def legal(self) -> np.ndarray:
        """Return the legal actions, (P, largest n_actions) bool; all of an agent's where there is no mask.

        All are legal, too, for an agent whose mask has none, such as one that waits for its turn.
        """
        legal = np.arange(self.n_actions.max()) < self.n_actions[:, None]
        for slot in np.flatnonzero(self.alive):
            mask = self._mask(self.agents[slot])
            if mask is None or not mask.any():
                continue
            if mask.shape != (self.n_actions[slot],):
                raise EnvError(
                    f"{self.agents[slot]}: expected an action_mask of its {self.n_actions[slot]} actions, got one of "
                    f"shape {mask.shape}. Correct the environment, or leave the mask out."
                )
            legal[slot, : self.n_actions[slot]] = mask
        return legal

    def _mask(self, agent: str) -> np.ndarray | None:
        """Return the agent's action mask, of its observation or else of its info."""
        seen = self.observations.get(agent)
        place = seen if isinstance(seen, dict) and MASK in seen else self.infos.get(agent, {})
        return np.asarray(place[MASK]) if MASK in place else None

    def observe(self, slots: slice, spaces: TeamSpaces) -> np.ndarray:
        """Return the observations of the agents of ``slots``, (n, *O) in ``spaces.dtype``; 0 for the absent."""
        agents, alive = self.agents[slots], self.alive[slots]
        obs = np.zeros((len(agents), *spaces.shape), dtype=spaces.dtype)
        for index in np.flatnonzero(alive):
            if agents[index] not in self.observations:
                raise EnvError(
                    f"{agents[index]}: expected an observation of every agent in agents, there was none after step "
                    f"{len(self.actions)}. Correct the environment, or wrap it."
                )
            spaces.write(obs[index], int(index), self.observations[agents[index]])
        return obs

    def state_dict(self) -> dict[str, Any]:
        """Return how the episode began and all agents' actions since."""
        actions = np.array(self.actions, dtype=np.int64).reshape(-1, len(self.agents))
        return {"stream": self.stream, "episode": self.episode, "actions": torch.from_numpy(actions)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play the recorded episode again."""
        self.begin(state["stream"], state["episode"])
        for action in state["actions"].numpy():
            self.step(action)

    def _among(self, agents: Iterable[str]) -> np.ndarray:
        """Return a mask (P,) bool, true for ``agents``; names that are no agent's are left out."""
        mask = np.zeros(len(self.agents), dtype=bool)
        mask[[self._slot[agent] for agent in agents if agent in self._slot]] = True
        return mask

    def _require_no_return(self, acting: np.ndarray) -> None:
        """Raise EnvError for a learner that is back after a step without it, in which it counted as dead."""
        back = self.alive & ~acting & self._came & self._learns
        if back.any():
            raise EnvError(
                f"{self.agents[int(back.argmax())]} is back among the agents in step {len(self.actions)}, after it had "
                "left them. Leaving is stored as a death, and would teach that nothing follows it. Keep it among the "
                "agents while it is away, with one legal action, or let it come back under another name."
            )

    def _require_known_masks(self) -> None:
        """Raise EnvError for masks in infos where those of the first reset had none: nobody would look at them."""
        for agent, info in self.infos.items() if not self._info_masked else ():
            seen = self.observations.get(agent)
            if MASK in info and not (isinstance(seen, dict) and MASK in seen):
                raise EnvError(
                    f"{agent}: expected action masks from reset on, the first one in its info came in step "
                    f"{len(self.actions)}. Let reset return it too."
                )

    def _close(self, timed_out: np.ndarray) -> None:
        """Decide whether the step ended the episode, and how; ``timed_out`` (P,) bool: truncated in it."""
        expired = timed_out & self._learns
        gone = self._came & ~self.alive  # ended, or no longer among the agents
        if gone[self._learns].all() or not self.env.agents:
            self.truncated = bool(expired.any())
            self.terminated = not self.truncated
            self.alive |= expired  # a time limit is no death
        elif expired.any():
            raise EnvError(
                f"{self.agents[int(expired.argmax())]} was truncated in step {len(self.actions)} while other "
                "learners play on. A time limit belongs to the whole episode here, and to store it as a death would "
                "teach that nothing follows it. Let the environment truncate all at once, or terminate that agent."
            )
        else:
            self.truncated = len(self.actions) >= self.episode_limit
