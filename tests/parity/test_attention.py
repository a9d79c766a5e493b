"""Scaled dot-product attention against PyTorch: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
LEADING = [(), (3,), (2, 3), (2, 1, 3)]


def operands(leading, length=5, source=4, size=3, value_size=2, key_leading=None):
    rng = np.random.default_rng(len(leading))
    key_leading = leading if key_leading is None else key_leading
    shapes = (*leading, length, size), (*key_leading, source, size), (*key_leading, source, value_size)
    return [rng.standard_normal(shape) for shape in shapes]


def check(parity, arrays, dtype, floor=1e-6, **options):
    def ours(*tensors):
        return tn.scaled_dot_product_attention(*tensors, **options)

    def theirs(*tensors):
        return F.scaled_dot_product_attention(*tensors, **options)

    parity.check(ours, theirs, *arrays, dtype=dtype, floor=floor)


@DTYPES
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.4}], ids=["plain", "causal", "scale"])
@pytest.mark.parametrize("source", [1, 4, 7])
def test_plain(parity, dtype, leading, options, source):
    floor = 1.0 if source == 1 else 1e-6  # one key: the gradients of query and key are rounding around 0
    check(parity, operands(leading, source=source), dtype, floor, **options)


@DTYPES
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("kind", ["bool", "float", "dead row"])
@pytest.mark.parametrize("shape", ["full", "queries and keys", "first axis"])
def test_mask(parity, dtype, leading, kind, shape):
    rng = np.random.default_rng(3)
    lead = {"full": leading, "queries and keys": (), "first axis": (*leading[:1], *(1 for _ in leading[1:]))}[shape]
    mask = rng.standard_normal((*lead, 5, 4))
    if kind != "float":
        mask = mask > -0.5
        mask[..., 0] = True
    if kind == "dead row":
        mask[..., 2, :] = False
    check(parity, [*operands(leading), mask], dtype)


@DTYPES
@pytest.mark.parametrize("heads", [(4, 2), (6, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("causal", [False, True])
def test_grouped_heads(parity, dtype, heads, causal):
    arrays = operands((2, heads[0]), key_leading=(2, heads[1]))
    check(parity, arrays, dtype, is_causal=causal, enable_gqa=True)
