"""Environments by name."""

from envs.bar import Bar
from envs.battle.env import BattleEnv
from envs.matrix_game import MatrixGame
from envs.pettingzoo.env import PettingZooEnv
from envs.pursuit.env import Pursuit
from envs.spread import Spread

REGISTRY: dict[str, type] = {
    "bar": Bar,
    "battle": BattleEnv,
    "matrix_game": MatrixGame,
    "pettingzoo": PettingZooEnv,
    "pursuit": Pursuit,
    "spread": Spread,
}
