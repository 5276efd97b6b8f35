"""Claims about who ends above whom, judged by intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from analysis.collect import Method, Task
from analysis.statistics import Estimate, estimate, paired_difference
from analysis.tables import Cell, Table
from utils.recording.files import RecordError
from utils.registry import nearest


@dataclass(frozen=True)
class Claim:
    """``method`` ends above ``above``: another method, by runs of the same seed, or a level."""

    claim: str
    task: str
    method: str
    above: str | float


def load_claims(path: Path) -> list[Claim]:
    """A YAML list of mappings with the fields of `Claim`. Raises RecordError for anything else."""
    try:
        entries = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecordError(f"--claims {path}: cannot be read: {error}") from error
    names = set(Claim.__dataclass_fields__)
    if not isinstance(entries, list) or not entries:
        raise RecordError(f"--claims {path}: expected a list of mappings with the keys {', '.join(sorted(names))}.")
    for number, entry in enumerate(entries, start=1):
        given = set(entry) if isinstance(entry, dict) else set()
        if given != names:
            raise RecordError(
                f"--claims {path}, claim {number}: expected the keys {', '.join(sorted(names))}, got "
                f"{', '.join(sorted(map(str, given))) or repr(entry)}."
            )
    return [Claim(**entry) for entry in entries]


def verdict(difference: Estimate | None) -> str:
    """What the interval of a claimed gain says; it has to exclude 0 to say anything."""
    if difference is None or difference.low is None or difference.high is None:
        return "not decided: no interval"
    if difference.low > 0:
        return "reproduced"
    return "opposite" if difference.high < 0 else "not reproduced"


def gain(method: Method, above: Method | float) -> Estimate | None:
    """Final evaluation over another method's, paired by seed, or over a level."""
    if isinstance(above, Method):
        return paired_difference(method.scores("final"), above.scores("final"))
    return estimate([method.array("final") - above])


def verdicts(claims: Sequence[Claim], tasks: Sequence[Task]) -> Table:
    """One line per claim. Runs that are not there yet leave a claim undecided; a task that nobody knows is an error."""
    caption = (
        "Claims of the form: the first ends above the second. Interval: gain in the final evaluation, interquartile "
        "mean over seeds, bootstrap 95 %, between runs of the same seed. reproduced: all of it above 0; opposite: all "
        "below; not reproduced: it contains 0."
    )
    rows: list[list[Cell]] = []
    for claim in claims:
        found = methods_of(claim.task, tasks)
        method = found.get(claim.method)
        above = found.get(claim.above) if isinstance(claim.above, str) else float(claim.above)
        difference = None if method is None or above is None else gain(method, above)
        what = f"{claim.method} > {claim.above}"
        said = "no runs yet" if method is None or above is None else verdict(difference)
        rows.append([claim.claim, claim.task, what, difference, said])
    return Table(caption, ["claim", "task", "who", "gain", "verdict"], rows)


def methods_of(label: str, tasks: Sequence[Task]) -> dict[str, Method]:
    """Methods on the task of that label. Raises RecordError when there is none."""
    known = {task.label: task for task in tasks}
    if label not in known:
        raise RecordError(
            f"--claims: no task '{label}' among these runs.{nearest(label, known)} Known: {', '.join(known)}."
        )
    return {method.label: method for method in known[label].methods}
