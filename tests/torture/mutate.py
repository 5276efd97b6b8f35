"""Try `MUTANTS` one by one (tools/mutants.sh).

Each is made in a copy of the tree in which its tests then run until one fails. Exit code 1: a mutant survived.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path

import numba
import pytest

from analysis.page import check, fill
from tests.support.paths import ROOT
from tests.torture.mutants import MUTANTS, Mutant

PARTS = ("src", "tests", "tools", "opponents", "pyproject.toml")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch._dynamo", "sacred", "numba", "pettingzoo", "pytest"])  # seconds, once
TIMEOUT_SECONDS = 900  # no test has found a mutant that hangs


def copied(folder: Path) -> None:
    """Copy what tests need, without anything compiled."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / part, folder / part)


class FirstFailure:
    """Note the first test, or file of tests, that fails."""

    def __init__(self) -> None:
        self.name: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look at one part of one test."""
        if report.failed:
            self.name = self.name or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Look at one file of tests."""
        if report.failed:
            self.name = self.name or report.nodeid


def run_tests(tree: Path, tests: list[str], cache: Path, log: Path, answer: Connection) -> None:
    """Send pytest's exit code and the first test that fails in ``tree``; in a process of its own.

    It forgets this tree's modules. Python tells its compiled files apart by size and whole seconds: none are written.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    ours = {"tests", *(path.stem for path in (tree / "src").iterdir())}
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]
    sys.path = [path for path in sys.path if path not in ("", str(ROOT), str(ROOT / "src"))]
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(cache)}
    numba.config.reload_config()
    os.chdir(tree)
    first = FirstFailure()
    code = pytest.main(["-x", "--tb=short", "-p", "no:cacheprovider", *tests], plugins=[first])
    answer.send((int(code), first.name))


def failing(tree: Path, tests: Iterable[str], cache: Path) -> str | None:
    """Return the first test that fails in ``tree``, or None; ``cache``: Numba's. Raises SystemExit: they cannot run."""
    answer, child = FORKS.Pipe(duplex=False)
    log = tree.parent / "log"
    process = FORKS.Process(target=run_tests, args=(tree, [f"tests/{test}" for test in tests], cache, log, child))
    process.start()
    child.close()
    try:
        code, name = answer.recv() if answer.poll(TIMEOUT_SECONDS) else (0, None)
    except EOFError:
        code, name = process.exitcode, None
    process.kill()
    process.join()
    if code != 0 and name is None:
        raise SystemExit(f"error: the tests cannot run:\n{log.read_text()}")
    return name and name.removeprefix("tests/")


def tried(tree: Path, mutant: Mutant, cache: Path) -> str | None:
    """Return the test that finds ``mutant``, or None. Raises SystemExit when its old text is not there once.

    Numba compiles again when the outer function's own file changes: a changed file of compiled loops has no cache.
    """
    path = tree / "src" / mutant.file
    whole = path.read_text()
    if whole.count(mutant.old) != 1:
        raise SystemExit(
            f"error: '{mutant.what}' expects its old text once in src/{mutant.file}, which has it "
            f"{whole.count(mutant.old)} times. Correct the entry in tests/torture/mutants.py."
        )
    stamp = path.stat()
    path.write_text(whole.replace(mutant.old, mutant.new))
    with tempfile.TemporaryDirectory() as fresh:
        found = failing(tree, mutant.tests, Path(fresh) if "@compiled" in whole else cache)
    path.write_text(whole)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return found


def table(found: dict[Mutant, str | None]) -> str:
    """Describe what found each mutant, as Markdown."""
    killed = sum(test is not None for test in found.values())
    rows = [
        f"| {mutant.what} | `{mutant.file}` | {f'`{test}`' if test else '**none**'} |" for mutant, test in found.items()
    ]
    return "\n".join(
        [
            f"{killed} of {len(found)} found.",
            "",
            "| Change | In `src/` | Found by, in `tests/` |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Try every mutant whose words contain ``WORD``."""
    parser = argparse.ArgumentParser(prog="tools/mutants.sh", description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only mutants whose description or file contains it")
    parser.add_argument("--output", type=Path, help="write the table here")
    parser.add_argument("--page", type=Path, help="refresh its tables")
    args = parser.parse_args(arguments)
    if args.page:
        check(args.page)
    chosen = [mutant for mutant in MUTANTS if args.word in f"{mutant.what} {mutant.file}"]
    if not chosen:
        parser.error(f"no mutant's description or file contains '{args.word}'.")
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[Mutant, str | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        tree, cache = Path(folder, "tree"), Path(folder, "numba")
        tree.mkdir()
        copied(tree)
        for mutant in chosen:
            found[mutant] = tried(tree, mutant, cache)
            print(f"{found[mutant] or 'SURVIVED':60} {mutant.what} ({mutant.file})", flush=True)
        finders = {test for test in found.values() if test}
        if finders and (test := failing(tree, finders, cache)):
            raise SystemExit(f"error: {test} fails without any mutant, too")
    text = table(found)
    print(text.splitlines()[0])
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text)
    if args.page:
        fill(args.page)
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
