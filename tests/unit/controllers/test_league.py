"""Past policies as opponents: which there are, who plays whom, and what is written down."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.support.factory import config_for, info_for

import build
from assembly.parts import make_mac
from components.batch import Step
from controllers.basic_controller import BasicMAC
from controllers.league import LIMIT, NOW, League
from records import checkpoint

N_ENVS, N_AGENTS, N_ACTIONS = 6, 3, 5


def controller(action: int) -> BasicMAC:
    """A controller that always prefers ``action`` and never explores."""
    config = config_for("iql", "bar", epsilon_finish=0.0, share_params=True, obs_agent_id=False)
    mac = make_mac(config, info_for(N_AGENTS, N_ACTIONS))
    prefer(mac, action)
    return mac


def prefer(mac: BasicMAC, action: int) -> None:
    *_, bias = (value for value in mac.parameters() if value.shape == (N_ACTIONS,))
    with torch.no_grad():
        for value in mac.parameters():
            value.zero_()
        bias[action] = 1.0


def row(ended: list[int] | None = None, score: float = 1.0) -> Step:
    nobody = torch.zeros(N_ENVS, dtype=torch.bool)
    done = nobody.clone()
    done[ended or []] = True
    alive = torch.ones(N_ENVS, N_AGENTS, dtype=torch.bool)
    obs = torch.zeros(N_ENVS, N_AGENTS, 3)
    return Step(obs, alive, torch.zeros(N_ENVS, N_AGENTS), nobody, done, {"score": torch.full((N_ENVS,), score)})


def mask(*envs: int) -> torch.Tensor:
    return torch.tensor([env in envs for env in range(N_ENVS)])


ALL = torch.ones(N_ENVS, dtype=torch.bool)


def test_it_begins_with_the_networks_that_were_loaded(tmp_path: Path) -> None:
    sizes = {"n_agents": 3, "n_enemies": 3, "map_size": 12, "episode_limit": 5}
    keys = {"env_args": {"opponent": "league", **sizes}, "test_env_args": {"opponent": "random"}}
    first = build.build(config_for("iql", "battle_symmetric", seed=1, **keys))
    checkpoint.save_step(tmp_path, 8, {checkpoint.LEARNER: first.learner.state_dict()}, keep=1)
    second = build.build(config_for("iql", "battle_symmetric", seed=2, checkpoint_path=str(tmp_path), **keys))
    assert second.league is not None
    (past,) = second.league.past.values()
    assert all(torch.equal(past[name], value) for name, value in first.learner.acting().state_dict().items())


def test_every_copy_plays_its_own_opponent_until_its_episode_ends() -> None:
    mac = controller(0)
    league = League(mac, interval=10, self_play=0.3)
    for number in (1, 2, 3):
        prefer(mac, number)
        league.add(10 * number, mac)
    prefer(mac, 4)  # the policy as it is now
    stream = torch.Generator().manual_seed(1)
    first = league(row(), ALL, stream)
    assert league.opponent is not None
    played = torch.where(league.opponent == NOW, 4, league.opponent)
    assert len(set(played.tolist())) >= 3
    assert torch.equal(first, played[:, None].expand(N_ENVS, N_AGENTS))
    assert torch.equal(league(row(), ~ALL, stream), first)
    seen = [league(row(), mask(2), stream) for _ in range(20)]
    assert all(torch.equal(action[[0, 1, 3, 4, 5]], first[[0, 1, 3, 4, 5]]) for action in seen)
    assert {int(action[2, 0]) for action in seen} == {0, 1, 2, 3, 4}


def test_the_share_of_self_play() -> None:
    for share, expected in ((0.0, {0}), (1.0, {NOW})):
        league = League(controller(0), interval=10, self_play=share)
        league(row(), ALL, torch.Generator().manual_seed(0))
        assert league.opponent is not None
        assert set(league.opponent.tolist()) == expected


def test_past_policies_come_at_multiples_of_the_interval_and_thin_out() -> None:
    mac = controller(0)
    league = League(mac, interval=10, self_play=0.0)
    assert [t for t in range(0, 35, 4) if league.due(t)] == [12, 16, 20, 24, 28, 32]
    taken = []
    for t_env in range(0, 10 * 4 * LIMIT, 4):
        if league.due(t_env):
            league.add(t_env, mac)
            taken.append(t_env)
            assert len(league.past) <= LIMIT + 1
    assert taken[:3] == [12, 20, 32]
    assert league.stride == 4
    assert sorted(league.past) == list(range(0, 4 * LIMIT, 4))


def test_a_policy_leaves_after_its_last_game() -> None:
    mac = controller(0)
    league = League(mac, interval=10, self_play=0.0)
    league.add(10, mac)
    league(row(), ALL, torch.Generator().manual_seed(0))
    assert league.opponent is not None
    assert 1 in league.opponent
    for number in range(2, LIMIT + 1):
        league.add(10 * number, mac)
    assert league.stride == 2
    assert [number for number in league.past if number % 2] == [1]
    league(row(), ALL, torch.Generator().manual_seed(0))
    assert 1 not in league.opponent
    league.add(10 * (LIMIT + 2), mac)
    assert 1 not in league.past


def test_games_are_counted_by_opponent_and_result() -> None:
    mac = controller(0)
    league = League(mac, interval=10, self_play=0.0)
    stream = torch.Generator()
    league(row(), ALL, stream)
    league.add(20, mac)
    league.opponent = torch.tensor([0, 0, 0, 2, NOW, 0])
    league(row([0], score=1.0), ~ALL, stream)
    league(row([1], score=0.5), ~ALL, stream)
    league(row([2, 3, 4], score=0.0), ~ALL, stream)
    assert sorted(league.games) == [[20, 0, 1, 1, 1], [20, 20, 0, 0, 2]]
