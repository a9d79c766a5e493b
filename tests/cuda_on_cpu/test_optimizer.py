"""Steps and the norm of the CUDA kernels against the reference: lists of odd shapes and layouts."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tests.kernels.test_cpu_optimizer import ADAM, SGD, arrays, assert_same, copies
from tinygrad_notes.kernels import cuda, reference

optimizer = sys.modules["tinygrad_notes.kernels.cuda.optimizer"]
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def check_sgd(ours: Any, options: dict[str, Any], gradients_of: Any) -> None:
    dtype, (ours, theirs) = ours[0].dtype, copies([ours] * 2)
    buffers = expected = None
    for step in range(2):
        gradients = gradients_of(step)
        before = [g.copy() for g in gradients]
        given = buffers
        buffers = cuda.sgd_step(ours, gradients, buffers, 0.1, *options.values())
        expected = reference.sgd_step(theirs, gradients, expected, 0.1, *options.values())
        assert given is None or all(a is b for a, b in zip(given, buffers))
        assert all(np.array_equal(g, b) for g, b in zip(gradients, before))
    assert_same(ours, theirs, dtype)
    assert (buffers is None) == (not options["momentum"])
    if options["momentum"]:
        assert_same(buffers, expected, dtype)
        assert not any(np.shares_memory(b, g) for b in buffers for g in gradients)


def check_adam(ours: Any, options: dict[str, Any], gradients_of: Any) -> None:
    dtype, (ours, theirs) = ours[0].dtype, copies([ours] * 2)
    moments, expected = ([[np.zeros_like(p) for p in ours] for _ in range(2)] for _ in range(2))
    for step in (1, 2):
        numbers = (step, 0.1, 0.8, 0.95, 1e-3, *options.values())
        cuda.adam_step(ours, gradients_of(step), *moments, *numbers)
        reference.adam_step(theirs, gradients_of(step), *expected, *numbers)
    assert_same(ours, theirs, dtype)
    assert_same(moments[0] + moments[1], expected[0] + expected[1], dtype)


@pytest.mark.parametrize("options", SGD)
@DTYPES
def test_sgd(options, dtype):
    for order, layout in zip(stand_in.each_order(), "CFC"):
        check_sgd(arrays(dtype, layout), options, lambda step, order=order: arrays(dtype, seed=step + len(order)))
    assert len(set(stand_in.launches)) == (2 if options["momentum"] else 1)


@pytest.mark.parametrize("options", ADAM)
@DTYPES
def test_adam(options, dtype):
    for order, layout in zip(stand_in.each_order(), "CFC"):
        check_adam(arrays(dtype, layout), options, lambda step, order=order: arrays(dtype, seed=step + len(order)))
    assert len(stand_in.launches) == 6  # one a step


def many(dtype: Any, step: int = 0) -> list[Any]:
    """More arrays than one launch takes; one has more elements than a block, some begin anywhere, some are empty."""
    rng = np.random.default_rng(step)
    sizes = [*range(1, 100), optimizer.PIECE, optimizer.PIECE + 1, 2 * optimizer.PIECE + 7, 0]
    return [rng.standard_normal(n + 1).astype(dtype)[n % 2 :][:n] for n in sizes]


@DTYPES
def test_more_arrays_than_a_launch_takes(order, dtype):
    check_sgd(many(dtype), SGD[-1], lambda step: many(dtype, step + 1))
    check_adam(many(dtype), ADAM[-1], lambda step: many(dtype, step + 1))
    lists = many(dtype)
    norm = cuda.global_norm(lists)
    np.testing.assert_allclose(norm, reference.global_norm(lists), rtol=1e-6 if dtype == np.float32 else 1e-14)
    assert norm.dtype == dtype
    assert norm == cuda.global_norm(lists)


def test_buffers_of_some_parameters(order):
    old = np.ones(2)
    parameters, gradients = [np.zeros(2), np.zeros(2)], [np.full(2, 3.0), np.full(2, 3.0)]
    buffers = cuda.sgd_step(parameters, gradients, [old, None], 1.0, 0.5, 0.5, False, 0.0, False)
    assert buffers[0] is old
    np.testing.assert_array_equal(parameters, [[-2, -2], [-3, -3]])


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_values_that_are_not_finite(order, decay):
    values = np.array([np.nan, np.inf, -np.inf, 1e-40, 3e38, 0.0], np.float32)
    gradients = [np.repeat(values, values.size)]
    ours, theirs = copies([[np.tile(values, values.size)]] * 2)
    buffers, expected = ([np.ones_like(p) for p in ours] for _ in range(2))
    with np.errstate(all="ignore"):
        for momentum, nesterov in ((0.0, False), (0.9, False), (0.9, True)):
            cuda.sgd_step(ours, gradients, buffers, 0.1, momentum, 0.0, nesterov, decay, False)
            reference.sgd_step(theirs, gradients, expected, 0.1, momentum, 0.0, nesterov, decay, False)
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        ours, theirs = copies([[np.tile(values, values.size)]] * 2)
        (m, v), (n, w) = ([[np.ones_like(p)] for _ in range(2)] for p in (ours[0], ours[0]))
        cuda.adam_step(ours, gradients, m, v, 1, 0.1, 0.9, 0.99, 1e-8, decay, False, False)
        reference.adam_step(theirs, gradients, n, w, 1, 0.1, 0.9, 0.99, 1e-8, decay, False, False)
        np.testing.assert_allclose(ours + m + v, theirs + n + w, rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("kind", ["strided", "twice", "mixed dtypes", "broadcast gradient", "reversed gradient"])
def test_arrays_that_lie_otherwise(order, kind):
    def make():
        parameters, gradients = [np.ones((4, 6)), np.ones(5)], [np.full((4, 6), 2.0), np.arange(5.0)]
        if kind == "strided":
            parameters[0] = np.ones((8, 6))[::-2]
        elif kind == "twice":
            parameters[1], gradients[1] = parameters[0], np.full((4, 6), 3.0)
        elif kind == "mixed dtypes":
            parameters[1] = np.ones(5, np.float32)
        elif kind == "broadcast gradient":
            gradients[0] = np.broadcast_to(2.0, (4, 6))
        else:
            gradients[1] = gradients[1][::-1]
        return parameters, gradients

    (ours, gradients), (theirs, _) = make(), make()
    moments, expected = ([[np.zeros_like(p) for p in ours] for _ in range(2)] for _ in range(2))
    if kind == "twice":
        for one in (*moments, *expected):
            one[1] = one[0]
    for step in (1, 2):
        cuda.adam_step(ours, gradients, *moments, step, 0.1, 0.9, 0.99, 1e-8, 0.1, True, False)
        reference.adam_step(theirs, gradients, *expected, step, 0.1, 0.9, 0.99, 1e-8, 0.1, True, False)
    assert_same(ours, theirs, np.float64)
    assert bool(stand_in.launches) == ("gradient" in kind)


def test_norms(order):
    np.testing.assert_allclose(cuda.global_norm([np.full(9, 1e30, np.float32)]), 3e30, rtol=1e-6)
    np.testing.assert_allclose(cuda.global_norm([np.full((9, 1000), 1e-30, np.float32)]), 9000**0.5 * 1e-30, rtol=1e-6)
    wide = np.arange(60.0).reshape(5, 12)
    for views in ([wide[:, ::-2], np.array(2.0)], [wide.T, np.broadcast_to(wide[0], (3, 12))]):
        np.testing.assert_allclose(cuda.global_norm(views), reference.global_norm(views), rtol=1e-14)
    assert np.isnan(cuda.global_norm([np.array([1, np.nan], np.float32)]))
    assert np.isposinf(cuda.global_norm([np.array([1, -np.inf])]))
    for empty in ([np.zeros((0, 2))], [np.zeros(0), np.zeros(0)]):
        assert cuda.global_norm(empty) == 0
    mixed = [np.ones(3), np.ones(4, np.float32)]
    np.testing.assert_allclose(cuda.global_norm(mixed), reference.global_norm(mixed))


@pytest.mark.parametrize(
    ("file", "replace", "by"),
    [
        ("optimizer.cu", "if (block < block_end.at[middle])", "if (block <= block_end.at[middle])"),
        ("optimizer.cu", "end = min(begin + PIECE, counts.at[low])", "end = begin + PIECE"),
        ("optimizer.cu", "(low ? block_end.at[low - 1] : 0)", "(low > 1 ? block_end.at[low - 1] : 0)"),
        ("optimizer.cu", "FIRST ? d :", "false ? d :"),
        ("optimizer.cu", "if (!FIRST) v = load_some(buffer + i, left, aligned);", ""),
        ("optimizer.cu", "own = block_sum(own);\n    if (threadIdx.x == 0) sums", "if (threadIdx.x == 0) sums"),
        ("optimizer.cu", "i < n; i += blockDim.x) own += sums[i]", "i < n - 1; i += blockDim.x) own += sums[i]"),
        ("prims.cuh", "= value;\n    __syncthreads();\n    value = of", "= value;\n    value = of"),
        ("packs.cuh", "pack.at[j] = j < count ? address[j] : T(0)", "pack.at[j] = address[j < count ? j : 0]"),
    ],
)
def test_a_fault_is_caught(file, replace, by):
    sizes = (5, optimizer.PIECE + 9, 3)

    def some(step: int = 0) -> list[Any]:
        return [np.random.default_rng(step).standard_normal(n).astype(np.float32) for n in sizes]

    def compare() -> None:
        check_sgd(some(), SGD[-1], lambda step: some(step + 1))
        np.testing.assert_allclose(cuda.global_norm(some()), reference.global_norm(some()), rtol=1e-6)

    assert_caught(compare, file, replace, by)
