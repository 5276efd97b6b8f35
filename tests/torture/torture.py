"""Do to real runs, at random, what happens to runs (tools/torture.sh), and count how often the promise held.

Exit code 1: a promise was broken; each line says with which number the same accident happens again.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from analysis.page import check, fill
from tests.torture.trials import TRIALS, Trial, whole


def tried(trial: Trial, number: int, folder: Path) -> str:
    """Return what the accident of that number did. Raises AssertionError for a broken promise."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return trial.happens(folder, random.Random(number))


def row(trial: Trial, outcomes: Counter[str], broken: list[int]) -> str:
    """Describe a trial's figures as a line of a Markdown table."""
    kept = outcomes.total()
    what = ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common())
    failed = f"; **broken** by {', '.join(map(str, broken))}" if broken else ""
    return f"| {trial.name} | {trial.promise} | {kept} of {kept + len(broken)} | {what}{failed} |"


def main(arguments: list[str] | None = None) -> int:
    """Give each trial the same share of the minutes, and at least one try."""
    parser = argparse.ArgumentParser(prog="tools/torture.sh", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="all trials together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first accident (default: %(default)s)")
    parser.add_argument("--trial", default="", help="only trials whose name contains it")
    parser.add_argument("--output", type=Path, help="write the table here")
    parser.add_argument("--page", type=Path, help="refresh its tables")
    args = parser.parse_args(arguments)
    if args.page:
        check(args.page)
    chosen = [trial for trial in TRIALS if args.trial in trial.name]
    if not chosen:
        parser.error(f"no trial's name contains '{args.trial}'; there are {', '.join(trial.name for trial in TRIALS)}.")
    whole()
    lines, all_kept = [], True
    with tempfile.TemporaryDirectory() as folder:
        for trial in chosen:
            outcomes, broken = Counter[str](), list[int]()
            number, until = args.seed, time.monotonic() + 60 * args.minutes / len(chosen)
            while number == args.seed or time.monotonic() < until:
                try:
                    outcomes[tried(trial, number, Path(folder, "trial"))] += 1
                except AssertionError as error:
                    broken.append(number)
                    print(f"{trial.name}, --seed {number}: {error}", file=sys.stderr, flush=True)
                number += 1
            lines.append(row(trial, outcomes, broken))
            all_kept &= not broken
            print(lines[-1], flush=True)
    shutil.rmtree(whole().folder)
    if args.output:
        head = (
            f"{args.minutes:g} minutes on {os.cpu_count()} cores ({platform.machine()}), Python "
            f"{platform.python_version()}; accidents numbered from {args.seed}."
        )
        table = ["| Accident | Promise | Kept | What happened |", "| --- | --- | --- | --- |", *lines]
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text("\n".join([head, "", *table, ""]))
    if args.page:
        fill(args.page)
    return 0 if all_kept else 1


if __name__ == "__main__":
    sys.exit(main())
