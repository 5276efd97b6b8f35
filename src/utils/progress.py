"""One live line on the terminal, plain lines in a log file."""

from __future__ import annotations

import sys
import time

from utils.cli import say


def clock(seconds: float) -> str:
    """Format seconds as h:mm:ss."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class Progress:
    """Steps, rate, time left and the last returns.

    On a terminal the line is redrawn in place on the real stderr (Sacred captures the other one); elsewhere a line is
    printed each time `report` is called.
    """

    def __init__(self, t_max: int, live: bool = True) -> None:
        """Redraw one line if ``live`` and on a terminal."""
        self.t_max = t_max
        self.start(0)
        self.stream = sys.__stderr__
        self.live = live and self.stream is not None and self.stream.isatty()
        self.returns: dict[str, str] = {}

    def start(self, t_env: int) -> None:
        """Count rate and time from now on, at ``t_env`` steps."""
        self.t_start = t_env
        self.began = self.drawn = time.monotonic()

    def note(self, name: str, value: float, t_env: int | None = None) -> None:
        """Let the lines that follow end with ``value``, and with the step ``t_env`` at which it was found, if given."""
        self.returns[name] = f"{value:.3f}" if t_env is None else f"{value:.3f} @{t_env:,}"

    def line(self, t_env: int, n_updates: int) -> str:
        """Return the progress line."""
        elapsed = max(time.monotonic() - self.began, 1e-9)
        rate = (t_env - self.t_start) / elapsed
        left = clock(max(self.t_max - t_env, 0) / rate) if rate > 0 else "?"
        returns = "  ".join(f"{name} {value}" for name, value in self.returns.items())
        return (
            f"{t_env:,}/{self.t_max:,} steps ({min(t_env / self.t_max, 1.0):.0%})  {rate:,.0f} steps/s  "
            f"{n_updates:,} updates  left {left}  {returns}"
        )

    def draw(self, t_env: int, n_updates: int) -> None:
        """Redraw the live line, a few times a second at most."""
        if self.live and self.stream is not None and time.monotonic() - self.drawn > 0.2:
            self.drawn = time.monotonic()
            self.stream.write(f"\r\x1b[K{self.line(t_env, n_updates)}")
            self.stream.flush()

    def report(self, t_env: int, n_updates: int) -> None:
        """Print a line that stays, where there is no live one."""
        if not self.live:
            say(self.line(t_env, n_updates))

    def close(self, t_env: int, n_updates: int) -> None:
        """Write the last line; on a terminal, what is printed afterwards does not overwrite it."""
        if self.live and self.stream is not None:
            self.stream.write(f"\r\x1b[K{self.line(t_env, n_updates)}\n")
            self.stream.flush()
        self.report(t_env, n_updates)
