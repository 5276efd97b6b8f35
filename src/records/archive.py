"""Records of runs in one file, to publish and to take in: configuration, machine, metrics; no checkpoints."""

from __future__ import annotations

import errno
import io
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from records.files import METRICS, RecordError, dumps, read_json
from records.ids import create_run_folder
from records.store import FileStore, RunRecord
from utils.atomic import replacing, write_atomic

FILES = ("config.json", "info.json", METRICS, "run.json")  # in this order: without run.json it is no run yet


def pack(store: FileStore, ids: Iterable[int], path: Path) -> list[int]:
    """Write the runs, and those that they continue, to the .tar.xz file ``path``; return their ids, ascending.

    Raises RecordError where one is missing, and where ``path`` cannot be written.
    """
    wanted = set[int]()
    for run_id in ids:
        record: RunRecord | None = store.get(run_id)
        while record is not None:
            wanted.add(record.id)
            record = store.parent(record)
    found = sorted(wanted)
    try:
        with replacing(path) as file, tarfile.open(fileobj=file, mode="w:xz") as tar:
            for run_id in found:
                for name in FILES:
                    source = store.folder(run_id) / name
                    # Metrics are missing where it was stopped before its first evaluation, and continued.
                    data = b"" if name == METRICS and not source.exists() else source.read_bytes()
                    entry = tarfile.TarInfo(f"{run_id}/{name}")  # without owner and time: equal runs, equal bytes
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    except OSError as error:
        raise RecordError(f"pack: cannot write {path} ({error.strerror or error}). Give another file.") from error
    return found


def unpack(path: Path, store: FileStore) -> dict[int, tuple[int, bool]]:
    """Add the runs of an archive: id there -> id here, and whether it is new; one that is here already stays.

    New runs get the next free ids, since archives of different machines hold the same ones, and what they say of
    the run that they continue follows. Raises RecordError, before anything is taken in, for a file that is no such
    archive, and for a folder that cannot be written.
    """
    try:
        store.results_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=store.results_dir) as folder:
            archived = FileStore(_extracted(path, Path(folder)))
            here = [store.get(run_id) for run_id in store.ids()]
            placed: dict[int, tuple[int, bool]] = {}
            for run_id in archived.ids():  # a run has a higher id than the one that it continues
                record = archived.get(run_id)
                same = (one for one in here if one.is_same_run(record) and one.config == record.config)
                known = next(same, None)
                if known is not None:
                    placed[run_id] = known.id, False
                    continue
                info = dict(record.info)
                if record.resumed is not None and record.resumed.id in placed:
                    info["resumed_from"] = placed[record.resumed.id][0]
                write_atomic(archived.folder(run_id) / "info.json", dumps(info))
                new, source = create_run_folder(store.results_dir), archived.folder(run_id)
                for name in FILES:
                    (source / name).replace(store.results_dir / str(new) / name)
                placed[run_id] = new, True
            return placed
    except OSError as error:
        raise RecordError(
            f"unpack: cannot write to {store.results_dir} ({error.strerror or error}). Free space there, or choose "
            "another folder."
        ) from error


def _extracted(path: Path, folder: Path) -> Path:
    """Write what the archive holds into ``folder`` and return it.

    Raises RecordError for what `pack` did not write, and OSError where the disk is full.
    """
    expected = f"unpack: expected an archive of runs, as `src/runs.py pack` writes it, got {path}"
    try:
        with tarfile.open(path) as tar:
            tar.extractall(folder, filter="data")
    except FileNotFoundError as error:
        raise RecordError(f"{expected}, which does not exist.") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # of the folder: the archive may be whole
        raise RecordError(f"{expected} ({type(error).__name__}).") from error
    for run in folder.iterdir():
        lacking = [name for name in FILES if not (run / name).is_file()]
        if not run.name.isdecimal() or lacking:
            raise RecordError(f"{expected}: '{run.name}' in it is no run ({', '.join(lacking) or 'its name'}).")
        read_json(run / "run.json")
    return folder
