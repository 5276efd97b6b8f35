"""The update never waits for the device: shown without one by the meta device, and on one by CUDA's own check."""

from __future__ import annotations

import pytest
import torch
from tests.factory import config_for, info_for, learner_for, random_batch

import build
from components.batch import to_device
from components.replay import Replay

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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("algorithm", ["iql", "hmf"])
@pytest.mark.parametrize("environment", ["battle", "spread"])
def test_training_on_a_gpu_does_not_synchronise(algorithm: str, environment: str) -> None:
    battle = {"n_agents": 6, "n_enemies": 4, "map_size": 20, "opponent": "self_play"}
    env_args = battle if environment == "battle" else {}
    system = build.build(config_for(algorithm, environment, env_args=env_args, use_cuda=True))
    assert system.replay.arrays["obs"].device == system.runner.env.device
    system.runner.reset(seed=1)
    for _ in range(20):
        system.runner.collect(0, system.replay)
    system.learner.train(system.replay.sample(8), 0)  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            metrics = system.learner.train(system.replay.sample(8), 0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(value.isfinite() for value in metrics.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_batches_hold_what_was_stored() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    info = info_for(n_agents=4, n_actions=3)
    batches = []
    for device in (cpu, cuda):
        replay = Replay(info, 2, 40, torch.Generator().manual_seed(0), cpu, device)
        replay.arrays["obs"].copy_(torch.arange(replay.arrays["obs"].numel()).view_as(replay.arrays["obs"]))
        replay.valid[:-1] = True
        replay.stored = replay.rows
        batches.append(replay.sample(16))
    assert torch.equal(batches[0].obs, batches[1].obs.cpu())
    assert torch.equal(batches[0].next_obs, batches[1].next_obs.cpu())
