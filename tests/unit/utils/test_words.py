"""Words of messages and tables."""

from __future__ import annotations

from utils.words import by_numbers, some


def test_numbers_in_labels_are_sorted_by_their_value() -> None:
    in_order = ["", "2 agents", "hmf", "hmf lr=1.0e-05", "hmf lr=0.01", "hmf n_groups=4", "hmf n_groups=16"]
    in_order += ["hmf step_reward=-0.1", "hmf step_reward=-0.005", "hmf step_reward=0", "hmf_ipc n_groups=1"]
    assert sorted(reversed(in_order), key=by_numbers) == in_order


def test_a_message_lists_some_names_only() -> None:
    assert some(["b", "a"]) == "a, b"
    assert (
        some(f"n{index:02}" for index in range(15)) == f"{', '.join(f'n{index:02}' for index in range(12))} and 3 more"
    )
