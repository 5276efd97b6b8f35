"""The observer that lets another process copy a run to a tracker, whatever that tracker does."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from utils.cli import BAD_INPUT, FAILED
from utils.sacred import RunObserver

logger = logging.getLogger(__name__)

RUNS = Path(__file__).parents[1] / "runs.py"
EXIT_WAIT = 10.0  # seconds that a run waits at its end


class Tracking(RunObserver):
    """Starts ``runs.py track`` for the run that a FileObserver records, and looks after it from outside.

    A tracker that raises, hangs or crashes does so in that process: the run goes on, and says so in one line. At the
    end the run waits ``EXIT_WAIT`` seconds at most, then ends the process.
    """

    priority = 20  # after the files

    def __init__(self, kind: str, results: Path) -> None:
        """Start nothing yet; ``results`` holds the folder of runs."""
        self.kind = kind
        self.complete = False  # the tracker has all of the run
        self._results = results.resolve()
        self._reported = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _log(self) -> Path:
        """What the process says, in the run's folder."""
        return self._folder / f"{self.kind}.log"

    def started_event(self, *, _id: int, **event: Any) -> int:  # type: ignore[override]  # Sacred gives names
        """Start copying the run ``_id``."""
        self._run_id, self._folder = _id, self._results / "sacred" / str(_id)
        words = ["track", str(_id), "--to", self.kind, "--results", str(self._results)]
        try:
            with open(self._log, "wb") as log:
                self._process = self._start([sys.executable, str(RUNS), *words], log)
        except OSError as error:
            self._report(f"cannot be started: {error}")
        return _id

    def _start(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        # In the run's folder, where trackers leave their files, and in a session of its own: Ctrl-C is the run's.
        return subprocess.Popen(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def heartbeat_event(self, **event: Any) -> None:  # type: ignore[override]
        """Read whether the process has failed before the run ended, and say so once."""
        if self._process is not None and (code := self._process.poll()):
            self._report(self._why(code))

    def join(self) -> None:
        """Wait for the rest; Sacred calls this last, however a run ended."""
        if self._process is None:
            return
        try:
            code = self._process.wait(EXIT_WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self._report(f"it did not end within {EXIT_WAIT:g} seconds")
            return
        self.complete = code == 0
        if not self.complete:
            self._report(self._why(code))

    def _why(self, code: int) -> str:
        """Return the last line of an error, or how the process ended."""
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError as error:
            lines = [str(error)]
        return lines[-1] if lines and code in (FAILED, BAD_INPUT) else f"it ended with status {code}"

    def _report(self, reason: str) -> None:
        if self._reported:
            return
        self._reported = True
        logger.error(
            "%s LACKS A PART OF RUN %d (%s). The run is whole in %s; send it again with: python src/runs.py track %d "
            "--to %s",
            *(self.kind, self._run_id, reason.rstrip("."), self._folder, self._run_id, self.kind),
        )
