"""Scaled dot-product attention of the reference kernels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.differences import assert_gradients
from tinygrad_notes.kernels.reference.attention import attention, attention_grad
from tinygrad_notes.kernels.reference.dropout import dropout_mask


def sample(batch=2, heads=4, key_heads=2, queries=3, keys=5, size=4, value_size=3, dtype=np.float64, seed=0):
    """q, k, v, and g, the gradient of the result."""
    rng = np.random.default_rng(seed)
    shapes = [
        (batch, heads, queries, size),
        (batch, key_heads, keys, size),
        (batch, key_heads, keys, value_size),
        (batch, heads, queries, value_size),
    ]
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def masks(queries=3, keys=5):
    rng = np.random.default_rng(9)
    allowed = rng.random((2, 1, queries, keys)) < 0.6
    allowed[1, 0, 1] = False  # a query that may attend to nothing
    added = rng.normal(size=(4, 1, keys))
    added[1, 0, 2] = -np.inf
    return {"none": None, "bool": allowed, "row": allowed[0, 0, 0], "float": added}


def by_loops(q, k, v, mask, causal, scale, dropout_p, seed):
    batch, heads, queries, _ = q.shape
    keys = k.shape[2]
    out, logsumexp = np.zeros((*q.shape[:3], v.shape[3])), np.full(q.shape[:3], -np.inf)
    keep = dropout_mask(np.zeros((batch, heads, queries, keys)), dropout_p, seed)
    for b, h, i in np.ndindex(batch, heads, queries):
        shared = h // (heads // k.shape[1])
        scores = scale * k[b, shared] @ q[b, h, i]
        if mask is not None:
            row = np.broadcast_to(mask, (batch, heads, queries, keys))[b, h, i]
            scores = np.where(row, scores, -np.inf) if mask.dtype == bool else scores + row
        if causal:
            scores[i + 1 :] = -np.inf
        total = np.exp(scores).sum()
        if total > 0:
            logsumexp[b, h, i] = np.log(total)
            out[b, h, i] = (np.exp(scores) / total * keep[b, h, i] / (1 - dropout_p)) @ v[b, shared]
    return out, logsumexp


@pytest.mark.parametrize("mask", ["none", "bool", "row", "float"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
def test_attention_is_the_formula(mask, causal, dropout_p):
    q, k, v, _ = sample()
    arguments = (masks()[mask], causal, 0.7, dropout_p, 11)
    for mine, expected in zip(attention(q, k, v, *arguments), by_loops(q, k, v, *arguments), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mask", ["none", "bool", "float"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
def test_gradients(mask, causal, dropout_p):
    q, k, v, g = sample()
    arguments = (masks()[mask], causal, 0.7, dropout_p, 11)
    out, logsumexp = attention(q, k, v, *arguments)
    dq, dk, dv, dmask = attention_grad(g, q, k, v, out, logsumexp, *arguments, False)
    assert dmask is None
    assert_gradients(lambda: float((g * attention(q, k, v, *arguments)[0]).sum()), [q, k, v], [dq, dk, dv])


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (4, 1, 5), (3, 5), (1, 1), (5,), ()])
def test_gradient_of_an_added_mask_has_its_shape(shape):
    q, k, v, g = sample()
    mask = np.random.default_rng(1).normal(size=shape)
    arguments = (mask, True, 0.5, 0.0, 0)
    out, logsumexp = attention(q, k, v, *arguments)
    *_, dmask = attention_grad(g, q, k, v, out, logsumexp, *arguments, True)
    assert dmask.shape == shape
    if mask.size > 1:  # a common number added to all scores changes nothing
        assert_gradients(lambda: float((g * attention(q, k, v, *arguments)[0]).sum()), [mask], [dmask])
    else:
        np.testing.assert_allclose(dmask, 0, atol=1e-14)


def test_rows_that_attend_to_nothing_are_zero():
    q, k, v, g = sample(dtype=np.float32)
    nothing = np.zeros((3, 5), bool)
    for mask in (nothing, np.full((3, 5), -np.inf, np.float32)):
        out, logsumexp = attention(q, k, v, mask, False, 0.5, 0.0, 0)
        assert not out.any()
        assert (logsumexp == -np.inf).all()
        gradients = attention_grad(g, q, k, v, out, logsumexp, mask, False, 0.5, 0.0, 0, mask.dtype != bool)
        assert not any(gradient.any() for gradient in gradients if gradient is not None)


def test_dropping_everything_gives_zero():
    q, k, v, g = sample()
    out, logsumexp = attention(q, k, v, None, False, 0.5, 1.0, 3)
    assert not out.any()
    assert np.isfinite(logsumexp).all()
    gradients = attention_grad(g, q, k, v, out, logsumexp, None, False, 0.5, 1.0, 3, False)
    assert not any(gradient.any() for gradient in gradients[:3])


@pytest.mark.parametrize("offset", [1e4, -1e9])
def test_large_scores_in_float32(offset):
    q, k, v, g = sample(dtype=np.float32)
    mask = np.full((3, 5), offset, np.float32)  # at -1e9 every score of float32 becomes -1e9: all keys count the same
    out, logsumexp = attention(q, k, v, mask, False, 0.5, 0.0, 0)
    dq, dk, dv, dmask = attention_grad(g, q, k, v, out, logsumexp, mask, False, 0.5, 0.0, 0, True)
    if offset == -1e9:
        np.testing.assert_allclose(out, np.repeat(v.mean(2, keepdims=True), 2, 1) + 0 * g, atol=1e-6)
        expected = g.reshape(2, 2, 6, 3).sum(2, keepdims=True) / 5 + 0 * v
        np.testing.assert_allclose(dv, expected, atol=1e-6)
    else:
        np.testing.assert_allclose(out, attention(q, k, v, None, False, 0.5, 0.0, 0)[0], atol=3e-3)
    assert {a.dtype for a in (out, logsumexp, dq, dk, dv, dmask)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "sizes",
    [
        {"batch": 0},
        {"heads": 0, "key_heads": 0},
        {"heads": 0, "key_heads": 2},
        {"queries": 0},
        {"keys": 0},
        {"size": 0},
        {"value_size": 0},
        {"batch": 1, "heads": 1, "key_heads": 1, "queries": 1, "keys": 1, "size": 1, "value_size": 1},
    ],
)
@pytest.mark.parametrize("dropout_p", [0.0, 0.5])
def test_empty_and_one_element(sizes, dropout_p):
    q, k, v, g = sample(**sizes)
    mask = np.zeros((q.shape[2], k.shape[2]))
    arguments = (mask, True, 0.5, dropout_p, 1)
    out, logsumexp = attention(q, k, v, *arguments)
    assert out.shape == g.shape
    assert logsumexp.shape == q.shape[:3]
    gradients = attention_grad(g, q, k, v, out, logsumexp, *arguments, True)
    for gradient, operand in zip(gradients, (q, k, v, mask), strict=True):
        assert gradient.shape == operand.shape
        assert np.isfinite(gradient).all()


def test_strides_do_not_matter_inputs_stay_and_bits_repeat():
    q, k, v, g = (np.repeat(a, 2, axis=2)[:, :, ::-2].swapaxes(0, 1)[::-1].swapaxes(0, 1) for a in sample())
    packed = [a.copy() for a in (q, k, v, g)]
    mask = masks()["float"][..., ::-1]
    arguments = (mask, True, 0.5, 0.3, 5)
    out, logsumexp = attention(q, k, v, *arguments)
    for a, b in zip((out, logsumexp), attention(*packed[:3], *arguments), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)
    strided, again, plain = (
        attention_grad(upper, *operands, out, logsumexp, *arguments, True)
        for upper, *operands in ((g, q, k, v), (g, q, k, v), (packed[3], *packed[:3]))
    )
    for a, b, c in zip(strided, again, plain, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-12, atol=1e-13)
    for a, b in zip((q, k, v, g), packed, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parity
@pytest.mark.parametrize(("queries", "keys"), [(3, 5), (5, 3), (4, 4)])
@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal"])
def test_as_in_torch(queries, keys, mask):
    torch = pytest.importorskip("torch")
    q, k, v, g = sample(queries=queries, keys=keys, value_size=4)
    causal = mask == "causal"
    added = masks(queries, keys).get(mask)
    if mask == "bool":
        added[1, 0, 1, 0] = True  # torch's backward of an empty row differs between its own kernels
    tensors = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    options = {"is_causal": causal, "scale": 0.6, "enable_gqa": True}
    expected = torch.nn.functional.scaled_dot_product_attention(
        *tensors, None if added is None else torch.tensor(added), **options
    )
    out, logsumexp = attention(q, k, v, added, causal, 0.6, 0.0, 0)
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=1e-12)
    gradients = attention_grad(g, q, k, v, out, logsumexp, added, causal, 0.6, 0.0, 0, False)[:3]
    for mine, theirs in zip(gradients, torch.autograd.grad(expected, tensors, torch.tensor(g)), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-12)
