"""Writes that a disk refuses for a while."""

from __future__ import annotations

import logging
from types import TracebackType

logger = logging.getLogger(__name__)


class Outage:
    """A context for writes that are tried again: an error inside is kept, warned about once and not raised.

    ``error`` says why the last attempt failed, None when it succeeded; ``n_failed`` counts the attempts that failed.
    """

    def __init__(self, warning: str, kind: type[Exception]) -> None:
        """Keep errors of ``kind``, and log ``warning``, a sentence with {error} in it, when one is the first."""
        self.warning, self.kind = warning, kind
        self.error: str | None = None
        self.n_failed = 0

    def __enter__(self) -> None:
        """Let an attempt begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, self.kind):
            if error is None:
                self.error = None
            return False
        if self.error is None:
            logger.warning(self.warning.format(error=error))
        self.error = str(error)
        self.n_failed += 1
        return True
