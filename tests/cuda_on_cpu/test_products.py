"""Matrix products against float64: every kernel of gemm.cu, how products.py chooses one, and faults that are caught."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught, faulty, right_in_every_order
from tinygrad_notes.kernels import precision, reference
from tinygrad_notes.kernels.cuda import products
from tinygrad_notes.kernels.cuda.products import LARGE, LITTLE, linear, matmul, plan

RNG = np.random.default_rng(0)
LARGEST = float(np.finfo(np.float32).max)
BOUNDS = {"highest": 1e-6, "high": 2e-3, "medium": 2e-3}  # of the largest error, over the largest result


@pytest.fixture
def who(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``who("tensor")`` computes everything so, however small it is; other tables may be set with it."""

    def choose(name: str, **tables: Any) -> None:
        monkeypatch.setattr(products, "WHO", dict.fromkeys(products.WHO, name))
        for table, value in {"SMALL": 0, "THIN": 0, **tables}.items():
            monkeypatch.setattr(products, table, value)

    return choose


@pytest.fixture
def little(who: Any) -> None:
    who("tensor", SHAPES={3: (LITTLE,), 1: products.SHAPES[1]})


def normal(*shape: int, transposed: bool = False, dtype: Any = np.float32) -> Any:
    if transposed:
        return normal(*shape[:-2], shape[-1], shape[-2], dtype=dtype).swapaxes(-1, -2)
    return RNG.standard_normal(shape).astype(dtype)


def error(y: Any, a: Any, b: Any, bias: Any = 0) -> float:
    """The largest error, over the largest result."""
    wanted = np.matmul(a.astype(float), b.astype(float)) + bias
    assert y.shape == wanted.shape
    assert y.dtype == a.dtype
    return float(np.abs(y - wanted).max(initial=0) / np.abs(wanted).max(initial=1e-30))


def launched(*parts: str) -> bool:
    """Whether one kernel ran since the last question, with all these parts in its name."""
    names = list(stand_in.launches)
    stand_in.launches.clear()
    return len(names) == 1 and all(part in names[0] for part in parts)


LAYOUTS = list(itertools.product([False, True], repeat=2))


@pytest.mark.parametrize(("of_a", "of_b"), LAYOUTS)
@pytest.mark.parametrize("choice", BOUNDS)
def test_large_tiles(who, order, choice, of_a, of_b):
    products_ = 3 if choice == "highest" else 1
    who("tensor", SHAPES={products_: products.SHAPES[products_][:1]})
    a, b = normal(132, 44, transposed=of_a), normal(44, 120, transposed=of_b)
    with precision(choice):
        y = matmul(a, b)
    assert launched("gemm<128, 128", f"{products_}, {str(not of_a).lower()}, {str(of_b).lower()}, 4>")
    assert error(y, a, b) < BOUNDS[choice]


@pytest.mark.parametrize(("of_a", "of_b"), LAYOUTS)
@pytest.mark.parametrize("size", [(64, 68, 100), (67, 9, 37), (1, 1, 1), (5, 66, 33)])
def test_little_tiles(little, order, size, of_a, of_b):
    m, n, k = size
    a, b = normal(m, k, transposed=of_a), normal(k, n, transposed=of_b)
    y = matmul(a, b)
    assert launched("gemm<64, 64", "4>" if size == (64, 68, 100) else "1>")
    assert error(y, a, b) < BOUNDS["highest"]
    np.testing.assert_array_equal(y, matmul(a, b))


def test_every_tile_is_computed_once(who):
    """Tiles run in groups of eight rows, and more than one group and one batch."""
    who("tensor", SHAPES={3: (LITTLE,)})
    a, b = normal(2, 600, 5), normal(2, 5, 70)
    assert error(matmul(a, b), a, b) < BOUNDS["highest"]
    who("plain")
    assert error(matmul(a, b), a, b) < BOUNDS["highest"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("of_a", "of_b"), LAYOUTS)
def test_plain_tiles(who, order, dtype, of_a, of_b):
    who("plain")
    a, b = normal(2, 67, 37, transposed=of_a, dtype=dtype), normal(37, 65, transposed=of_b, dtype=dtype)
    bias = normal(65, dtype=dtype)
    y = matmul(a, b)
    assert launched("gemm_plain<float" if dtype == np.float32 else "gemm_plain<double")
    assert error(y, a, b) < (BOUNDS["highest"] if dtype == np.float32 else 1e-14)
    y = linear(a, b.T, bias)
    assert launched("gemm_plain<float" if dtype == np.float32 else "gemm_plain<double")
    assert error(y, a, b, bias.astype(float)) < (BOUNDS["highest"] if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("positive", [False, True])
def test_a_long_sum_is_as_exact_as_float32(little, positive):
    """Of positive numbers every step of a tensor core loses in the same direction."""
    a, b = normal(8, 1000), normal(1000, 8)
    if positive:
        a, b = np.abs(a), np.abs(b)
    assert error(matmul(a, b), a, b) < BOUNDS["highest"]
    one_sum = "total[i][j][e] += piece[i][j][e], piece[i][j][e] = 0;", "total[i][j][e] = piece[i][j][e];"
    with faulty("gemm.cu", *one_sum):
        assert not positive or error(matmul(a, b), a, b) > 2e-6


@pytest.mark.parametrize("with_bias", [False, True])
def test_parts_of_k_are_added_up(who, order, with_bias):
    who("tensor", SHAPES={3: (LITTLE,)}, PART=64)
    x, weight, bias = normal(2, 6, 200), normal(70, 200), normal(70) if with_bias else None
    y = linear(x, weight, bias)
    assert stand_in.launches == ["gemm<64, 64, 32, 32, 3, 3, true, true, 4>", "gemm_sum<float>"]
    assert error(y, x, weight.T, bias if with_bias else 0) < BOUNDS["highest"]
    a, b = normal(2, 3, 200), normal(2, 200, 5)
    assert error(matmul(a, b), a, b) < BOUNDS["highest"]


def test_bias_is_added_by_the_kernel(little, order):
    x, weight, bias = normal(3, 66), normal(65, 66), normal(130)[::2]
    y = linear(x, weight, bias)
    assert launched("gemm<")
    assert error(y, x, weight.T, bias) < BOUNDS["highest"]


# ---------------------------------------------------------------------- shapes

SHAPES = [
    ((5,), (5,)),
    ((5,), (5, 6)),
    ((4, 5), (5,)),
    ((2, 4, 5), (5,)),
    ((5,), (2, 5, 6)),
    ((2, 3, 4, 5), (5, 6)),
    ((2, 1, 4, 5), (3, 5, 6)),
    ((3, 4, 5), (2, 1, 5, 6)),
    ((2, 1, 2, 4, 5), (1, 3, 1, 5, 6)),
    ((1, 1, 4, 5), (1, 5, 6)),
    ((0, 5), (5, 6)),
    ((4, 0), (0, 6)),
    ((3, 4, 5), (5, 0)),
    ((0, 4, 5), (1, 5, 6)),
    ((2, 4, 0), (0,)),
]


@pytest.mark.parametrize("name", ["tensor", "plain", "cuBLAS"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_shapes_are_numpys(who, name, shapes):
    who(name)
    a, b = normal(*shapes[0]), normal(*shapes[1])
    y, wanted = matmul(a, b), np.matmul(a, b)
    assert np.shape(y) == wanted.shape
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
    ran = any("gemm" in launch for launch in stand_in.launches)
    assert ran == (name != "cuBLAS" and wanted.size > 0 and a.shape[-1] > 0)


@pytest.mark.parametrize("name", ["tensor", "plain", "cuBLAS"])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (0, 5), (2, 0)])
def test_linear_takes_any_leading_axes(who, name, shape):
    who(name)
    x, weight, bias = normal(*shape), normal(7, shape[-1]), normal(7)
    for given in (bias, None):
        y, wanted = linear(x, weight, given), reference.linear(x, weight, given)
        assert y.shape == wanted.shape
        np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)


def strided(name: str) -> tuple[Any, Any]:
    whole = normal(3, 140, 140)
    return {
        "rows with gaps": (whole[:, :20, :36], whole[0, :36, :24]),
        "rows with odd gaps": (whole[:, :20, :36].copy(), normal(3, 36, 31)[:, :, 3:]),
        "every other element": (whole[:, :40:2, :72:2], whole[1, :36, :48:2]),
        "backwards": (whole[0, 19::-1, :36], whole[0, :36, 23::-1]),
        "one number": (np.broadcast_to(whole[0, :1, :1], (20, 36)), whole[0, :36, :24]),
        "one row": (np.broadcast_to(whole[0, :1, :36], (20, 36)), whole[0, :36, :24].T.copy().T),
        "one matrix, often": (np.broadcast_to(whole[0, :20, :36], (2, 3, 20, 36)), normal(2, 1, 36, 24)),
        "one beside its own transpose": (whole[0], whole[0].T),
        "batches inside out": (whole.transpose(1, 0, 2)[:6, :, :36], whole.transpose(1, 2, 0)[:6, :36]),
    }[name]


@pytest.mark.parametrize("name", ["tensor", "plain", "cuBLAS"])
@pytest.mark.parametrize(
    "kind",
    ["rows with gaps", "rows with odd gaps", "every other element", "backwards", "one number", "one row",
     "one matrix, often", "one beside its own transpose", "batches inside out"],
)  # fmt: skip
def test_views_are_taken_as_they_lie(who, name, kind):
    who(name)
    a, b = strided(kind)
    before = a.copy(), b.copy()
    assert error(matmul(a, b), a, b) < BOUNDS["highest"]
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


@pytest.mark.parametrize("axes", [(2, 3), (2, 1, 3, 1)])
def test_large_tiles_of_odd_sizes_are_padded(who, axes):
    """Where memory cannot be read in packs of four, and for batch axes of which a kernel takes only two."""
    who("tensor", SHAPES={3: (LARGE,)})
    a, b = normal(*axes, 9, 37), normal(*(1 if size > 1 else 2 for size in axes), 37, 7, transposed=True)
    y = matmul(a, b)
    assert launched("gemm<128, 128", "4>")
    assert error(y, a, b) < BOUNDS["highest"]


# ---------------------------------------------------------------------- inf, NaN, and the largest floats


@pytest.mark.filterwarnings("ignore:overflow|invalid:RuntimeWarning")
@pytest.mark.parametrize("choice", BOUNDS)
@pytest.mark.parametrize("parts", [False, True])
def test_what_is_not_finite_comes_out_as_in_numpy(who, order, choice, parts):
    who("tensor", PART=32 if parts else 512)
    a, b = normal(12, 44), normal(44, 10)
    a[0, 3], a[1, 40], a[2, 5], a[2, 6], a[3, 9] = np.inf, -np.inf, np.inf, -np.inf, np.nan
    a[4, 1], a[5, 2], a[5, 3] = LARGEST, LARGEST, -LARGEST
    b[1:4], b[11, 4], b[12, 5], b[13, 6] = 0.5, np.inf, np.nan, -LARGEST / 8
    b[3, 0], a[6, 11], b[9] = 0, 0, 0
    bias = np.array([0, 1, np.inf, -np.inf, np.nan, 0, 0, 0, 0, 0], np.float32)
    with precision(choice):
        y, with_bias = matmul(a, b), linear(a, b.T, bias)
    wanted = (a[:, :, None] * b).sum(1)
    for got, right in ((y, wanted), (with_bias, wanted + bias)):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(right))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(right))
        np.testing.assert_array_equal(got[np.isinf(got)], right[np.isinf(right)])
        finite = np.isfinite(right) & (np.abs(right) < 1e30)
        assert np.abs(got - right)[finite].max() < 20 * BOUNDS[choice]
        huge = np.isfinite(right) & ~finite
        assert huge.any()
        np.testing.assert_allclose(got[huge], right[huge], rtol=BOUNDS[choice])
    with faulty("gemm.cu", "if (all_finite) return;", "return;"), precision(choice):
        assert not np.array_equal(matmul(a, b), y, equal_nan=True)


# ---------------------------------------------------------------------- who computes


def test_who_computes(monkeypatch):
    def ran(*shape: int, dtype: Any = np.float32) -> list[str]:
        stand_in.launches.clear()
        matmul(normal(shape[0], shape[1], dtype=dtype), normal(shape[1], shape[2], dtype=dtype))
        return [name.split("<")[0] for name in stand_in.launches]

    assert ran(64, 64, 64) == ["gemm"]
    assert ran(63, 64, 64) == []
    assert ran(1, 512, 512) == []
    assert ran(64, 64, 64, dtype=np.float64) == []
    with precision("high"):
        assert ran(64, 64, 64) == []
    monkeypatch.setitem(products.WHO, ("float64", "highest"), "plain")
    assert ran(64, 64, 64, dtype=np.float64) == ["gemm_plain"]


def test_tiles_and_parts_by_the_shape_alone():
    assert plan(4096, 4096, 4096, 1, 3) == (LARGE, 4096)
    assert plan(128, 128, 64, 132, 3) == (LARGE, 64)
    assert plan(1024, 2048, 1024, 1, 3) == (LARGE, 1024)
    assert plan(1536, 1536, 1536, 1, 3) == (LITTLE, 1536)  # 144 large tiles: a second wave of 12
    assert plan(1024, 1024, 1000, 1, 3) == (LITTLE, 1000)
    assert plan(512, 512, 8192, 1, 3) == (LITTLE, 2048)
    assert plan(64, 64, 100_000, 1, 3) == (LITTLE, 3136)
    assert plan(256, 256, 512, 1, 3) == (LITTLE, 512)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, ">f4"])
def test_other_dtypes_are_composed(dtype):
    a, b = normal(3, 4).astype(dtype), normal(4, 5).astype(dtype)
    np.testing.assert_array_equal(matmul(a, b), np.matmul(a, b))
    np.testing.assert_array_equal(linear(a, b.T, None), np.matmul(a, b))
    assert not stand_in.launches


def test_half_precision_is_cublas():
    a, b = normal(70, 80).astype(np.float16), normal(80, 90).astype(np.float16)
    np.testing.assert_allclose(matmul(a, b), np.matmul(a.astype(float), b.astype(float)), rtol=1e-3, atol=1e-2)
    assert matmul(a, b).dtype == np.float16
    assert not stand_in.launches


# ---------------------------------------------------------------------- faults


@contextmanager
def faulty_tiles(replace: str, by: str) -> Iterator[None]:
    """``faulty`` of gemm.cu, without the second look at what is not finite: it would repair what read no memory."""
    look, text = "if (all_finite) return;", "gemm.cu"
    with faulty(text, replace, by):
        assert stand_in._texts[text].count(look) == 1
        stand_in._texts[text] = stand_in._texts[text].replace(look, "return;")
        yield


def right(got: Any, a: Any, b: Any, bias: Any = 0) -> bool:
    return bool(error(got, a, b, bias) < BOUNDS["highest"])


@pytest.mark.parametrize(
    ("replace", "by"),
    [
        ("copy_async_wait<STAGES - 2>();", "copy_async_wait<STAGES - 1>();"),
        ("        __syncthreads();  // the stage has arrived", "        // the stage has arrived"),
        ("int reading = 0, writing = STAGES - 1;", "int reading = 0, writing = 0;"),
        ("l < lines && k + deeper < k_end", "l <= lines && k + deeper < k_end"),
        ("l < lines && k + deeper < k_end", "l < lines && k + deeper <= k_end"),
        ("((line / 4) ^ (k % 4 * 2)) * 4 + line % 4", "((line / 4) ^ (k % 4 * 2)) * 4 + k % 4"),
        ("line + lane / 4 + i / 2 * 8, k + lane % 4 + i % 2 * 4",
         "line + lane / 4 + i % 2 * 8, k + lane % 4 + i / 2 * 4"),
        ("if (row >= m || column >= n) continue;\n            float*",
         "if (row > m || column >= n) continue;\n            float*"),
        ("const unsigned rows = min(static_cast<unsigned>(TILE_ROWS), down - first);",
         "const unsigned rows = TILE_ROWS;"),
    ],
)  # fmt: skip
def test_a_fault_of_the_tiles_is_caught(little, replace, by):
    a, b, bias = normal(72, 108, transposed=True), normal(108, 65), normal(65)

    def compare() -> bool:
        return right(linear(a, b.T, bias), a, b, bias)

    assert right_in_every_order(compare)
    with faulty_tiles(replace, by):
        assert not right_in_every_order(compare)


@pytest.mark.parametrize(
    ("replace", "by"),
    [
        ("line + lane % 16, k + lane / 16 * 4", "line + lane % 16, k + lane / 16 * 8"),
        ("line + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 4", "line + lane % 16, k + lane / 16 * 4"),
    ],
)
def test_a_fault_of_the_rows_is_caught(little, replace, by):
    a, b = normal(20, 72), normal(72, 20, transposed=True)
    with faulty_tiles(replace, by):
        assert not right_in_every_order(lambda: right(matmul(a, b), a, b))


@pytest.mark.parametrize(
    ("replace", "by"),
    [
        ("        }\n        __syncthreads();\n        T piece", "        }\n        T piece"),
        ("total[i / 4][i % 4] += piece[i / 4][i % 4];\n        __syncthreads();",
         "total[i / 4][i % 4] += piece[i / 4][i % 4];"),
        ("row < m && a_k < k", "row < m && a_k <= k"),
    ],
)  # fmt: skip
def test_a_fault_of_the_plain_kernel_is_caught(who, replace, by):
    who("plain")
    a, b = normal(20, 37), normal(37, 20)
    assert_caught(lambda: right(matmul(a, b), a, b), "gemm.cu", replace, by)
