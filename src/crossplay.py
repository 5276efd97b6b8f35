"""``python src/crossplay.py RUN_OR_POLICY ... [--episodes N]``: trained policies play Battle against each other.

The first one's environment is the game. Who fits the learners' side is a row, who fits the enemies' side a column,
beside random play; where both sides are alike everybody is both. Every pair meets with the row on either side.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import build
from analysis import figures
from analysis.elo import MEAN, Games, ratings
from analysis.statistics import Array
from analysis.tables import Table
from config.resolve import config_from_dict, env_values, with_env_args
from config.schema import Config, ConfigError
from controllers.basic_controller import BasicMAC
from controllers.policy import MACPolicy
from envs.battle.env import BattleEnv
from envs.opponents import Role
from evaluate import checkpoint_folder, find_run
from records import checkpoint
from runners.vector_runner import VectorRunner
from utils import seeding
from utils.cli import exit_code

CPU = torch.device("cpu")
RANDOM = "random"
SIDES = {"left": "never", "right": "always"}  # where the row plays -> env_args.swap_sides
STATS = ("win", "annihilation", "kills", "deaths", "survivors", "enemy_survivors", "return_mean")


@dataclass(frozen=True)
class Player:
    """A trained policy and the configuration it was trained with."""

    label: str
    mac: BasicMAC
    config: Config

    @property
    def role(self) -> Role:
        """What it was trained on."""
        return Role(tuple(self.mac.info.obs_shape), self.mac.info.n_actions, self.mac.info.n_agents)

    def fits(self, side: Role) -> bool:
        """Whether it can play a side; in any population where no parameter belongs to one agent."""
        return self.role[:2] == side[:2] and self.mac.agent.n_agents in (None, side.n_agents)


@dataclass(frozen=True)
class Result:
    """Episodes of one pairing with the row on one side; arrays (n_episodes,) by statistic, from the row's view."""

    row: str
    column: str
    side: str
    values: dict[str, Array]

    @property
    def scores(self) -> Array:
        """1 for more kills than deaths, 0 for fewer, 0.5 for as many."""
        return 0.5 + 0.5 * np.sign(self.values["kills"] - self.values["deaths"])


def load_player(given: str, step: str, results: str) -> Player:
    """A policy from a run (id or folder) or from a policy file. Raises CheckpointError."""
    path = Path(given)
    if path.suffix != ".pt":
        path = checkpoint_folder(find_run(given, results), step) / checkpoint.POLICY
    mac = build.load_policy(path, CPU)
    config = config_from_dict({**checkpoint.load(path, CPU)["config"], "use_cuda": False})
    return Player(f"{config.name}:{given}", mac, config)


def make_game(config: Config, n_envs: int, side: str, opponent: str) -> BattleEnv:
    """The evaluation environments of ``config`` with the row on ``side``. Raises ConfigError for another game."""
    if config.env != "battle":
        raise ConfigError(f"crossplay: expected policies of battle, got {config.name} trained on {config.env}.")
    changed = {"swap_sides": SIDES[side], "opponent": opponent, "opponent_checkpoint": ""}
    values = {**env_values(config, test=True), **changed}
    env = build.make_env(with_env_args(config, **values), n_envs, test=False)
    assert isinstance(env, BattleEnv)
    return env


def line_up(players: Sequence[Player]) -> tuple[list[Player], list[Player]]:
    """Rows and columns. Raises ConfigError when a policy fits neither side."""
    config = players[0].config
    env = make_game(config, 1, "left", "self_play")
    own, enemy = Role(env.info.obs_shape, env.info.n_actions, env.info.n_agents), env.enemies
    env.close()
    for player in players:
        if not (player.fits(own) or player.fits(enemy)):
            raise ConfigError(
                f"crossplay: {player.label} was trained on {player.role}; the "
                f"sides of {players[0].label}'s game are {own}, and {enemy}. Give policies of one game."
            )
    return [player for player in players if player.fits(own)], [player for player in players if player.fits(enemy)]


def meet(game: Config, row: Player, column: Player | None, side: str, n_episodes: int, seed: int) -> Result:
    """Greedy episodes of ``row`` as learners against ``column`` (None: random play) as enemies."""
    env = make_game(game, min(n_episodes, game.batch_size_run), side, "self_play" if column else RANDOM)
    if column is not None:
        env.set_opponent(MACPolicy(column.mac, greedy=True))
    runner = VectorRunner(env, row.mac, seeding.generator(seed, "crossplay"))
    runner.play(seeding.derive_seed(seed, "crossplay"), n_episodes, lambda: False)
    env.close()
    values = {name: np.array(runner.log.values[name]) for name in STATS}
    return Result(row.label, column.label if column else RANDOM, side, values)


def score_matrix(results: Sequence[Result]) -> tuple[Array, list[str], list[str]]:
    """Mean scores over both sides (rows, columns), with the labels of either axis."""
    rows = list(dict.fromkeys(result.row for result in results))
    columns = list(dict.fromkeys(result.column for result in results))
    matrix = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            cell = [result.scores for result in results if (result.row, result.column) == (row, column)]
            matrix[i, j] = np.concatenate(cell).mean()
    return matrix, rows, columns


def elo_table(results: Sequence[Result]) -> Table:
    """Ratings of everybody who met somebody else, the best first."""
    met = [result for result in results if result.row != result.column]
    labels = list(dict.fromkeys(label for result in met for label in (result.row, result.column)))
    games = [Games(labels.index(result.row), labels.index(result.column), result.scores) for result in met]
    rated = sorted(zip(labels, ratings(games, len(labels)), strict=True), key=lambda pair: -pair[1].value)
    caption = (
        f"Elo (Bradley-Terry, mean {MEAN:.0f}, one draw added per pair) with bootstrap 95% interval over episodes, "
        "resampled within pairings and sides; n is the number of episodes. A point: more kills than deaths; "
        "as many: half a point."
    )
    return Table(caption, ["policy", "elo"], [[label, rating] for label, rating in rated])


def write(results: Sequence[Result], out: Path) -> Table:
    """The matrix as CSV and PNG and the ratings, into the folder ``out``; returns the ratings."""
    with open(out / "crossplay.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "column", "side", "n_episodes", "score", *STATS])
        for result in results:
            means = [float(result.values[name].mean()) for name in STATS]
            writer.writerow([result.row, result.column, result.side, len(result.scores), result.scores.mean(), *means])
    matrix, rows, columns = score_matrix(results)
    caption = (
        "Mean score of the row (learners' side) against the column (enemies' side): 1 more kills than deaths, "
        f"0.5 as many; {len(results[0].scores)} greedy episodes on the left and as many on the right."
    )
    figures.write(figures.matrix(matrix, rows, columns, "Battle cross-play", caption), out / "crossplay", (".png",))
    table = elo_table(results)
    table.write(out / "elo")
    return table


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="crossplay.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("players", nargs="+", metavar="RUN_OR_POLICY", help="id or folder of a run, or a policy.pt")
    parser.add_argument("--episodes", type=int, default=16, help="on either side (default: %(default)s)")
    parser.add_argument("--step", default="newest", help="which checkpoint of runs: nearest to a step, best or newest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", default="results", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--out", default=Path("results/tmp/crossplay"), type=Path, metavar="DIR")
    arguments = parser.parse_args(argv)
    if arguments.episodes < 1:
        parser.error(f"--episodes: expected at least 1, got {arguments.episodes}")
    return arguments


def crossplay(argv: Sequence[str]) -> None:
    """Play everything, print and write the results. Raises InputError for what cannot be played."""
    arguments = parse(argv)
    given = list(dict.fromkeys(arguments.players))
    players = [load_player(name, arguments.step, arguments.results) for name in given]
    rows, columns = line_up(players)
    figures.make_folder(arguments.out)  # before anything is played
    results = []
    for row in rows:
        for column in (*columns, None):
            for side in SIDES:
                result = meet(players[0].config, row, column, side, arguments.episodes, arguments.seed)
                print(
                    f"{row.label} on the {side} against {result.column}: score {result.scores.mean():.2f}", flush=True
                )
                results.append(result)
    print(f"\n{write(results, arguments.out).markdown()}\nwritten: {arguments.out}")


def main(argv: Sequence[str]) -> int:
    """Play; see `exit_code` for what goes wrong."""
    return exit_code(lambda: crossplay(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
