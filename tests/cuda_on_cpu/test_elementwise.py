"""Elementwise CUDA kernels against the reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tests.kernels.operands import normal
from tests.kernels.test_cpu_elementwise import GRADS, LAYOUTS, UNARY, assert_close
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda.launch import FOLDER

SHAPES = [(), (1,), (0,), (3, 0), (7,), (5, 13), (2, 3, 70)]
EVERY = {**UNARY, **GRADS}


def values(kernels: Any, name: str, g: Any, x: Any) -> Any:
    return GRADS[name](kernels, g, x) if name in GRADS else UNARY[name](kernels, x)


def check(name: str, g: Any, x: Any) -> None:
    before = x.copy(), g.copy()
    got = values(cuda, name, g, x)
    wanted = np.asarray(values(reference, name, g.astype(float), x.astype(float)))
    assert_close(got, wanted, x.dtype, np.max(np.abs(g), initial=1e-30))
    assert not np.shares_memory(got, x)
    assert not np.shares_memory(got, g)
    np.testing.assert_array_equal((x, g), before)
    np.testing.assert_array_equal(got, values(cuda, name, g, x))  # twice the same bits


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kernel(order, name, dtype):
    for shape in SHAPES:
        check(name, np.array(normal(*shape), dtype), np.array(3 * normal(*shape), dtype))
    assert len(stand_in.launches) == 10  # two for each shape that is not empty


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(order, layout):
    x, g = LAYOUTS[layout](3 * normal(5, 33)), LAYOUTS["reversed"](normal(5, 33))
    for name in ("silu", "gelu_grad"):
        check(name, g, x)
        check(name, x, x)
        check(name, g[1:, 1:], x[1:, 1:])


def test_arrays_that_begin_anywhere(order):
    x, g = normal(41), normal(40)
    for name in ("exp", "silu_grad"):
        check(name, g, x[1:])  # no multiple of 16 bytes
        check(name, g[1:], x[1:40])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_of_the_range(order, name, dtype):
    largest = np.finfo(dtype).max
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, largest, -largest, 50, -50, 95, -95, 6, -6], dtype)
    with np.errstate(all="ignore"):
        wanted = values(reference, name, np.full_like(x, 2), x)
        np.testing.assert_allclose(values(cuda, name, np.full_like(x, 2), x), wanted, rtol=1e-6, atol=1e-37)


def test_erf_is_within_1e_15():
    x = np.concatenate([np.linspace(-6, 6, 601), np.geomspace(1e-300, 6, 100)])
    x = x[x != 0]
    assert np.max(np.abs(cuda.erf(x) / reference.erf(x) - 1)) < 2e-15  # each of them is within 1e-15


def test_other_dtypes_are_the_references():
    half = np.linspace(-3, 3, 50).astype(np.float16)
    np.testing.assert_array_equal(cuda.silu(half), reference.silu(half))
    np.testing.assert_array_equal(
        cuda.gelu_grad(np.ones(50), half, "tanh"), reference.gelu_grad(np.ones(50), half, "tanh")
    )
    swapped = np.linspace(-3, 3, 50).astype(">f4")
    np.testing.assert_allclose(cuda.gelu(swapped, "none"), reference.gelu(swapped, "none"), rtol=1e-6)
    assert not stand_in.launches


@pytest.mark.parametrize(
    ("replace", "by"),
    [
        ("of = x < 0 ? smaller", "of = x > 0 ? smaller"),
        (
            "if (i >= n) return;\n    Pack<T, PACK<T>> pack = load_some(x + i, n - i, aligned);\n#",
            "Pack<T, PACK<T>> pack = load_some(x + i, 8, aligned);\n#",
        ),
        ("x < -end ? -end : x > end", "!(x >= -end) ? -end : x > end"),
        ("store_some(y + i, pack, n - i, aligned)", "store_some(y + i, pack, n - i - 1, aligned)"),
        ("const bool aligned = aligned_16(g) && aligned_16(x)", "const bool aligned = aligned_16(g)"),
    ],
)
def test_a_fault_is_caught(replace, by):
    def compare() -> None:
        test_arrays_that_begin_anywhere("")
        with np.errstate(all="ignore"):
            for name in ("sigmoid", "gelu_grad tanh"):
                x, g = np.array([np.nan, 2, -3, np.inf], np.float32), np.ones(4, np.float32)
                np.testing.assert_allclose(values(cuda, name, g, x), values(reference, name, g, x), rtol=1e-6)

    file = next(name for name in ("elementwise.cu", "elementwise.cuh") if replace in (FOLDER / name).read_text())
    assert_caught(compare, file, replace, by)
