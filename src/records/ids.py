"""Ids of runs: the names of their folders, which no two runs in one folder share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from records.files import RecordError
from utils.cli import LARGEST
from utils.paths import existing


def check_writable(results_dir: Path) -> None:
    """Raise RecordError when no run could be created in ``results_dir``, which need not exist yet."""
    try:
        tempfile.TemporaryFile(dir=existing(results_dir)).close()
    except OSError as error:
        raise RecordError(
            f"results folder: cannot write in {results_dir} ({error.strerror}). "
            "Correct --results (the key local_results_path), or make the folder writable."
        ) from error


def free(run_id: int) -> bool:
    """Return that no one outside the results folder has the id."""
    return True


def create_run_folder(results_dir: Path, first_id: int = 1, claim: Callable[[int], bool] = free) -> int:
    """Make ``results_dir/<id>`` with the next free integer id from ``first_id`` on, never the same for two processes.

    ``claim`` says for ids in turn whether the run gets it from the database that folders share.
    Raises RecordError when the folder cannot be written.
    """
    try:
        results_dir.mkdir(parents=True, exist_ok=True)
        taken = [int(path.name) for path in results_dir.iterdir() if path.name.isdecimal()]
        run_id = max([first_id - 1, *taken]) + 1
        while run_id <= LARGEST:
            folder = results_dir / str(run_id)
            try:
                folder.mkdir()
            except FileExistsError:
                pass
            else:
                if claim(run_id):
                    return run_id
                folder.rmdir()
            run_id += 1
    except OSError as error:
        raise RecordError(
            f"results folder: cannot create a run in {results_dir} ({error.strerror}). "
            "Free space there, or choose another folder."
        ) from error
    raise RecordError(f"results folder: {results_dir} holds the largest id, {LARGEST}. Choose another folder.")
