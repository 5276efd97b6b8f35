"""Keys that came later than the first records, and what runs did that were recorded without them."""

from __future__ import annotations

from typing import Any

WITHOUT: dict[str, Any] = {
    "threads": 1,
    "regime": "replay",
    "optimiser": "adam",
    "lr_finish": 1.0,
    "average_decay": 0.0,
    "reward_sharing": 0.0,
    "normalise": "none",
    "death_share": False,
}
