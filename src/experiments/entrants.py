"""Who plays a cross-play, as a command line names them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from config.trust import NOTHING, Trust

if TYPE_CHECKING:
    from experiments.crossplay import Player


@dataclass(frozen=True)
class Entrant:
    """A player before it is loaded, which every process does for itself."""

    given: str  # what a person calls it
    path: Path  # its policy, or a state dict of others
    method: str = ""  # "": the algorithm that trained it
    adapter: str = ""  # of a state dict of others
    alone: bool = False  # rated with no other policy of its algorithm
    trust: Trust = NOTHING

    def load(self) -> Player:
        """Read the player. Raises InputError."""
        from experiments.crossplay import load_outside, load_player  # these take seconds

        if self.adapter:
            return load_outside(self.path, self.adapter)
        player = load_player(self.given, self.path, self.trust, self.method)
        return replace(player, method=player.label) if self.alone else player
