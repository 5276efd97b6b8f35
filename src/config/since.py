"""Keys that came later than the first records, and what runs did that were recorded without them."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

_WITHOUT: dict[str, Any] = {
    "threads": 1,
    "regime": "replay",
    "optimiser": "adam",
    "lr_finish": 1.0,
    "average_decay": 0.0,
    "reward_sharing": 0.0,
    "normalise": "none",
    "bootstrap_at_limit": True,
    "test_online": True,
    "tensorboard": False,
    "tracker": "none",
    "opponent_config": "",
    "opponent_args": {},
}

_WITHOUT_IN_LEARNER: dict[str, dict[str, Any]] = {"hmf_learner": {"death_share": False}}
_LEAGUE = {"league_interval": 10000, "league_self_play": 0.5}
_WITHOUT_IN_ENV: dict[str, dict[str, Any]] = {
    "battle": _LEAGUE,
    "pursuit": {"world_size": 100.0},
    "pettingzoo": {"teams": [], "pad": False, "downscale": 1, **_LEAGUE},
}


def without(env: str, learner: str | None = None) -> dict[str, Any]:
    """Return the later keys of a run on ``env`` with what it did before they existed; ``learner``: None for any."""
    own = [keys for name, keys in _WITHOUT_IN_LEARNER.items() if learner in (name, None)]
    return dict(ChainMap({"env_args": _WITHOUT_IN_ENV.get(env, {})}, *own, _WITHOUT))
