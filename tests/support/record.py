"""A record in memory, for training without Sacred."""

from __future__ import annotations

from pathlib import Path

from utils.outage import Outage

Point = tuple[str, float, int]  # name, value, step


class Points:
    """Every point in the order in which it was logged; checkpoints go into ``run_dir``."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.points: list[Point] = []
        self.saving = Outage("saving failed ({error})", OSError)

    def log_scalar(self, name: str, value: float, step: int) -> None:
        self.points.append((name, value, step))

    def flush(self) -> None:
        """Nothing waits."""
