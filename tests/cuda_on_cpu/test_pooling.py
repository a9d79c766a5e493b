"""Pooling's CUDA kernels against the reference."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tests.kernels.test_cpu_pooling import assert_near, assert_same
from tests.kernels.test_pooling import CASES
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda import launch

pooling = sys.modules["tinygrad_notes.kernels.cuda.pooling"]
RNG = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
# Large windows, which a warp has.
MORE = {
    "large windows": ((13, 11), (7, 6), (3, 5), (3, 2), (1, 1), True),
    "large windows, dilated": ((4, 9, 10), (2, 4, 5), (1, 2, 1), (0, 0, 0), (2, 2, 2), False),
    "a long sequence": ((300,), (40,), (13,), (20,), (1,), True),
}
ADAPTIVE = [((6, 8), (3, 4)), ((7, 5), (3, 2)), ((15, 14), (1, 1)), ((2, 3), (5, 3)), ((70,), (2,)), ((71,), (2,)),
            ((3,), (5,)), ((3, 5, 4), (2, 3, 4))]  # fmt: skip


def values(shape: Any, dtype: Any, kind: str) -> Any:
    x = RNG.standard_normal(shape).astype(dtype)
    if kind == "ties":
        return np.round(x)
    if kind == "not finite":
        x[RNG.random(shape) < 0.2] = np.nan
        x[RNG.random(shape) < 0.2] = np.inf
    if kind == "-inf":
        x[...] = -np.inf
    return x


def check_max(x: Any, *geometry: Any) -> None:
    function = "max_pool" if len(geometry) > 1 else "adaptive_max_pool"
    before = x.copy()
    y, indices = getattr(cuda, function)(x, *geometry)
    assert_same((y, indices), getattr(reference, function)(x, *geometry))
    assert_same(getattr(cuda, function)(x, *geometry), (y, indices))  # twice the same bits
    assert_same([cuda.max_pool_gather(x, indices), x], [y, before])
    g = RNG.standard_normal(y.shape).astype(x.dtype)[:, :, ::-1]
    turned = indices[:, :, ::-1]
    assert_same([cuda.max_pool_grad(g, turned, x.shape[2:])], [reference.max_pool_grad(g, turned, x.shape[2:])])


def check_avg(x: Any, *geometry: Any) -> None:
    function = "avg_pool" if len(geometry) > 1 else "adaptive_avg_pool"
    with np.errstate(all="ignore"):
        wanted = getattr(reference, function)(x, *geometry)
    y = getattr(cuda, function)(x, *geometry)
    assert_near(y, wanted)
    g = RNG.standard_normal(y.shape).astype(x.dtype)[:, :, ::-1]
    arguments = (x.shape[2:], *geometry) if len(geometry) > 1 else (x.shape[2:],)
    slopes = getattr(cuda, f"{function}_grad")(g, *arguments)
    assert_near(slopes, getattr(reference, f"{function}_grad")(g, *arguments))
    assert_same([getattr(cuda, function)(x, *geometry), getattr(cuda, f"{function}_grad")(g, *arguments)], [y, slopes])


@pytest.mark.parametrize("case", [*CASES.values(), *MORE.values()], ids=[*CASES, *MORE])
def test_windows(order, case):
    size, kernel, stride, padding, dilation, ceil_mode = case
    for dtype, kind in ((np.float32, "ties"), (np.float64, "not finite")):
        check_max(values((2, 3, *size), dtype, kind), kernel, stride, padding, dilation, ceil_mode)
        for include_pad in (False, True) if max(dilation) == 1 else ():
            x = values((2, 3, *size), dtype, "plain")
            check_avg(x, kernel, stride, padding, ceil_mode, include_pad)
    assert len(set(stand_in.launches)) >= 3


@pytest.mark.parametrize(("size", "output"), ADAPTIVE)
def test_adaptive(order, size, output):
    for dtype, kind in ((np.float32, "ties"), (np.float64, "not finite"), (np.float32, "-inf")):
        check_max(values((2, 3, *size), dtype, kind), output)
        check_avg(values((2, 3, *size), dtype, "plain"), output)
    with np.errstate(all="ignore"):
        x = values((2, 3, *size), np.float32, "not finite")
        assert_near(cuda.adaptive_avg_pool(x, output), reference.adaptive_avg_pool(x, output))


@DTYPES
@pytest.mark.parametrize("planes", [(1, 1), (1, 7), (40, 15)])
def test_gradients_of_bands_of_a_plane_and_of_many_planes(order, monkeypatch, dtype, planes):
    """A block has a band of a plane, or some planes."""
    size, cells = ((17, 19), 100) if planes == (1, 1) else ((2, 3), 6144)
    monkeypatch.setattr(pooling, "CELLS", cells)
    monkeypatch.setattr(pooling, "MULTIPROCESSORS", 1)
    check_max(values((*planes, *size), dtype, "ties"), (2, 2), (1, 1), (0, 0), (1, 1), False)
    x = values((*planes, *size), dtype, "-inf")
    indices = np.full((*planes, 5, 7), 4, np.int64)  # all meet in one cell
    g = RNG.standard_normal(indices.shape).astype(dtype)
    assert_same([cuda.max_pool_grad(g, indices, size)], [reference.max_pool_grad(g, indices, size)])
    assert_same([cuda.max_pool_gather(x, indices)], [reference.max_pool_gather(x, indices)])


def test_layouts_empty_and_other_dtypes(order):
    wide = RNG.standard_normal((2, 6, 3, 12)).astype(np.float32)
    for x in (wide[::-1, :, :, ::-2].swapaxes(1, 2), wide[:0], np.broadcast_to(wide[:1], (3, 6, 3, 12)), wide[:, :0]):
        check_max(x, (2, 2), (2, 2), (1, 1), (1, 1), False)
        check_max(x, (2, 5))
        check_avg(x, (2, 2), (2, 2), (1, 1), True, False)
        check_avg(x, (2, 5))
    launched = len(stand_in.launches)
    for x in (wide.astype(np.int64), wide.astype(np.float16)):
        assert_same(cuda.adaptive_max_pool(x, (2, 2)), reference.adaptive_max_pool(x, (2, 2)))
        assert_same([cuda.adaptive_avg_pool(x, (2, 2))], [reference.adaptive_avg_pool(x, (2, 2))])
    assert len(stand_in.launches) == launched


def test_the_mean_of_a_large_plane():
    x = RNG.random((1, 2, 100, 90), dtype=np.float32) + 100
    exact = x.astype(np.float64).mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(cuda.adaptive_avg_pool(x, (1, 1)), exact, rtol=1e-7)


def test_the_magic_of_division():
    numbers = np.concatenate([np.arange(300), 2**31 - 1 - np.arange(300), RNG.integers(0, 2**31, 300)])
    for n in (*range(1, 70), 641, 2**15, 2**16 - 1, 2**20 + 7, 2**30, 2**30 + 1, 2**31 - 1):
        multiples = np.clip(np.concatenate([numbers, numbers // n * n, numbers // n * n - 1]), 0, 2**31 - 1)
        same, magic, shift = launch.divisor(n)
        assert (same, magic < 2**32) == (n, True)
        found = [((int(i) * magic >> 32) + int(i)) >> shift for i in multiples]
        assert found == (multiples // n).tolist()


@pytest.mark.parametrize(
    ("replace", "by"),
    [
        ("while (__syncthreads_or(waiting)) {", "for (int round = 0; round < 4; ++round) {"),
        ("__syncthreads();  // the first of each cell is known", ""),
        ("if (waiting) atomicMin(owner + cell, i);", "if (waiting) owner[cell] = i;"),
        ("% bands) * cells_of_block", "% bands) * (cells_of_block - 1)"),
        ("same ? other_place < place", "same ? other_place > place"),
        ("while (begin < 0) begin += step;", "if (begin < 0) begin = 0;"),
        ("axis.by_stride(i - axis.kernel) + 1", "axis.by_stride(i - axis.kernel)"),
        ("if (!include_pad) area = end - begin;", ""),
        ("number < all; number += 32", "number < all - 1; number += 32"),
    ],
)
def test_a_fault_is_caught(monkeypatch, replace, by):
    monkeypatch.setattr(pooling, "CELLS", 20)

    def compare() -> None:
        check_max(values((1, 2, 6, 7), np.float32, "ties"), (3, 3), (1, 1), (2, 2), (2, 2), False)
        check_max(values((1, 2, 6, 7), np.float32, "ties"), (1, 1))
        check_avg(values((1, 2, 6, 7), np.float32, "plain"), (3, 3), (2, 2), (1, 1), False, False)
        check_avg(values((1, 2, 6, 7), np.float32, "plain"), (1, 1))

    assert_caught(compare, "pooling.cu", replace, by)
