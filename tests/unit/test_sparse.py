"""Sparse observations: the same numbers as dense ones, and a first layer that is `nn.Linear` up to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

from components import sparse
from components.batch import decode_obs
from components.sparse import SparseObs, dense
from modules.sparse import SparseLinear

SCALE = 0.01


def lists_of(stored: Tensor, scale: float) -> SparseObs:
    """Stored observations (B, N, *O) as lists, the slow and obvious way."""
    begin, column, value = [0], [], []
    for row in stored.flatten(0, 1).flatten(1):
        filled = row.nonzero().squeeze(-1)
        column += filled.tolist()
        value += row[filled].tolist()
        begin.append(len(column))
    return SparseObs(
        torch.tensor(begin),
        torch.tensor(column, dtype=torch.int32),
        torch.tensor(value, dtype=stored.dtype),
        scale,
        tuple(stored.shape),
    )


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


@given(stored_obs())
def test_lists_decode_to_the_same_bits(stored: Tensor) -> None:
    obs = lists_of(stored, SCALE)
    assert torch.equal(obs.dense, decode_obs(stored, SCALE))
    assert dense(obs) is obs.dense  # made once
    assert dense(obs.dense) is obs.dense


def test_numbers_in_natural_units_may_be_sparse_too() -> None:
    stored = torch.tensor([[[0.0, -1.5, 0.0], [0.1, 0.0, 2.0]]])
    assert torch.equal(lists_of(stored, 1.0).dense, stored)


@given(stored_obs(), st.integers(1, 40), st.integers(0, 3))
def test_it_is_a_linear_layer(stored: Tensor, out_dim: int, extra_dim: int) -> None:
    """Values and both gradients, with the inputs that a controller adds (none for ``extra_dim`` 0)."""
    n_rows, obs_dim = stored.shape[:2], stored[0, 0].numel()
    layer, plain = layers(obs_dim + extra_dim, out_dim)
    extra = torch.randn(*n_rows, extra_dim) if extra_dim else None
    x = torch.cat([decode_obs(stored, SCALE).flatten(2), *([] if extra is None else [extra])], dim=-1)
    expected, weight = plain(x), torch.randn(*n_rows, out_dim)

    value = layer(lists_of(stored, SCALE), extra)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(layer(decode_obs(stored, SCALE), extra), expected)

    (value * weight).sum().backward()
    (expected * weight).sum().backward()
    for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        assert ours.grad.is_contiguous()  # as optimisers and collective operations expect it
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)


def test_a_gradient_that_is_one_number_for_all() -> None:
    """The gradient of a plain sum has stride 0."""
    stored = torch.tensor([[[3, 0], [0, 50], [0, 0]]], dtype=torch.uint8)
    layer, _ = layers(2, 4)
    layer(lists_of(stored, SCALE)).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.03, 0.5]]).expand(4, 2))
    torch.testing.assert_close(layer.bias.grad, torch.full((4,), 3.0))


def test_frozen_networks_have_no_gradient() -> None:
    layer, plain = layers(2, 4)
    stored = torch.tensor([[[3, 0]]], dtype=torch.uint8)
    value = layer.requires_grad_(False)(lists_of(stored, SCALE))
    assert not value.requires_grad
    torch.testing.assert_close(value, plain(decode_obs(stored, SCALE)).detach())


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    stored = torch.randint(1, 101, (8, 25, 60), dtype=torch.uint8) * (torch.rand(8, 25, 60) < 0.2)
    obs = lists_of(stored, SCALE)
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
