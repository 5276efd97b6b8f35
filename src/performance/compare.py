"""``python src/performance/compare.py OLD NEW [OLD NEW ...]``: folders of ``src/benchmark.py``, in pairs of one round.

Prints what became of every speed, as NEW over OLD: median over rounds, least and most. Above 1 is faster.
"""

from __future__ import annotations

import csv
import statistics
import sys
from pathlib import Path

SPEEDS = ("env_steps/s", "updates/s")  # more is better
COSTS = ("rollout_us", "train_us", "update_ms", "peak_MB")  # less is better
Case = tuple[str, str, str]  # algorithm, environment, population


def read(folder: Path) -> dict[Case, dict[str, str]]:
    """The rows of a folder's table."""
    with (folder / "benchmark.csv").open() as file:
        return {(row["algorithm"], row["env"], row["N"]): row for row in csv.DictReader(file)}


def ratios(pairs: list[tuple[Path, Path]]) -> dict[tuple[Case, str], list[float]]:
    """(case, column) -> NEW over OLD in every round, inverted for costs; cases that both tables have."""
    found: dict[tuple[Case, str], list[float]] = {}
    for old_folder, new_folder in pairs:
        old, new = read(old_folder), read(new_folder)
        for case in old.keys() & new.keys():
            for column in (*SPEEDS, *COSTS):
                ratio = float(new[case][column]) / float(old[case][column])
                found.setdefault((case, column), []).append(ratio if column in SPEEDS else 1 / ratio)
    return found


def main(folders: list[str]) -> int:
    """Print the table."""
    pairs = list(zip(map(Path, folders[::2]), map(Path, folders[1::2]), strict=True))
    print(f"{'case':32s} {'column':12s} median  least   most   (new over old, above 1 is better)")
    for (case, column), values in sorted(ratios(pairs).items()):
        print(
            f"{' '.join(case):32s} {column:12s} {statistics.median(values):6.3f} {min(values):6.3f} {max(values):6.3f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
