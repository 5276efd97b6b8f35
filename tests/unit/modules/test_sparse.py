"""Sparse observations: the same numbers as dense ones, and a first layer that is `nn.Linear` up to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

import modules.sparse
from components import sparse
from components.batch import decode_obs
from components.sparse import SparseObs
from modules.sparse import SparseLinear
from records import checkpoint

SCALE = 0.01


@pytest.fixture(autouse=True, scope="module")
def _however_few() -> Iterator[None]:
    """Lists are read however few rows there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modules.sparse.MIN_ROWS", 0)
        yield


def lists_of(stored: Tensor) -> SparseObs:
    """Stored observations (B, N, *O) as lists, the slow and obvious way."""
    begin, column, value = [0], [], []
    for row in stored.flatten(0, 1).flatten(1):
        filled = row.nonzero().squeeze(-1)
        column += filled.tolist()
        value += row[filled].tolist()
        begin.append(len(column))
    columns, values = torch.tensor(column, dtype=torch.int32), torch.tensor(value, dtype=stored.dtype)
    return SparseObs(torch.tensor(begin[:-1]), torch.tensor(begin[1:]), columns, values, stored.shape)


@st.composite
def stored_obs(draw: st.DrawFn) -> Tensor:
    """Few or many numbers that are not zero, and rows without any, as the dead have them."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 6)))
    drawn = draw(hnp.arrays(np.uint8, shape, elements=st.integers(1, 100), fill=st.just(0)))
    alive = draw(hnp.arrays(np.bool_, shape[:2]))
    return torch.from_numpy(drawn * alive[..., None, None])


def layers(in_dim: int, out_dim: int) -> tuple[SparseLinear, nn.Linear]:
    """Both kinds with the same parameters."""
    torch.manual_seed(0)
    layer, plain = SparseLinear(in_dim, out_dim), nn.Linear(in_dim, out_dim)
    plain.load_state_dict(layer.state_dict())
    return layer, plain


def decoded_lists(stored: Tensor) -> Tensor:
    """Decoded, and lists still."""
    obs = decode_obs(lists_of(stored), SCALE)
    assert isinstance(obs, SparseObs)
    return obs


@given(stored_obs())
def test_lists_are_a_tensor_with_the_same_bits(stored: Tensor) -> None:
    obs = lists_of(stored)
    assert (obs.shape, obs.dtype, obs.device) == (stored.shape, stored.dtype, stored.device)
    assert torch.equal(obs, stored)
    assert torch.equal(obs[:, 0], stored[:, 0])
    np.testing.assert_array_equal(obs.numpy(), stored.numpy())
    assert torch.equal(obs.dense, stored)
    assert type(obs + 0) is Tensor
    assert torch.equal(decoded_lists(stored), decode_obs(stored, SCALE))


@given(stored_obs())
def test_flattened_observations_are_lists_too(stored: Tensor) -> None:
    obs = lists_of(stored)
    flat = obs.flatten(2)
    assert isinstance(flat, SparseObs)
    assert torch.equal(flat, stored.flatten(2))
    assert flat.flatten(2) is flat
    assert flat.dense.data_ptr() == obs.dense.data_ptr()  # made once for both
    assert torch.equal(obs.flatten(), stored.flatten())
    assert torch.equal(obs.flatten(1, 2), stored.flatten(1, 2))


def test_numbers_in_natural_units_may_be_sparse_too() -> None:
    stored = torch.tensor([[[0.0, -1.5, 0.0], [0.1, 0.0, 2.0]]])
    assert torch.equal(decode_obs(lists_of(stored), 1.0), stored)


def test_lists_are_saved_as_lists(tmp_path: Path) -> None:
    """So that a resumed run goes on bit for bit."""
    stored = torch.tensor([[[0, 7], [0, 0]], [[3, 0], [1, 2]]], dtype=torch.uint8)
    for name, obs in (("stored", lists_of(stored)), ("decoded", decoded_lists(stored))):
        checkpoint.save(tmp_path / name, {"obs": obs})
        loaded = checkpoint.load(tmp_path / name, torch.device("cpu"))["obs"]
        assert isinstance(loaded, SparseObs)
        assert torch.equal(loaded, obs)
        assert loaded.column.tolist() == [1, 0, 0, 1]


@given(stored_obs(), st.integers(1, 40), st.integers(0, 3))
def test_it_is_a_linear_layer(stored: Tensor, out_dim: int, extra_dim: int) -> None:
    """Values and both gradients, with the inputs that a controller adds (none for ``extra_dim`` 0)."""
    n_rows, obs_dim = stored.shape[:2], stored[0, 0].numel()
    layer, plain = layers(obs_dim + extra_dim, out_dim)
    extra = torch.randn(*n_rows, extra_dim) if extra_dim else None
    x = torch.cat([decode_obs(stored, SCALE).flatten(2), *([] if extra is None else [extra])], dim=-1)
    expected, weight = plain(x), torch.randn(*n_rows, out_dim)

    value = layer(decoded_lists(stored), extra)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(layer(decode_obs(stored, SCALE), extra), expected)

    (value * weight).sum().backward()
    (expected * weight).sum().backward()
    for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        assert ours.grad.is_contiguous()  # as optimisers and collective operations expect it
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n_rows", "reads_lists"), [(99, False), (100, True)])
def test_few_rows_are_multiplied_dense(n_rows: int, reads_lists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modules.sparse.MIN_ROWS", 100)
    layer, plain = layers(3, 4)
    obs = lists_of(torch.ones(n_rows, 1, 3, dtype=torch.uint8)).decoded(SCALE)
    torch.testing.assert_close(layer(obs), plain(obs))
    monkeypatch.setattr(modules.sparse, "sparse_linear", refuse)
    if reads_lists:
        with pytest.raises(AssertionError):
            layer(obs)
    else:
        layer(obs)


def refuse(*_: Any) -> None:
    raise AssertionError("lists are read")


def test_a_gradient_that_is_one_number_for_all() -> None:
    """The gradient of a plain sum has stride 0."""
    stored = torch.tensor([[[3, 0], [0, 50], [0, 0]]], dtype=torch.uint8)
    layer, _ = layers(2, 4)
    layer(decoded_lists(stored)).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.03, 0.5]]).expand(4, 2))
    torch.testing.assert_close(layer.bias.grad, torch.full((4,), 3.0))


def test_frozen_networks_have_no_gradient() -> None:
    layer, plain = layers(2, 4)
    stored = torch.tensor([[[3, 0]]], dtype=torch.uint8)
    value = layer.requires_grad_(False)(decoded_lists(stored))
    assert not value.requires_grad
    torch.testing.assert_close(value, plain(decode_obs(stored, SCALE)).detach())


@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (7, 20), (20, 7), (16, 24), (17, 9), (0, 5)])
def test_a_transpose_is_contiguous(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).random(shape, np.float32)
    out = sparse.transposed(matrix)
    np.testing.assert_array_equal(out, matrix.T)
    assert out.flags.c_contiguous


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    stored = torch.randint(1, 101, (8, 25, 60), dtype=torch.uint8) * (torch.rand(8, 25, 60) < 0.2)
    obs = lists_of(stored).decoded(SCALE)
    weight, bias, grad = torch.randn(60, 37).numpy(), torch.randn(37).numpy(), torch.randn(200, 37).numpy()
    spans: list[Any] = []

    def results(n_threads: int) -> list[np.ndarray]:
        monkeypatch.setattr("torch.get_num_threads", lambda: n_threads)
        gradient = np.zeros((60, 37), np.float32)
        sparse.add_weight_gradient(obs, grad, gradient)
        return [sparse.sparse_linear(obs, weight, bias), gradient]

    alone = results(8)  # so little work is worth no second thread
    monkeypatch.setattr(sparse, "WORTH_A_THREAD", 1)
    share = sparse.share
    monkeypatch.setattr(sparse, "share", lambda loop, *rest: share(spying(loop, spans), *rest))
    for shared in (results(2), results(5)):
        for expected, got in zip(alone, shared, strict=True):
            np.testing.assert_array_equal(got, expected)
    assert len(spans) == 2 * 2 + 2 * 5


def spying(loop: Any, spans: list[Any]) -> Any:
    """``loop``, which notes the shares that it is called with."""

    def noted(begin: int, end: int, *arguments: Any) -> None:
        spans.append((begin, end))
        loop(begin, end, *arguments)

    return noted
