"""Fill the zoo: policies of completed runs with their cards, a table of all, and a picture of every task's curves."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import figures
from analysis.collect import TAIL, Method, Task
from analysis.comparison import CURVE, RETURN, described
from analysis.page import fill
from analysis.report import slug
from analysis.tables import Table
from assembly.registries import REGISTRIES
from assembly.saved import ENEMIES
from config.loader import layers
from config.resolve import make_config
from config.schema import RECORDING, Config
from config.trust import Trust
from policies.base import PolicyError
from policies.card import facts, sheet
from policies.take import recorded_policy
from policies.zoo import CARD, FILM, HEAD, POLICY, Entry, entries
from records import checkpoint
from records.files import Curve
from records.identity import identity
from records.presets import presets
from records.query import env_file, flatten
from records.store import FileStore, RunRecord
from utils.atomic import write_atomic
from utils.errors import InputError
from utils.words import word

PAGE, TABLE, CURVES, SHEET = "README.md", "table.md", "curves", "card.md"


@dataclass(frozen=True)
class Kept:
    """A policy on its way into the zoo."""

    name: str
    card: Mapping[str, Any]
    files: Mapping[str, bytes]


def keep(
    store: FileStore,
    records: Sequence[RunRecord],
    names: Mapping[str, str],
    *,
    step: str,
    task: str | None,
    zoo: Path,
    trust: Trust,
) -> list[Kept]:
    """Put the policies of completed runs at ``step`` into the folder ``zoo``, and bring its pages up to date.

    ``names``: identity -> method, where that is not the algorithm; ``task``: what to call the task, by default the
    environment. Of runs of one identity the newest counts. Raises InputError before anything is written.
    """
    if task is not None and task.startswith("."):  # .. is outside the zoo
        raise PolicyError(f"--task: expected a name that does not begin with a dot, got '{task}'. Give another one.")
    found: dict[str, Kept] = {}
    in_order = sorted(records, key=lambda record: (record.started, record.id))
    for record in {record.identity: record for record in in_order}.values():
        kept = prepared(store, record, names.get(record.identity), step, task, trust)
        other = found.setdefault(kept.name, kept)
        if other is not kept:
            raise PolicyError(
                f"zoo: runs {other.card['run']} and {kept.card['run']} would both be {kept.name}. Add one of them, or "
                "one of the two with another --task."
            )
    there = {entry.name: entry.card["sha256"] for entry in entries(zoo)}
    for kept in found.values():
        if there.get(kept.name, kept.card["sha256"]) != kept.card["sha256"]:
            raise PolicyError(
                f"zoo: {kept.name} is there already, another policy. Remove it first: zoo.py rm {kept.name}"
            )
    with writing(zoo):
        for kept in found.values():
            (zoo / kept.name).mkdir(parents=True, exist_ok=True)
            for name, data in kept.files.items():  # the card last: a folder without one is not in the zoo
                write_atomic(zoo / kept.name / name, data)
    refresh(zoo)
    return list(found.values())


@contextmanager
def writing(zoo: Path) -> Iterator[None]:
    """Raise PolicyError where the disk refuses."""
    try:
        yield
    except OSError as error:
        raise PolicyError(f"--zoo: cannot write to {zoo} ({error.strerror}). Choose another folder.") from error


def prepared(
    store: FileStore, record: RunRecord, method: str | None, step: str, task: str | None, trust: Trust
) -> Kept:
    """Read a run's policy and write its card. Raises InputError for a run that the zoo cannot take."""
    if record.status != "COMPLETED":
        raise PolicyError(f"zoo: expected runs that are COMPLETED, run {record.id} is {record.status}.")
    if not checkpoint.steps(store.folder(record.id) / "checkpoints"):
        raise PolicyError(f"zoo: run {record.id} kept no policy (save_model=false, or its checkpoints were removed).")
    policy = recorded_policy(store, record.id, step, TAIL, trust)
    check_portable(policy.state["config"], record.id)
    enemies = sorted(policy.source.glob(f"{ENEMIES}*{checkpoint.POLICY}"))
    files = {path.name: path.read_bytes() for path in (policy.source / POLICY, *enemies)}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    reached, curve = int(policy.source.name), policy.curve
    points = [[at, value] for at, value in zip(curve.steps, curve.values, strict=True) if at <= reached]
    seconds = [seconds for at, seconds in store.cpu_seconds(record).items() if at <= reached]
    card = {
        **policy.card,
        "task": slug(task or policy.card["task"]),
        "method": slug(method or policy.config.name),
        "cpu_minutes": round(max(seconds) / 60, 2) if seconds else None,
        "command": training_command(policy.config, store, record),
        "curve": points,
        "sha256": digests[POLICY],
    }
    name = f"{card['task']}/{card['method']}_s{card['seed']}"
    files |= {checkpoint.digest_file(Path(file)).name: f"{digest}\n".encode() for file, digest in digests.items()}
    files[CARD] = json.dumps(card, indent=1).encode()
    return Kept(name, card, files)


def check_portable(config: Mapping[str, Any], run_id: int) -> None:
    """Raise PolicyError for a policy that leads to files which nobody else has."""
    for key, value in flatten(config).items():
        if isinstance(value, str) and (value.startswith(("/", "~")) or ".." in Path(value).parts):
            raise PolicyError(
                f"zoo: expected policies whose configuration names files of the project alone, that of run {run_id} "
                f"has {word(key, value)}. Train it with a path inside the project."
            )


def is_one_run(store: FileStore, record: RunRecord) -> bool:
    """Return whether a run, and all that it was resumed from, has one configuration."""
    while record.resumed is not None:
        parent = store.parent(record)
        if parent is None or parent.identity != record.identity:
            return False
        record = parent
    return True


def training_command(config: Config, store: FileStore, record: RunRecord) -> str:
    """Write the command that makes a run of ``config`` again. Raises PolicyError where no command does."""
    flat, missing = flatten(config.to_dict()), object()
    known, environment = presets(flat), env_file(flat)
    words = [
        word(key, value)
        for key, value in flat.items()
        if key == "seed" or (key not in RECORDING and known.get(key, missing) != value)
    ]
    try:
        made, _ = make_config(layers(config.name, environment, words), REGISTRIES)
        same = identity(made.to_dict()) == identity(config.to_dict())
    except InputError:
        same = False
    if not same or config.checkpoint_path or not is_one_run(store, record):
        raise PolicyError(
            f"zoo: expected a run that one command of this version repeats, run {record.id} ({config.name} on "
            f"{config.env}) is none: it began with other networks, it was resumed with other values, or its algorithm "
            "or environment is no file of src/config."
        )
    return shlex.join(
        ["python", "src/main.py", f"--config={config.name}", f"--env-config={environment}", "with", *words]
    )


def markdown(entry: Entry) -> str:
    """Write a card for people."""
    name, card = entry.name, entry.card
    minutes = "not recorded" if card["cpu_minutes"] is None else f"{card['cpu_minutes']:.1f}, without evaluations"
    rows = {**facts(card), "CPU minutes of training": minutes, "SHA-256 of policy.pt": card["sha256"]}
    commands = {
        "Train it again:": card["command"],
        "Play it:": f"python src/zoo.py play {name} --episodes 32",
        "Film it:": f"python src/zoo.py play {name} --episodes 1 --video {Path(name).name}.gif",
    }
    body = "\n\n".join(f"{what}\n\n    {line}" for what, line in commands.items())
    shown = f"![A greedy episode of {name}]({FILM})\n\n" if entry.film.exists() else ""
    curves = f"![{card['task']}: learning curves](../{CURVES}.png)\n\n" if card["curve"] else ""
    return sheet(name, rows, f"{curves}{shown}{body}", card)


def remove(entry: Entry) -> None:
    """Remove a policy, its card first, and with the last one of a task the picture of its curves.

    What else a person has put into their folders stays.
    """
    (entry.folder / CARD).unlink()
    task = entry.folder.parent
    names = (SHEET, FILM, f"{POLICY}*", f"{ENEMIES}*{POLICY}*")
    own = [path for name in names for path in entry.folder.glob(name)]
    if not any(task.glob(f"*/{CARD}")):
        own.append(task / f"{CURVES}.png")
    for path in own:
        path.unlink(missing_ok=True)
    for folder in (entry.folder, task):
        if not any(folder.iterdir()):
            folder.rmdir()


def refresh(zoo: Path) -> None:
    """Write cards for people, the table of what is in the zoo, every task's curves, and the page that shows them.

    Raises PolicyError where they cannot be written.
    """
    there = entries(zoo)
    by_task: dict[str, list[Entry]] = defaultdict(list)
    for entry in there:
        if entry.card["curve"]:
            by_task[entry.card["task"]].append(entry)
    with writing(zoo):
        for entry in there:
            write_atomic(entry.folder / SHEET, markdown(entry).encode())
        for task, own in by_task.items():
            figures.write(picture(task, own), zoo / task / CURVES, (".png",))
        write_atomic(zoo / TABLE, overview(there, list(by_task)).encode())
        if (zoo / PAGE).exists():
            fill(zoo / PAGE)


def overview(there: Sequence[Entry], drawn: Sequence[str]) -> str:
    """Tabulate the policies of the zoo, and show the pictures of the tasks that are ``drawn``."""
    if not there:
        return "Nothing is in it yet.\n"
    caption = (
        f"{described(RETURN)}: mean of the last {TAIL} evaluations in training, of fewer where there were fewer. CPU "
        "minutes: of training, without evaluations."
    )
    rows = [
        [
            f"[{entry.name}]({entry.name}/{SHEET})",
            *entry.facts,
            f"[film]({entry.name}/{FILM})" if entry.film.exists() else "–",
        ]
        for entry in there
    ]
    pictures = "".join(f"\n![{task}: learning curves]({task}/{CURVES}.png)\n" for task in drawn)
    return f"{Table(caption, [*HEAD, 'film'], rows).markdown()}{pictures}"


def picture(task: str, own: Sequence[Entry]) -> Any:
    """Draw the learning curves of a task's policies, a line per method."""
    curves: dict[str, dict[int, Curve]] = defaultdict(dict)
    for entry in own:
        steps, values = zip(*entry.card["curve"], strict=True)
        curves[entry.card["method"]][entry.card["seed"]] = Curve.of(values, steps)
    methods = [Method(label, seeds) for label, seeds in curves.items()]
    return figures.learning_curves([Task(task, task, methods)], RETURN, f"{described(RETURN)}. {CURVE}")
