"""Dropout's CUDA kernels: the very elements that the reference drops."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tests.kernels.operands import normal
from tinygrad_notes.kernels import cuda, reference

SHAPES = [(), (1,), (7,), (0,), (3, 0), (5, 13), (2, 3, 300)]


def check(x, p, seed) -> None:
    before = x.copy()
    for function in ("dropout", "dropout_mask"):
        got, wanted = (getattr(k, function)(x, p, seed) for k in (cuda, reference))
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_array_equal(got, wanted)
        assert not np.shares_memory(got, x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_references_bits(order, shape, dtype):
    for p, seed in [(0.0, 0), (0.1, -5), (0.5, 2**64 - 1), (1 - 2**-24, 2**200), (1.0, 1)]:
        check(np.array(normal(*shape), dtype), p, seed)


def test_strides_views_and_what_is_not_finite(order):
    wide = normal(6, 70)
    wide[:, ::5], wide[:, 1::5], wide[:, 2::5] = np.nan, np.inf, -np.inf
    for x in (wide[:, ::-2], wide.T, np.broadcast_to(wide[:1], (3, 70)), wide.reshape(-1)[1:], wide.astype(np.float16)):
        check(x, 0.4, 3)
    assert set(stand_in.launches) == {"dropout<float>", "dropout_mask<4>"}


@pytest.mark.parametrize(
    ("file", "replace", "by"),
    [
        ("dropout.cu", "z >> 40 >= least", "z >> 40 > least"),
        ("dropout.cu", "(static_cast<unsigned long long>(i) + 1)", "static_cast<unsigned long long>(i)"),
        ("dropout.cu", "if (i + N <= n)", "if (i + N <= n + 1)"),
        ("dropout.cu", "kept(seed, i + j, least) ? pack", "kept(seed, i, least) ? pack"),
        ("packs.cuh", "if (aligned && count >= PACK<T>) {", "if (aligned) {"),
        ("packs.cuh", "if (j < count) address[j] =", "if (j < count - 1) address[j] ="),
    ],
)
def test_a_fault_is_caught(file, replace, by):
    def compare() -> None:
        check(normal(7), 0.25, 3)
        z = 6457827717110365317 >> 40  # of the first element with seed 1234567: just kept
        check(normal(1), z / 2**24, 1234567)

    assert_caught(compare, file, replace, by)
