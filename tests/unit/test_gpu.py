"""The update never waits for the device: shown without one by the meta device, and on one by CUDA's own check."""

from __future__ import annotations

import pytest
import torch
from tests.factory import config_for, info_for, learner_for, random_batch

import build
from components.batch import to_device
from components.replay import Replay

BATTLE = {"n_agents": 6, "n_enemies": 4, "map_size": 20, "opponent": "self_play"}
EQUAL = {"enemy_view_radius": 3, "enemy_speed": 1, "enemy_attack_radius": 1}  # the learners' policy fits the enemies
# Without MADDPG: its noise needs a random stream on the device, and meta has none.
ALGORITHMS = ["iql", "vdn", "qmix", "mfq", "mfvfd", "hmf", "hmf_literal", "hmf_reg"]
ON_META = "Cannot copy out of meta tensor|cannot be called on meta tensors"


def test_reading_a_value_of_a_meta_tensor_is_an_error() -> None:
    """What the next test relies on."""
    with pytest.raises((RuntimeError, NotImplementedError), match=ON_META):
        bool(torch.ones(1, device="meta").any())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_losses_read_no_value_and_keep_to_their_device(algorithm: str) -> None:
    meta = torch.device("meta")
    info = info_for(n_agents=4, n_actions=3)
    learner = learner_for(config_for(algorithm, "matrix_game", env_args={"n_agents": 2}), info)
    for module in learner._modules().values():
        module.to(meta)
    loss, metrics = learner.loss(to_device(random_batch(info, 8, n_groups=2), meta), 0)
    assert loss.device == meta
    assert all(value.device == meta for value in metrics.values())


def test_sampling_reads_no_value_of_the_device() -> None:
    """Battle's compact rows travel, and views are cut out of them there."""
    meta = torch.device("meta")
    env = build.make_env(config_for("iql", "battle", env_args=BATTLE | {"opponent": "random"}), 2, test=False)
    stream = torch.Generator().manual_seed(0)
    replay = Replay(env.info, 2, 40, stream, env.device, meta, observations=env.observations)
    row = env.reset(1)
    for _ in range(20):
        action = torch.zeros(2, 6, dtype=torch.int64)
        replay.insert(row, action, action)
        row = env.step(action)
    batch = replay.sample(8)
    assert batch.obs.shape == batch.next_obs.shape == (8, 6, *env.info.obs_shape)
    assert batch.obs.dtype == torch.float32
    assert all(value.device == meta for value in vars(batch).values() if isinstance(value, torch.Tensor))


ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
@pytest.mark.parametrize("algorithm", ["iql", "hmf"])
@pytest.mark.parametrize("environment", ["battle", "spread"])
def test_training_does_not_synchronise(algorithm: str, environment: str, device: str) -> None:
    """On a CPU there is nothing to synchronise: then this shows that the same system trains."""
    env_args = BATTLE | EQUAL if environment == "battle" else {}
    n_groups = {"n_groups": 2} if algorithm == "hmf" else {}
    config = config_for(algorithm, environment, env_args=env_args, use_cuda=device == "cuda", **n_groups)
    system = build.build(config)
    assert system.replay.arrays["reward"].device == system.runner.env.device
    assert system.mac.device.type == device
    system.runner.reset(seed=1)
    for _ in range(20):
        system.runner.collect(0, system.replay)
    system.learner.train(system.replay.sample(8), 0)  # the first call loads kernels
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            metrics = system.learner.train(system.replay.sample(8), 0)
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert all(value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
def test_batches_hold_what_was_stored(device: str) -> None:
    """By way of pinned memory when the learner is elsewhere."""
    cpu = torch.device("cpu")
    info = info_for(n_agents=4, n_actions=3)
    replay = Replay(info, 2, 40, torch.Generator().manual_seed(0), cpu, torch.device(device))
    stored = replay.arrays["obs"]
    stored.copy_(torch.arange(stored.numel()).view_as(stored))
    replay.valid[:-1] = True
    replay.stored = replay.rows
    batch = replay.sample(16)
    following = batch.next_obs - batch.obs  # rows are filled with consecutive numbers
    assert (following == stored[0].numel()).all()
    assert batch.obs.device.type == device
