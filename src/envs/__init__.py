"""Environments by name."""

from envs.bar import Bar
from envs.matrix_game import MatrixGame
from envs.spread import Spread

REGISTRY: dict[str, type] = {
    "bar": Bar,
    "matrix_game": MatrixGame,
    "spread": Spread,
}
