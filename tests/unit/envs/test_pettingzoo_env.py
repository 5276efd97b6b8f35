"""Import of PettingZoo environments: who is alive, who receives which action, how episodes end, exact continuation."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, flatten_space
from pettingzoo import ParallelEnv

from components.batch import EnvInfo, Step
from envs.base import EnvError
from envs.pettingzoo.env import PettingZooEnv
from envs.pettingzoo.game import SEED_LIMIT, Game, split_teams
from envs.pettingzoo.spaces import View
from utils.seeding import derive_seed

CPU = torch.device("cpu")


class Roster(ParallelEnv):
    """Agents live from step ``born`` to step ``end``, and leave by ``how``: 'terminated' or 'truncated'.

    A reward is 10 * (position in possible_agents) + action; an observation is (steps so far, that position, a number
    drawn at reset). With ``masked`` only the action (steps so far) % 3 is legal.
    """

    metadata: dict[str, Any] = {"name": "roster"}  # noqa: RUF012

    def __init__(
        self,
        end: list[int],
        born: list[int] | None = None,
        how: str = "terminated",
        names: list[str] | None = None,
        spaces: list[gymnasium.Space] | None = None,
        actions: list[gymnasium.Space] | None = None,
        masked: bool = False,
        seeded: bool = True,
    ) -> None:
        n = len(end)
        self.possible_agents = names or [f"a_{i}" for i in range(n)]
        self.born, self.end, self.how, self.seeded, self.masked = born or [0] * n, end, how, seeded, masked
        plain = Box(0, 10**6, (3,), np.int32)
        view = Dict({"observation": plain, "action_mask": MultiBinary(3)}) if masked else plain
        self.views = dict(zip(self.possible_agents, spaces or [view] * n, strict=True))
        self.acts = dict(zip(self.possible_agents, actions or [Discrete(3)] * n, strict=True))

    def observation_space(self, agent: str) -> gymnasium.Space:
        return self.views[agent]

    def action_space(self, agent: str) -> gymnasium.Space:
        return self.acts[agent]

    def _see(self, agents: list[str]) -> dict[str, Any]:
        def see(agent: str) -> Any:
            shape, dtype = (self.views[agent].shape or (3,)), (self.views[agent].dtype or np.int32)
            numbers = np.array([self.t, self.possible_agents.index(agent), self.number]).astype(dtype)
            mask = np.eye(3, dtype=np.int8)[self.t % 3]
            return {"observation": numbers, "action_mask": mask} if self.masked else np.resize(numbers, shape)

        return {agent: see(agent) for agent in agents}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        self.t = 0
        self.number = int(np.random.default_rng(seed if self.seeded else None).integers(10**6))
        self.agents = [agent for agent, born in zip(self.possible_agents, self.born, strict=True) if born == 0]
        return self._see(self.agents), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        assert set(actions) == set(self.agents)
        self.t += 1
        reward = {agent: 10.0 * self.possible_agents.index(agent) + action for agent, action in actions.items()}
        ends = {agent: self.end[self.possible_agents.index(agent)] == self.t for agent in self.agents}
        never = dict.fromkeys(self.agents, False)
        acted = self.agents
        self.agents = [agent for agent in acted if not ends[agent]]
        self.agents += [a for a, born in zip(self.possible_agents, self.born, strict=True) if born == self.t]
        terminated, truncated = (ends, never) if self.how == "terminated" else (never, ends)
        return self._see([*acted, *self.agents]), reward, terminated, truncated, {agent: {} for agent in acted}


class LastBlow(Roster):
    """Who is called a_0 dies in the step in which the others' time is over."""

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        seen, reward, terminated, truncated, infos = super().step(actions)
        terminated["a_0"], truncated["a_0"] = truncated["a_0"], False
        return seen, reward, terminated, truncated, infos


class Pension(Roster):
    """Everybody earns 5, the dead too."""

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        seen, _, *rest = super().step(actions)
        return seen, dict.fromkeys(self.possible_agents, 5.0), *rest  # type: ignore[return-value]


def needs_supersuit() -> ParallelEnv:
    return importlib.import_module("supersuit").wrapped()


def not_an_env() -> object:
    return object()


def roster(
    n_envs: int = 1,
    team: str = "",
    opponent: str = "random",
    limit: int = 100,
    pad: bool = False,
    downscale: int = 1,
    **kwargs: Any,
) -> PettingZooEnv:
    return imported(f"{__name__}:Roster", kwargs, n_envs, team, opponent, limit, pad, downscale)


def imported(
    entry: str,
    kwargs: dict[str, Any],
    n_envs: int = 1,
    team: str = "",
    opponent: str = "random",
    limit: int = 100,
    pad: bool = False,
    downscale: int = 1,
    teams: tuple[str, ...] = (),
) -> PettingZooEnv:
    return PettingZooEnv(
        n_envs,
        CPU,
        entry=entry,
        kwargs=kwargs,
        team=team,
        teams=list(teams),
        pad=pad,
        downscale=downscale,
        opponent=opponent,
        opponent_checkpoint="somewhere" if opponent == "checkpoint" else "",
        league_interval=10,
        league_self_play=0.5,
        episode_limit=limit,
    )


def actions(env: PettingZooEnv, seed: int) -> torch.Tensor:
    shape = (env.n_envs, env.info.n_agents)
    return torch.randint(env.info.n_actions, shape, generator=torch.Generator().manual_seed(seed))


def assert_same(a: Step, b: Step) -> None:
    for key in ("obs", "alive", "reward", "terminated", "truncated"):
        assert torch.equal(getattr(a, key), getattr(b, key)), key
    for key in a.info:
        assert torch.equal(a.info[key], b.info[key]), key


# Three agents: a_0 dies in step 2, a_1 lives for all four steps, a_2 is born in step 1 and dies in step 3.
LIVES = [[1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 1, 0], [0, 0, 0]]


def test_a_card_tells_of_the_imported_game_and_not_of_what_imports_it() -> None:
    assert PettingZooEnv.about({"entry": "mpe2.simple_spread_v3"}).startswith("# Simple Spread")
    assert PettingZooEnv.about({"entry": "magent2.environments.battle_v4"}).startswith("## Battle")
    assert PettingZooEnv.about({"entry": f"{__name__}:Roster"}).startswith("Import of PettingZoo environments")


def test_every_action_reaches_its_agent_through_births_and_deaths() -> None:
    env = roster(n_envs=2, end=[2, 4, 3], born=[0, 0, 1])
    row = env.reset(seed=0)
    for t in range(4):
        alive = torch.tensor(LIVES[t]).bool()
        assert torch.equal(row.alive, alive.repeat(2, 1))
        chosen = actions(env, seed=t)
        row = env.step(chosen)
        expected = torch.where(alive, 10.0 * torch.arange(3) + chosen, torch.zeros(()))
        torch.testing.assert_close(row.reward, expected)
        assert row.info["survivors"].tolist() == [sum(LIVES[t + 1])] * 2
    assert row.terminated.all()
    assert not row.alive.any()


def test_the_dead_earn_nothing() -> None:
    env = imported(f"{__name__}:Pension", {"end": [1, 3]})
    env.reset(seed=0)
    assert [env.step(actions(env, t)).reward.tolist() for t in range(3)] == [[[5.0, 5.0]], [[0.0, 5.0]], [[0.0, 5.0]]]


def test_observations_keep_dtype_and_are_zero_for_the_absent() -> None:
    env = roster(end=[2, 4, 3], born=[0, 0, 1])
    row = env.reset(seed=0)
    assert env.info.obs_dtype is row.obs.dtype is torch.int32
    assert row.obs[0, :2, 1].tolist() == [0, 1]
    assert row.obs[0, 2].tolist() == [0, 0, 0]
    row = env.step(actions(env, 0))
    assert row.obs[0, :, :2].tolist() == [[1, 0], [1, 1], [1, 2]]


def test_pictures_are_stored_as_uint8_and_decoded_to_the_unit_interval() -> None:
    pictures = [Box(0, 255, (4, 4, 3), np.uint8)] * 2
    env = roster(end=[2, 2], spaces=pictures)
    assert env.reset(seed=0).obs.dtype is torch.uint8
    assert env.info.obs_shape == (4, 4, 3)
    assert env.info.obs_scale == 1 / 255


def test_autoreset_ignores_actions_and_starts_another_episode() -> None:
    env = roster(end=[1, 1])
    first = env.reset(seed=0)
    env.step(actions(env, 0))
    row = env.step(torch.full((1, 2), 99))
    assert not row.done.any()
    assert not row.reward.any()
    assert row.alive.all()
    assert row.obs[0, 0, 2] != first.obs[0, 0, 2], "every episode has its own seed"


def test_all_truncated_together_is_a_time_limit_that_leaves_them_alive() -> None:
    env = roster(end=[2, 2], how="truncated")
    env.reset(seed=0)
    env.step(actions(env, 0))
    row = env.step(actions(env, 1))
    assert row.truncated.all()
    assert not row.terminated.any()
    assert row.alive.all()
    assert row.obs[0, :, 0].tolist() == [2, 2], "the last observation is needed for the bootstrap"


def test_own_time_limit() -> None:
    env = roster(end=[5, 1], limit=2)
    env.reset(seed=0)
    env.step(actions(env, 0))
    row = env.step(actions(env, 1))
    assert row.truncated.all()
    assert row.alive.tolist() == [[True, False]]


def test_one_agent_truncated_alone_is_refused() -> None:
    env = roster(end=[1, 5], how="truncated")
    env.reset(seed=0)
    with pytest.raises(EnvError, match="a_0 was truncated in step 1 while other learners play on"):
        env.step(actions(env, 0))


def test_a_time_limit_of_enemies_who_learn_is_one_of_the_episode() -> None:
    """Where it ends with the learners' death, too: nothing follows for the dead, but for the others."""
    for both, ending in ((True, (False, True)), (False, (True, False))):
        game = Game(LastBlow(end=[2, 2], how="truncated", names=["a_0", "b_0"]), ["a_0", "b_0"], 1, 100, both)
        game.begin(stream=0, episode=1)
        for _ in range(2):
            game.step(np.zeros(2, np.int64))
        assert (game.terminated, game.truncated) == ending
        assert game.alive.tolist() == [False, both]
    game = Game(Roster(end=[5, 1], how="truncated"), ["a_0", "a_1"], 1, 100, all_learn=True)
    game.begin(stream=0, episode=1)
    with pytest.raises(EnvError, match="a_1 was truncated in step 1 while other learners play on"):
        game.step(np.zeros(2, np.int64))


def test_episode_ends_with_the_last_learner() -> None:
    env = roster(team="a", names=["b_0", "a_0"], end=[9, 2])
    env.reset(seed=0)
    assert not env.step(actions(env, 0)).done.any()
    assert env.step(actions(env, 1)).terminated.all()


def test_learner_is_waited_for_until_it_is_born() -> None:
    env = roster(team="a", names=["a_0", "a_1", "b_0"], end=[1, 4, 9], born=[0, 3, 0])
    env.reset(seed=0)
    rows = [env.step(actions(env, t)) for t in range(4)]
    assert [bool(row.done) for row in rows] == [False, False, False, True]
    assert [row.alive.tolist() for row in rows[1:3]] == [[[False, False]], [[False, True]]]


def test_random_others_play_legally_and_are_counted_apart() -> None:
    env = roster(team="a", names=["b_0", "a_0", "b_1"], end=[50, 50, 50], masked=True)
    row = env.reset(seed=0)
    total = 0.0
    for t in range(6):
        assert row.avail is not None
        assert row.avail.tolist() == [[[legal == t % 3 for legal in range(3)]]]
        row = env.step(row.avail.to(torch.int64).argmax(dim=-1))
        assert row.reward.tolist() == [[10.0 + t % 3]]
        total += 0 + 20 + 2 * (t % 3)  # b_0 and b_1, with the one legal action each
        assert row.info["opponent_return_sum"].item() == total


def test_others_may_have_different_spaces() -> None:
    actions_of = [Discrete(3), Discrete(2), Discrete(7, start=4)]
    env = roster(team="a", names=["a_0", "b_0", "c_0"], end=[99, 99, 99], actions=actions_of)
    env.reset(seed=0)
    sums = {float(env.step(actions(env, t)).info["opponent_return_sum"]) for t in range(40)}
    assert len(sums) == 40
    assert set(np.diff(sorted(sums)).tolist()) <= set(np.arange(34.0, 42.0)), "10 + (0..1) and 20 + (4..10)"


def test_first_action_of_a_discrete_space_that_does_not_start_at_zero() -> None:
    env = roster(end=[9], actions=[Discrete(3, start=5)])
    assert env.info.first_action == 5, "for those who play an exported policy"
    env.reset(seed=0)
    assert env.step(torch.tensor([[2]])).reward.item() == 7.0


class Follow:
    """An opponent that plays its observation's first number modulo 3, and records where episodes begin."""

    learned, any_number = EnvInfo("roster", 1, 3, (3,), torch.float32, 1.0, 10), True

    def __init__(self) -> None:
        self.first: list[bool] = []
        self.scores: list[float] = []

    def __call__(self, step: Step, first: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.first += first.tolist()
        self.scores += step.info["score"].tolist()
        return step.obs[:, :, 0].to(torch.int64) % 3

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_opponent_policy_sees_the_others_and_plays_them() -> None:
    env = roster(team="a", names=["a_0", "b_0"], end=[3, 3], opponent="checkpoint")
    with pytest.raises(EnvError, match="nobody plays the enemies"):
        env.reset(seed=0)
    policy = Follow()
    env.set_opponent(policy)
    env.reset(seed=0)
    rows = [env.step(actions(env, t)) for t in range(5)]
    theirs = [row.info["opponent_return_sum"].item() for row in rows]
    assert theirs == [10.0, 21.0, 33.0, 0.0, 10.0]
    own = np.cumsum([row.reward.item() for row in rows[:3]])
    assert [row.info["score"].item() for row in rows[:3]] == (0.5 + 0.5 * np.sign(own - theirs[:3])).tolist()
    assert policy.first == [True, False, False, False, True]


def test_every_team_is_played_by_a_policy_of_its_own() -> None:
    """Its agents need not stand side by side in ``possible_agents``; observations and actions go to the right ones."""
    names = ["c_0", "b_0", "a_0", "c_1"]
    env = imported(f"{__name__}:Roster", {"names": names, "end": [3] * 4}, 1, "a", "checkpoint", teams=("b", "c"))
    assert {team: info.n_agents for team, info in env.others.items()} == {"b": 1, "c": 2}
    of_b, of_c = Follow(), Follow()
    env.set_opponent(of_b, "b")
    with pytest.raises(EnvError, match="nobody plays the enemies c: call"):
        env.reset(seed=0)
    env.set_opponent(of_c, "c")
    for start in (env.reset(seed=0), *(env.step(actions(env, t)) for t in range(2))):
        assert start.obs.shape[1] == 1
    assert len(of_b.first) == len(of_c.first) == 2
    chosen = [dict(zip(env._games[0].agents, taken, strict=True)) for taken in env._games[0].actions]
    assert [taken["c_0"] for taken in chosen] == [taken["c_1"] for taken in chosen] == [0, 1]
    with pytest.raises(EnvError, match=r"expected a game of two sides, got 2 teams beside the learners \(b, c\)"):
        _ = env.enemies


@pytest.mark.parametrize(
    ("teams", "message"),
    [
        (["b"], r"expected every agent in one team, c_0 is in none\. Choose names .* they are a_0, b_0, c_0"),
        (["b", "c", "c_0"], "expected every agent in one team, c_0 is in c and c_0"),
        (["a_0", "b", "c"], "expected every agent in one team, a_0 is in a and a_0"),
        (["a", "b", "c"], "expected every agent in one team, a_0 is in a and a"),
        (["b", "c", "d"], r"env_args\.teams: no agent's name starts with 'd'\. Names start with a, b, c"),
        (
            ["b", "../c"],
            r"env_args\.teams: expected letters, digits, _ and -, which begin .*, got '\.\./c'",
        ),
    ],
)
def test_teams_that_are_none_are_refused(teams: list[str], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        imported(f"{__name__}:Roster", {"names": ["a_0", "b_0", "c_0"], "end": [1] * 3}, team="a", teams=tuple(teams))


def test_an_environment_that_cannot_draw_says_what_it_lacks() -> None:
    message = r"expected render\(\) to return an array of shape \(H, W, 3\), got NoneType.*render_mode=rgb_array"
    with pytest.raises(EnvError, match=message):
        roster(end=[1, 1]).scene(0)


def test_a_whole_name_is_one_agent_and_no_name_is_no_team() -> None:
    names = ["q_1", "p_1", "p_2", "p_10"]
    learners, teams = split_teams(names, "q", ["p_1", "p_10", "p_2"])
    assert (learners, teams) == (["q_1"], {"p_1": ["p_1"], "p_10": ["p_10"], "p_2": ["p_2"]})
    with pytest.raises(EnvError, match=r"env_args\.teams: expected env_args\.team as well"):
        split_teams(names, "", ["p", "q"])


def test_an_episode_of_teams_that_learn_ends_with_the_last_of_them() -> None:
    """Agents that a policy plays end nothing, and hold nothing up."""
    for all_learn, ended in ((True, [False, False, True]), (False, [True])):
        game = Game(Roster(end=[1, 3], names=["a_0", "b_0"]), ["a_0", "b_0"], 1, 100, all_learn)
        game.begin(stream=0, episode=1)
        found = []
        while not game.done:
            game.step(np.zeros(2, np.int64))
            found.append(game.terminated)
        assert found == ended
        assert not game.alive[0]


def test_one_policy_cannot_be_several_teams() -> None:
    with pytest.raises(EnvError, match="expected an opponent that can be several, got opponent=self_play"):
        imported(f"{__name__}:Roster", {"end": [1, 1]}, team="a_0", teams=("a_1",), opponent="self_play")


def test_opponent_policy_hears_which_side_earned_more() -> None:
    for names, expected in ((["a_0", "b_0"], 0.0), (["b_0", "a_0"], 1.0)):  # the second earns 10 more a step
        env, policy = roster(team="a", names=names, end=[2, 2], opponent="self_play"), Follow()
        env.set_opponent(policy)
        env.reset(seed=0)
        for _ in range(3):
            env.step(torch.zeros(1, 1, dtype=torch.int64))
        assert policy.scores[2] == expected


def test_opponent_policy_must_fit() -> None:
    env = roster(team="a", names=["a_0", "b_0"], end=[3, 3], opponent="checkpoint", actions=[Discrete(3), Discrete(2)])
    with pytest.raises(EnvError, match=r"learned with n_actions = 3; .* enemies have n_actions = 2\."):
        env.set_opponent(Follow())
    fixed = Follow()
    fixed.learned, fixed.any_number = replace(fixed.learned, n_agents=2), False
    with pytest.raises(EnvError, match=r"learned with n_agents = 2; this environment's enemies have n_agents = 1\."):
        roster(team="a", names=["a_0", "b_0"], end=[3, 3], opponent="checkpoint").set_opponent(fixed)
    with pytest.raises(EnvError, match="takes no policy"):
        roster(end=[1]).set_opponent(Follow())


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (
            r"equal observation spaces, but a_0 has Box\(0.*int32\) and a_1 has Box\(0.*uint8\)",
            {"spaces": [Box(0, 9, (3,), np.int32), Box(0, 9, (2,), np.uint8)]},
        ),
        (
            r"equal action spaces, but a_0 has Discrete\(3\) and a_1 has Discrete\(4\)",
            {"actions": [Discrete(3), Discrete(4)]},
        ),
        ("uint8.*. Set env_args.pad=true", {"spaces": [Box(0, 9, (3,), np.int32), Box(0, 9, (2,), np.uint8)]}),
        (
            r"a_0 has the action space MultiDiscrete.*Discrete.*env_args.kwargs.continuous=false",
            {"actions": [MultiDiscrete([2, 2])] * 2},
        ),
        ("a_0 has the observation space Sequence.*no array of a fixed size", {"spaces": [Sequence(Discrete(4))] * 2}),
        (
            "a_0: expected observations of the two parts .* got action_mask, map, observation",
            {"spaces": [Dict({"observation": Discrete(2), "action_mask": MultiBinary(3), "map": Discrete(2)})] * 2},
        ),
        ("env_args.downscale: expected at least 1, got 0", {"downscale": 0}),
        (r"pictures of at least 4 x 4 cells, but a_0 has observations of shape \(3,\)", {"downscale": 4}),
        ("no agent's name starts with 'zebra'. Names start with a", {"team": "zebra"}),
        ("episode_limit: expected at least 1, got 0", {"limit": 0}),
        (r"refuses .*'bananas'", {"bananas": 3}),
        ("all agents learn", {"opponent": "checkpoint"}),
    ],
)
def test_bad_arguments(message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(EnvError, match=message):
        roster(end=[3, 3], **arguments)


def test_padding_makes_kinds_equal_and_says_which_they_are() -> None:
    """Two b's that see 2 numbers and have 2 actions, an a that sees 3 and has 4; b_0 dies first."""
    spaces = [Box(0, 10**6, (size,), np.int32) for size in (2, 3, 2)]
    names, acts = ["b_0", "a_0", "b_1"], [Discrete(2), Discrete(4), Discrete(2)]
    env = roster(names=names, spaces=spaces, actions=acts, end=[1, 3, 3], pad=True)
    row = env.reset(seed=0)
    assert (env.info.obs_shape, env.info.obs_dtype, env.info.kinds) == ((5,), torch.int32, (0, 1, 0))
    number = int(row.obs[0, 1, 2])
    assert row.obs[0].tolist() == [[0, 0, 0, 1, 0], [0, 1, number, 0, 1], [0, 2, 0, 1, 0]]
    assert row.avail is not None
    assert row.avail[0].tolist() == [[True, True, False, False], [True] * 4, [True, True, False, False]]
    row = env.step(torch.tensor([[1, 3, 0]]))
    assert row.reward.tolist() == [[1.0, 13.0, 20.0]]
    assert row.obs[0, :, 3:].tolist() == [[0, 0], [0, 1], [1, 0]]
    with pytest.raises(EnvError, match=r"action: expected 0 .. 1 for b_1, got 2 \(copy 0\). Step.avail says"):
        env.step(torch.tensor([[3, 3, 2]]))


def test_a_padded_team_of_one_kind_has_no_kind_in_its_observations() -> None:
    env = roster(end=[2, 2], pad=True)
    env.reset(seed=0)
    assert (env.info.obs_shape, env.info.kinds, env.info.has_avail) == ((3,), (0, 0), False)


def test_agents_of_equal_spaces_are_of_one_kind_when_their_names_differ_in_a_number() -> None:
    assert roster(names=["x_0", "x_1", "y_0"], end=[1, 1, 1]).info.kinds == (0, 0, 1)


def test_the_kind_beside_padded_pictures_is_1_once_decoded() -> None:
    pictures = [Box(0, 255, (4, 4), np.uint8), Box(0, 255, (3, 4), np.uint8)]
    env = roster(end=[2, 2], spaces=pictures, pad=True)
    obs = env.reset(seed=0).obs[0]
    assert (env.info.obs_shape, env.info.obs_scale) == ((18,), 1 / 255)
    assert obs[:, 16:].tolist() == [[255, 0], [0, 255]]
    assert not obs[1, 12:16].any()


def test_a_padded_policy_plays_others_of_several_kinds() -> None:
    spaces = [Box(0, 10**6, (size,), np.int32) for size in (1, 3, 1, 3)]
    env = roster(
        team="a", names=["a_0", "a_1", "b_0", "b_1"], spaces=spaces, end=[3] * 4, opponent="checkpoint", pad=True
    )
    policy = Follow()
    policy.learned = replace(policy.learned, obs_shape=(5,))
    env.set_opponent(policy)
    env.reset(seed=0)
    assert env.enemies.n_agents == 2
    assert env.step(actions(env, 0)).info["opponent_return_sum"].item() == 50.0


class Stuck(Roster):
    """An agent may have no legal action."""

    def _see(self, agents: list[str]) -> dict[str, Any]:
        seen = super()._see(agents)
        for agent, one in seen.items():
            one["action_mask"] = np.zeros(self.acts[agent].n, dtype=np.int8)  # type: ignore[attr-defined]
        return seen


def test_whoever_has_no_legal_action_has_all_of_its_own() -> None:
    acts = [Discrete(2), Discrete(4)]
    views = [
        Dict({"observation": Box(0, 10**6, (3,), np.int32), "action_mask": MultiBinary(int(act.n))}) for act in acts
    ]
    arguments = {"end": [3, 3], "spaces": views, "actions": acts, "masked": True}
    env = imported(f"{__name__}:Stuck", arguments, pad=True)
    row = env.reset(seed=0)
    assert row.avail is not None
    assert row.avail[0].tolist() == [[True, True, False, False], [True] * 4]


class Told(Roster):
    """Masks stand in infos, where PettingZoo's own test looks for them, too."""

    first = 0  # step of the first ones
    n_actions = 3

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        seen, infos = super().reset(seed, options)
        return seen, self.told() if self.first == 0 else infos

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        *rest, _ = super().step(actions)
        return *rest, self.told()  # type: ignore[return-value]

    def told(self) -> dict[str, Any]:
        return {agent: {"action_mask": np.eye(self.n_actions, dtype=np.int8)[self.t % 3]} for agent in self.agents}


class Later(Told):
    """Masks come with the first step."""

    first = 1


class Long(Told):
    """Masks say more than there are actions."""

    n_actions = 4


def test_masks_in_infos_are_those_of_observations() -> None:
    env = imported(f"{__name__}:Told", {"end": [3, 3, 4], "born": [0, 0, 1]}, n_envs=2)
    row = env.reset(seed=0)
    assert env.info.has_avail
    for t in range(3):
        assert row.avail is not None
        assert row.avail[row.alive].tolist() == [[action == t for action in range(3)]] * int(row.alive.sum())
        row = env.step(torch.full((2, 3), t))
    later = imported(f"{__name__}:Later", {"end": [3]})
    later.reset(seed=0)
    with pytest.raises(EnvError, match=r"a_0: expected action masks from reset on, the first one in its info came"):
        later.step(torch.tensor([[0]]))
    with pytest.raises(EnvError, match=r"a_0: expected an action_mask of its 3 actions, got one of shape \(4,\)"):
        imported(f"{__name__}:Long", {"end": [3]}).reset(seed=0)


class Away(Roster):
    """a_0 is away in step 1, and nobody says so."""

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        found = super().step(actions)
        self.agents = [agent for agent in self.possible_agents if agent != "a_0" or self.t != 1]
        return self._see(self.agents), *found[1:]


def test_an_agent_that_comes_back_is_refused() -> None:
    env = imported(f"{__name__}:Away", {"end": [9, 9]})
    env.reset(seed=0)
    assert env.step(actions(env, 0)).alive.tolist() == [[False, True]]
    with pytest.raises(EnvError, match="a_0 is back among the agents in step 2, after it had left them"):
        env.step(actions(env, 1))


class Gone(Roster):
    """Both learners leave in step 1, and nobody says so; the others play on."""

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        found = super().step(actions)
        self.agents = [agent for agent in self.possible_agents if agent not in ("a_0", "a_1")]
        return self._see(self.agents), *found[1:]


def test_an_episode_ends_when_all_learners_have_left_without_a_word() -> None:
    env = imported(f"{__name__}:Gone", {"end": [9, 9, 9], "names": ["a_0", "a_1", "b_0"]}, team="a")
    env.reset(seed=0)
    row = env.step(actions(env, 0))
    assert (row.terminated.tolist(), row.truncated.tolist()) == ([True], [False])


def test_a_scalar_is_a_vector_of_one() -> None:
    env = roster(end=[2], spaces=[Box(0, 10**6, (), np.float32)])
    env._games[0].env._see = lambda agents: dict.fromkeys(agents, np.float32(7))
    row = env.reset(seed=0)
    assert (env.info.obs_shape, row.obs.tolist()) == ((1,), [[[7.0]]])


def test_downscaled_pictures_are_means_of_squares() -> None:
    env = roster(end=[1], spaces=[Box(0, 255, (5, 4, 3), np.uint8)], downscale=2)
    row = env.reset(seed=0)
    assert (env.info.obs_shape, env.info.obs_scale) == ((2, 2, 3), 1 / 255)
    pixels = env._games[0].observations["a_0"].astype(np.float64)
    expected = (pixels[0:2, 2:4].sum(axis=(0, 1)) / 4).round()
    assert row.obs.dtype is torch.uint8
    assert row.obs[0, 0, 0, 1].tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64])
def test_means_of_whole_numbers_that_are_no_pictures_are_fractions(dtype: type) -> None:
    """One cell of four: rounded, it would be gone."""
    env = roster(end=[1], spaces=[Box(0, 1, (2, 4), dtype)], downscale=2)
    env._games[0].env._see = lambda agents: dict.fromkeys(agents, np.array([[1, 0, 1, 1], [0, 0, 1, 1]], dtype))
    row = env.reset(seed=0)
    assert (row.obs.dtype, row.obs.tolist()) == (torch.float32, [[[[0.25, 1.0]]]])


@pytest.mark.parametrize(("low", "dtype"), [(0, np.uint8), (-1, np.int64)])
def test_flattened_integers_are_stored_as_bytes_only_where_they_fit(low: int, dtype: type) -> None:
    space = Dict(x=Box(low, 1, (3,), np.int8), y=Discrete(2))
    box = flatten_space(space)
    assert isinstance(box, Box)
    view = View("a_0", space, box, masked=False, downscale=1)
    assert view.dtype == dtype
    seen = view.read({"x": np.array([low, 0, 1], np.int8), "y": 1}).astype(view.dtype)
    assert seen.tolist() == [low, 0, 1, 0, 1]


def test_rock_paper_scissors_observes_a_one_hot_vector() -> None:
    env = imported("pettingzoo.classic.rps_v2", {"max_cycles": 3}, n_envs=2)
    assert (env.info.obs_shape, env.info.obs_dtype, env.info.n_actions) == ((4,), torch.uint8, 3)
    assert env.reset(seed=0).obs.tolist() == [[[0, 0, 0, 1]] * 2] * 2
    assert env.step(torch.tensor([[0, 2], [1, 1]])).obs.argmax(-1).tolist() == [[2, 0], [1, 1]]


def test_a_game_of_turns_is_played_by_all_at_once() -> None:
    """Connect four: whose turn it is may choose among its moves, and the other's choice changes nothing."""
    env = imported("pettingzoo.classic.connect_four_v3", {})
    row = env.reset(seed=0)
    for t, column in enumerate([3, 2, 3, 2, 3, 2, 3]):
        assert row.avail is not None
        assert row.avail.all()
        assert not row.done.any()
        row = env.step(torch.tensor([[column, 6] if t % 2 == 0 else [6, column]]))
    assert row.terminated.all()
    assert row.reward.tolist() == [[1.0, -1.0]]
    full = imported("pettingzoo.classic.connect_four_v3", {})
    row = full.reset(seed=0)
    for _ in range(6):
        row = full.step(torch.tensor([[0, 0]]))
    assert row.avail is not None
    assert row.avail[0, :, 0].tolist() == [False, True]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("mpe2.simple_tag_v9", r"mpe2 has no 'simple_tag_v9'\)\. It has simple_tag_v3"),
        ("mpe2.simple_tog_v3", r"mpe2 has no 'simple_tog_v3'\)\. Did you mean 'simple_tag_v3'"),
        ("mpe2.simple_tag", "module 'mpe2.simple_tag' has no attribute 'env'\\). It has simple_tag_v3"),
        ("simple_tag", r"no package 'simple_tag' is .* Did you mean mpe2\.simple_tag_v3\?"),
        ("pistonball_v1", r"Did you mean pettingzoo\.butterfly\.pistonball_v6\?"),
        ("no_such_package.env_v1", "no package 'no_such_package' is installed or on PYTHONPATH"),
        ("pettingzoo.butterfly.pistonball_v6", r"needs the package pymunk.*pip install 'pettingzoo\[butterfly\]'"),
        (f"{__name__}:needs_supersuit", "needs the package supersuit.*pip install SuperSuit"),
    ],
)
def test_what_is_missing_is_named(entry: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymunk", None)
    monkeypatch.setitem(sys.modules, "supersuit", None)
    with pytest.raises(EnvError, match=message):
        imported(entry, {})


def test_a_package_that_fails_by_itself_is_one_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('needs a display')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvError, match=r"cannot import 'broken_package\.games\.game_v1' \(needs a display\)\."):
        imported("broken_package.games.game_v1", {})


class Careless(Roster):
    """Hands out ``seen`` as everybody's observation, unless it is a string, and ``paid`` as everybody's reward."""

    def __init__(self, seen: Any = "its own", paid: Any = 1.0, named: Any = ("a_0", "a_1"), drawn: Any = None) -> None:
        super().__init__(end=[9, 9])
        self.seen, self.paid, self.drawn = seen, paid, drawn
        if named is None:
            del self.possible_agents
        elif list(named) != self.possible_agents:
            self.possible_agents = list(named)

    def _see(self, agents: list[str]) -> dict[str, Any]:
        if self.seen == "nothing":
            return {}
        return super()._see(agents) if isinstance(self.seen, str) else dict.fromkeys(agents, self.seen)

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        seen, _, *rest = super().step(actions)
        return seen, dict.fromkeys(actions, self.paid), *rest  # type: ignore[return-value]

    def render(self) -> Any:
        return self.drawn


def careless(**kwargs: Any) -> PettingZooEnv:
    return imported(f"{__name__}:Careless", kwargs)


@pytest.mark.parametrize(
    "seen", [[1.0], [1.0, 2.0, 3.0, 4.0], None, [1.0, math.nan, 0.0], [1.0, math.inf, 0.0], [[1.0], []]]
)
def test_an_observation_that_is_not_of_its_space_is_refused(seen: Any) -> None:
    with pytest.raises(EnvError, match=r"a_0: expected observations of finite numbers in its space Box.*, got "):
        careless(seen=seen).reset(0)


def test_what_an_environment_leaves_out_is_named() -> None:
    with pytest.raises(
        EnvError, match="a_0: expected an observation of every agent in agents, there was none after st"
    ):
        careless(seen="nothing").reset(0)


@pytest.mark.parametrize(
    ("dtype", "seen"),
    [(np.uint8, [0.5]), (np.uint8, [300]), (np.int8, [200]), (np.int64, [0.5]), (np.float32, [1e300])],
)
def test_an_observation_that_its_dtype_cannot_hold_is_refused(dtype: type[np.generic], seen: list[float]) -> None:
    env = roster(end=[2], spaces=[Box(0, 100, (1,), dtype)])
    env._games[0].env._see = lambda agents: dict.fromkeys(agents, np.array(seen))
    with pytest.raises(EnvError, match="a_0: expected observations of finite numbers in its space Box"):
        env.reset(seed=0)


def test_whole_numbers_are_integers_whatever_their_dtype() -> None:
    env = roster(end=[2], spaces=[Box(0, 100, (2,), np.uint8)])
    env._games[0].env._see = lambda agents: dict.fromkeys(agents, np.array([7.0, 100.0]))
    row = env.reset(seed=0)
    assert (row.obs.dtype, row.obs.tolist()) == (torch.uint8, [[[7, 100]]])


def test_wide_floats_are_float32() -> None:
    env = roster(end=[2], spaces=[Box(0, 1, (1,), np.longdouble)])
    assert env.reset(seed=0).obs.dtype is torch.float32


@pytest.mark.parametrize("named", [("a_0", "a_0"), (0, 1), (), None])
def test_agents_are_listed_by_different_names(named: Any) -> None:
    with pytest.raises(EnvError, match="to list different names, as text, in possible_agents, got "):
        careless(named=named)


def test_rewards_are_numbers() -> None:
    env = careless(paid=np.array([2.5]))
    env.reset(0)
    assert env.step(torch.tensor([[0, 0]])).reward.tolist() == [[2.5, 2.5]]
    for paid in ("much", [1.0, 2.0]):
        env = careless(paid=paid)
        env.reset(0)
        with pytest.raises(EnvError, match="a_0: expected a number as its reward, got "):
            env.step(torch.tensor([[0, 0]]))


def test_a_picture_has_height_width_and_channels() -> None:
    env = careless(drawn=np.zeros((4, 4)))
    env.reset(0)
    with pytest.raises(
        EnvError, match=r"expected render\(\) to return an array of shape \(H, W, 3\), got one of shape \(4, 4"
    ):
        env.scene(0)


@pytest.mark.parametrize("entry", ["no_such_package", "json", "json:no_such_name", ""])
def test_entry_that_cannot_be_imported(entry: str) -> None:
    with pytest.raises(EnvError, match=f"env_args.entry: cannot import '{entry}'"):
        imported(entry, {})


def test_entry_that_makes_something_else() -> None:
    with pytest.raises(EnvError, match="to make a ParallelEnv or AECEnv, got object"):
        imported(f"{__name__}:not_an_env", {})


def test_bad_actions() -> None:
    env = roster(end=[1, 3])
    env.reset(seed=0)
    with pytest.raises(EnvError, match=r"expected \(1, 2\) int64, got \(2,\)"):
        env.step(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(EnvError, match=r"expected 0 .. 2, got 3 \(copy 0, agent 0\)"):
        env.step(torch.tensor([[3, 0]]))
    env.step(torch.zeros(1, 2, dtype=torch.int64))
    env.step(torch.tensor([[3, 0]]))  # the first agent is dead by now


def test_copies_have_their_own_episodes_and_do_not_depend_on_their_number() -> None:
    two, three = (roster(n_envs=n, end=[3, 3]).reset(seed=5).obs[:, 0, 2] for n in (2, 3))
    assert torch.equal(two, three[:2])
    assert len(set(three.tolist())) == 3


def mpe2_tag(n_envs: int = 2) -> PettingZooEnv:
    kwargs = {"num_good": 1, "num_adversaries": 3, "max_cycles": 7}
    return imported("mpe2.simple_tag_v3", kwargs, n_envs=n_envs, team="adversary")


def tigers() -> PettingZooEnv:
    kwargs = {"map_size": 20, "max_cycles": 7}
    return imported("magent2.environments.tiger_deer_v4", kwargs, n_envs=2, team="tiger")


def padded_speaker() -> PettingZooEnv:
    env = imported("mpe2.simple_speaker_listener_v4", {"max_cycles": 7}, n_envs=2, pad=True)
    env.info = replace(env.info, n_actions=3)  # of the speaker, who has fewer: `actions` draws from those
    return env


@pytest.mark.parametrize("make", [mpe2_tag, tigers, padded_speaker])
def test_real_environments_continue_exactly_from_a_saved_state(make: Callable[[], PettingZooEnv]) -> None:
    env = make()
    env.reset(seed=1)
    for t in range(11):  # in the second episode
        env.step(actions(env, t))
    fresh = make()
    fresh.load_state_dict(env.state_dict())
    for t in range(11, 30):
        assert_same(env.step(actions(env, t)), fresh.step(actions(env, t)))


def test_state_of_another_number_of_copies_is_refused() -> None:
    env = mpe2_tag()
    env.reset(seed=1)
    with pytest.raises(EnvError, match="the state holds 2 parallel environments, this one has 1"):
        mpe2_tag(n_envs=1).load_state_dict(env.state_dict())


def test_environment_that_does_not_repeat_itself_cannot_be_continued() -> None:
    env = roster(end=[9], seeded=False)
    env.reset(seed=0)
    with pytest.raises(EnvError, match="cannot be continued exactly"):
        roster(end=[9], seeded=False).load_state_dict(env.state_dict())


def test_mpe2_tag_equals_the_original() -> None:
    """Observations and rewards of the learning team, with the other team's actions read back from the record."""
    from mpe2 import simple_tag_v3

    env = mpe2_tag(n_envs=1)
    row = env.reset(seed=3)
    original = simple_tag_v3.parallel_env(num_good=1, num_adversaries=3, max_cycles=7)
    seen, _ = original.reset(seed=derive_seed(env.state_dict()["games"][0]["stream"], "episode", 1) % SEED_LIMIT)
    team = [f"adversary_{i}" for i in range(3)]
    for t in range(7):
        np.testing.assert_array_equal(row.obs[0], np.stack([seen[agent] for agent in team]))
        row = env.step(actions(env, t))
        played = env.state_dict()["games"][0]["actions"][-1].tolist()
        seen, reward, *_ = original.step(dict(zip([*team, "agent_0"], played, strict=True)))
        np.testing.assert_allclose(row.reward[0], [reward[agent] for agent in team], rtol=1e-6)
    assert row.truncated.all()


@pytest.mark.parametrize(
    ("entry", "kwargs", "team", "n_agents", "n_actions"),
    [
        ("mpe2.simple_spread_v3", {"N": 4, "max_cycles": 6}, "", 4, 5),
        ("magent2.environments.tiger_deer_v4", {"map_size": 20, "max_cycles": 10}, "tiger", 4, 9),
    ],
)
def test_real_environments(entry: str, kwargs: dict[str, Any], team: str, n_agents: int, n_actions: int) -> None:
    env = imported(entry, kwargs, n_envs=2, team=team)
    row = env.reset(seed=0)
    assert (env.info.n_agents, env.info.n_actions) == (n_agents, n_actions)
    ends = 0
    for t in range(25):
        row = env.step(actions(env, t))
        ends += int(row.done.sum())
        assert row.obs.isfinite().all()
        assert not row.obs[~row.alive].any()
    assert ends >= 4
    env.close()
