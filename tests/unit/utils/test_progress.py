"""The line that long work shows."""

from __future__ import annotations

import pytest

from utils.progress import Progress


@pytest.mark.parametrize(("t_env", "left"), [(50, "left 0:00:05"), (132, "left 0:00:00")])
def test_the_time_left_is_that_of_the_steps_left_and_never_less_than_none(
    t_env: int, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parallel games pass the last step together."""
    progress = Progress(100, live=False)
    monkeypatch.setattr("time.monotonic", lambda: progress.began + t_env / 10)
    assert left in progress.line(t_env, 0)
