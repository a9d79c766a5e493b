"""Recurrent scans on the stand-in: all cells against the reference, a launch for each step and all steps in a block."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught, faulty, right_in_every_order
from tests.foreign_array import ForeignArray, unwrapped, wrapped
from tests.kernels.test_cpu_recurrent import GATES, operands, run
from tinygrad_notes.kernels import BACKENDS, cuda, reference, use_kernels
from tinygrad_notes.kernels.cuda import launch, recurrent

TOLERANCE = {np.float32: 2e-6, np.float64: 1e-14}
BLOCK = "recurrent_block.cuh"


@pytest.fixture(autouse=True)
def products_of_numpy() -> Iterator[None]:
    """The products between the kernels are not what is tested here, nor are they compiled for it."""
    with use_kernels("reference"):
        yield


def limit(monkeypatch, hidden):
    """Blocks do all steps up to so large a state: 0, none."""
    monkeypatch.setattr(recurrent, "LARGEST_HIDDEN", dict.fromkeys(recurrent.LARGEST_HIDDEN, hidden))


def wide(arrays):
    return [None if x is None else x.astype(np.float64) for x in arrays]


def assert_right(kind, forward, upper, lengths, reverse, backend=cuda):
    """Every result as the reference's in float64, and nothing is written that was given."""
    dtype = forward[0].dtype.type
    given = [x for x in [*forward, *upper, lengths] if x is not None]
    copies = [x.copy() for x in given]
    got = run(backend, kind, forward, upper, lengths, reverse)
    wanted = run(reference, kind, wide(forward), wide(upper), lengths, reverse)
    for mine, theirs in zip([*got[0], *got[1]], [*wanted[0], *wanted[1]], strict=True):
        assert mine.dtype == dtype
        assert mine.shape == theirs.shape
        bound = TOLERANCE[dtype] * max(1.0, np.max(np.abs(theirs), initial=0.0))
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=bound)
        assert not any(np.shares_memory(mine, x) for x in given)
    for x, copy in zip(given, copies):
        np.testing.assert_array_equal(x, copy)
    return [*got[0], *got[1]]


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("hidden", [0, 256], ids=["steps", "blocks"])
def test_against_the_reference(kind, hidden, monkeypatch, order):
    limit(monkeypatch, hidden)
    for shape, bias, lengths, reverse in [
        ((4, 5, 3, 7), True, None, False),
        ((3, 5, 2, 12), False, np.array([3, 0, 1, 2, 2], np.int32), True),
        ((3, 3, 2, 5), True, np.array([1, 3, 2])[::-1], False),
        ((2, 1, 1, 1), True, None, True),
    ]:
        forward, upper = operands(kind, *shape, bias, np.float32)
        first = assert_right(kind, forward, upper, lengths, reverse)
        again = assert_right(kind, forward, upper, lengths, reverse)
        for x, y in zip(first, again):
            np.testing.assert_array_equal(x, y)
    assert any("block" in name for name in stand_in.launches) == (hidden > 0)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("layout", ["columns", "reversed"])
def test_float64_and_strides(kind, layout, order):
    forward, upper = operands(kind, 3, 4, 3, 6, True, np.float64, layout)
    assert_right(kind, forward, upper, np.array([2, 3, 0, 1]), layout == "reversed")
    forward, upper = operands(kind, 3, 4, 3, 6, True, np.float32, layout)
    forward[-1] = None  # one bias of two
    upper[0] = np.broadcast_to(upper[0][:1, :1], upper[0].shape)
    assert_right(kind, forward, upper, None, False)


@pytest.mark.parametrize("kind", GATES)
def test_larger_states(kind, monkeypatch, order):
    """Weights in shared memory and not, threads that share columns, and in one launch as many as a block may have."""
    limit(monkeypatch, 256)
    forward, upper = operands(kind, 6, 6, 4, 40, True, np.float32)
    assert_right(kind, forward, upper, np.array([2, 6, 0, 5, 1, 3]), True)
    forward, upper = operands(kind, 2, 2, 4, 200, True, np.float32)
    forward = [x * np.float32(0.3) for x in forward]
    assert_right(kind, forward, upper, None, False)
    names = [name for name in stand_in.launches if "block" in name]
    resident = "true" if kind in ("tanh", "relu") else "false"  # 160 KB, or some 500
    assert [name.split(", ")[1][:-1] for name in names] == ["true", "true", resident, resident]


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("shape", [(0, 3, 2, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 2, 0)])
def test_empty_operands(kind, shape):
    forward, upper = operands(kind, *shape, True, np.float32)
    assert_right(kind, forward, upper, None, False)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("hidden", [0, 256], ids=["steps", "blocks"])
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_not_used_and_other_values_are_as_in_the_reference(kind, hidden, reverse, monkeypatch):
    limit(monkeypatch, hidden)
    forward, upper = operands(kind, 3, 4, 5, 6, True, np.float32)
    lengths = np.array([3, 0, 1, 2])
    forward[0][1:, 2] = np.nan
    upper[0][1:, 2] = np.inf
    got = run(cuda, kind, forward, upper, lengths, reverse)
    wanted = run(reference, kind, forward, upper, lengths, reverse)
    for mine, theirs in zip([*got[0], *got[1]], [*wanted[0], *wanted[1]], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
        assert np.isfinite(mine).all()
    forward[0][0, 0, 0], forward[0][0, 3, 1] = np.nan, np.inf
    forward[1][3, 2] = -np.inf
    with np.errstate(all="ignore"):
        got = run(cuda, kind, forward, upper, lengths, reverse)
        wanted = run(reference, kind, forward, upper, lengths, reverse)
    for mine, theirs in zip(got[0], wanted[0], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    for mine, theirs in zip(got[1], wanted[1], strict=True):
        np.testing.assert_array_equal(np.isfinite(mine), np.isfinite(theirs))


def test_more_steps_than_a_grid_has_blocks(monkeypatch):
    monkeypatch.setattr(recurrent, "MOST_BLOCKS_ALONG_Y", 2)
    forward, upper = operands("tanh", 5, 8, 2, 3, True, np.float32)  # 40 rows: more than column_sums has warps
    assert_right("tanh", forward, upper, np.arange(8) % 6, True)


def test_what_runs_where():
    """Small states in blocks, large ones step by step; float64 too, and the reference what is empty."""
    for hidden, dtype, wanted in [(8, np.float32, True), (132, np.float32, False), (8, np.float64, False)]:
        stand_in.launches.clear()
        forward, upper = operands("lstm", 1, 2, 2, hidden, True, dtype)
        run(cuda, "lstm", forward, upper, None, False)
        assert any("block" in name for name in stand_in.launches) == wanted
    stand_in.launches.clear()
    forward, upper = operands("lstm", 0, 2, 2, 3, True, np.float32)
    run(cuda, "lstm", forward, upper, None, False)
    assert stand_in.launches == []


@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm", "gru"])
def test_the_units_of_a_cluster(kind, monkeypatch):
    """The stand-in runs the blocks of a cluster one after another: one step only, without what its end tells others."""
    monkeypatch.setattr(recurrent, "LARGEST_IN_CLUSTER", dict.fromkeys(recurrent.LARGEST_IN_CLUSTER, 256))
    forward, upper = operands(kind, 1, 5, 3, 24, True, np.float32)
    got = run(cuda, kind, forward, upper, None, False)
    wanted = run(reference, kind, wide(forward), wide(upper), None, False)
    of_h0 = len(got[0]) + 1  # the gradient that sums over all units
    pairs = zip([*got[0], *got[1]], [*wanted[0], *wanted[1]], strict=True)
    for mine, theirs in (pair for i, pair in enumerate(pairs) if i != of_h0):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6 * max(1.0, np.abs(theirs).max()))
    assert [name.split("<")[0] for name in stand_in.launches if "scan" in name] == ["scan_cluster", "scan_grad_cluster"]


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("hidden", [0, 256], ids=["steps", "blocks"])
def test_arrays_that_are_not_numpys(kind, hidden, monkeypatch):
    """Nothing on the way turns an array of CuPy into one of NumPy."""

    def run_unwrapped(kernels, name, grid, block, arguments, shared):
        stand_in.run(kernels, name, grid, block, unwrapped(arguments, False), shared)

    limit(monkeypatch, hidden)
    monkeypatch.setitem(launch.RUNNERS, ForeignArray, run_unwrapped)
    monkeypatch.setitem(BACKENDS["reference"], ForeignArray, reference)
    forward, upper = operands(kind, 3, 4, 2, 5, True, np.float32, "columns")
    lengths = np.array([3, 0, 1, 2], np.int32)
    foreign = wrapped(forward), wrapped(upper), wrapped(lengths)
    got = run(cuda, kind, *foreign, True)
    wanted = run(cuda, kind, forward, upper, lengths, True)
    for mine, theirs in zip([*got[0], *got[1]], [*wanted[0], *wanted[1]], strict=True):
        np.testing.assert_array_equal(mine.get(), theirs)


# ---------------------------------------------------------------------- faults


def right_in_all_orders(kind, backward):
    """Whether the scan, or its gradient alone, is right in every order, and nothing is reported."""
    forward, upper = operands(kind, 4, 5, 2, 17, True, np.float32)
    backends = {name: cuda if name.endswith("_grad") == backward else reference for name in recurrent.KINDS}
    halves = {name: getattr(backend, name) for name, backend in backends.items()}
    lengths, backend = np.array([4, 2, 0, 1, 3]), SimpleNamespace(**halves)
    return right_in_every_order(lambda: assert_right(kind, forward, upper, lengths, True, backend))


FORWARD_FAULTS = [
    ("lstm", "        block.barrier();  // the new state is there, and", "        // the new state is there, and"),
    ("lstm", "state, partial);\n        copy_async_wait<0>();", "state, partial);"),
    ("tanh", "        if (step == 0) {", "        if (step == 1) {"),
    ("gru", "state, partial);\n        copy_async_wait<0>();\n        __syncthreads();",
     "state, partial);\n        copy_async_wait<0>();"),
    ("gru_reset_before", "            block.barrier();\n            multiply(weights + hidden * columns",
     "            multiply(weights + hidden * columns"),
    ("relu", "block.longest - 1 - step : step;", "scan.steps - 1 - step : step;"),
    ("tanh", "if (slice >= slices) return;", ""),
]  # fmt: skip
BACKWARD_FAULTS = [
    ("lstm", "        block.barrier();  // the slopes are there, and", "        // the slopes are there, and"),
    ("lstm", "        copy_async_wait<0>();\n        __syncthreads();\n        if (CLUSTER > 1) slopes",
     "        if (CLUSTER > 1) slopes"),
    ("gru_reset_before", "slopes + 2 * all_units, partial);\n            __syncthreads();",
     "slopes + 2 * all_units, partial);"),
    ("relu", "columns, slopes, partial);\n    __syncthreads();", "columns, slopes, partial);"),
    ("tanh", "before >= 0 && before < end;", "before >= 0;"),
]  # fmt: skip


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kind", GATES)
def test_the_scans_that_get_faults_are_right(kind, backward):
    assert right_in_all_orders(kind, backward)
    assert any("block" in name for name in stand_in.launches)


@pytest.mark.parametrize(
    ("kind", "replace", "by", "backward"),
    [*((*fault, False) for fault in FORWARD_FAULTS), *((*fault, True) for fault in BACKWARD_FAULTS)],
)
def test_a_fault_is_caught(kind, replace, by, backward):
    with faulty(BLOCK, replace, by):
        assert not right_in_all_orders(kind, backward)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows_of_a_part", [1000, 30, 1])
def test_sums_of_columns_by_parts(dtype, rows_of_a_part, monkeypatch, order):
    monkeypatch.setattr(recurrent, "ROWS_OF_A_PART", rows_of_a_part)
    g = np.random.default_rng(0).standard_normal((11, 7, 37)).astype(dtype)
    sums = recurrent._Scan("TANH", g, g[0], None, False).bias_grad(g)
    assert sums.dtype == dtype
    np.testing.assert_allclose(sums, g.astype(np.float64).sum((0, 1)), rtol=TOLERANCE[dtype] / 20, atol=1e-14)
    assert len(stand_in.launches) == (1 if rows_of_a_part == 1000 else 2)


def test_a_fault_in_the_sums_of_columns_is_caught(monkeypatch):
    monkeypatch.setattr(recurrent, "ROWS_OF_A_PART", 30)
    g = np.arange(80 * 37, dtype=np.float32).reshape(10, 8, 37)
    scan = recurrent._Scan("TANH", g, g[0], None, False)

    def compare():
        np.testing.assert_array_equal(scan.bias_grad(g), g.sum((0, 1)))

    for replace, by in [
        ("    __syncthreads();\n    sum = warp_sum", "    sum = warp_sum"),
        ("if (column < columns) {", "if (column <= columns) {"),
        ("row = begin + warp; row", "row = begin + warp + 1; row"),
        ("end = min(rows, begin + part);", "end = min(rows, begin + part + 1);"),
        (
            "sums[static_cast<long long>(blockIdx.y) * columns + first",
            "sums[static_cast<long long>(blockIdx.y) + first",
        ),
    ]:
        assert_caught(compare, "recurrent.cu", replace, by)
