"""Records of runs in one file, packed and taken in."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.small_runs import run

import runs
from records.archive import FILES, pack, unpack
from records.files import METRICS, Curve, RecordError
from records.store import FileStore, RunRecord
from utils.cli import BAD_INPUT

START = datetime(2026, 1, 1)


def store(folder: Path, first_id: int, seeds: Sequence[int], **info: Any) -> FileStore:
    """Completed runs from ``first_id`` on."""
    files = FileStore(folder / "sacred")
    for run_id, seed in enumerate(seeds, start=first_id):
        add(files, run_id, seed, info)
    return files


def add(files: FileStore, run_id: int, seed: int, info: dict[str, Any], status: str = "COMPLETED") -> None:
    start = START + timedelta(hours=run_id)
    entry = {"status": status, "start_time": start.isoformat(), "stop_time": (start + timedelta(minutes=5)).isoformat()}
    curve = Curve([0, 10], [0.0, float(seed)], [start.isoformat()] * 2)
    files.put(RunRecord(run_id, entry, {"name": "hmf", "seed": seed}, info), {"test_return_mean": curve}, "")


def test_archives_of_two_machines_meet_in_one_folder(tmp_path: Path) -> None:
    """Both hold a run 1; every run is taken in once, with its points."""
    for name, seeds in (("a", [5, 6]), ("b", [7])):
        files = store(tmp_path / name, 1, seeds)
        assert pack(files, files.ids(), tmp_path / f"{name}.tar.xz") == [*files.ids()]
    here = store(tmp_path / "here", 4, [9])
    assert unpack(tmp_path / "a.tar.xz", here) == {1: (5, True), 2: (6, True)}
    assert unpack(tmp_path / "b.tar.xz", here) == {1: (7, True)}
    assert unpack(tmp_path / "a.tar.xz", here) == {1: (5, False), 2: (6, False)}, "once"
    assert {run_id: here.get(run_id).config["seed"] for run_id in here.ids()} == {4: 9, 5: 5, 6: 6, 7: 7}
    assert here.metrics(7)["test_return_mean"].values == [0.0, 7.0]
    assert not [*here.results_dir.glob(".unpack*")]


def test_a_resumed_run_brings_the_one_that_it_continues(tmp_path: Path) -> None:
    files = store(tmp_path / "there", 1, [1])
    add(files, 2, 2, {}, status="INTERRUPTED")
    add(files, 3, 2, {"resumed_from": 2, "resumed_at": 5, "resumed_start": files.get(2).entry["start_time"]})
    assert pack(files, [3], tmp_path / "a.tar.xz") == [2, 3]
    here = store(tmp_path / "here", 7, [9])
    assert unpack(tmp_path / "a.tar.xz", here) == {2: (8, True), 3: (9, True)}
    assert here.get(9).info["resumed_from"] == 8
    curve, whole = (one.metrics(run_id)["test_return_mean"] for one, run_id in ((here, 9), (files, 3)))
    assert (curve.steps, curve.values) == (whole.steps, whole.values)


def test_the_same_runs_are_the_same_bytes(tmp_path: Path) -> None:
    """Whenever and by whomever they are packed."""
    files = store(tmp_path / "there", 1, [1, 2])
    pack(files, [1, 2], tmp_path / "a.tar.xz")
    for path in files.results_dir.glob("*/*"):
        os.utime(path, (7, 7))
    pack(files, [1, 2], tmp_path / "b.tar.xz")
    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "b.tar.xz").read_bytes()


def test_a_run_that_was_stopped_before_its_first_evaluation_is_packed(tmp_path: Path) -> None:
    files = store(tmp_path / "there", 1, [1])
    add(files, 2, 2, {}, status="INTERRUPTED")
    (files.folder(2) / METRICS).unlink()
    add(files, 3, 2, {"resumed_from": 2, "resumed_at": 0, "resumed_start": files.get(2).entry["start_time"]})
    assert pack(files, [3], tmp_path / "a.tar.xz") == [2, 3]
    here = store(tmp_path / "here", 7, [9])
    assert unpack(tmp_path / "a.tar.xz", here) == {2: (8, True), 3: (9, True)}
    assert here.metrics(9)["test_return_mean"].values == files.metrics(3)["test_return_mean"].values


def archive(path: Path, **files: str) -> Path:
    with tarfile.open(path, "w:xz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"notes__run": "{}"}, r"'notes' in it is no run \(config\.json, info\.json, metrics\.jsonl, run\.json\)"),
        ({"3__run": "{}"}, r"'3' in it is no run"),
        ({f"²__{name}": "{}" for name in FILES}, r"'²' in it is no run \(its name\)"),
        ({"..__escaped": "x"}, r"OutsideDestinationError"),
    ],
)
def test_what_is_no_archive_of_runs_is_refused(files: dict[str, str], why: str, tmp_path: Path) -> None:
    here = store(tmp_path / "here", 1, [1])
    with pytest.raises(
        RecordError, match=rf"expected an archive of runs, as `src/runs\.py pack` writes it, got .*{why}"
    ):
        unpack(archive(tmp_path / "x.tar.xz", **files), here)
    assert [path.name for path in here.results_dir.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("content", "why"), [(None, "which does not exist"), (b"no archive", r"got \S+x\.tar\.xz \(ReadError\)\.$")]
)
def test_a_file_that_is_no_archive_is_refused(content: bytes | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tar.xz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError, match=why):
        unpack(path, FileStore(tmp_path / "sacred"))


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = store(tmp_path / "there", 1, [1])
    pack(files, [1], tmp_path / "a.tar.xz")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "makefile", full)
    with pytest.raises(RecordError, match=r"unpack: cannot write to .*here/sacred \(No space left on device\)\. Free"):
        unpack(tmp_path / "a.tar.xz", FileStore(tmp_path / "here/sacred"))


def test_an_archive_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    files = store(tmp_path, 1, [1])
    with pytest.raises(RecordError, match=r"pack: cannot write .*nowhere/a\.tar\.xz \(No such file"):
        pack(files, [1], tmp_path / "nowhere" / "a.tar.xz")


def test_a_table_of_published_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The way of a reader: packed runs of the real main are listed in another folder as they were."""
    for seed in (1, 2):
        assert run(tmp_path / "theirs", "iql", "bar", seed=seed) == 0
    theirs, mine = (str(tmp_path / name) for name in ("theirs", "mine"))
    file = str(tmp_path / "records.tar.xz")
    assert runs.main(["pack", file, "seed=2", "--results", theirs]) == 0
    assert f"written: {file}, 1 run\n" in capsys.readouterr().out
    assert runs.main(["pack", file, "seed=2", "--results", theirs]) == 0
    assert f"replaced: {file}, 1 run\n" in capsys.readouterr().out
    for said in ("1 run taken in (1 to 1), 0 there already", "0 runs taken in, 1 there already"):
        assert runs.main(["unpack", file, "--results", mine]) == 0
        assert said in capsys.readouterr().out
    shown = []
    for folder, run_id in ((theirs, "2"), (mine, "1")):
        assert runs.main(["show", run_id, "--results", folder]) == 0
        shown.append([line for line in capsys.readouterr().out.splitlines() if "return" in line])
    assert shown[0] == shown[1] != []
    assert runs.main(["pack", file, "--mongo-url", "mongodb://127.0.0.1:1/x"]) == BAD_INPUT
    assert "expected runs recorded as files" in capsys.readouterr().err
    assert runs.main(["pack", str(tmp_path / "records.zip"), "--results", theirs]) == BAD_INPUT
    assert "pack: expected a file's name that ends in .tar.xz, got" in capsys.readouterr().err
    assert runs.main(["unpack", str(tmp_path / "none.tar.xz"), "--results", mine]) == BAD_INPUT
    assert "which does not exist" in capsys.readouterr().err
