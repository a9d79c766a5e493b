"""The CUDA kernels of the normalisations against the reference, in every order of threads the same bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tests.kernels.operands import assert_close, normal
from tests.kernels.test_cpu_normalization import EPS, everything, wide
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda import normalization

# (kind, shape of x, axes or groups): warps that hold 8 or 32 elements a lane, blocks; pieces of 1, 32 and 256 threads;
# rows and planes that are whole packs, and others.
CASES = [
    ("layer", (1, 1), 1),
    ("layer", (9, 2, 60), 2),
    ("layer", (10, 300), 1),
    ("layer", (4, 1031), 1),
    ("rms", (9, 5), 1),
    ("rms", (9, 257), 1),
    ("rms", (3, 1028), 1),
    ("batch", (1, 1), 0),
    ("batch", (70, 3), 0),
    ("batch", (3, 2, 4, 15), 0),
    ("batch", (3, 2, 5, 7), 0),
    ("batch", (2, 1, 1028), 0),
    ("group", (3, 4), 2),
    ("group", (2, 6, 4), 3),
    ("group", (2, 6, 35), 2),
    ("group", (1, 2, 2, 1031), 1),
]


def operands(kind: str, shape: tuple[int, ...], count: int, dtype: Any = np.float32) -> list[Any]:
    """x, g, weight and bias, which nobody may write."""
    channels = shape[1:2] if kind in ("batch", "group") else shape[len(shape) - count :]
    arrays = [normal(*size, dtype=dtype) for size in (shape, shape, channels, channels)]
    for array in arrays:
        array.flags.writeable = False
    return arrays


def in_every_order(kind: str, arrays: list[Any], count: int) -> tuple[Any, ...]:
    """All results of a normalisation and its gradient, whose bits no order of threads may change."""
    found = []
    arguments = [*arrays, count]
    for order in stand_in.ORDERS:
        stand_in.settings["order"] = order
        found.append(everything(cuda, kind, *arguments))
    for results in zip(*found, strict=True):
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other)
    return found[0]


def check(kind: str, arrays: list[Any], count: int) -> None:
    got = in_every_order(kind, arrays, count)
    x = arrays[0]
    statistics = wide(*got[1:2] if kind == "rms" else got[1:3])
    arguments = [*wide(*arrays), count, statistics]
    exact = everything(reference, kind, *arguments)
    rstd = float(np.max(got[1 if kind == "rms" else 2], initial=1.0))  # numbers that lie close are spread as much
    for mine, wanted in zip(got, exact, strict=True):
        assert_close(mine, wanted, x, rstd * math.sqrt(x.size / max(mine.size, 1)))  # sums of as many may cancel


@pytest.mark.parametrize(("kind", "shape", "count"), CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_the_reference(kind, shape, count, dtype):
    check(kind, operands(kind, shape, count, dtype), count)
    family = "row_norm" if kind in ("layer", "rms") else "plane_sums"
    assert any(name.startswith(f"{family}_grad") for name in stand_in.launches)


@pytest.mark.parametrize(("kind", "shape", "count"), [CASES[i] for i in (2, 3, 6, 8, 9, 11, 14)])
def test_a_block_with_several_rows_or_images(kind, shape, count, monkeypatch):
    monkeypatch.setattr(normalization, "PARTS", dict.fromkeys(normalization.PARTS, 1))
    monkeypatch.setattr(normalization, "PIECES", dict.fromkeys(normalization.PIECES, 1))
    monkeypatch.setattr(normalization, "SHARED", 0)
    check(kind, operands(kind, shape, count), count)


@pytest.mark.parametrize(("kind", "shape", "count"), [("batch", (2, 1, 2056), 0), ("group", (2, 2, 3, 1031), 1)])
def test_a_plane_of_several_pieces(kind, shape, count, monkeypatch):
    monkeypatch.setattr(normalization, "PIECE_PACKS", 1)
    check(kind, operands(kind, shape, count), count)


@pytest.mark.parametrize(("kind", "shape", "count"), [CASES[i] for i in (1, 6, 9, 13)])
def test_any_stride_and_no_weight(kind, shape, count):
    x, g, weight, _ = operands(kind, shape, count)
    check(kind, [x[::-1], np.broadcast_to(g[:1], g.shape), None, None], count)
    odd = np.empty(x.size + 1, np.float32)[1:].reshape(x.shape)  # begins at 4 bytes past a multiple of 16
    odd[...] = x
    check(kind, [odd, np.moveaxis(np.ascontiguousarray(np.moveaxis(g, 0, -1)), -1, 0), weight[::-1], None], count)


@pytest.mark.parametrize("kind", ["layer", "rms", "batch", "group"])
@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 4, 0), (2, 0, 3)])
def test_nothing(kind, shape):
    x = np.ones(shape, np.float32)
    results = [everything(kernels, kind, x, x, None, None, 1) for kernels in (cuda, reference)]
    for mine, wanted in zip(*results, strict=True):
        assert mine.shape == wanted.shape
        np.testing.assert_array_equal(mine, wanted)


FEW = [CASES[i] for i in (1, 3, 5, 6, 8, 9, 11, 14)]


@pytest.mark.parametrize(("kind", "shape", "count"), FEW)
def test_values_that_are_not_finite_stay_with_their_own(kind, shape, count):
    x, g = normal(*shape), normal(*shape)
    x[(0,) * len(shape)], x[(1 % shape[0], -1, *(0,) * (len(shape) - 2))] = np.nan, np.inf
    with np.errstate(all="ignore"):
        wanted = everything(reference, kind, x, g, None, None, count)
    for mine, theirs in zip(everything(cuda, kind, x, g, None, None, count), wanted, strict=True):
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
        finite = np.isfinite(theirs)
        np.testing.assert_allclose(mine[finite], theirs[finite], rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(mine[~finite], theirs[~finite])


@pytest.mark.parametrize(("kind", "shape", "count"), [case for case in FEW if case[0] != "rms"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_large_mean_costs_no_accuracy(kind, shape, count, dtype):
    """Mean 1000, deviation 1, and a first value far from both; and all values equal and large."""
    unit = float(np.finfo(dtype).eps)
    x = normal(*shape, dtype=dtype) + dtype(1000)
    x[0, 0, ...] = 0
    got = everything(cuda, kind, x, x, None, None, count)
    exact = everything(reference, kind, *wide(x, x), None, None, count)
    assert np.max(np.abs(got[0] - exact[0])) <= 1000 * 1e-15 + 5 * unit * np.max(np.abs(exact[0]))
    np.testing.assert_allclose(got[1], exact[1], rtol=(1 if dtype == np.float32 else 4) * unit)
    np.testing.assert_allclose(got[2], exact[2], rtol=5 * unit)
    if dtype == np.float64:
        return
    x = np.full(shape, 2e38, dtype)
    y, mean, rstd, *_ = everything(cuda, kind, x, x, None, None, count)
    np.testing.assert_array_equal(mean, np.full(mean.shape, dtype(2e38)))
    np.testing.assert_array_equal(y, np.zeros(shape))
    np.testing.assert_allclose(rstd, EPS**-0.5, rtol=1e-6)


@pytest.mark.parametrize("kind", ["layer", "rms", "batch", "group"])
def test_mixed_dtypes_are_the_references(kind):
    x, weight = normal(4, 6, 3), normal(6 if kind in ("batch", "group") else 3, dtype=np.float64)
    results = [everything(kernels, kind, x, x, weight, weight, 1) for kernels in (cuda, reference)]
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype


def test_infinite_weights():
    x, weight, bias = normal(5, 6, 3), normal(6), normal(6)
    weight[1], weight[4] = np.inf, -np.inf
    for name, *rest in [("batch_norm", EPS), ("group_norm", EPS, 2)]:
        got = getattr(cuda, name)(x, weight, bias, *rest)[0]
        np.testing.assert_allclose(got, getattr(reference, name)(x, weight, bias, *rest)[0], rtol=1e-4, atol=1e-5)


BARRIER, EARLIER = "    __syncthreads();\n", "    __syncthreads();  // what an earlier call left there has been read\n"
FILE = "normalization.cu"
FAULTS = [  # (case, whether the gradient shows it, file, text, its replacement)
    (2, True, FILE, "        __syncthreads();\n    }\n    for (int column", "    }\n    for (int column"),
    (2, True, FILE, "dweight[i] : sums[column] + dweight[i];", "dweight[i] : dweight[i];"),
    (2, True, FILE, "(lane + 32 * (i / PACK)) * PACK + i % PACK", "lane * PACK + 32 * (i / PACK) + i % PACK"),
    (3, True, "sums.cuh", BARRIER + "    a = of_warps", "    a = of_warps"),
    (3, True, "sums.cuh", EARLIER, ""),
    (3, True, FILE, "if (row != blockIdx.x)", "if (row != 0)"),
    (3, True, FILE, "    sums[warp][lane] = sum;\n    __syncthreads();\n", "    sums[warp][lane] = sum;\n"),
    (10, False, FILE, "piece.begin + chunk : inner;", "piece.begin + chunk : inner - 1;"),
    (11, False, FILE, "if (THREADS > 32) block_sums(a, b);", "if (THREADS > 32) warp_sums(a, b);"),
    (14, True, FILE, "begin + i % members * step", "begin + i % members"),
    (14, False, FILE, "layout.per_statistic.quotient(place.plane)", "place.plane"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "grad", "file", "replace", "by"), FAULTS)
def test_a_planted_fault_is_caught(case, grad, file, replace, by, monkeypatch):
    kind, shape, count = CASES[case]
    parts = dict.fromkeys(normalization.PARTS, 1 if case == 2 else 2)
    monkeypatch.setattr(normalization, "PARTS", parts)  # more than one row for a block
    arrays = operands(kind, shape, count)
    x, g, weight, bias = arrays
    rest = () if kind == "batch" else (count,)
    values = getattr(reference, f"{kind}_norm")(x, weight, bias, EPS, *rest)
    arguments = [*wide(*arrays), count, wide(*values[1:3])]
    wanted = everything(reference, kind, *arguments)
    wanted = wanted[len(values) :] if grad else wanted[: len(values)]

    def right() -> bool:
        if grad:
            got = getattr(cuda, f"{kind}_norm_grad")(g, x, weight, *values[1:3], *rest)
        else:
            got = getattr(cuda, f"{kind}_norm")(x, weight, bias, EPS, *rest)
        return all(np.allclose(a, b, 1e-4, 1e-4) for a, b in zip(got, wanted, strict=True))

    assert_caught(right, file, replace, by)
