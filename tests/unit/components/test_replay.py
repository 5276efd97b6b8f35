"""Replay: the right rows, the right masks, the stated size; checked against a plain list of transitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from components.batch import EnvInfo, Step, decode_obs
from components.replay import Replay
from components.rows import ReplayError, RowSpec
from config.loader import named_layer
from envs.battle.env import BattleEnv

CPU = torch.device("cpu")
INFO = EnvInfo("test", 3, 4, (2,), torch.uint8, 0.5, 5, has_avail=True, has_position=True)


def play(
    n_envs: int, rows: int, info: EnvInfo = INFO, seed: int = 0
) -> Iterator[tuple[Step, torch.Tensor, torch.Tensor]]:
    """Rows of a game whose observation is a serial number; episodes end at random, agents die at random."""
    rng = torch.Generator().manual_seed(seed)
    alive = torch.ones(n_envs, info.n_agents, dtype=torch.bool)
    fresh = torch.ones(n_envs, dtype=torch.bool)
    for t in range(rows):
        alive = fresh[:, None] | (alive & (torch.rand(n_envs, info.n_agents, generator=rng) > 0.1))
        ends = ~fresh & (torch.rand(n_envs, generator=rng) < 0.25)
        kind = torch.rand(n_envs, generator=rng) < 0.5
        serial = torch.arange(n_envs)[:, None, None] + n_envs * t
        obs = (serial % 251).expand(n_envs, info.n_agents, *info.obs_shape).to(torch.uint8) * alive[..., None]
        reward = serial[..., 0].float().expand(n_envs, info.n_agents) * ~fresh[:, None]
        avail = torch.rand(n_envs, info.n_agents, info.n_actions, generator=rng) < 0.7
        step = Step(obs, alive, reward, ends & kind, ends & ~kind, {}, avail, obs[..., :2].float())
        action = torch.randint(info.n_actions, (n_envs, info.n_agents), generator=rng)
        group = torch.randint(2, (n_envs, info.n_agents), generator=rng).masked_fill(~alive, -1)
        yield step, action, group
        fresh = ends


def filled(rows: int, buffer_size: int, n_envs: int = 2, **options: object) -> tuple[Replay, list]:
    generator = torch.Generator().manual_seed(1)
    replay = Replay(RowSpec(INFO, n_envs, CPU, CPU, **options), buffer_size, generator)  # type: ignore[arg-type]
    history = []
    for row in play(n_envs, rows):
        replay.insert(*row)
        history.append(row)
    return replay, history


@pytest.mark.parametrize("bootstrap", [True, False])
def test_a_time_limit_ends_as_death_does_when_asked(bootstrap: bool) -> None:
    replay, history = filled(60, 200, bootstrap_at_limit=bootstrap)
    batch = replay.sample(400)
    seen = set()
    for b in range(400):
        t, env = divmod(int(batch.reward[b, 0]), 2)  # the reward names the row it arrived in
        step = history[t][0]
        cut = bool(step.truncated[env])
        assert batch.terminated[b] == bool(step.terminated[env]) or (cut and not bootstrap)
        assert not cut or batch.terminated[b] == (not bootstrap)
        seen.add(cut)
    assert seen == {True, False}


@pytest.mark.parametrize(("rows", "buffer_size"), [(30, 100), (50, 100), (51, 100), (173, 60)])
def test_every_sampled_transition_is_one_that_was_played(rows: int, buffer_size: int) -> None:
    """Before the ring is full, exactly full, and wrapped: compare with the plain history."""
    replay, history = filled(rows, buffer_size, with_position=True)
    batch = replay.sample(700)
    seen = set()
    for b in range(700):
        # The reward of the transition names the row it arrived in.
        serial = int(batch.reward[b].max())
        t, e = serial // 2 - 1, serial % 2
        (step, action, group), (after, _, _) = history[t], history[t + 1]
        assert not step.done[e], "a junction between episodes was sampled"
        seen.add((t, e))
        torch.testing.assert_close(batch.obs[b], step.obs[e].float() * 0.5)
        torch.testing.assert_close(batch.next_obs[b], after.obs[e].float() * 0.5)
        for name in ("avail", "position"):
            assert torch.equal(getattr(batch, name)[b], getattr(step, name)[e]), name
            assert torch.equal(getattr(batch, f"next_{name}")[b], getattr(after, name)[e]), name
        assert torch.equal(batch.alive[b], step.alive[e])
        assert torch.equal(batch.next_alive[b], after.alive[e])
        assert torch.equal(batch.action[b], action[e] * step.alive[e])
        assert torch.equal(batch.group[b], group[e])
        assert batch.terminated[b] == after.terminated[e]
        first = t == 0 or bool(history[t - 1][0].done[e])
        before = torch.full((3,), -1) if first else history[t - 1][1][e].masked_fill(~history[t - 1][0].alive[e], -1)
        assert torch.equal(batch.prev_action[b], before)
    # All playable transitions of the kept rows are reachable; the wrapped ring gives up its oldest row.
    kept = range(max(0, rows - buffer_size // 2) + (1 if rows > buffer_size // 2 else 0), rows - 1)
    expected = {(t, e) for t in kept for e in range(2) if not history[t][0].done[e]}
    assert seen == expected
    assert len(replay) == len(expected)


def test_sequences_are_consecutive_rows_and_junctions_weigh_nothing() -> None:
    replay, history = filled(173, 120, window=(3, 4))
    batch = replay.sample(4 * 100)
    assert batch.window is not None
    assert batch.window.obs.shape == (100, 8, 3, 2)
    weight = batch.weight.view(100, 4)
    assert (weight == 0).any(), "the history is too short to test junctions"
    for s in range(100):
        serials = batch.reward.view(100, 4, 3)[s].amax(-1)
        for j in range(4):
            if weight[s, j] == 0:
                continue
            t, e = int(serials[j]) // 2 - 1, int(serials[j]) % 2
            torch.testing.assert_close(batch.window.obs[s, 3 + j], history[t][0].obs[e].float() * 0.5)
            torch.testing.assert_close(batch.window.obs[s, 4 + j], history[t + 1][0].obs[e].float() * 0.5)
            assert bool(batch.window.first[s, 3 + j]) == bool(history[t - 1][0].done[e])
            assert not history[t][0].done[e]


def test_the_random_stream_is_its_own_and_exact_resume_continues_it() -> None:
    replay, _ = filled(70, 60)
    replay.sample(5)
    state = {
        key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in replay.state_dict().items()
    }
    expected = replay.sample(16)
    torch.rand(10)
    other, _ = filled(3, 60)
    other.load_state_dict(state)
    again = other.sample(16)
    assert torch.equal(expected.obs, again.obs)
    assert torch.equal(expected.reward, again.reward)


def test_allocation_is_what_was_stated() -> None:
    replay, _ = filled(1, 60, with_position=True)
    assert replay.nbytes == replay.spec.bytes_of(60)


def test_storage_is_one_observation_and_at_most_16_bytes_per_agent_step() -> None:
    info = EnvInfo("battle", 200, 9, (7, 7, 5), torch.uint8, 0.01, 400)
    assert RowSpec(info, 4, CPU, CPU).bytes_of(1000) <= 1.15 * 1000 * 200 * (245 + 16)


def test_a_replay_that_does_not_fit_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(
        ReplayError, match=r"1,000 joint transitions x .* KiB, but only 0\.\d KiB are free\. Keep at most"
    ):
        RowSpec(INFO, 2, CPU, CPU).check_memory("replay", 1000, available=100)
    assert "1,000 joint transitions" in RowSpec(INFO, 2, CPU, CPU).check_memory("replay", 1000, available=10**9)


def test_a_replay_too_small_for_one_transition_is_refused() -> None:
    with pytest.raises(ReplayError, match="expected at least 8 joint transitions for 2 parallel environments, got 2"):
        Replay(RowSpec(INFO, 2, CPU, CPU), 2, torch.Generator())


@pytest.mark.parametrize("window", [None, (3, 4)])
def test_the_smallest_replay_has_something_to_sample_where_all_episodes_end_together(
    window: tuple[int, int] | None,
) -> None:
    spec = RowSpec(INFO, 2, CPU, CPU, window=window)
    least = 8 if window is None else 18
    with pytest.raises(ReplayError, match=f"expected at least {least} joint"):
        Replay(spec, least - 1 - 1, torch.Generator())
    replay = Replay(spec, least, torch.Generator().manual_seed(0))
    for t, (step, action, group) in enumerate(play(2, 60)):
        ends = torch.full((2,), t % 6 == 5)
        replay.insert(replace(step, terminated=ends, truncated=torch.zeros_like(ends)), action, group)
        if t >= least // 2:
            replay.sample(4)


def test_sampling_from_nothing_is_refused() -> None:
    replay, _ = filled(1, 60)
    with pytest.raises(ReplayError, match="nothing to sample yet"):
        replay.sample(1)


def test_nan_never_enters() -> None:
    replay, history = filled(3, 60)
    step, action, group = history[0]
    spoilt = {"a reward": {"reward": step.reward * torch.nan}, "an observation": {"obs": step.obs / 0.0}}
    spoilt["a position"] = {"position": torch.full((*step.alive.shape, 2), -torch.inf)}
    for what, value in spoilt.items():
        with pytest.raises(ReplayError, match=f"{what} is NaN or infinite; nothing was stored"):
            replay.insert(replace(step, **value), action, group)
    large = torch.full((*step.alive.shape, 2), torch.finfo(torch.float32).max)
    replay.insert(replace(step, position=large), action, group)
    assert replay.stored == 4, "numbers whose sum is none are numbers"


def test_a_checkpoint_of_another_shape_is_refused() -> None:
    replay, _ = filled(10, 60)
    other, _ = filled(10, 60, n_envs=1)
    with pytest.raises(ReplayError, match="Resume with the buffer_size and batch_size_run of the first run"):
        replay.load_state_dict(other.state_dict())


def battle_replays(n_rows: int, window: tuple[int, int] | None = None) -> tuple[Replay, Replay]:
    """A bloody battle's rows, stored as they are and in their compact form."""
    small = {"n_agents": 8, "n_enemies": 6, "map_size": 16, "hp": 2, "enemy_hp": 2, "opponent": "random"}
    env = BattleEnv(2, CPU, **(named_layer("envs", "battle").values["env_args"] | small))
    whole, compact = (
        Replay(RowSpec(info, 2, CPU, CPU, False, window, made), 60, torch.Generator().manual_seed(3))
        for info, made in ((replace(env.info, compact_dim=0), None), (env.info, env.observations))
    )
    step, draw = env.reset(1), torch.Generator().manual_seed(2)
    for _ in range(n_rows):
        action = torch.randint(env.info.n_actions, (2, 8), generator=draw)
        for replay in (whole, compact):
            replay.insert(step, action, torch.zeros_like(action))
        step = env.step(action)
    assert not step.alive.all()
    return whole, compact


@pytest.mark.parametrize("window", [None, (3, 4)])
def test_compact_rows_give_the_same_batches(window: tuple[int, int] | None) -> None:
    """Bit for bit, with and without sequences, after the ring has wrapped."""
    whole, compact = (replay.sample(64) for replay in battle_replays(100, window))
    for name in ("obs", "next_obs", "alive", "reward", "weight"):
        assert torch.equal(getattr(whole, name), getattr(compact, name)), name
    if window is not None:
        assert whole.window is not None
        assert compact.window is not None
        assert torch.equal(whole.window.obs, compact.window.obs)


def test_compact_rows_take_the_bytes_that_are_announced() -> None:
    """Six a living being instead of 245, and never both."""
    whole, compact = battle_replays(70)
    assert "obs" not in compact.arrays
    assert compact.arrays["compact"].nbytes == 60 * 6 * (8 + 6)
    assert compact.nbytes == compact.spec.bytes_of(60)
    assert whole.nbytes - compact.nbytes == 60 * (8 * 245 - 6 * (8 + 6))


def test_compact_rows_and_what_makes_them_observations_come_together() -> None:
    whole, compact = battle_replays(40)
    for info, made in ((compact.info, None), (whole.info, compact.observations)):
        with pytest.raises(ReplayError, match=r"expected the environment's observations\(\) when EnvInfo.compact_dim"):
            Replay(RowSpec(info, 2, CPU, CPU, observations=made), 60, torch.Generator())


def test_a_row_without_what_was_announced_is_refused() -> None:
    replay, history = filled(3, 60, with_position=True)
    step, action, group = history[0]
    with pytest.raises(ReplayError, match=r"announces Step\.position, but a row has none"):
        replay.insert(replace(step, position=None), action, group)


def test_a_checkpoint_with_other_arrays_is_refused() -> None:
    whole, compact = battle_replays(70)
    with pytest.raises(
        ReplayError, match=r"expected action, alive, compact, .* has action, alive, group, obs, .*checkpoint_path"
    ):
        compact.load_state_dict(whole.state_dict())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
def test_observations_are_decoded_to_the_nearest_product(dtype: torch.dtype) -> None:
    stored = torch.arange(120).view(2, 60).to(dtype)
    decoded = decode_obs(stored, 0.01)
    assert decoded.dtype == torch.float32
    assert torch.equal(decoded, torch.tensor([float(value) for value in range(120)]).view(2, 60) * 0.01)
    assert stored.max() == 119, "what is stored stays as it is"
