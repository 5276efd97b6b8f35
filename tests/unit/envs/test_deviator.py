"""One learner among teammates that keep to a policy: its seat, its death, what is compared, exact resume, refusals."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support import small_runs
from tests.support.factory import config_for

import evaluate
import main
from build import build as build_system
from components.batch import Step
from config.loader import named_layer
from controllers.policy import MACPolicy
from envs.base import EnvError
from envs.battle.deviator import BattleDeviator
from envs.battle.env import BattleEnv
from records import checkpoint
from utils.errors import InputError

CPU = torch.device("cpu")
BLOODY: dict[str, Any] = {
    **{"n_agents": 9, "n_enemies": 12, "map_size": 16, "episode_limit": 40, "opponent": "random"},
    **{"hp": 1, "speed": 3, "attack_radius": 3},
    **{"enemy_hp": 1, "enemy_speed": 3, "enemy_attack_radius": 3},
}


class Turns:
    """Teammates with a memory: agent i takes action 5 k + i in the k-th step of an episode, or what it hears of."""

    def __init__(self, env: BattleDeviator, n_envs: int) -> None:
        self.learned, self.any_number = env.members, False
        self.count = torch.zeros(n_envs, dtype=torch.int64)
        self.heard: list[torch.Tensor] = []

    def __call__(self, step: Step, first: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.count = torch.where(first, 0, self.count + 1)
        return (5 * self.count[:, None] + torch.arange(step.alive.shape[1])) % self.learned.n_actions

    def acted(self, action: torch.Tensor) -> None:
        self.heard.append(action)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def env_args(**changes: Any) -> dict[str, Any]:
    args = named_layer("envs", "battle_deviator").values["env_args"]
    return {**args, **BLOODY, "enemy_view_radius": 3, "team_checkpoint": "policy.pt", **changes}


def deviator(n_envs: int = 1, **changes: Any) -> BattleDeviator:
    env = BattleDeviator(n_envs, CPU, **env_args(**changes))
    if env.team == "checkpoint":
        env.set_team(Turns(env, n_envs))
    return env


def battle(**changes: Any) -> BattleEnv:
    """The same game with all agents as learners."""
    keys = named_layer("envs", "battle").values["env_args"].keys()
    return BattleEnv(1, CPU, **{key: value for key, value in env_args(**changes).items() if key in keys})


def actions(n_steps: int, env: BattleDeviator) -> list[torch.Tensor]:
    stream = torch.Generator().manual_seed(0)
    return [torch.randint(env.info.n_actions, (env.n_envs, 1), generator=stream) for _ in range(n_steps)]


def assert_same(a: Step, b: Step) -> None:
    for name in ("obs", "alive", "reward", "terminated", "truncated", "position"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert torch.equal(a.info["survives"], b.info["survives"])


def test_a_seat_is_battles_until_its_agent_dies() -> None:
    """The whole battle is played twice: by learners who do what the team would, and one of them by the deviator."""
    ends = []
    for seed in range(8):
        whole, env = battle(), deviator()
        rows, row = whole.reset(seed), env.reset(seed)
        seat, team = int(env._seat), Turns(env, 1)
        while True:
            assert rows.position is not None
            assert row.position is not None
            assert torch.equal(row.obs[:, 0], rows.obs[:, seat])
            assert torch.equal(row.position[:, 0], rows.position[:, seat])
            assert (row.reward[:, 0], row.alive[:, 0]) == (rows.reward[:, seat], rows.alive[:, seat])
            assert row.info["survives"] == row.alive[:, 0]
            assert row.terminated == (rows.terminated | ~rows.alive[:, seat])
            if row.done:
                break
            action = team(rows, torch.from_numpy(whole._battles.t == 0), torch.Generator())
            action[0, seat] = (action[0, seat] + seed) % 3  # any other action
            rows, row = whole.step(action), env.step(action[:, seat, None])
        ends.append((bool(row.terminated), bool(row.alive.any()), float(row.reward)))
        assert env.step(torch.zeros(1, 1, dtype=torch.int64)).alive.all()  # a new episode, whoever lived in the old one
    assert {end[:2] for end in ends} == {(True, False), (False, True)}  # some died, some saw the time limit
    assert {round(reward, 3) for _, alive, reward in ends if not alive} == {-0.1}  # the penalty of death


def test_seats_are_drawn_for_each_episode_from_the_seed() -> None:
    def seats(seed: int) -> list[int]:
        env, found = deviator(8, episode_limit=3), []
        env.reset(seed)
        for action in actions(40, env):
            found += env._seat.tolist()
            env.step(action)
        return found

    assert set(seats(1)) == set(range(9))
    assert seats(1) == seats(1) != seats(2)


@pytest.mark.parametrize("team", ["random", "checkpoint"])
def test_without_deviation_the_population_plays_the_seat(team: str) -> None:
    env, other = deviator(3, team=team, deviates=False), deviator(3, team=team, deviates=False)
    assert_same(env.reset(1), other.reset(1))
    for action in actions(70, env):
        assert_same(env.step(action), other.step((action + 1) % env.info.n_actions))
    if team == "checkpoint":
        obedient, policy = deviator(3), Turns(env, 3)
        assert_same(env.reset(1), row := obedient.reset(1))
        for _ in range(70):
            row_of_all = obedient._team_row
            assert row_of_all is not None
            chosen = policy(row_of_all, torch.from_numpy(obedient._battles.t == 0), torch.Generator())
            row = obedient.step(chosen.gather(1, obedient._seat[:, None]))
            assert_same(row, env.step(torch.zeros(3, 1, dtype=torch.int64)))


def test_the_team_hears_what_the_deviator_did() -> None:
    env = deviator(3)
    env.reset(1)
    for action in actions(5, env):
        seat = env._seat[:, None].clone()
        env.step(action)
        assert isinstance(env._team_policy, Turns)
        assert torch.equal(env._team_policy.heard[-1].gather(1, seat), action)


@pytest.mark.parametrize("team", ["random", "checkpoint"])
def test_resume_is_bit_equal(team: str) -> None:
    env = deviator(4, team=team)
    env.reset(1)
    ended = 0
    for action in actions(400, env):
        row = env.step(action)
        dead = row.terminated & ~row.alive[:, 0]
        if not dead.any():
            continue
        ended += 1
        file = io.BytesIO()
        torch.save(env.state_dict(), file)
        file.seek(0)
        original, resumed = deviator(4, team=team), deviator(4, team=team)
        state = torch.load(file, weights_only=True)
        original.load_state_dict(state)
        resumed.load_state_dict(state)
        stepped = [resumed.step(action) for action in actions(8, env)]
        if ended == 2:  # in the middle of others' episodes, where one has just ended by a death
            break
    for action, expected in zip(actions(8, env), stepped, strict=True):
        assert_same(env.step(action), expected)
    assert ended == 2


def test_a_controllers_memory_holds_what_was_done() -> None:
    system = build_system(config_for("mfq", "battle_symmetric", env_args={**BLOODY, "n_agents": 6, "n_enemies": 6}))
    policy = MACPolicy(system.mac, greedy=True)
    row, stream = system.runner.row, torch.Generator().manual_seed(0)
    chosen = policy(row, torch.ones(2, dtype=torch.bool), stream)
    assert policy.memory is not None
    policy.memory.prev_action[0, 2] = -1  # as if it were dead
    done = chosen.clone()
    done[:, 1] += 1
    policy.acted(done)
    expected = done.clone()
    expected[0, 2] = -1
    assert torch.equal(policy.memory.prev_action, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opponent": "self_play"}, r"env_args.opponent: expected random or checkpoint, got self_play, which would be"),
        ({"team_checkpoint": ""}, "env_args.team is 'checkpoint' and env_args.team_checkpoint is empty"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        BattleDeviator(1, CPU, **env_args(**changes))


def test_a_team_must_be_there_and_fit() -> None:
    env = BattleDeviator(2, CPU, **env_args())
    for call in (lambda: env.reset(0), lambda: env.load_state_dict({})):
        with pytest.raises(EnvError, match=r"no policy plays the teammates: call set_team\(policy\) first"):
            call()
    for unlike, got in (
        ({"n_actions": 9}, "n_actions = 57, got n_actions = 9"),
        ({"obs_shape": (13, 13, 5)}, r"obs_shape = \(7, 7, 5\), got obs_shape = \(13, 13, 5\)"),
        ({"obs_scale": 1.0}, "obs_scale = 0.01, got obs_scale = 1.0"),
        ({"n_agents": 8}, "n_agents = 9, got n_agents = 8"),
        (
            {"meaning": ("view_radius = 6", "speed = 1.5")},
            "view_radius = 3, .*, got view_radius = 6, speed = 1.5",
        ),
    ):
        policy = Turns(env, 2)
        policy.learned = replace(env.members, **unlike)
        with pytest.raises(EnvError, match=f"env_args.team_checkpoint: expected a policy that learned with {got}"):
            env.set_team(policy)


def test_seats_of_another_team_are_refused() -> None:
    env = deviator(2)
    env.reset(0)
    for seat in (torch.tensor([0, 9]), torch.tensor([0]), None):
        with pytest.raises(EnvError, match="expected a seat below 9 for each of 2 environments, got"):
            deviator(2).load_state_dict({**env.state_dict(), "seat": seat})


def test_a_population_and_its_copy_in_the_seat_earn_the_same(tmp_path: Path) -> None:
    """Through the commands: train, let one deviate from the population's networks, evaluate it and the population."""
    game = {**BLOODY, "n_agents": 6, "n_enemies": 6}
    assert small_runs.run(tmp_path, "iql", "battle", env_args=game) == 0
    checkpoints = tmp_path / "sacred/1/checkpoints"
    policy = checkpoint.step_folder(checkpoints, 0) / checkpoint.POLICY
    start = {"checkpoint_path": str(checkpoints), "t_max": 1}
    words = small_runs.command(tmp_path, "iql", "battle", env_args={**game, "team_checkpoint": str(policy)}, **start)
    assert main.main(["--config=iql", "--env-config=battle_deviator", *words[2:]]) == 0
    returns = []
    for given in ([], ["with", "env_args.deviates=false"]):
        assert evaluate.main(["--run=2", "--episodes=4", f"--results={tmp_path}", *given]) == 0
    for file in sorted((tmp_path / "sacred/2/evaluations").glob("*.json")):
        sides = json.loads(file.read_text())["sides"]
        returns.append({side: (found["return_mean"], found["ep_length"]) for side, found in sides.items()})
    of_the_copy, of_the_population = returns
    assert of_the_copy == of_the_population
    with pytest.raises(InputError, match=r"team_checkpoint: expected .* n_actions = 57, obs_shape = \(7, 7, 5\)"):
        build_system(config_for("iql", "battle_deviator", env_args={**game, "team_checkpoint": "opponents/battle.pt"}))
