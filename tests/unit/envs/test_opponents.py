"""Opponents: what they see, what they may refuse, and what a resumed run keeps of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.factory import config_for
from tests.support.paths import ROOT

from assembly.parts import make_env
from assembly.saved import frozen_policy
from build import build as build_system
from components.batch import EnvInfo, Step
from config.loader import named_layer
from config.trust import NOTHING
from controllers.policy import MACPolicy
from envs.base import Env, EnvError
from envs.battle.deviator import BattleDeviator
from envs.battle.env import BattleEnv
from envs.opponents import TwoSidedEnv
from utils.errors import InputError


def build(**changes: Any) -> BattleEnv:
    """4 half-sighted learners against 3 enemies with MAgent's defaults."""
    small = {"n_agents": 4, "n_enemies": 3, "map_size": 20, "episode_limit": 5, "opponent": "random"}
    return BattleEnv(2, torch.device("cpu"), **(named_layer("envs", "battle").values["env_args"] | small | changes))


class Counting:
    """A policy with a memory: in its k-th step of an episode everybody takes action k."""

    any_number = True

    def __init__(self, **learned: Any) -> None:
        game = EnvInfo("battle", 3, 21, (13, 13, 5), torch.uint8, 0.01, 400, has_position=True)
        self.learned = replace(game, **learned)
        self.count = torch.zeros(2, dtype=torch.int64)
        self.seen: list[tuple[Step, torch.Tensor]] = []

    def __call__(self, step: Step, first: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.seen.append((step, first))
        self.count = torch.where(first, 0, self.count + 1)
        return self.count[:, None].expand(step.alive.shape).clone()

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


STAY = torch.full((2, 4), 2)


def test_random_covers_all_actions_and_never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    env = build(n_enemies=100, map_size=40)
    env.reset(0)
    played = []
    monkeypatch.setattr(env._battles, "advance", lambda actions, moving, reward: played.append(actions[1]))
    monkeypatch.setattr(env, "_look_as", None)  # a random opponent must not pay for observations
    env.step(STAY)
    assert played[0].shape == (2, 100)
    assert np.unique(played[0]).tolist() == list(range(21))


def test_the_policy_sees_its_own_side() -> None:
    env, policy = build(opponent="self_play", swap_sides="never"), Counting()
    env.set_opponent(policy)
    env.reset(0)
    for _ in range(7):
        env.step(STAY)
    assert [first.tolist() for _, first in policy.seen] == [[t in (0, 6)] * 2 for t in range(7)]
    assert [step.truncated.tolist() for step, _ in policy.seen] == [[t == 5] * 2 for t in range(7)]
    step = policy.seen[0][0]
    assert step.obs.shape == (2, 3, 13, 13, 5)
    assert step.obs.dtype == torch.uint8
    assert (step.obs[:, :, 6, 6, 1] == 100).all()  # itself, at the centre of its own channel
    assert step.alive.all()
    assert step.position is not None
    assert (step.position[..., 0] > 10).all()  # on the right


def test_the_policys_actions_reach_its_agents() -> None:
    env, policy = build(opponent="self_play", swap_sides="never"), Counting()
    env.set_opponent(policy)
    env.reset(0)
    env.step(STAY)  # action 0: two cells up
    env.step(STAY)
    before, after = (policy.seen[t][0].position for t in (0, 1))
    assert before is not None
    assert after is not None
    assert (after - before).unique(dim=1).tolist() == [[[0, -2]]] * 2


def test_starts_do_not_depend_on_the_opponent() -> None:
    played, random = build(opponent="self_play"), build()
    played.set_opponent(Counting())
    assert torch.equal(played.reset(3).obs, random.reset(3).obs)
    for _ in range(6):
        rows = played.step(STAY), random.step(STAY)
    assert torch.equal(rows[0].obs, rows[1].obs)  # the first rows of the second episodes


@pytest.mark.parametrize("name", ["battle", "battle_deviator"])
def test_how_a_copy_starts_does_not_depend_on_how_others_end(name: str) -> None:
    """Two players, whose episodes end at different steps, meet the same episodes in every copy."""
    own = {} if name == "battle" else {"team": "random"}
    deadly = {"n_agents": 6, "n_enemies": 6, "map_size": 18, "hp": 1, "enemy_hp": 1, "opponent": "random"} | own
    begun: list[list[list[tuple[int, ...]]]] = []
    ended: list[list[int]] = []
    for player in (1, 2):
        env = make_env(config_for("iql", name, env_args=deadly), 3, test=False)
        assert isinstance(env, BattleEnv)
        actions, starts, ends = torch.Generator().manual_seed(player), [list[tuple[int, ...]]() for _ in range(3)], [0]
        env.reset(7)
        for t in range(2000):
            for copy in (env._battles.t == 0).nonzero()[0]:
                seat = env._seat[copy : copy + 1].tolist() if isinstance(env, BattleDeviator) else []
                starts[copy].append((*env._battles._begin[copy].tolist(), *seat))
                ends.append(t)
            env.step(torch.randint(env.info.n_actions, (3, env.info.n_agents), generator=actions))
        begun.append([episodes[:4] for episodes in starts])
        ended.append(ends)
    assert begun[0] == begun[1]
    assert ended[0] != ended[1]
    assert len({*itertools.chain(*begun[0])}) == 12, "every episode of every copy is another one"


def test_a_state_of_one_stream_for_all_copies_is_continued() -> None:
    """Runs of before saved it so; copies must not begin the same episodes from there on, nor others in two resumes."""
    env, begun = build(), list[list[list[int]]]()
    env.reset(3)
    state = env.state_dict()
    state["episode_stream"] = state.pop("episode_streams")[0]
    for _ in range(2):
        resumed = build()
        resumed.load_state_dict(state)
        for _ in range(6):  # to the second episodes
            resumed.step(STAY)
        assert resumed._battles.t.tolist() == [0, 0]
        begun.append(resumed._battles._begin.tolist())
    assert begun[0] == begun[1]
    assert begun[0][0] != begun[0][1]


def test_a_policy_that_does_not_fit_is_refused() -> None:
    message = (
        r"it learned with n_actions = 9, obs_shape = \(7, 7, 5\); this environment's enemies have n_actions = 21, "
        r"obs_shape = \(13, 13, 5\)\..*enemy_view_radius.*; self_play and league need sides that are alike"
    )
    with pytest.raises(EnvError, match=message):
        build(opponent="self_play").set_opponent(Counting(obs_shape=(7, 7, 5), n_actions=9))
    with pytest.raises(
        EnvError, match=r"it learned with n_actions = 9; this environment's enemies have n_actions = 21\."
    ):
        build(opponent="self_play").set_opponent(Counting(n_actions=9))


def test_a_policy_that_would_read_the_same_numbers_as_others_is_refused() -> None:
    """Moves of a circle of 2 and strikes of one of 1.5 are as many as those of 1.5 and 2."""
    policy = Counting(meaning=("view_radius = 6", "speed = 1.5", "attack_radius = 2"))
    message = r"it learned with speed = 1.5, attack_radius = 2; this environment's enemies have speed = 2, attack"
    with pytest.raises(EnvError, match=message):
        build(opponent="self_play").set_opponent(policy)
    policy = Counting(obs_scale=1.0)
    with pytest.raises(
        EnvError, match=r"it learned with obs_scale = 1\.0; this environment's enemies have obs_scale = 0\.01"
    ):
        build(opponent="self_play").set_opponent(policy)


def test_the_committed_opponent_says_what_its_observations_mean() -> None:
    fast = build(opponent="checkpoint", enemy_speed=1.5, enemy_attack_radius=2.0)
    assert (fast.enemies.obs_shape, fast.enemies.n_actions) == ((13, 13, 5), 21)
    policy = frozen_policy(str(ROOT / "opponents" / "battle.pt"), torch.device("cpu"), NOTHING)
    build(opponent="checkpoint").set_opponent(policy)
    with pytest.raises(EnvError, match=r"it learned with speed = 2, attack_radius = 1.5; .* have speed = 1.5, attack"):
        fast.set_opponent(policy)


def test_a_policy_of_another_number_of_agents_is_refused_when_parameters_belong_to_agents() -> None:
    policy = Counting(n_agents=4)
    build(opponent="self_play").set_opponent(policy)
    policy.any_number = False
    message = r"learned with n_agents = 4; .*enemies have n_agents = 3\..*Only a policy with share_params=true and"
    with pytest.raises(EnvError, match=message):
        build(opponent="self_play").set_opponent(policy)
    policy.learned = Counting().learned
    build(opponent="self_play").set_opponent(policy)


EQUAL = {"enemy_view_radius": 3, "enemy_speed": 1, "enemy_attack_radius": 1}  # the learners' policy fits the enemies


TWO_GROUPS = {"n_groups": 2}
RECURRENT = {"agent": "rnn", "obs_last_action": True, "learning_starts": 40}


@pytest.mark.parametrize(
    ("algorithm", "changes"), [("hmf", TWO_GROUPS), ("hmf_ipc", TWO_GROUPS), ("mfq", {}), ("iql", RECURRENT)]
)
def test_a_policy_plays_any_number_of_enemies(algorithm: str, changes: dict[str, Any]) -> None:
    """Against itself, six against four; the enemies have no part in the learners' groups."""
    battle = {"n_agents": 6, "n_enemies": 4, "map_size": 20, "opponent": "self_play", **EQUAL}
    system = build_system(config_for(algorithm, "battle", env_args=battle, **changes))
    system.runner.reset(1)
    for _ in range(5):
        system.runner.collect(0, system.rows)
    assert isinstance(system.runner.env, TwoSidedEnv)
    opponent = system.runner.env._policies[""]
    assert isinstance(opponent, MACPolicy)
    assert opponent.memory is not None
    assert opponent.memory.prev_action.shape == (system.config.batch_size_run, 4)
    assert opponent.memory.groups is None


def repeats(env: Env) -> bool:
    """Whether the opponent does the same again with other random numbers."""
    assert isinstance(env, TwoSidedEnv)
    env.reset(1)
    step, _ = env._look_as("")
    first = torch.ones(env.n_envs, dtype=torch.bool)
    one, other = (env._policies[""](step, first, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    return torch.equal(one, other)


@pytest.mark.parametrize(("start", "finish"), [(0.0, 1.0), (1.0, 0.0)])
def test_opponents_explore_in_training_alone_and_as_at_its_end(start: float, finish: float) -> None:
    battle = {"n_agents": 6, "n_enemies": 6, "map_size": 20, "opponent": "self_play", **EQUAL}
    epsilon = {"epsilon_start": start, "epsilon_finish": finish, "epsilon_anneal_time": 100}
    system = build_system(config_for("iql", "battle", env_args=battle, **epsilon))
    assert repeats(system.runner.env) == (finish == 0.0)
    assert repeats(system.test_runner.env)


def test_a_frozen_opponent_never_explores() -> None:
    """It was trained with an epsilon that ends at 0.05."""
    system = build_system(config_for("iql", "battle"))
    assert repeats(system.runner.env)


@pytest.mark.parametrize("changes", [{"share_params": False}, {"obs_agent_id": True}])
def test_a_controller_says_how_many_agents_it_can_serve(changes: dict[str, Any]) -> None:
    battle = {"n_agents": 6, "n_enemies": 4, "map_size": 20, "opponent": "self_play", **EQUAL}
    with pytest.raises(EnvError, match=r"learned with n_agents = 6.* have n_agents = 4\."):
        build_system(config_for("iql", "battle", env_args=battle, **changes))


@pytest.mark.parametrize(("kind", "path"), [("self_play", ""), ("checkpoint", "enemy.pt")])
def test_somebody_must_play_the_enemies(kind: str, path: str) -> None:
    env = build(opponent=kind, opponent_checkpoint=path)
    message = rf"opponent is '{kind}', but nobody plays the enemies: call set_opponent\(policy\) first"
    with pytest.raises(EnvError, match=message):
        env.reset(0)
    with pytest.raises(EnvError, match=message):
        env.load_state_dict({})


def test_random_takes_no_policy() -> None:
    with pytest.raises(EnvError, match="opponent is 'random', which takes no policy"):
        build().set_opponent(Counting())


def test_a_policys_bad_actions_are_refused() -> None:
    env, policy = build(opponent="self_play"), Counting()
    env.set_opponent(policy)
    env.reset(0)
    env.step(STAY)  # first rows reset the count
    policy.count = torch.tensor([3, 20])
    with pytest.raises(EnvError, match=r"opponent's action: expected 0 \.\. 20, got 21 \(copy 1, agent 0\)"):
        env.step(STAY)


def test_resume_keeps_the_policys_memory_and_stream() -> None:
    class Noisy(Counting):
        def __call__(self, step: Step, first: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            action = super().__call__(step, first, generator)
            return torch.where(torch.rand(action.shape, generator=generator) < 0.5, action, 6)

    env, resumed = build(opponent="self_play"), build(opponent="self_play")
    policies = Noisy(), Noisy()
    env.set_opponent(policies[0])
    resumed.set_opponent(policies[1])
    env.reset(1)
    for _ in range(3):
        env.step(STAY)
    resumed.load_state_dict(env.state_dict())
    for _ in range(9):
        a, b = env.step(STAY), resumed.step(STAY)
        assert torch.equal(a.obs, b.obs)
        assert a.position is not None
        assert b.position is not None
        assert torch.equal(a.position, b.position)
    seen = [policy.seen[-1][0].position for policy in policies]
    assert seen[0] is not None
    assert seen[1] is not None
    assert torch.equal(seen[0], seen[1])


def test_an_opponent_hears_the_learners_result_where_an_episode_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    env, policy = build(opponent="self_play"), Counting()
    env.set_opponent(policy)
    env.reset(0)
    stats = np.zeros((6, 2), dtype=np.float32)
    stats[:2] = [[2, 1], [1, 1]]  # kills, deaths
    monkeypatch.setattr(env._battles, "stats", lambda: stats)
    rows = [env.step(STAY) for _ in range(6)]
    step, _ = policy.seen[5]
    assert rows[4].info["score"].tolist() == [1.0, 0.5], "a statistic of episodes, too"
    assert (step.done.tolist(), step.info["score"].tolist()) == ([True, True], [1.0, 0.5])


@pytest.mark.parametrize(
    ("environment", "words", "message"),
    [
        (
            "battle_symmetric",
            {},
            "env_args.opponent=league trains; .* Set test_env_args.opponent=random, checkpoint or",
        ),
        ("battle", {"test_env_args": {"opponent": "random"}}, "learned with n_actions = 9, obs_shape = .*7, 7, 5"),
    ],
)
def test_a_league_trains_where_sides_are_alike(environment: str, words: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_system(config_for("iql", environment, env_args={"opponent": "league"}, **words))


@pytest.mark.parametrize(("interval", "share"), [(0, 0.5), (10, 1.5), (10, -0.1)])
def test_numbers_of_a_league_have_ranges(interval: int, share: float) -> None:
    message = f"a league_interval of at least 1 and a league_self_play from 0 to 1, got {interval} and {share}"
    with pytest.raises(EnvError, match=message):
        build(league_interval=interval, league_self_play=share)
