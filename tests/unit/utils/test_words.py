"""Words of messages and tables."""

from __future__ import annotations

from utils.words import by_numbers


def test_numbers_in_labels_are_sorted_by_their_value() -> None:
    labels = ["hmf n_groups=4", "hmf", "hmf n_groups=16", "hmf lr=0.5", "hmf_ipc n_groups=1", "2 agents", ""]
    assert sorted(labels, key=by_numbers) == [
        *("", "2 agents", "hmf", "hmf lr=0.5", "hmf n_groups=4", "hmf n_groups=16", "hmf_ipc n_groups=1")
    ]
