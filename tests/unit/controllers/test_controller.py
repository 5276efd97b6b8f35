"""What a controller keeps between steps."""

from __future__ import annotations

import torch
from tests.support.factory import config_for

from assembly.parts import make_env, make_mac
from components.batch import Memory, decode_obs
from controllers.basic_controller import BasicMAC


def test_decoded_observations_use_the_same_memory_again_and_are_right() -> None:
    """Training, evaluation and enemies of another number alternate; each has memory of its own."""
    battle = {"n_agents": 6, "n_enemies": 4, "map_size": 20, "opponent": "random"}
    config = config_for("iql", "battle", env_args=battle)
    env = make_env(config, 2, test=False)
    mac = make_mac(config, env.info)
    row, draw = env.reset(1), torch.Generator().manual_seed(0)
    places = set()
    for _ in range(4):
        for part in (row.obs, row.obs[:1], row.obs[:, :4].contiguous()):
            decoded = mac._decode(part)
            assert torch.equal(decoded, decode_obs(part, env.info.obs_scale))
            places.add(decoded.data_ptr())
        row = env.step(torch.randint(env.info.n_actions, (2, 6), generator=draw))
    assert len(places) == 3


def test_observations_in_natural_units_are_handed_on() -> None:
    config = config_for("iql", "bar")
    env = make_env(config, 2, test=False)
    row = env.reset(1)
    assert make_mac(config, env.info)._decode(row.obs) is row.obs


def test_a_restart_forgets_what_was_before_in_the_environments_that_it_names() -> None:
    memory = Memory(torch.tensor([5, 6]), torch.tensor([[3], [2]]), torch.zeros(2, 1), torch.ones(2, 1, 1))
    after = BasicMAC.restart(memory, torch.tensor([True, False]))
    assert after.age.tolist() == [0, 6]
    assert after.prev_action.tolist() == [[-1], [2]]
    assert after.hidden is not None
    assert after.hidden.tolist() == [[[0.0]], [[1.0]]]
