"""Two benchmarks in pairs of one round: what became of every speed."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from records.files import RecordError

SPEEDS = ("env_steps/s", "updates/s")  # more is better
COSTS = ("rollout_us", "train_us", "update_ms", "peak_MB")  # less is better
Case = tuple[str, str, str]  # algorithm, environment, population


def read(folder: Path) -> dict[Case, dict[str, str]]:
    """Read the rows of a folder's table. Raises RecordError when there is none."""
    try:
        with (folder / "benchmark.csv").open() as file:
            return {(row["algorithm"], row["env"], row["N"]): row for row in csv.DictReader(file)}
    except OSError as error:
        raise RecordError(
            f"--compare: expected a folder that src/benchmark.py wrote, cannot read benchmark.csv in '{folder}' "
            f"({error.strerror})."
        ) from error


def ratios(folders: Sequence[Path]) -> dict[tuple[Case, str], list[float]]:
    """Compute (case, column) -> NEW over OLD in every pair of folders; cases that both tables have.

    Costs are inverted.
    """
    found: dict[tuple[Case, str], list[float]] = {}
    for old_folder, new_folder in zip(folders[::2], folders[1::2], strict=True):
        old, new = read(old_folder), read(new_folder)
        for case in old.keys() & new.keys():
            for column in (*SPEEDS, *COSTS):
                ratio = float(new[case][column]) / float(old[case][column])
                found.setdefault((case, column), []).append(ratio if column in SPEEDS else 1 / ratio)
    return found


def comparison(folders: Sequence[Path]) -> Iterator[str]:
    """Write in lines the median, least and most over the rounds of every ratio."""
    yield f"{'case':32s} {'column':12s} median  least   most   (new over old, above 1 is better)"
    for (case, column), values in sorted(ratios(folders).items()):
        found = (statistics.median(values), min(values), max(values))
        yield f"{' '.join(case):32s} {column:12s} " + " ".join(f"{value:6.3f}" for value in found)
