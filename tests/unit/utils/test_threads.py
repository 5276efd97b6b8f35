"""Work that threads share."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from utils.threads import share


@pytest.mark.parametrize(
    ("n_threads", "size", "worth", "expected"),
    [
        (1, 10, 1, [(0, 10)]),
        (3, 10, 1, [(0, 3), (3, 6), (6, 10)]),
        (3, 10, 5, [(0, 5), (5, 10)]),
        (3, 10, 6, [(0, 10)]),  # not worth a second thread
        (3, 2, 1, [(0, 1), (1, 2)]),
        (3, 0, 1, [(0, 0)]),
    ],
)
def test_every_thread_has_its_share(
    n_threads: int, size: int, worth: int, expected: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: n_threads)
    spans: list[tuple[int, int]] = []
    together = threading.Barrier(len(expected), timeout=10)  # each waits for the others

    def loop(begin: int, end: int, out: np.ndarray) -> None:
        together.wait()
        spans.append((begin, end))
        out[begin:end] += 1

    out = np.zeros(size)
    share(loop, size, worth, out)
    assert sorted(spans) == expected
    assert (out == 1).all()


def test_a_threads_error_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)

    def loop(begin: int, end: int) -> None:
        if begin:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        share(loop, 2, 1)
