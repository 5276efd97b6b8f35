"""What a command line asks for, checked; torch is not imported for it, so that it can be shown at once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assembly.registries import REGISTRIES
from config.loader import Layer, for_regime, layers, parse_overrides
from config.resolve import make_config, printed, with_run_keys
from config.schema import Config
from config.trust import NOTHING, Trust
from records import checkpoint
from records.files import read_json
from records.store import FileStore
from records.tracker import require_trackers
from utils.paths import default_results


@dataclass(frozen=True)
class Request:
    """What the command line asks for, checked."""

    config: Config
    notes: list[str]  # for the person
    resume_from: Path | None  # folder of the run to continue
    mongo_url: str | None  # of the copy
    layers: list[Layer]  # where the configuration comes from

    def __post_init__(self) -> None:
        """Raise InputError where the package of a tracker is missing."""
        require_trackers(self.config)

    @classmethod
    def read(cls, arguments: argparse.Namespace) -> Request:
        """Read the request of `config.command_line.parse_command_line`. Raises InputError for what cannot be run."""
        if arguments.resume is None:
            stack = layers(arguments.config, arguments.env_config, arguments.overrides)
            return cls.fresh(stack, arguments.trust, arguments.mongo_url)
        given = parse_overrides(arguments.overrides)
        return cls.further(arguments.resume, given, arguments.trust, arguments.mongo_url)

    @classmethod
    def fresh(cls, stack: list[Layer], trust: Trust = NOTHING, mongo_url: str | None = None) -> Request:
        """Ask for a new run of the layers ``stack``, lowest first. Raises InputError."""
        config, notes = make_config(stack, REGISTRIES, trust)
        return cls(config, notes, None, mongo_url, [*_of_enemies(config, stack), *for_regime(stack)])

    @classmethod
    def further(cls, run: str, given: Layer, trust: Trust = NOTHING, mongo_url: str | None = None) -> Request:
        """Ask to continue ``run``, an id or a folder, with the keys ``given``; beside it unless these say where.

        Raises InputError.
        """
        run_dir = checkpoint.resumable_run(run, Path(str(given.values.get("local_results_path", default_results()))))
        from assembly.saved import recorded_config  # this takes seconds

        before = recorded_config(run_dir, trust)
        beside = {"local_results_path": str(_results_of(run_dir))}  # a recorded place may be relative to another folder
        config, notes = with_run_keys(before, {**beside, **given.values})
        notes = [*_continued(run_dir, Path(config.local_results_path) / "sacred"), *notes]
        recorded = Layer(str(run_dir / "config.json"), read_json(run_dir / "config.json"))
        return cls(config, notes, run_dir, mongo_url, [recorded, given])


def _results_of(run_dir: Path) -> Path:
    """Return the folder of results in which a run lies; the project's for a run outside of any."""
    runs = run_dir.absolute().parent
    named = default_results()  # by its name, for one who stands beside it
    return named if runs.name != "sacred" or runs.parent == named.absolute() else runs.parent


def _continued(run_dir: Path, results: Path) -> Iterator[str]:
    """Note where runs in ``results``, or beside ``run_dir``, continue that one already, or it may run itself.

    Raises RecordError.
    """
    here = run_dir.resolve().parent
    if not (run_dir / "run.json").exists():  # its state may be whole all the same
        return
    record = FileStore(here).get(int(run_dir.name))
    if record.status == "RUNNING":  # as far as its last heartbeat tells: a lock of this machine is seen before
        yield f"note: run {record.id} may still be running, its last sign of life is of {record.last_sign:%H:%M:%S}."
    found = [
        f"run {child.id} ({child.status}){'' if folder == here else f' in {folder}'}"
        for folder in dict.fromkeys((here, results.resolve()))
        for child in FileStore(folder).children(record)
    ]
    if found:
        yield f"note: run {record.id} was continued already, as {', '.join(found)}."


def _of_enemies(config: Config, stack: Sequence[Layer]) -> list[Layer]:
    """Return what enemies that learn have by the names of their algorithms."""
    named, args = config.opponent_config, config.opponent_args
    if isinstance(named, str):
        return [Layer(f"opponent_config={named}", {"opponent_args": args})]
    teams = [
        Layer(f"opponent_config.{team}={name}", {"opponent_args": {team: args[team]}}) for team, name in named.items()
    ]
    top = next((layer for layer in reversed(stack) if layer.values.get("opponent_config")), None)
    for_all = top is not None and isinstance(top.values["opponent_config"], str)
    return [Layer(top.where if top and for_all else "the learners' algorithm", {"opponent_config": named}), *teams]


def print_config(arguments: argparse.Namespace) -> None:
    """Print the configuration that would be run, notes as YAML's comments. Raises InputError for what cannot be."""
    request = Request.read(arguments)
    for note in request.notes:
        print(f"# {note}")
    print(printed(request.config, request.layers))
