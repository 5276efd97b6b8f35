"""Keys that came later than the first records, and what runs did that were recorded without them."""

from __future__ import annotations

from typing import Any

_WITHOUT: dict[str, Any] = {
    "threads": 1,
    "regime": "replay",
    "optimiser": "adam",
    "lr_finish": 1.0,
    "average_decay": 0.0,
    "reward_sharing": 0.0,
    "normalise": "none",
    "death_share": False,
    "tensorboard": False,
    "tracker": "none",
    "opponent_config": "",
    "opponent_args": {},
}

_LEAGUE = {"league_interval": 10000, "league_self_play": 0.5}
_WITHOUT_IN_ENV: dict[str, dict[str, Any]] = {
    "battle": _LEAGUE,
    "pettingzoo": {"teams": [], "pad": False, "downscale": 1, **_LEAGUE},
}


def without(env: str) -> dict[str, Any]:
    """Return the later keys of a run on ``env`` with what it did before they existed."""
    return {**_WITHOUT, "env_args": _WITHOUT_IN_ENV.get(env, {})}
