"""Ctrl-C and SIGTERM as a request to stop, which the training loop reads between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType, TracebackType

from utils.sacred import SacredInterrupt


class Stopped(SacredInterrupt):
    """The run was asked to stop, and saved what resuming needs; Sacred records it as INTERRUPTED."""

    STATUS = "INTERRUPTED"


class StopRequest:
    """Within this context signals set ``requested`` and nothing else: a second Ctrl-C waits for the save, too."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> StopRequest:
        self._previous = {sig: signal.signal(sig, self._handle) for sig in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sig, handler in self._previous.items():
            signal.signal(sig, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        said = "still saving" if self.requested else "stopping: saving"
        self.requested = True
        with contextlib.suppress(OSError):  # straight to the descriptor: the signal may have come amid a print
            os.write(1, f"{said} ...\n".encode())
