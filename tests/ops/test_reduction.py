"""Long sums in float32: no digits are lost, over whichever axis they run."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

EXACT = {
    "sum": lambda x, axis: x.sum(axis),
    "mean": lambda x, axis: x.mean(axis),
    "var": lambda x, axis: x.var(axis),
    "std": lambda x, axis: x.std(axis),
    "norm": lambda x, axis: np.sqrt(np.square(x).sum(axis)),
    "logsumexp": lambda x, axis: np.log(np.exp(x).sum(axis)),
    "cumsum": lambda x, axis: x.cumsum(axis),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("axis", [0, 1])
def test_long_sums_keep_their_digits(name, axis):
    """NumPy adds in pairs over the innermost axis only; over the others var would be wrong in the fourth digit here."""
    x = np.random.default_rng(0).random((300_000, 3)).astype(np.float32)
    x = x if axis == 0 else x.T
    options = {"ord": 2} if name == "norm" else {}
    y = getattr(tn, name)(tn.asarray(x), axis=axis, **options)
    assert y.dtype == tn.float32
    np.testing.assert_allclose(y.data, EXACT[name](x.astype(np.float64), axis), rtol=3e-7)


def test_the_gradient_of_what_was_broadcast_keeps_its_digits():
    """A bias over many rows: its gradient is a long sum that backward takes."""
    weights = np.random.default_rng(0).random((300_000, 3)).astype(np.float32)
    b, c = tn.zeros(3, requires_grad=True), tn.zeros((1, 3), requires_grad=True)
    ((tn.asarray(weights) + b + c) * weights).sum().backward()
    for g in (b.grad.data, c.grad.data[0]):
        np.testing.assert_allclose(g, weights.sum(0, dtype=np.float64), rtol=3e-7)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, 1])
def test_long_rows_of_softmax_keep_their_digits(name, axis):
    x = np.random.default_rng(0).standard_normal((100_000, 3)).astype(np.float32)
    x = x if axis == 0 else x.T
    shifted = x.astype(np.float64) - np.log(np.exp(x.astype(np.float64)).sum(axis, keepdims=True))
    y = getattr(tn, name)(tn.asarray(x), axis)
    np.testing.assert_allclose(y.data, np.exp(shifted) if name == "softmax" else shifted, rtol=2e-6)


def test_gradient_of_logsumexp_at_a_large_offset():
    """The value is rounded by more than the spread of the row; the gradient is still a softmax."""
    a = tn.tensor([2e6, 2e6 + 1], requires_grad=True)
    tn.logsumexp(a).backward()
    np.testing.assert_allclose(a.grad.data, [1 / (1 + np.e), np.e / (1 + np.e)], rtol=1e-6)


def test_create_graph_through_attention_under_a_large_mask():
    """As above, in the small ops of attention: with a mask of -1e9 for all keys the weights are equal."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 1, 3, 2)).astype(np.float32) for _ in range(3))
    values = tn.tensor(v, requires_grad=True)
    y = tn.scaled_dot_product_attention(q, k, values, attn_mask=np.full((3, 3), -1e9, np.float32))
    plain = tn.grad(y.sum(), values, retain_graph=True)
    graph = tn.grad(y.sum(), values, create_graph=True)
    np.testing.assert_allclose(plain.data, np.ones_like(v), rtol=1e-6)
    np.testing.assert_allclose(graph.data, plain.data, rtol=1e-6)
