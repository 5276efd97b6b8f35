"""Schedules over environment steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearSchedule:
    """From ``start`` to ``finish`` over ``anneal_time`` environment steps, constant afterwards."""

    start: float
    finish: float
    anneal_time: int

    def value(self, t_env: int) -> float:
        """Return the value at ``t_env`` environment steps."""
        if t_env >= self.anneal_time:
            return self.finish
        return self.start + (self.finish - self.start) * t_env / self.anneal_time
