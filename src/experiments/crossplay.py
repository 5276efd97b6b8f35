"""Trained policies of Battle against one another: who fits which side, and the episodes of every pairing."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from analysis.crossplay import STATS, Result
from assembly.parts import make_env
from assembly.registries import REGISTRIES
from assembly.saved import read_policy
from components.batch import EnvInfo, misfit
from config.loader import layers
from config.registry import Kind, resolve
from config.resolve import config_from_dict, env_values, make_config, with_env_args
from config.schema import Config, ConfigError
from config.trust import NOTHING, Trust
from controllers.basic_controller import BasicMAC
from controllers.outside import PlainNetwork, outside_controller
from controllers.policy import MACPolicy
from envs.battle.env import BattleEnv
from experiments.evaluation import SIDES
from records import checkpoint
from runners.vector_runner import VectorRunner
from utils import seeding

CPU = torch.device("cpu")
RANDOM = "random"
ADAPTERS = Kind(nn.Module, {"plain": PlainNetwork})  # that make the networks of others


@dataclass(frozen=True)
class Player:
    """A trained policy and the configuration it was trained with."""

    label: str
    mac: BasicMAC
    config: Config
    method: str = ""  # whose policies are rated together
    digest: str = ""  # of its file, and what reads it where that may be another

    def fits(self, side: EnvInfo) -> bool:
        """Return whether it can play a side; in any population where no parameter belongs to one agent."""
        return misfit(self.mac.info, side, self.mac.agent.n_agents is None) is None


def load_player(given: str, path: Path, trust: Trust, method: str = "") -> Player:
    """Load the policy in a file, which a person calls ``given``. Raises InputError."""
    state, mac = read_policy(path, CPU, trust)
    config = replace(config_from_dict(state["config"], state, trust), use_cuda=False)
    method = method or config.name
    return Player(f"{method}:{given}", mac, config, method, _digest(path))


def load_outside(path: Path, adapter: str = "plain") -> Player:
    """Load the team whose state dict a file holds, as a player of ``battle_v4``.

    ``adapter``: ``plain``, or ``module:Class`` as the person who starts the command names it. Raises InputError for a
    file that holds more than tensors and plain data, and where it does not fit the adapter, or the adapter the game.
    """
    made = resolve(ADAPTERS, adapter, "--outside", NOTHING.also([adapter]))
    config, _ = make_config(layers("random", "battle_v4", []), REGISTRIES)
    env = make_env(config, 1, test=True)
    env.close()
    try:
        state = torch.load(path, map_location=CPU, weights_only=True)
    except Exception as error:  # whatever a file that is none leads to
        raise ConfigError(
            f"--outside: expected a state dict of tensors, as torch.save(network.state_dict(), path) writes it, got "
            f"{path} ({type(error).__name__})."
        ) from error
    try:
        mac = outside_controller(made(state), env.info)
    except Exception as error:  # whatever the code of others says
        raise ConfigError(
            f"--outside: {path} does not fit the adapter {adapter} ({checkpoint.one_line(error)})."
        ) from error
    return Player(f"{adapter}:{path}", mac, config, f"{adapter}:{path}", f"{adapter} {_digest(path)}")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def make_game(config: Config, n_envs: int, side: str, opponent: str) -> BattleEnv:
    """Make the evaluation environments of ``config`` with the row on ``side``. Raises ConfigError for another game."""
    if config.env != "battle":
        raise ConfigError(f"crossplay: expected policies of battle, got {config.name} trained on {config.env}.")
    changed = {"swap_sides": SIDES[side], "opponent": opponent, "opponent_checkpoint": ""}
    values = {**env_values(config, test=True), **changed}
    env = make_env(with_env_args(config, **values), n_envs, test=False)
    assert isinstance(env, BattleEnv)
    return env


def line_up(players: Sequence[Player]) -> tuple[list[Player], list[Player], bool]:
    """Return rows, columns, and whether both sides are alike. Raises ConfigError when a policy fits neither side."""
    config = players[0].config
    env = make_game(config, 1, "left", "self_play")
    own, enemy, even = env.info, env.enemies, env.even
    env.close()
    for player in players:
        if not (player.fits(own) or player.fits(enemy)):
            raise ConfigError(
                f"crossplay: {player.label} was trained on {_described(player.mac.info)}; the sides of "
                f"{players[0].label}'s game are {_described(own)}, and {_described(enemy)}. Give policies of one game."
            )
    rows, columns = ([player for player in players if player.fits(side)] for side in (own, enemy))
    if not rows:
        raise ConfigError(
            f"crossplay: expected policies of the learners' side ({_described(own)}), all of these are of the enemies' "
            "side. Add one of the learners'."
        )
    return rows, columns, even and rows == columns


def _described(side: EnvInfo) -> str:
    means = f" ({', '.join(side.meaning)})" if side.meaning else ""
    return (
        f"{side.n_agents} agents with observations of shape {tuple(side.obs_shape)} and {side.n_actions} actions{means}"
    )


class Terms(NamedTuple):
    """What all pairings share: the game, how many episodes of it, and the random stream."""

    game: Config
    n_episodes: int
    seed: int


def meet(terms: Terms, row: Player, column: Player | None, side: str) -> Result:
    """Play greedy episodes of ``row`` as learners against ``column`` (None: random play) as enemies."""
    game, n_episodes, seed = terms
    env = make_game(game, min(n_episodes, game.batch_size_run), side, "self_play" if column else RANDOM)
    if column is not None:
        env.set_opponent(MACPolicy(column.mac, greedy=True))
    start = seeding.derive_seed(seed, "crossplay")
    runner = VectorRunner(env, row.mac, seeding.generator(seed, "crossplay"), start)
    runner.play(start, n_episodes, lambda: False)
    env.close()
    values = {name: np.array(runner.log.values[name]) for name in ("score", *STATS)}
    return Result(row.label, column.label if column else RANDOM, side, values)


Loaders = Sequence[Callable[[], Player]]


class Meeting(NamedTuple):
    """A pairing on one side, by the places of its players among all."""

    row: int
    column: int | None  # None: random play
    side: str


def meetings(players: Sequence[Player]) -> list[Meeting]:
    """Pair every row with every column and random play, on both sides; where both sides are alike every pair once.

    Nobody meets itself. Raises ConfigError when a policy fits neither side.
    """
    places = {id(player): place for place, player in enumerate(players)}
    *sides, alike = line_up(players)
    rows, columns = ([places[id(player)] for player in side] for side in sides)
    pairs = [(row, column) for row in rows for column in columns if (row < column if alike else row != column)]
    return [Meeting(*pair, side) for pair in (*pairs, *((row, None) for row in rows)) for side in SIDES]


def play(
    players: Sequence[Player], loaders: Loaders, n_episodes: int, seed: int, workers: int, played: Path
) -> Iterator[Result]:
    """Play the `meetings` of ``players`` that the file ``played`` lacks, which gains them; give all, as they end.

    ``loaders``: make the same players, in each of ``workers`` processes. Raises InputError before the first.
    """
    terms = Terms(players[0].config, n_episodes, seed)
    planned = {meeting: _key(terms, players, meeting) for meeting in meetings(players)}
    known = _read(played)
    for (row, column, side), key in planned.items():
        if key in known:
            yield Result(players[row].label, RANDOM if column is None else players[column].label, side, known[key])
    missing = {meeting: key for meeting, key in planned.items() if key not in known}
    results = _at_once(terms, loaders, missing, workers) if workers > 1 else _in_turn(terms, players, missing)
    with open(played, "a") as file:
        file.write("\n")  # the last line may have been cut off
        for key, result in results:
            values = {name: array.tolist() for name, array in result.values.items()}
            file.write(json.dumps({"key": key, "values": values}) + "\n")
            file.flush()
            yield result


def _key(terms: Terms, players: Sequence[Player], meeting: Meeting) -> str:
    """Return what makes a meeting the same: the game, who plays it, and the random stream."""
    game, n_episodes, seed = terms
    column = RANDOM if meeting.column is None else players[meeting.column].digest
    who = [players[meeting.row].digest, column, meeting.side]
    values = [*who, n_episodes, seed, game.batch_size_run, dict(env_values(game, test=True))]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _read(played: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read the meetings that a file holds; a line that was cut off is left out."""
    found = {}
    for line in played.read_text().splitlines() if played.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[entry["key"]] = {name: np.array(values) for name, values in entry["values"].items()}
    return found


Played = Iterator[tuple[str, Result]]  # key of a meeting, and its games


def _in_turn(terms: Terms, players: Sequence[Player], missing: Mapping[Meeting, str]) -> Played:
    torch.set_num_threads(terms.game.threads)
    for (row, column, side), key in missing.items():
        other = None if column is None else players[column]
        yield key, meet(terms, players[row], other, side)


def _at_once(terms: Terms, loaders: Loaders, missing: Mapping[Meeting, str], workers: int) -> Played:
    with ProcessPoolExecutor(min(workers, len(missing) or 1), get_context("spawn"), _enter, (loaders,)) as pool:
        asked = [pool.submit(_next, terms, key, meeting) for meeting, key in missing.items()]
        try:
            for future in as_completed(asked):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


_entered: list[Player] = []  # of a worker


def _enter(loaders: Loaders) -> None:
    """Make this process a worker; Ctrl-C is for its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _entered[:] = [load() for load in loaders]


def _next(terms: Terms, key: str, meeting: Meeting) -> tuple[str, Result]:
    return next(_in_turn(terms, _entered, {meeting: key}))
