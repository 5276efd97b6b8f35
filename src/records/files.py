"""The format of a run's folder, shared by the observer that writes it and the store that reads it.

config.json, run.json, info.json   JSON, replaced whole
cout.txt                           captured output, appended
metrics.jsonl                      one ``{"name", "step", "value", "time"}`` per line, appended
lock                               held by the run's process as long as it lives, removed at the end
metrics.json                       the same points in Sacred's stock layout, written when the run stops
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import InputError

METRICS = "metrics.jsonl"
STOCK_METRICS = "metrics.json"
LOCK = "lock"


class RecordError(InputError):
    """A record that cannot be written, read or found; the message says which, where and what to do."""


@dataclass
class Curve:
    """The points of one metric in the order in which they were logged; three lists of one length."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[str] = field(default_factory=list)  # ISO 8601, UTC

    @classmethod
    def of(cls, values: Sequence[float], steps: Sequence[int] = (0,)) -> Curve:
        """Return points of which it is not recorded when they were logged."""
        return cls(list(steps), list(values), [""] * len(steps))

    def part(self, indices: Iterable[int]) -> Curve:
        """Return the points at ``indices``, in that order."""
        rows = list(indices)
        return Curve([self.steps[i] for i in rows], [self.values[i] for i in rows], [self.times[i] for i in rows])


def dumps(value: Any) -> bytes:
    """Encode JSON for a run's folder. What JSON cannot represent (a device, a dtype, a path) is written as its text."""
    return json.dumps(value, indent=2, sort_keys=True, default=str).encode()


def metric_line(name: str, step: int, value: float, time: str) -> str:
    """Encode one line of metrics.jsonl. Raises TypeError or ValueError for what is no number."""
    return json.dumps({"name": name, "step": int(step), "value": float(value), "time": time}) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, empty when the file does not exist. Raises RecordError."""
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, TypeError, ValueError) as error:
        raise RecordError(f"{path}: expected a JSON object, cannot read it ({error}). Remove or repair it.") from error


def read_curves(path: Path, start: int = 0) -> tuple[dict[str, Curve], int]:
    """Read the points of a metrics.jsonl from byte ``start`` on; return them and the byte up to which they were read.

    A last line without its end is left for the next time. Raises RecordError.
    """
    curves: dict[str, Curve] = {}
    try:
        with open(path, "rb") as file:
            if start > file.seek(0, os.SEEK_END):
                raise RecordError(f"{path}: expected more than the {start} bytes that were read, something cut it.")
            file.seek(start)
            complete, newline, _ = file.read().rpartition(b"\n")
        points = json.loads(b"[" + complete.replace(b"\n", b",") + b"]")
        for point in points:
            step, value = point["step"], point["value"]
            if not isinstance(step, int) or not isinstance(value, int | float):
                raise TypeError(f"step {step!r}, value {value!r}")
            curve = curves.setdefault(point["name"], Curve())
            curve.steps.append(step)
            curve.values.append(value)
            curve.times.append(point["time"])
    except FileNotFoundError:
        return {}, 0
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RecordError(f"{path}: expected one metric point per line ({error}). Remove or repair it.") from error
    return curves, start + len(complete) + len(newline)


def metric_lines(curves: dict[str, Curve]) -> bytes:
    """Encode a whole metrics.jsonl, metric after metric."""
    return "".join(
        metric_line(name, *point)
        for name, curve in curves.items()
        for point in zip(curve.steps, curve.values, curve.times, strict=True)
    ).encode()


def stock_metrics(curves: dict[str, Curve]) -> dict[str, dict[str, list[Any]]]:
    """Return metrics as Sacred's FileStorageObserver writes them, for EPyMARL's plotting scripts and incense."""
    return {
        name: {"steps": curve.steps, "values": curve.values, "timestamps": curve.times}
        for name, curve in curves.items()
    }
