"""Two benchmarks in pairs of one round: what became of every speed."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from records.files import RecordError
from utils.words import by_numbers

SPEEDS = ("env_steps/s", "updates/s")  # more is better
COSTS = ("rollout_us", "train_us", "update_ms", "peak_MB")  # less is better
Case = tuple[str, str, str]  # algorithm, environment, population


def read(folder: Path) -> dict[Case, dict[str, float]]:
    """Read the rows of a folder's table. Raises RecordError when there is none."""
    expected = f"--compare: expected a folder that src/benchmark.py wrote, cannot read benchmark.csv in '{folder}'"
    try:
        with (folder / "benchmark.csv").open() as file:
            return {
                (row["algorithm"], row["env"], row["N"]): {key: float(row[key]) for key in (*SPEEDS, *COSTS)}
                for row in csv.DictReader(file)
            }
    except OSError as error:
        raise RecordError(f"{expected} ({error.strerror}).") from error
    except (KeyError, TypeError, ValueError) as error:  # columns, lines that were cut off, words, bytes
        raise RecordError(f"{expected} ({type(error).__name__}: {error}). Measure again.") from error


def ratios(folders: Sequence[Path]) -> dict[tuple[Case, str], list[float]]:
    """Compute (case, column) -> NEW over OLD in every pair of folders; cases that both tables have.

    Costs are inverted. Raises RecordError where two tables have no case in common. What was rounded to 0 is left out.
    """
    found: dict[tuple[Case, str], list[float]] = {}
    for old_folder, new_folder in zip(folders[::2], folders[1::2], strict=True):
        old, new = read(old_folder), read(new_folder)
        if not old.keys() & new.keys():
            raise RecordError(
                f"--compare: expected tables of the same cases, '{old_folder}' and '{new_folder}' have none in common. "
                "Measure the same algorithms, environments and populations."
            )
        for case in old.keys() & new.keys():
            for column in (*SPEEDS, *COSTS):
                was, now = old[case][column], new[case][column]
                if was > 0 and now > 0:
                    found.setdefault((case, column), []).append(now / was if column in SPEEDS else was / now)
    return found


def comparison(folders: Sequence[Path]) -> Iterator[str]:
    """Write in lines the median, least and most over the rounds of every ratio."""
    yield f"{'case':32s} {'column':12s} median  least   most   (new over old, above 1 is better)"
    found = ratios(folders)
    for case, column in sorted(found, key=lambda key: (by_numbers(" ".join(key[0])), key[1])):
        values = found[case, column]
        spread = (statistics.median(values), min(values), max(values))
        yield f"{' '.join(case):32s} {column:12s} " + " ".join(f"{value:6.3f}" for value in spread)
