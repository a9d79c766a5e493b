"""The stand-in itself: right kernels give right results in every order, and each kind of fault is reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import HERE, KernelFault, faulty
from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels.cuda import launch
from tinygrad_notes.kernels.cuda.launch import Kernels, numbers, pointers

FILE = "faults.cu"
NAMES = (
    "reverse<float>",
    "reverse<double>",
    "pipeline<2>",
    "pipeline<3>",
    "tile_product<BFloat16>",
    "tile_product<Half>",
    "exact_product<float>",
    "round_trip<BFloat16>",
    "round_trip<Half>",
    "sums<float>",
)
RNG = np.random.default_rng(0)
BARRIER = "__syncthreads();  // the tile is whole"


@pytest.fixture
def kernels() -> Iterator[Kernels]:
    yield Kernels(FILE, NAMES, HERE)
    del launch.FILES[FILE]


def normal(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def reverse(kernels: Kernels, x: Any, y: Any, n: Any = None, threads: int = 256, **options: Any) -> None:
    name = "reverse<double>" if x.dtype == np.float64 else "reverse<float>"
    kernels.launch(name, (1,), (threads,), (x, y, np.int32(x.size if n is None else n)), **options)


def pipeline(kernels: Kernels, stages: int, steps: int = 7, threads: int = 64) -> tuple[Any, Any]:
    x = normal(steps * 4 * threads)
    y = np.empty_like(x)
    shared = stages * 16 * threads
    kernels.launch(f"pipeline<{stages}>", (1,), (threads,), (x, y, np.int32(steps)), shared=shared)
    return x, y


# ---------------------------------------------------------------------- right kernels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_static_shared_memory_and_barriers(kernels, order, dtype):
    x = normal(200).astype(dtype)
    y = np.empty_like(x)
    reverse(kernels, x, y)
    np.testing.assert_array_equal(y, x[::-1])


@pytest.mark.parametrize("stages", [2, 3])
def test_asynchronous_copies_and_dynamic_shared_memory(kernels, order, stages):
    x, y = pipeline(kernels, stages)
    np.testing.assert_array_equal(y, x)


def bfloat16(x: Any) -> Any:
    """float32 rounded to bfloat16, as its 16 bits."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: Any) -> Any:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_products_of_16_bit_tiles(kernels, order):
    a, b = normal(16, 16), normal(8, 16)
    c = np.empty((16, 8), np.float32)
    kernels.launch("tile_product<BFloat16>", (1,), (32,), (bfloat16(a), bfloat16(b), c))
    np.testing.assert_allclose(c, from_bfloat16(bfloat16(a)) @ from_bfloat16(bfloat16(b)).T, rtol=2e-6, atol=2e-6)
    a, b = a.astype(np.float16), b.astype(np.float16)
    kernels.launch("tile_product<Half>", (1,), (32,), (a, b, c))
    np.testing.assert_allclose(c, a.astype(np.float32) @ b.astype(np.float32).T, rtol=2e-6, atol=2e-6)


def test_three_products_of_tf32_are_as_exact_as_float32(kernels, order):
    a, b, c = normal(16, 8), normal(8, 8), np.empty((16, 8), np.float32)
    kernels.launch("exact_product<float>", (1,), (32,), (a, b, c))
    wanted = a.astype(float) @ b.T.astype(float)
    assert np.abs(c - wanted).max() < 1e-6 * np.abs(wanted).max()
    with faulty("prims.cuh", "    mma_tf32(d, a_big, b_small);\n", ""):
        kernels.launch("exact_product<float>", (1,), (32,), (a, b, c))
    assert np.abs(c - wanted).max() > 1e-5 * np.abs(wanted).max()


@np.errstate(all="ignore")
def test_rounding_to_16_bits(kernels):
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (halves[:-1] + halves[1:]) / 2  # ties
    x = np.concatenate([halves, between, 1.0001 * between, [65519.9, 65520.0, 1e-8, 2.0**-25, 3e38]]).astype(np.float32)
    x = x[~np.isnan(x)]
    for name, wanted in [("Half", x.astype(np.float16)), ("BFloat16", from_bfloat16(bfloat16(x)))]:
        y, z = np.empty_like(x), np.empty_like(x)
        kernels.launch(f"round_trip<{name}>", (1,), (32,), (x, y, z, np.int32(x.size)))
        np.testing.assert_array_equal(y, wanted.astype(np.float32))
        np.testing.assert_array_equal(z, wanted.astype(np.float32))


def test_tables_by_value(kernels, order):
    arrays = [normal(n) for n in (5, 700, 64)]
    y = np.empty(3, np.float32)
    arguments = pointers(arrays, 4), y, numbers([a.size for a in arrays], 4)
    kernels.launch("sums<float>", (3,), (64,), arguments, like=y)
    wanted = [a.sum() for a in arrays]
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
    with faulty("prims.cuh", "__syncthreads();  // what an earlier call left there has been read", ""):
        stand_in.settings["order"] = "down"
        kernels.launch("sums<float>", (3,), (64,), arguments, like=y)
    assert not np.allclose(y, wanted, rtol=1e-5, atol=1e-5)


def test_arrays_that_share_memory_share_it_in_the_kernel(kernels, order):
    x = normal(200)
    wanted = x[::-1].copy()
    reverse(kernels, x, x)
    np.testing.assert_array_equal(x, wanted)


# ---------------------------------------------------------------------- faults of a kernel


def same_in_all_orders(run: Any) -> bool:
    """Whether ``run``, which gives (wanted, got), is right in every order and reports nothing."""
    good = []
    for _ in stand_in.each_order():
        wanted, got = run()
        good.append(np.array_equal(wanted, got))
    return all(good)


def test_a_dropped_barrier(kernels):
    def run():
        x = normal(200)
        y = np.empty_like(x)
        reverse(kernels, x, y)
        return x[::-1], y

    assert same_in_all_orders(run)
    with faulty(FILE, BARRIER, ""):
        assert not same_in_all_orders(run)


@pytest.mark.parametrize(
    ("replace", "by"),
    [
        ("copy_async_wait<STAGES - 2>()", "copy_async_wait<STAGES - 1>()"),
        ("        __syncthreads();\n        const int next", "        const int next"),
        ("const int next = step + STAGES - 1;", "const int next = step + STAGES;"),
        ("next % STAGES * width", "(next + 1) % STAGES * width"),
    ],
)
def test_a_fault_in_a_pipeline(kernels, replace, by):
    with faulty(FILE, replace, by):
        assert not same_in_all_orders(lambda: pipeline(kernels, 3))


def test_a_copy_that_arrives_early(kernels):
    """A copy into the buffer that others still read: it may arrive at once, or late."""
    text = "        if (next < steps)\n            copy_async_16(shared_address(buffer + next % STAGES * width + place)"
    with faulty(FILE, text, text.replace("next % STAGES", "step % STAGES")):
        assert not same_in_all_orders(lambda: pipeline(kernels, 3))


@pytest.mark.parametrize(
    ("replace", "by", "sentence"),
    [
        (BARRIER, "if (i < 40) __syncthreads();", r"deadlock: thread \(0, 0, 0\) of block \(0, 0, 0\) "
         r"waits in __syncthreads at faults.cu:\d+, thread .* has left the kernel"),
        (BARRIER, "if (i < 40) __syncthreads();\n    else __syncthreads();", "deadlock: .*, thread"),
        (BARRIER, "if (i % 2) __syncwarp();\n    __syncthreads();", "deadlock: .* waits in __syncwarp"),
        (BARRIER, "if (i % 2) __any_sync(ALL_LANES, i);\n    else __syncwarp();",
         "meet in different operations"),
        (BARRIER, "__syncthreads();\n    __shfl_sync(1u, i, 0);", "a mask without the calling lane"),
        ("tile[n - 1 - i]", "tile[n - 200 - i]", r"index -1 beyond an array at faults.cu:\d+"),
        ("tile[n - 1 - i]", "tile[n / (i - i)]", "divides an integer by 0"),
        ("if (i < n) tile[i] = x[i];", "tile[i] = x[i + 100000];", "bytes behind the end of argument 0"),
        ("if (i < n) y[i]", "y[i - 2000]", "bytes before argument 1"),
        ("if (i < n) y[i]", "const_cast<T*>(x)[i] = 0, y[i]", "argument 0, which is read-only,"),
        ("if (i < n) tile[i] = x[i];", "tile[i] = load_pack<4>(x + i).at[0];", "is not aligned as its type needs"),
        ("if (i < n) y[i] =", "volatile T deep[100000];\n    deep[i] = y[0] =", "stack"),
    ],
)  # fmt: skip
def test_a_fault_is_reported(kernels, replace, by, sentence):
    x = normal(200)
    x.flags.writeable = False
    with faulty(FILE, replace, by), pytest.raises(KernelFault, match=sentence):
        reverse(kernels, x, np.empty(200, np.float32))
    y = np.empty_like(x)
    reverse(kernels, x, y)  # and the next launch is right
    np.testing.assert_array_equal(y, x[::-1])


@pytest.mark.parametrize("order_name", stand_in.ORDERS)
def test_one_element_beyond_an_array_is_seen(kernels, order_name):
    stand_in.settings["order"] = order_name
    with faulty(FILE, "if (i < n) y[i]", "if (i < n) y[i + 1]"), pytest.raises(KernelFault, match="argument 1"):
        reverse(kernels, normal(199), np.empty(199, np.float32))


def test_memory_that_was_not_written_is_nan(kernels):
    with faulty(FILE, "if (i < n) tile[i] = x[i];", "if (i > 0) tile[i] = x[i];"):
        x = normal(200)
        y = np.empty_like(x)
        reverse(kernels, x, y)
    assert np.isnan(y[-1])
    assert np.isfinite(y[:-1]).all()


# ---------------------------------------------------------------------- faults of a launch


def test_what_a_gpu_would_not_launch(kernels):
    x, y = normal(8), np.empty(8, np.float32)
    n = np.int32(8)
    for grid, block, shared in [((0,), (32,), 0), ((1,), (1025,), 0), ((1, 70000), (32,), 0), ((1,), (32,), 1 << 20)]:
        with pytest.raises(KernelFault, match="a GPU has no"):
            kernels.launch("reverse<float>", grid, block, (x, y, n), shared=shared)
    with pytest.raises(KernelFault, match="not all Python's ints"):
        kernels.launch("reverse<float>", (np.int64(1),), (32,), (x, y, n))
    with pytest.raises(KernelFault, match="lists no kernel 'reverse<int>'"):
        kernels.launch("reverse<int>", (1,), (32,), (x, y, n))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x, y, n: (x, y), "takes 3 arguments, 2 were given"),
        (lambda x, y, n: (x, y, np.int64(n)), "argument 2 is i8, the kernel takes i4"),
        (lambda x, y, n: (x, y, int(n)), "argument 2 is int, neither an array nor"),
        (lambda x, y, n: (x.astype(np.float64), y, n), "argument 0 is cf8, the kernel takes cf4"),
        (lambda x, y, n: (x[::2], y, n), "argument 0 is an array that is not in C order"),
    ],
)
def test_arguments_that_the_kernel_does_not_take(kernels, change, sentence):
    with pytest.raises(KernelFault, match=sentence):
        kernels.launch("reverse<float>", (1,), (32,), change(normal(8), np.empty(8, np.float32), np.int32(8)))


def test_a_file_that_does_not_compile(kernels):
    with faulty(FILE, "tile[n - 1 - i]", "tail[n - 1 - i]"), pytest.raises(KernelFault, match=r"faults\.cu:\d+.*tail"):
        reverse(kernels, normal(8), np.empty(8, np.float32))


def test_without_the_stand_in_numpy_arrays_are_refused(kernels, monkeypatch):
    monkeypatch.delitem(launch.RUNNERS, np.ndarray)
    with pytest.raises(DeviceError, match=r"run on CuPy's arrays, not on numpy\.ndarray; t\.to\('cuda'\)"):
        reverse(kernels, normal(8), np.empty(8, np.float32))


def test_a_change_must_meet_its_text():
    with pytest.raises(AssertionError, match="stands 0 times"), faulty("softmax.cu", "no such text", ""):
        pass
