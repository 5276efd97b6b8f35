"""Checkpoints: atomic files, a folder per step, the newest and the best kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import IO, TYPE_CHECKING, Any

from records.files import LOCK, read_json
from utils.atomic import replacing, write_atomic
from utils.errors import InputError
from utils.lock import is_held
from utils.version import VERSION

if TYPE_CHECKING:
    import torch

POLICY, LEARNER, RESUME, BEST = "policy.pt", "learner.pt", "resume.pt", "best.json"


class CheckpointError(InputError):
    """A checkpoint that is missing, torn or made for something else."""


class _Digested:
    """A file that is written from start to end, and the digest of what it holds."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write ``data``. Raises OSError."""
        self.sha.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Write what is buffered. Raises OSError."""
        self._file.flush()


def digest_file(path: Path) -> Path:
    """Name the file beside ``path`` that holds its SHA-256 digest, and of what it replaces while it is replaced."""
    return path.with_name(f"{path.name}.sha256")


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``, and its digest, so that a reader sees the old file or the new one.

    Raises OSError, leaving the old one.
    """
    import torch  # here: lists and plans of runs need no more of this file than where checkpoints are

    path.parent.mkdir(parents=True, exist_ok=True)
    digests = digest_file(path)
    old = digests.read_text() if digests.exists() else ""
    with replacing(path) as file:
        digested = _Digested(file)
        try:
            torch.save({"version": VERSION, **state}, digested)  # type: ignore[arg-type]
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides the disk's error behind one of its own
                raise error.__context__ from None
            raise
        new = f"{digested.sha.hexdigest()}\n"
        write_atomic(digests, f"{new}{old}".encode())
    if old:
        write_atomic(digests, new.encode())


def check_digest(path: Path, cure: str) -> None:
    """Raise CheckpointError when ``path`` is not what was saved; a file without a digest is older than digests are."""
    digests = digest_file(path)
    if not digests.exists():
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found not in digests.read_text(errors="replace").split():
        raise CheckpointError(
            f"checkpoint: expected {path} as it was saved, its SHA-256 digest is not the one in {digests.name}. One of "
            f"the two was damaged or changed; {cure}. Removing {digests.name} loads what is there."
        )


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save` wrote; tensors and plain data only, never code. Raises CheckpointError."""
    if not path.exists():
        raise CheckpointError(f"checkpoint: expected the file {path}, it does not exist.")
    cure = f"start a new run with checkpoint_path={path.parent}" if path.name == RESUME else "choose another step"
    check_digest(path, cure)
    import torch

    from components.batch import GroupHistory, Memory, Step
    from components.sparse import SparseObs

    torch.serialization.add_safe_globals([Step, Memory, GroupHistory, SparseObs])
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"checkpoint: {path} cannot be read ({type(error).__name__}). It is torn or not a checkpoint of this "
            f"project; {cure}."
        ) from error


def remove_resume(folder: Path) -> None:
    """Remove the state of a run that has completed from its checkpoints ``folder``."""
    path = folder / RESUME
    path.unlink(missing_ok=True)
    digest_file(path).unlink(missing_ok=True)


def steps(folder: Path) -> list[int]:
    """List the steps of complete checkpoints under ``folder``, oldest first."""
    found = [int(path.name) for path in folder.glob("*") if path.name.isdecimal() and (path / LEARNER).exists()]
    return sorted(found)


def step_folder(folder: Path, load_step: int) -> Path:
    """Find the folder of the checkpoint nearest to ``load_step``, of the newest for 0. Raises CheckpointError.

    ``folder``: that of a run, or its folder ``checkpoints``.
    """
    inside = folder / "checkpoints"
    return _nearest(inside if inside.is_dir() else folder, load_step or None)


def step_note(found: Path, load_step: int) -> str:
    """Return the note that networks are those of ``found``, which `step_folder` found for ``load_step``."""
    exact = load_step == int(found.name)
    why = "" if exact else f" (no step {load_step}; nearest {found.name})" if load_step else " (the newest)"
    return f"note: the networks loaded are those of {found}{why}."


def _nearest(folder: Path, wanted: int | None) -> Path:
    """Find the folder of the checkpoint nearest to step ``wanted``, of the newest for None. Raises CheckpointError."""
    found = steps(folder)
    if not found:
        raise CheckpointError(
            f"checkpoint_path: expected folders named by step with {LEARNER} inside, found none in '{folder}'. "
            "Give the folder of a run: results/sacred/<id>."
        )
    step = found[-1] if wanted is None else min(found, key=lambda candidate: abs(candidate - wanted))
    return folder / str(step)


def run_folder(run: str, results: Path) -> Path:
    """Return where a run named by its id or its folder is; a number is an id, also where a folder has that name."""
    return results / "sacred" / run if run.isdecimal() else Path(run)


def find_run(run: str, results: Path) -> Path:
    """Find the folder of a run given by id or path. Raises CheckpointError."""
    folder = run_folder(run, results)
    if (folder / "config.json").exists():
        return folder
    raise CheckpointError(
        f"run: expected a run's id under {results}/sacred or its folder, got '{run}'. List them: python src/runs.py ls"
    )


def resumable_run(run: str, results: Path) -> Path:
    """Find the folder of a run, given by path or id, that can be continued exactly. Raises CheckpointError."""
    run_dir = run_folder(run, results)
    if not run_dir.name.isdecimal():
        raise CheckpointError(f"--resume: expected a run's id, or its folder, named by the id, got '{run}'.")
    if not run_dir.is_dir():
        raise CheckpointError(
            f"--resume: expected a run, there is none in {run_dir}. `python src/runs.py ls` lists those of results; "
            "name one elsewhere by its folder."
        )
    if is_held(run_dir / LOCK):
        raise CheckpointError(
            f"--resume: run {run_dir.name} is running: what would continue it would be a second one. Stop it first, or "
            "wait for its end."
        )
    checkpoints = run_dir / "checkpoints"
    if not (checkpoints / RESUME).exists():
        ended = read_json(run_dir / "run.json").get("status") == "COMPLETED"
        done = f"run {run_dir.name} is complete, and its state to go on from was removed. " if ended else ""
        raise CheckpointError(
            f"{done}--resume: expected {checkpoints / RESUME}, it does not exist. A run that completed needs "
            "save_replay=always from its start to be trained further, one with save_replay=never cannot be resumed; "
            f"start a new run with checkpoint_path={checkpoints}."
        )
    return run_dir


def named_folder(run_dir: Path, step: str) -> Path:
    """Find the folder of a step: the number nearest to it, ``best`` or ``newest``. Raises CheckpointError."""
    folder = run_dir / "checkpoints"
    if step not in ("best", "newest") and not step.isdecimal():
        raise CheckpointError(f"--step: expected a number, best or newest, got '{step}'.")
    if not steps(folder):
        raise CheckpointError(
            f"run {run_dir.resolve().name} kept no policy: there is none in '{folder}' (save_model=false, its "
            "checkpoints were removed, or it comes from an archive, which holds none). Choose another run, or train it "
            "again with save_model=true."
        )
    if step == "best":
        best = best_step(folder)
        if best is None:
            raise CheckpointError(f"--step=best: no evaluation marked one in '{folder}'. Use newest.")
        return folder / str(best)
    return _nearest(folder, None if step == "newest" else int(step))


def exact_folder(run_dir: Path, step: str) -> Path:
    """Find the folder of a step that has a checkpoint, ``best`` or ``newest``. Raises CheckpointError."""
    folder = named_folder(run_dir, step)
    if step.isdecimal() and int(step) != int(folder.name):
        there = ", ".join(map(str, steps(folder.parent)))
        raise CheckpointError(
            f"--step: expected best, newest or a step that '{folder.parent}' has ({there}), got {step}."
        )
    return folder


def save_step(
    folder: Path,
    step: int,
    networks: Mapping[str, dict[str, Any]],
    keep: int,
    best_return: float | None = None,
) -> None:
    """Write a checkpoint, which ``learner.pt`` completes; remove older ones beyond ``keep``, except the best.

    ``networks``: states by the names of their files. ``best_return``: what an evaluation found that makes it the best.
    """
    try:
        for name in sorted(networks, key=lambda name: name == LEARNER):
            save(folder / str(step) / name, networks[name])
    except OSError:
        if step not in steps(folder):  # what was written of it would take the disk's last space
            shutil.rmtree(folder / str(step), ignore_errors=True)
        raise
    if best_return is not None:
        mark_best(folder, step, best_return)
    best = best_step(folder)
    for old in steps(folder)[:-keep]:
        if old != best:
            shutil.rmtree(folder / str(old))


def mark_best(folder: Path, step: int, value: float) -> None:
    """Record which step evaluated best. Raises OSError."""
    write_atomic(folder / BEST, json.dumps({"step": step, "test_return_mean": value}).encode())


def best_step(folder: Path) -> int | None:
    """Return the step marked best, if any. Raises CheckpointError if the mark cannot be read."""
    path = folder / BEST
    if not path.exists():
        return None
    try:
        return int(json.loads(path.read_text())["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"checkpoint: {path} cannot be read ({one_line(error)}). Remove it; the next best evaluation makes another."
        ) from error


def one_line(error: Exception) -> str:
    """Return the type and text of an error in one line, for messages; torch lists every tensor that does not fit."""
    return shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")


def copy_best(source: Path, target: Path, until: int) -> None:
    """Give ``target`` the best checkpoint of ``source`` too, unless it was made after step ``until``.

    Raises CheckpointError when the disk refuses it.
    """
    step = best_step(source)
    if step is None or step > until:
        return
    try:
        shutil.copytree(source / str(step), target / str(step))
        shutil.copy(source / BEST, target / BEST)
    except OSError as error:
        raise CheckpointError(
            f"--resume: cannot copy the best checkpoint from {source / str(step)} to {target} ({one_line(error)}). "
            "Free space there and resume again."
        ) from error
