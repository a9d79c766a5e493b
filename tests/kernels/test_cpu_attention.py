"""Attention by blocks against the reference in float64: shapes, strides, masks, dropout, non-finite values, threads."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_notes as tn
from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.attention import BLOCK_KEYS, BLOCK_QUERIES, attention
from tinygrad_notes.kernels.cpu.attention_grad import LARGE, PARTS, attention_grad

MODULES = [importlib.import_module(f"tinygrad_notes.kernels.cpu.{name}") for name in ("attention", "attention_grad")]
RNG = np.random.default_rng(0)
TOLERANCE = {np.dtype(np.float32): 5e-6, np.dtype(np.float64): 1e-13}


@pytest.fixture(params=[1, 2])
def threads(request, monkeypatch):
    """As many threads for any size."""
    for module in MODULES:
        monkeypatch.setattr(module, "threads_for", lambda work, least: request.param)
    return request.param


def lay(x: np.ndarray, layout: str) -> np.ndarray:
    """The same elements, laid out in another way."""
    if layout == "heads inside":  # what a reshape of (B, L, H E) and a transposition give
        return np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2)
    if layout == "columns":
        return np.ascontiguousarray(x.swapaxes(2, 3)).swapaxes(2, 3)
    if layout == "reversed":
        return np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1]
    return np.repeat(x, 2, axis=3)[..., ::2] if layout == "every other" else x


LAYOUTS = ["rows", "heads inside", "columns", "reversed", "every other"]


def sample(batch=2, heads=4, key_heads=2, queries=7, keys=9, size=5, value_size=6, dtype=np.float32):
    """q, k, v and g, the gradient of the result."""
    shapes = [
        (batch, heads, queries, size),
        (batch, key_heads, keys, size),
        (batch, key_heads, keys, value_size),
        (batch, heads, queries, value_size),
    ]
    return [RNG.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_close(got, wanted, dtype) -> None:
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_array_equal(got[np.isinf(wanted)], wanted[np.isinf(wanted)])
    scale = np.max(np.abs(wanted[finite]), initial=1.0)  # gradients may cancel to 0
    assert np.max(np.abs(got[finite] - wanted[finite]), initial=0) <= TOLERANCE[np.dtype(dtype)] * scale


def assert_attention(q, k, v, g, mask, causal, scale, dropout_p, seed) -> None:
    """Values and gradients are the reference's of the same numbers in float64."""
    arguments = mask, causal, scale, dropout_p, seed
    wide_arguments = mask if mask is None or mask.dtype == bool else mask.astype(np.float64), *arguments[1:]
    q64, k64, v64, g64 = (a.astype(np.float64) for a in (q, k, v, g))
    out, logsumexp = attention(q, k, v, *arguments)
    wanted = reference.attention(q64, k64, v64, *wide_arguments)
    for mine, theirs in zip((out, logsumexp), wanted):
        assert_close(mine, theirs, q.dtype)
    gradients = attention_grad(g, q, k, v, out, logsumexp, *arguments, False)
    expected = reference.attention_grad(g64, q64, k64, v64, *wanted, *wide_arguments, False)
    assert gradients[3] is None
    for mine, theirs in zip(gradients[:3], expected[:3]):
        assert_close(mine, theirs, q.dtype)


def draw_mask(data, shape, dtype):
    """None, or booleans or numbers of a shape that broadcasts, laid out in several ways."""
    kind = data.draw(st.sampled_from(["none", "bool", "float"]))
    if kind == "none":
        return None
    lengths = tuple(n if data.draw(st.booleans()) else 1 for n in shape)
    lengths = lengths[data.draw(st.integers(0, 4)) :]
    twice = RNG.standard_normal((*lengths[:-1], 2 * lengths[-1])) if lengths else RNG.standard_normal(())
    mask = twice > -1 if kind == "bool" else np.where(twice > 2, -np.inf, twice).astype(dtype)
    if not lengths:
        return np.asarray(mask)
    return mask[..., ::2] if data.draw(st.booleans()) else mask[..., : lengths[-1]][..., ::-1]


@hypothesis.given(st.data())
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_shape_stride_and_mask(threads, data):
    draw = data.draw
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    key_heads, group = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    lengths = st.sampled_from([0, 1, 2, 5, 6, 7, 16, 33])
    operands = sample(
        draw(st.integers(0, 2)), key_heads * group, key_heads, draw(lengths), draw(lengths),
        draw(st.sampled_from([0, 1, 3, 8, 17])), draw(st.sampled_from([0, 1, 3, 8, 33])), dtype,
    )  # fmt: skip
    q, k, v, g = (lay(x, draw(st.sampled_from(LAYOUTS))) for x in operands)
    mask = draw_mask(data, (*q.shape[:3], k.shape[2]), dtype)
    rest = draw(st.booleans()), draw(st.sampled_from([0.5, 1.0, -0.3])), draw(st.sampled_from([0.0, 0.4, 1.0]))
    assert_attention(q, k, v, g, mask, *rest, draw(st.sampled_from([0, 11, 2**63 + 5, -3])))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("queries", "keys"),
    [
        (BLOCK_QUERIES, BLOCK_KEYS),
        (BLOCK_QUERIES + 1, BLOCK_KEYS + 1),
        (3 * BLOCK_QUERIES - 1, 2 * BLOCK_KEYS - 1),
        (2 * BLOCK_KEYS + 40, BLOCK_QUERIES + 7),
        (512, 512),
        (1, 700),
    ],
)
def test_more_than_one_block(threads, queries, keys, causal):
    mask = RNG.random((queries, keys)) < 0.9
    operands = sample(1, 2, 1, queries, keys, 64, 48)
    assert_attention(*operands, None, causal, 0.125, 0.0, 0)
    assert_attention(*operands, mask, causal, 0.125, 0.2, 7)


def test_a_part_for_each_key_head(threads):
    """As many key heads as there are parts: no sums over parts remain."""
    assert_attention(*sample(PARTS, 1, 1, 200, 64, 16, 16), None, True, 0.25, 0.0, 0)


def test_threads_and_repetition_give_the_same_bits(monkeypatch):
    for shape in ((1, 2, 1, 500, 300, 20, 24), (5, 3, 3, 40, 30, 16, 16)):
        q, k, v, g = sample(*shape)
        mask = RNG.standard_normal(shape[3:5]).astype(np.float32)
        results = []
        for count in (1, 2, 2):
            for module in MODULES:
                monkeypatch.setattr(module, "threads_for", lambda work, least, count=count: count)
            arguments = (mask, True, 0.25, 0.1, 3)
            out, logsumexp = attention(q, k, v, *arguments)
            results.append((out, logsumexp, *attention_grad(g, q, k, v, out, logsumexp, *arguments, False)[:3]))
        for other in results[1:]:
            for a, b in zip(results[0], other):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("operand", range(4))
def test_values_that_are_not_finite(threads, operand, value, causal):
    operands = sample(1, 2, 1, 200, 310, 8, 8)
    operands[operand][0, 0, 150, 3] = value
    assert_attention(*operands, None, causal, 0.3, 0.0, 0)
    assert_attention(*operands, RNG.random((200, 310)) < 0.9, causal, 0.3, 0.2, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mask_that_is_not_finite(threads, value):
    operands = sample(1, 2, 1, 20, 31, 8, 8)
    mask = RNG.standard_normal((20, 31)).astype(np.float32)
    mask[5, 7] = value
    assert_attention(*operands, mask, False, 0.3, 0.0, 0)
    mask[:, 7] = -np.inf
    assert_attention(*operands, mask, True, 0.3, 0.0, 0)


@pytest.mark.parametrize("nothing", [np.zeros((7, 9), bool), np.full((1, 9), -np.inf, np.float32)])
def test_rows_that_attend_to_nothing_are_zero(threads, nothing):
    q, k, v, g = sample()
    out, logsumexp = attention(q, k, v, nothing, False, 0.5, 0.0, 0)
    assert not out.any()
    assert (logsumexp == -np.inf).all()
    gradients = attention_grad(g, q, k, v, out, logsumexp, nothing, False, 0.5, 0.0, 0, False)
    assert not any(gradient.any() for gradient in gradients[:3])


@pytest.mark.parametrize("offset", [-1e9, 1e4, 3 * LARGE])
def test_probabilities_sum_to_one_where_the_logsumexp_was_rounded(threads, offset):
    q, k, v, g = sample(1, 2, 2, 100, 300, 4, 4)
    mask = np.full((100, 300), offset, np.float32)
    mask[3] = 0  # beside rows that are not so large
    out, logsumexp = attention(q, k, v, mask, False, 0.5, 0.0, 0)
    ones = np.ones_like(g)
    dv = attention_grad(ones, q, k, v, out, logsumexp, mask, False, 0.5, 0.0, 0, False)[2]
    np.testing.assert_allclose(dv.sum(2), 100, rtol=1e-5)  # each of 100 rows of probabilities adds 1
    wanted = reference.attention_grad(g, q, k, v, out, logsumexp, mask, False, 0.5, 0.0, 0, False)
    mine = attention_grad(g, q, k, v, out, logsumexp, mask, False, 0.5, 0.0, 0, False)
    for a, b in zip(mine[:3], wanted):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_inputs_are_only_read_and_results_own_their_memory():
    operands = sample()
    before = [x.copy() for x in operands]
    for x in operands:
        x.flags.writeable = False
    q, k, v, g = operands
    out, logsumexp = attention(q, k, v, None, True, 0.5, 0.3, 1)
    results = [out, logsumexp, *attention_grad(g, q, k, v, out, logsumexp, None, True, 0.5, 0.3, 1, False)[:3]]
    for x, kept in zip(operands, before):
        np.testing.assert_array_equal(x, kept)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(results) for b in [*operands, *results[:i]])


def test_broadcast_and_strided_gradients():
    q, k, v, g = sample()
    out, logsumexp = attention(q, k, v, None, False, 0.5, 0.0, 0)
    for upper in (np.broadcast_to(np.float32(2), g.shape), lay(g, "columns")):
        mine, wanted = (f(upper, q, k, v, out, logsumexp, None, False, 0.5, 0.0, 0, False)
                        for f in (attention_grad, reference.attention_grad))  # fmt: skip
        for a, b in zip(mine[:3], wanted):
            np.testing.assert_allclose(a, b, rtol=0, atol=5e-6 * np.abs(b).max())


def test_what_has_no_kernel_is_the_references():
    q, k, v, g = sample()
    mask = RNG.standard_normal((7, 9))  # of another dtype
    arguments = (mask, False, 0.5, 0.0, 0)
    wanted = reference.attention(q, k, v, *arguments)
    for a, b in zip(attention(q, k, v, *arguments), wanted):
        np.testing.assert_array_equal(a, b)
    mask = mask.astype(np.float32)
    asked = attention_grad(g, q, k, v, *wanted, mask, False, 0.5, 0.0, 0, True)
    for a, b in zip(asked, reference.attention_grad(g, q, k, v, *wanted, mask, False, 0.5, 0.0, 0, True)):
        np.testing.assert_array_equal(a, b)


def test_through_the_op():
    q, k, v, g = sample(1, 3, 3, 20, 20, 8, 8)
    gradients = []
    for kernels in ("cpu", "reference"):
        with tn.use_kernels(kernels):
            leaves = [tn.tensor(x, requires_grad=True) for x in (q, k, v)]
            (tn.scaled_dot_product_attention(*leaves, is_causal=True) * g).sum().backward()
            gradients.append([leaf.grad.data for leaf in leaves])
    for a, b in zip(*gradients):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


ISA = """
import numpy as np
from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.attention import attention
from tinygrad_notes.kernels.cpu.attention_grad import attention_grad
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
rng = np.random.default_rng(0)
q, k, v, g = (rng.standard_normal((1, 1, 150, 20)).astype(np.float32) for _ in range(4))
mask = rng.random((150, 150)) < 0.9
for causal in (False, True):
    rest = mask, causal, 0.3, 0.2, 1
    mine, wanted = attention(q, k, v, *rest), reference.attention(q, k, v, *rest)
    mine += attention_grad(g, q, k, v, *mine, *rest, False)[:3]
    wanted += reference.attention_grad(g, q, k, v, *wanted, *rest, False)[:3]
    for a, b in zip(mine, wanted):
        assert np.abs(a - b).max() <= 5e-6 * np.abs(b).max()
print(MACHINE.isa, MACHINE.vector_bytes)
"""


def test_the_other_instruction_set():
    """A process of its own, with one thread: code that was compiled does not change."""
    environment = {**os.environ, "TINYGRAD_NOTES_ISA": "avx512", "NUMBA_NUM_THREADS": "1"}
    got = subprocess.run([sys.executable, "-c", ISA], env=environment, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert got.stdout.split() == ["avx512", "64"]
