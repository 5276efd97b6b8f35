"""Environments by name; each is imported when a run chooses it, with the packages that it alone needs."""

REGISTRY = {
    "bar": "envs.bar:Bar",
    "battle": "envs.battle.env:BattleEnv",
    "battle_deviator": "envs.battle.deviator:BattleDeviator",
    "matrix_game": "envs.matrix_game:MatrixGame",
    "pettingzoo": "envs.pettingzoo.env:PettingZooEnv",
    "pursuit": "envs.pursuit.env:Pursuit",
    "spread": "envs.spread:Spread",
}
