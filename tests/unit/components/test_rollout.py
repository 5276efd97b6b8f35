"""Rollouts: which rows a window covers, where the recursion goes on, and the batches, checked against plain lists."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.factory import config_for
from tests.support.rows import Row, goes_on, random_rows
from torch import Tensor

import build
from components.batch import EnvInfo, Step
from components.replay import Replay
from components.rollout import Rollout
from components.rows import RowSpec
from components.sparse import SparseObs

CPU = torch.device("cpu")
INFO = EnvInfo("test", 3, 4, (1,), torch.float32, 1.0, 5, has_position=True)


def spec_for(n_envs: int) -> RowSpec:
    return RowSpec(INFO, n_envs, CPU, CPU, with_position=True)


def rollout_for(n_envs: int, length: int) -> Rollout:
    return Rollout(spec_for(n_envs), length, torch.Generator().manual_seed(1))


@settings(max_examples=30)
@given(length=st.integers(1, 6), n_envs=st.integers(1, 3), rows=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_windows_cover_every_transition_once_and_know_where_to_go_on(
    length: int, n_envs: int, rows: int, seed: int
) -> None:
    """Filling up, wrapped round several times, junctions anywhere, also at a window's edges."""
    rollout, history = rollout_for(n_envs, length), list(random_rows(INFO, n_envs, rows, seed=seed))
    seen: list[int] = []
    for count, row in enumerate(history, start=1):
        rollout.insert(*row)
        assert rollout.ready == (count in range(length + 1, rows + 1, length))
        if not rollout.ready:
            continue
        row_TE, env_TE = rollout.window()
        carry_TE = rollout.carry()
        assert row_TE.shape == env_TE.shape == carry_TE.shape == (length, n_envs)
        first = count - 1 - length
        seen += range(first, count - 1)
        batch = rollout.gather(row_TE.flatten(), env_TE.flatten())
        for i, (t, e) in enumerate((t, e) for t in range(first, count - 1) for e in range(n_envs)):
            (step, _, group), (after, _, _) = history[t], history[t + 1]
            assert torch.equal(batch.obs[i], step.obs[e])
            assert torch.equal(batch.group[i], group[e])
            assert torch.equal(batch.reward[i], after.reward[e])
            assert batch.weight[i] == (0.0 if step.done[e] else 1.0)
            assert carry_TE[t - first, e] == (t < count - 2 and goes_on(history, t, e))
    assert seen == list(range((rows - 1) // length * length)), "every transition in one window, in order"


@pytest.mark.parametrize("length", [1, 4, 7])
def test_batches_equal_those_of_a_replay_that_holds_the_same_rows(length: int) -> None:
    """Every field of every transition, previous actions at the edge of a window included."""
    n_envs, compared = 2, 0
    rollout, replay = rollout_for(n_envs, length), Replay(spec_for(n_envs), 200, torch.Generator())
    for count, row in enumerate(random_rows(INFO, n_envs, 60, seed=3), start=1):
        rollout.insert(*row)
        replay.insert(*row)
        if not rollout.ready:
            continue
        row_TE, env_TE = rollout.window()
        here = torch.arange(count - 1 - length, count - 1)[:, None].expand(-1, n_envs)  # the replay never wraps
        batch = rollout.gather(row_TE.flatten(), env_TE.flatten())
        expected = replay.gather(here.flatten(), env_TE.flatten())
        for field in fields(batch):
            left, right = getattr(batch, field.name), getattr(expected, field.name)
            assert (left is None and right is None) or torch.equal(left, right), field.name
        compared += len(batch.weight)
    assert compared == n_envs * (59 // length * length)


def test_a_death_does_not_stop_the_others_and_a_new_group_does() -> None:
    obs, alive = torch.zeros(3, 1), torch.tensor([True, True, True])
    dead, nobody = torch.tensor([True, False, True]), torch.zeros(1, dtype=torch.bool)

    def row(living: Tensor, group: list[int]) -> Row:
        step = Step(obs[None], living[None], torch.zeros(1, 3), nobody, nobody, {}, position=torch.zeros(1, 3, 2))
        return step, torch.zeros(1, 3, dtype=torch.int64), torch.tensor([group])

    rollout = rollout_for(1, 4)
    for played in (row(alive, [0, 1, 1]), row(dead, [0, -1, 1]), row(dead, [1, -1, 1]), row(dead, [1, -1, 1])):
        rollout.insert(*played)
    rollout.insert(*row(dead, [1, -1, 1]))
    assert rollout.carry().flatten().tolist() == [True, False, True, False]


def test_diagnosis_samples_different_transitions_that_were_played() -> None:
    rollout, history = rollout_for(2, 8), list(random_rows(INFO, 2, 35, seed=5))
    for row in history:
        rollout.insert(*row)
    batch = rollout.sample(100, torch.Generator().manual_seed(2))
    kept = {(t, e) for t in range(26, 34) for e in range(2) if not history[t][0].done[e]}
    assert len(batch.weight) == len(kept) == len(rollout)
    assert {tuple(reward.tolist()) for reward in batch.reward} == {
        tuple(history[t + 1][0].reward[e].tolist()) for t, e in kept
    }
    assert len(rollout.sample(3, torch.Generator()).weight) == 3
    stream = rollout.generator.get_state()
    rollout.sample(3, torch.Generator())
    assert torch.equal(rollout.generator.get_state(), stream), "looking does not change what is learned"


def test_memory_does_not_depend_on_how_long_is_played() -> None:
    rollout = rollout_for(2, 5)
    before = rollout.nbytes
    for row in random_rows(INFO, 2, 40, seed=1):
        rollout.insert(*row)
    assert rollout.nbytes == before == rollout.spec.bytes_of(2 * (5 + 2))


@pytest.mark.parametrize("stored", [1, 4, 6, 7, 20, 23])
def test_a_saved_rollout_goes_on_as_if_nothing_had_happened(stored: int) -> None:
    """Before, at and after the first window, and after the ring has wrapped."""
    history = list(random_rows(INFO, 2, 40, seed=7))
    whole, first, second = (rollout_for(2, 5) for _ in range(3))
    for row in history[:stored]:
        whole.insert(*row)
        first.insert(*row)
    torch.rand(3, generator=whole.generator)
    torch.rand(3, generator=first.generator)
    second.load_state_dict(first.state_dict())
    for row in history[stored:]:
        whole.insert(*row)
        second.insert(*row)
        assert second.ready == whole.ready
        if whole.ready:
            assert torch.equal(second.carry(), whole.carry())
            one, other = (rollout.gather(*(x.flatten() for x in rollout.window())) for rollout in (whole, second))
            for field in ("obs", "next_obs", "action", "prev_action", "reward", "alive", "group", "weight"):
                assert torch.equal(getattr(one, field), getattr(other, field)), field
    assert torch.equal(torch.rand(3, generator=second.generator), torch.rand(3, generator=whole.generator))


def test_the_lists_that_were_acted_on_are_what_is_decoded_from_storage() -> None:
    """Battle with deaths; a resumed rollout has no lists."""
    small = {"n_agents": 12, "n_enemies": 12, "map_size": 20, "opponent": "random", "hp": 1, "episode_limit": 30}
    system = build.build(config_for("iql", "battle", regime="rollout", batch_size_run=2, env_args=small))
    rows = system.rows
    assert isinstance(rows, Rollout)
    for _ in range(2 * rows.n_rows):
        system.runner.collect(0, rows)
    resumed = Rollout(rows.spec, rows.rollout_length, torch.Generator())
    system.runner.collect(0, resumed)  # whose lists are no longer those of its rows
    resumed.load_state_dict(rows.state_dict())
    start = rows.valid.nonzero()[::3]
    kept, decoded = (memory.gather(start[:, 0], start[:, 1]) for memory in (rows, resumed))
    assert isinstance(kept.obs, SparseObs)
    assert not kept.alive.all()
    for name in ("obs", "next_obs"):
        kept_obs, obs = getattr(kept, name), getattr(decoded, name)
        assert torch.equal(kept_obs.dense, obs.dense)
        assert torch.equal(kept_obs.end - kept_obs.begin, obs.end - obs.begin)
