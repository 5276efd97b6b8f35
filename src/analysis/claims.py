"""Claims that one method ends above another, judged by intervals over seeds."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from analysis.collect import Method, Task
from analysis.statistics import LEVEL, Estimate, differences, holm, paired_difference, sign_flip_p
from analysis.tables import Cell, Table, bounds
from config.schema import ConfigError, from_values
from records.files import RecordError
from utils.words import from_yaml, nearest, parted

logger = logging.getLogger(__name__)

MIN_SEEDS = 4
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Claim:
    """``better`` ends above ``worse`` on ``task``: methods, compared by runs of the same seed; one may be a level.

    With ``beyond``: by more than on that task.
    """

    claim: str
    task: str  # see `Task.fits`
    better: str | float
    worse: str | float
    by: Literal["final", "tail", "auc"] = "final"
    beyond: str = ""  # the task whose gain is subtracted, as for a gain that grows with the population
    family: str = ""  # p is corrected for the number of claims of one family
    corrected: bool = False  # the verdict also asks for a corrected p below SIGNIFICANT (docs/protocol.md)


def load_claims(path: Path) -> list[Claim]:
    """Read a YAML list of mappings with the fields of `Claim`. Raises ConfigError for anything else."""
    try:
        entries = from_yaml(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"--claims {path}: expected a YAML file of claims, cannot read it ({error.strerror}). Correct the path."
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--claims {path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ConfigError(f"--claims {path}: expected a list of mappings, such as '- {{claim: ..., task: bar}}'.")
    claims = [from_values(Claim, entry, f"{path}, claim {number}") for number, entry in enumerate(entries, start=1)]
    for number, claim in enumerate(claims, start=1):
        for described in (claim.task, claim.beyond or claim.task):
            if not re.fullmatch(r"[^\s=]+", parted(described)[0]):
                raise ConfigError(
                    f"{path}, claim {number}: expected a task such as 'bar' or 'bar env_args.capacity=60', got "
                    f"'{described}'. Correct it."
                )
    return claims


def unknown(claim: Claim, tasks: Sequence[Task]) -> list[str]:
    """List, as texts, the tasks and methods that a claim names and that have no run: not finished, or misspelt.

    Raises RecordError for an ambiguous task.
    """
    found = []
    for described in filter(None, (claim.task, claim.beyond)):
        methods = methods_on(described, tasks)
        if not methods:
            known = {name for task in tasks for name in (task.env, str(task.config.get("env", task.env)))}
            env, _ = parted(described)
            near = nearest(env, known) if env not in known else nearest(described, [task.label for task in tasks])
            found.append(f"no run here is on {described}{near and f'.{near}'}")
            continue
        for side in (claim.better, claim.worse):
            if isinstance(side, str) and side not in methods:
                near = nearest(side, methods)
                found.append(f"no run on {described} is called {side}{near and f'.{near}'}")
    return found


def verdict(gain: Estimate | None, p: float | None = None) -> str:
    """Return what the interval of a claimed gain says, in words; with ``p``, what both say."""
    if gain is None:
        return "not decided: no seed has runs of both"
    if np.isnan(gain.value):
        return "not decided: a score is no number"
    if gain.low is None or gain.high is None or gain.n < MIN_SEEDS:
        return f"not decided: fewer than {MIN_SEEDS} seeds"
    if p is not None:
        holds, opposite = (p < SIGNIFICANT and beyond for beyond in (gain.low > 0, gain.high < 0))
        return "holds" if holds else "opposite" if opposite else "not decided"
    if gain.low > 0:
        return "reproduced"
    return "opposite" if gain.high < 0 else "not reproduced"


def scores(side: str | float, methods: Mapping[str, Method], kind: str, seeds: Sequence[int]) -> dict[int, float]:
    """Return seed -> score of a method, or of a level in each of ``seeds``; empty for a method without runs."""
    if not isinstance(side, str):
        return dict.fromkeys(seeds, side)
    return methods[side].scores(kind) if side in methods else {}


def sides(claim: Claim, tasks: Sequence[Task]) -> tuple[dict[int, float], dict[int, float]]:
    """Return `scores` of ``better`` and of ``worse``; with ``beyond``, less those there, of seeds that have both.

    Raises RecordError for an ambiguous task.
    """
    both = _on(claim.task, claim, tasks)
    if not claim.beyond:
        return both
    better, worse = (
        {seed: score - less[seed] for seed, score in here.items() if seed in less}
        for here, less in zip(both, _on(claim.beyond, claim, tasks), strict=True)
    )
    return better, worse


def _on(described: str, claim: Claim, tasks: Sequence[Task]) -> tuple[dict[int, float], dict[int, float]]:
    methods = methods_on(described, tasks)
    seeds = sorted({seed for method in methods.values() for seed in method.curves})
    return scores(claim.better, methods, claim.by, seeds), scores(claim.worse, methods, claim.by, seeds)


def methods_on(described: str, tasks: Sequence[Task]) -> dict[str, Method]:
    """Return the methods of the task that ``described`` fits, by label; empty when it fits no task.

    Raises RecordError when it fits several.
    """
    fitting = [task for task in tasks if task.fits(described)]
    if len(fitting) > 1:
        labels = ", ".join(task.label for task in fitting)
        raise RecordError(f"--claims: the task '{described}' may be {labels}. Add an argument that tells them apart.")
    return {method.label: method for task in fitting for method in task.methods}


def corrected(
    claims: Sequence[Claim], compared: Sequence[tuple[dict[int, float], dict[int, float]]]
) -> list[float | None]:
    """Return the p of every claim, corrected within its family; None for one without runs of the same seed.

    Such a claim counts in its family all the same: it was made, too.
    """
    found: list[float | None] = [sign_flip_p(gains) if (gains := differences(*both)) else None for both in compared]
    for family in {claim.family for claim in claims}:
        members = [index for index, claim in enumerate(claims) if claim.family == family]
        chances = [1.0 if (p := found[index]) is None else p for index in members]
        for index, p in zip(members, holm(chances), strict=True):
            found[index] = None if found[index] is None else p
    return found


def verdicts(claims: Sequence[Claim], tasks: Sequence[Task]) -> Table:
    """Judge every claim: a table of one row per claim; one without runs is not decided.

    What is `unknown` is logged as a warning, once. Raises RecordError for an ambiguous task.
    """
    plain = (
        " reproduced: all of it above 0; opposite: all below; not reproduced: it contains 0. With four seeds "
        "that interval reaches from the smallest to the largest difference: it excludes 0 when all four have one sign, "
        "which between equal methods happens once in eight claims."
    )
    strict = (
        " corrected: the interval that holds for all claims of a family together (Bonferroni), of the same draws. "
        f"holds: all of the gain's interval above 0, and p below {SIGNIFICANT}; opposite: all below, and p as well; "
        "else not decided."
    )
    further = " beyond: the gain on the first task less that on the second."
    caption = (
        "Each claim: the first ends above the second. Gain: interquartile mean over seeds of the difference in the "
        "final evaluation (tail: in the mean of the last five; auc: in the mean height of the curve) between runs of "
        "the same seed, with its bootstrap interval."
        f"{plain if any(not claim.corrected for claim in claims) else ''} p: two-sided, of flipped signs of the "
        "differences, corrected (Holm) for the number of claims in this table, or of its family."
        f"{strict if any(claim.corrected for claim in claims) else ''}"
        f"{further if any(claim.beyond for claim in claims) else ''}"
    )
    compared = [sides(claim, tasks) for claim in claims]
    p, strictly = corrected(claims, compared), any(claim.corrected for claim in claims)
    sizes = Counter(claim.family for claim in claims)
    missing = [unknown(claim, tasks) for claim in claims]
    for text in dict.fromkeys(text for texts in missing for text in texts):
        logger.warning("--claims: %s", text)
    rows: list[list[Cell]] = []
    for claim, both, chance, without in zip(claims, compared, p, missing, strict=True):
        found = paired_difference(*both)
        who = f"{claim.better} > {claim.worse}" + (f" ({claim.by})" if claim.by != "final" else "")
        where = f"{claim.task} beyond {claim.beyond}" if claim.beyond else claim.task
        said = f"not decided: {without[0]}" if without else verdict(found, chance if claim.corrected else None)
        row: list[Cell] = [claim.claim, where, who, found]
        if strictly:
            together = paired_difference(*both, level=1 - (1 - LEVEL) / sizes[claim.family])
            row.append(together and bounds(together))
        rows.append([*row, "" if chance is None else f"{chance:.2g}", said])
    head = ["claim", "task", "who", "gain", *(["corrected"] if strictly else []), "p", "verdict"]
    return Table(caption, head, rows)
