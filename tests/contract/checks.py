"""What every environment promises (src/envs/base.py), one check per promise; each message says what to change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from components.batch import Step, decode_obs
from envs.base import Env, EnvError, announced

N_ENVS = 3


@dataclass(frozen=True)
class Case:
    """An environment under test."""

    name: str
    cls: type[Env]
    args: dict[str, Any]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    same_start: bool = False  # the game has no randomness of its own

    def make(self, n_envs: int = N_ENVS) -> Env:
        return self.cls(n_envs, self.device, **self.args)

    @cached_property
    def reference(self) -> Play:
        """One trajectory of random legal actions, from seed 1 to beyond the time limit."""
        env = self.make()
        play = Play(env)
        play.reset(seed=1)
        play.advance(env.info.episode_limit + 3)
        env.close()
        return play


class Play:
    """Plays random legal actions and keeps every row, as returned (``rows``) and as it was then (``record``)."""

    def __init__(self, env: Env, same_actions: bool = False) -> None:
        """``same_actions``: all copies play alike, as far as their legal actions allow."""
        self.env = env
        self.rows: list[Step] = []
        self.record: list[Step] = []
        self._same_actions = same_actions
        self._generator = torch.Generator().manual_seed(0)

    def reset(self, seed: int) -> None:
        self._keep(self.env.reset(seed))

    def advance(self, n_steps: int, meddle: Callable[[Step, Tensor], Tensor] | None = None) -> None:
        """``meddle(last row, action)`` may change the actions before they are played."""
        for _ in range(n_steps):
            action = self._legal_action()
            self._keep(self.env.step(action if meddle is None else meddle(self.record[-1], action)))

    def continued(self, env: Env) -> Play:
        """A play on another environment that begins after this one's last row, with the actions that come next."""
        play = copy.copy(self)
        play.env, play.rows, play.record = env, [], self.record[-1:]
        play._generator = torch.Generator().manual_seed(0)
        play._generator.set_state(self._generator.get_state())
        return play

    def _keep(self, row: Step) -> None:
        self.rows.append(row)
        self.record.append(replace(row, **{name: _clone(value) for name, value in _parts(row).items()}))

    def _legal_action(self) -> Tensor:
        info, row = self.env.info, self.record[-1]
        scores = torch.rand(
            1 if self._same_actions else self.env.n_envs, info.n_agents, info.n_actions, generator=self._generator
        ).to(self.env.device)
        if row.avail is not None:
            scores = scores.masked_fill(~row.avail, -1.0)
        return scores.argmax(dim=2).expand(self.env.n_envs, -1).contiguous()


def _parts(row: Step) -> dict[str, Any]:
    return {part.name: getattr(row, part.name) for part in fields(row)}


def _clone(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: tensor.clone() for key, tensor in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


def _tensors(row: Step) -> dict[str, Tensor]:
    """Field -> tensor, statistics as info[key], without the fields that are None."""
    tensors = {name: value for name, value in _parts(row).items() if isinstance(value, Tensor)}
    return tensors | {f"info[{key}]": value for key, value in row.info.items()}


def difference(a: list[Step], b: list[Step]) -> str:
    """Where two records first differ; empty where they are equal."""
    for t, (row_a, row_b) in enumerate(zip(a, b, strict=True)):
        tensors_b = _tensors(row_b)
        for name, tensor in _tensors(row_a).items():
            if not torch.equal(tensor, tensors_b[name]):
                return f"Step.{name} of row {t}"
    return ""


def _firsts(record: list[Step]) -> list[Tensor]:
    """For every row (E,) bool, the row is an episode's first."""
    return [torch.ones_like(record[0].done), *(row.done for row in record[:-1])]


def info_is_sound(case: Case) -> None:
    """EnvInfo describes a game that can be played."""
    info = case.make().info
    assert info.n_agents >= 1, f"EnvInfo.n_agents is {info.n_agents}; a game needs an agent."
    assert info.n_actions >= 1, f"EnvInfo.n_actions is {info.n_actions}; an agent needs an action."
    assert info.episode_limit >= 1, f"EnvInfo.episode_limit is {info.episode_limit}; expected steps, at least 1."
    assert info.obs_scale > 0, f"EnvInfo.obs_scale is {info.obs_scale}; use 1.0 for observations in natural units."
    assert not info.kinds or (len(info.kinds), set(info.kinds)) == (info.n_agents, set(range(max(info.kinds) + 1))), (
        f"EnvInfo.kinds is {info.kinds}; expected the kind of each of {info.n_agents} agents, numbered from 0, or ()."
    )
    assert len(set(info.stats)) == len(info.stats), f"EnvInfo.stats names a statistic twice: {info.stats}."


def shapes_and_dtypes(case: Case) -> None:
    """Every tensor of every row has the shape and dtype that EnvInfo announces, and is where Env.device says."""
    env = case.make()
    info = env.info
    expected = announced(info, N_ENVS)
    for t, row in enumerate(case.reference.record):
        tensors = _tensors(row)
        assert tensors.keys() == expected.keys(), (
            f"row {t}: EnvInfo announces the tensors {sorted(expected)}, Step holds {sorted(tensors)}. "
            "Make EnvInfo.stats, has_avail, has_position and compact_dim agree with what step() and reset() return."
        )
        for name, tensor in tensors.items():
            shape, dtype = expected[name]
            assert tuple(tensor.shape) == shape, (
                f"row {t}: Step.{name} has shape {tuple(tensor.shape)}, expected {shape}."
            )
            assert tensor.dtype == dtype, f"row {t}: Step.{name} has dtype {tensor.dtype}, expected {dtype}."
            assert tensor.device.type == env.device.type, (
                f"row {t}: Step.{name} is on {tensor.device}, expected Env.device = {env.device}."
            )


def numbers_are_finite(case: Case) -> None:
    """No NaN and no infinity, in any row."""
    for t, row in enumerate(case.reference.record):
        for name, tensor in _tensors(row).items():
            assert torch.isfinite(tensor).all(), (
                f"row {t}: Step.{name} is not finite. Look for 0/0 where everybody is dead, alone or in one place."
            )


def compact_rows_hold_the_observations(case: Case) -> None:
    """Where rows have a compact form, the observations made from it are those of the row, once decoded."""
    env, record = case.make(), case.reference.record
    if env.info.compact_dim == 0:
        return
    compact = torch.cat([row.compact for row in record if row.compact is not None])  # of all episodes at once
    again = env.observations(compact).split(N_ENVS)
    for t, row in enumerate(record):
        assert torch.equal(again[t], decode_obs(row.obs, env.info.obs_scale)), (
            f"row {t}: observations(Step.compact) differs from the decoded Step.obs. The replay stores the compact "
            "form only: put everything into it that an observation depends on, or set EnvInfo.compact_dim to 0."
        )


def the_living_can_act(case: Case) -> None:
    """With availability masks, everybody who is alive has an available action."""
    for t, row in enumerate(case.reference.record):
        stuck = row.alive & ~row.avail.any(dim=2) if row.avail is not None else torch.zeros_like(row.alive)
        assert not stuck.any(), f"row {t}: a living agent has no available action. Leave at least one, such as staying."


def the_dead_see_and_earn_nothing(case: Case) -> None:
    """Observation zero for the dead, reward zero for those who were dead before the step."""
    record = case.reference.record
    for t, row in enumerate(record):
        assert not row.obs[~row.alive].any(), f"row {t}: a dead agent observes something; its observation must be 0."
        if t:
            assert not row.reward[~record[t - 1].alive].any(), (
                f"row {t}: an agent that was dead before the step is rewarded. Pay a death in the step that kills."
            )


def first_rows(case: Case) -> None:
    """After reset, and in the row after one that ends an episode: reward 0, not done, somebody alive."""
    record = case.reference.record
    for t, (row, first) in enumerate(zip(record, _firsts(record), strict=True)):
        where = f"row {t} is the first of an episode"
        hint = "The step after a row with done returns the next episode's first row and ignores the actions."
        assert not row.reward[first].any(), f"{where}, but carries a reward. {hint}"
        assert not row.done[first].any(), f"{where}, but is terminated or truncated. {hint}"
        assert row.alive[first].any(dim=1).all(), f"{where}, but nobody is alive in it. {hint}"


def episodes_end(case: Case) -> None:
    """Termination and truncation exclude each other, and every episode ends within the limit."""
    limit = case.make().info.episode_limit
    record = case.reference.record
    age = torch.zeros_like(record[0].done, dtype=torch.int64)
    for t, (row, first) in enumerate(zip(record, _firsts(record), strict=True)):
        age = torch.where(first, 0, age + 1)
        assert not (row.terminated & row.truncated).any(), (
            f"row {t} is terminated and truncated at once. A true end at the time limit is a termination only."
        )
        assert not ((age >= limit) & ~row.done).any(), (
            f"row {t}: an episode goes on after EnvInfo.episode_limit = {limit} steps. Truncate it there."
        )


def ignored_actions(case: Case) -> None:
    """The actions of dead agents, and of copies that begin an episode in this step, change nothing."""

    def meddle(last: Step, action: Tensor) -> Tensor:
        ignored = ~last.alive | last.done.unsqueeze(1)
        return torch.where(ignored, (action + 1) % env.info.n_actions, action)

    env = case.make()
    play = Play(env)
    play.reset(seed=1)
    play.advance(len(case.reference.record) - 1, meddle)
    env.close()
    found = difference(case.reference.record, play.record)
    if found:
        same_seed_same_trajectory(case)  # numbers that no seed decides differ whatever the actions are
    assert not found, (
        f"{found} depends on the actions of dead agents or of copies whose episode had just ended. Ignore them."
    )


def same_seed_same_trajectory(case: Case) -> None:
    """Reset with a seed forgets everything before it, in a used object and in a new one."""
    env = case.make()
    play = Play(env)
    play.reset(seed=2)
    play.advance(2)
    again = Play(env)
    again.reset(seed=1)
    again.advance(len(case.reference.record) - 1)
    env.close()
    found = difference(case.reference.record, again.record)
    assert not found, (
        f"{found} differs between two runs from reset(seed=1). Draw everything from generators that reset() seeds "
        "(in a TorchEnv: generator=self._generator), and let reset() forget the past."
    )


def seeds_differ(case: Case) -> None:
    """Another seed, another trajectory under the same actions."""
    if case.same_start:
        return
    env = case.make()
    play = Play(env)
    play.reset(seed=2)
    play.advance(len(case.reference.record) - 1)
    env.close()
    assert difference(case.reference.record, play.record), (
        "seeds 1 and 2 give the same trajectory. Seed the generator with reset's argument; if nothing in this game is "
        "random, say so with --same-start."
    )


def copies_differ(case: Case) -> None:
    """Parallel copies are not the same game E times."""
    if case.same_start:
        return
    env = case.make()
    play = Play(env, same_actions=True)
    play.reset(seed=1)
    play.advance(env.info.episode_limit)
    env.close()
    alike = all(
        torch.equal(tensor[0], tensor[copy_index])
        for row in play.record
        for tensor in _tensors(row).values()
        for copy_index in range(1, N_ENVS)
    )
    assert not alike, (
        "all parallel copies play the same game under the same actions. Draw for each copy, not once for all; if "
        "nothing in this game is random, say so with --same-start."
    )


def continues_from_its_state(case: Case) -> None:
    """A fresh object that loads state_dict() in the middle of an episode continues bit for bit."""
    env, other = case.make(), case.make()
    play = Play(env)
    play.reset(seed=1)
    play.advance(max(1, env.info.episode_limit // 2))
    state = env.state_dict()
    copied = play.continued(other)
    n_steps = env.info.episode_limit + 3
    play.advance(n_steps)  # first, so that a state that is still in use shows
    other.load_state_dict(state)
    copied.advance(n_steps)
    env.close()
    other.close()
    found = difference(play.record[-n_steps:], copied.record[-n_steps:])
    if found:
        same_seed_same_trajectory(case)
    assert not found, (
        f"{found} (rows after load_state_dict) differs from the original's. state_dict() must hold a copy of all "
        "state, the random generators included, and load_state_dict() must restore it without reset()."
    )


def rows_stay_as_they_were(case: Case) -> None:
    """A returned Step does not change when the environment goes on."""
    found = difference(case.reference.rows, case.reference.record)
    assert not found, f"{found} changed after it was returned. Return new tensors, or clone buffers that are reused."


def any_number_of_copies(case: Case) -> None:
    """One copy works; none is refused."""
    env = case.make(n_envs=1)
    play = Play(env)
    play.reset(seed=1)
    play.advance(1)
    env.close()
    try:
        case.make(n_envs=0)
    except EnvError:
        return
    raise AssertionError("n_envs=0 was accepted. Call super().__init__(n_envs, device) first in the constructor.")


def bad_actions_are_refused(case: Case) -> None:
    """Actions of a wrong shape raise EnvError."""
    env = case.make()
    env.reset(seed=1)
    too_many = torch.zeros(N_ENVS, env.info.n_agents + 1, dtype=torch.int64, device=env.device)
    try:
        env.step(too_many)
    except EnvError:
        return
    except Exception as error:
        raise AssertionError(
            f"actions of shape {tuple(too_many.shape)} raised {type(error).__name__} ({error}). Check the shape first "
            "in step() and raise EnvError with the expected and the actual one."
        ) from error
    finally:
        env.close()
    raise AssertionError(
        f"actions of shape {tuple(too_many.shape)} were accepted for {env.info.n_agents} agents. Raise EnvError."
    )


def closes_twice(case: Case) -> None:
    """close() may be called before reset(), and again."""
    env = case.make()
    env.close()
    env.close()


CHECKS = (
    info_is_sound,
    same_seed_same_trajectory,  # before what compares trajectories
    shapes_and_dtypes,
    numbers_are_finite,
    compact_rows_hold_the_observations,
    the_living_can_act,
    the_dead_see_and_earn_nothing,
    first_rows,
    episodes_end,
    ignored_actions,
    seeds_differ,
    copies_differ,
    continues_from_its_state,
    rows_stay_as_they_were,
    any_number_of_copies,
    bad_actions_are_refused,
    closes_twice,
)
