"""Attention beyond its samples: dropout, rows that attend to nothing, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

attention = tn.scaled_dot_product_attention


def operands(*leading, length=4, source=5, size=3):
    rng = np.random.default_rng(1)
    shapes = (*leading, length, size), (*leading, source, size), (*leading, source, 2)
    return [tn.Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]


def test_dropout_follows_the_generator():
    q, k, v = operands(2, 2)
    tn.manual_seed(3)
    first = attention(q, k, v, dropout_p=0.5)
    second = attention(q, k, v, dropout_p=0.5)
    tn.manual_seed(3)
    again = attention(q, k, v, dropout_p=0.5)
    np.testing.assert_array_equal(first.data, again.data)
    assert (first.data != second.data).any()


def test_no_seed_is_drawn_without_dropout():
    state = tn.get_rng_state()
    attention(*operands(2))
    assert tn.get_rng_state() == state


def test_dropout_keeps_the_mean():
    q, k, v = operands(length=1, source=6)
    rows = tn.broadcast_to(q, (4000, 1, 3))
    with tn.no_grad():
        mean = attention(rows, k, v, dropout_p=0.25).numpy().mean(0)
        np.testing.assert_allclose(mean, attention(q, k, v).numpy(), atol=0.05)


def test_both_orders_drop_the_same():
    """The composite that create_graph differentiates sees the mask of the fused kernel."""
    xs = operands(2)
    y = attention(*xs, dropout_p=0.4).square().sum()
    fused = tn.grad(y, xs, retain_graph=True)
    composite = tn.grad(y, xs, create_graph=True)
    for a, b in zip(fused, composite):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_row_that_attends_to_nothing(create_graph, kind):
    q, k, v = operands()
    allowed = np.ones((4, 5), bool)
    allowed[1] = False
    mask = tn.Tensor(allowed if kind == "bool" else np.where(allowed, 0.5, -np.inf))
    if kind == "float":
        mask.requires_grad_()
    y = attention(q, k, v, mask)
    assert not y.data[1].any()
    assert y.data[0].all()
    leaves = [q, k, v, mask] if kind == "float" else [q, k, v]
    gradients = tn.grad(y.square().sum(), leaves, create_graph=create_graph)
    assert not gradients[0].data[1].any()
    assert all(np.isfinite(g.data).all() for g in gradients)
    if kind == "float":
        assert not gradients[3].data[1].any()


def test_a_large_mask_in_float32():
    """-1e9 instead of -inf, where the logsumexp of a row that is all masked has no bit left for the scores."""
    q, k, v = (tn.Tensor(x.data, dtype=tn.float32, requires_grad=True) for x in operands())
    y = attention(q, k, v, np.full((4, 5), -1e9, np.float32))
    y.sum().backward()
    np.testing.assert_allclose(v.grad.numpy().sum(0), 4, rtol=1e-5)


def test_a_mask_in_another_float_dtype():
    q, k, v = (tn.Tensor(x.data, dtype=tn.float32, requires_grad=True) for x in operands())
    mask = tn.zeros((4, 5), dtype=tn.float64, requires_grad=True)
    y = attention(q, k, v, mask)
    y.sum().backward()
    assert y.dtype == mask.grad.dtype == tn.float64
    assert q.grad.dtype == tn.float32


def test_only_what_needs_a_gradient_gets_one():
    q, k, v = operands(2, 2)
    mask = tn.zeros((4, 5), dtype=tn.float64)
    attention(q.detach(), k, v.detach(), mask).sum().backward()
    assert k.grad is not None
    assert q.grad is v.grad is mask.grad is None


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((4, 3), (5, 2), (5, 2)), {}, r"query has shape \(4, 3\), key \(5, 2\)"),
        (((4, 3), (5, 3), (6, 2)), {}, r"expected \(..., L, E\), \(..., S, E\) and \(..., S, Ev\)"),
        (((3,), (5, 3), (5, 2)), {}, "at least 2 axes"),
        (((2, 4, 3), (3, 5, 3), (3, 5, 2)), {}, "leading axes do not broadcast"),
        (((4, 3), (5, 3), (5, 2)), {"enable_gqa": True}, "at least 3 axes"),
        (((3, 4, 3), (2, 5, 3), (2, 5, 2)), {"enable_gqa": True}, "multiple of those of key and value"),
        (((4, 4, 3), (2, 5, 3), (1, 5, 2)), {"enable_gqa": True}, "multiple of those of key and value"),
        (((4, 3), (5, 3), (5, 2)), {"attn_mask": np.ones((4, 4), bool)}, r"attn_mask has shape \(4, 4\)"),
        (((4, 3), (5, 3), (5, 2)), {"attn_mask": np.ones((2, 4, 5), bool)}, r"attn_mask has shape \(2, 4, 5\)"),
        (((4, 3), (5, 3), (5, 2)), {"attn_mask": np.ones((4, 5), bool), "is_causal": True}, "attn_mask and is_causal"),
        (((4, 3), (5, 3), (5, 2)), {"dropout_p": 1.5}, r"dropout_p is 1.5, expected a number from 0 to 1"),
        (((4, 3), (5, 3), (5, 2)), {"dropout_p": -0.1}, "dropout_p is -0.1"),
    ],
)
def test_wrong_calls(shapes, options, message):
    with pytest.raises(tn.ShapeError, match=f"scaled_dot_product_attention: .*{message}"):
        attention(*(np.ones(shape, np.float32) for shape in shapes), **options)


def test_a_mask_of_integers_is_refused():
    with pytest.raises(tn.DTypeError, match="attn_mask is int64, expected booleans"):
        attention(*operands(), np.ones((4, 5), np.int64))
