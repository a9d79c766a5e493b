"""The CUDA kernels of cross-entropy against the reference, in every order of threads the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tests.kernels import test_loss
from tests.kernels.operands import assert_close
from tests.kernels.test_cpu_loss import IGNORE, everything, operands, wide
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda import loss

SHAPES = [(1, 1), (9, 5), (6, 33), (5, 260), (4, 1029)]


def check(arguments: Any, smoothing: float) -> None:
    logits, target, weight, probabilities, g = arguments
    found = []
    given = [*arguments, smoothing]
    for order in stand_in.ORDERS:
        stand_in.settings["order"] = order
        found.append(everything(cuda, *given))
    for results in zip(*found, strict=True):
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other)
    exact = everything(reference, wide(logits), target, wide(weight), wide(probabilities), wide(g), smoothing)
    for mine, wanted in zip(found[0], exact, strict=True):
        assert_close(mine, wanted, logits, 1.0)


@pytest.mark.parametrize(("rows", "classes"), SHAPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_against_the_reference(rows, classes, smoothing, weighted):
    dtype = np.float64 if smoothing == 1 else np.float32
    check(operands(rows, classes, dtype, weighted), smoothing)
    assert [name.partition("<")[0] for name in stand_in.launches[-4:]] == list(loss.FUNCTIONS)


def test_a_row_for_a_large_block(monkeypatch):
    monkeypatch.setattr(loss, "MANY", 1025)
    check(operands(2, 4100, np.float32, True), 0.1)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_any_integer_and_any_stride(dtype):
    logits, target, weight, probabilities, g = operands(10, 12, np.float32, True)
    target = np.where(target == IGNORE, 3, target).astype(dtype)
    check((logits[:, ::-1], target[::-1], weight, np.broadcast_to(probabilities[:1], (10, 12)), g[::-1]), 0.1)
    arguments = logits, target, None, 3, 0.0  # a class may be the ignored one
    for mine, wanted in zip(cuda.cross_entropy(*arguments), reference.cross_entropy(*arguments)):
        np.testing.assert_allclose(mine, wanted, rtol=1e-5)


@pytest.mark.parametrize("classes", [9, 1030])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [True, False])
def test_values_that_are_not_finite_come_out_as_in_the_reference(classes, smoothing, weighted):
    logits, target, weight, probabilities, g = operands(12, classes, np.float32, weighted)
    target[:] = 4
    logits[1, 3], logits[2, 5], logits[3, 4], logits[4] = np.nan, np.inf, -np.inf, -np.inf
    logits[5, :5], logits[6, 2], logits[7, ::2] = -np.inf, 3e38, -1e38
    logits[9] += np.float32(1e20)
    target[10], target[11] = IGNORE, 8
    logits[10], probabilities[3, 4] = np.nan, 0
    g[0], g[11] = np.inf, 0
    arguments = logits, target, weight, probabilities, g, smoothing
    wanted = everything(reference, *arguments)
    for mine, theirs in zip(everything(cuda, *arguments), wanted, strict=True):
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_class_that_does_not_exist_is_nobodys():
    logits, target = operands(3, 4, np.float32, False)[0], np.array([-1, 4, 10**12])
    for smoothing in (0.0, 0.1):
        got, wanted = (kernels.cross_entropy(logits, target, None, IGNORE, smoothing) for kernels in (cuda, reference))
        for mine, theirs in zip(got, wanted, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5)
        got, wanted = (
            kernels.cross_entropy_grad(logits[:, 0], logits, target, None, IGNORE, smoothing, wanted[2])
            for kernels in (cuda, reference)
        )
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_mixed_dtypes_are_the_references():
    logits, target, weight, probabilities, g = operands(5, 6, np.float32, True)
    results = [
        everything(kernels, logits, target, wide(weight), wide(probabilities), g, 0.1) for kernels in (cuda, reference)
    ]
    for mine, wanted in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, wanted)
        assert mine.dtype == wanted.dtype


@pytest.fixture
def chosen(monkeypatch):
    for name in loss.FUNCTIONS:
        monkeypatch.setattr(test_loss, name, getattr(cuda, name))


@pytest.mark.usefixtures("chosen")
class TestAsTheReference:
    """The reference's own tests, on these kernels."""


for _name, _test in vars(test_loss).items():
    if _name.startswith("test_") and "torch" not in _name:
        setattr(TestAsTheReference, _name, staticmethod(_test))


FAULTS = [  # (whether the gradient shows it, file, text, its replacement)
    (False, "prims.cuh", "    __syncthreads();\n    value = of_warps[0];", "    value = of_warps[0];"),
    (False, "prims.cuh", "    __syncthreads();  // what an earlier call left there has been read\n", ""),
    (False, "loss.cu", "const long long i = first + k * row.lanes;", "const long long i = first + k;"),
    (False, "loss.cu", "BY_WARP ? warp_max(own) : block_max(own)", "warp_max(own)"),
    (False, "loss.cu", "            sum *= static_cast<double>(exp(own - most));\n", ""),
    (False, "loss.cu", "return factor == 0 ? 0 : factor * x;", "return factor * x;"),
    (True, "sums.cuh", "    __syncthreads();\n    a = of_warps", "    a = of_warps"),
    (True, "loss.cu", "exp(x[c] - log_total) / sum * share", "exp(x[c] - log_total) * share"),
]  # fmt: skip


@pytest.mark.parametrize(("grad", "file", "replace", "by"), FAULTS)
def test_a_planted_fault_is_caught(grad, file, replace, by):
    logits, target, weight, _, g = operands(3, 1100, np.float32, True)
    target[1] = 4
    logits[1] += np.float32(3e5)  # whose logsumexp is rounded
    logits[2, 3] = -np.inf  # of weight 0
    wanted = reference.cross_entropy(wide(logits), target, wide(weight), IGNORE, 0.1)
    values = (logits, target, weight, IGNORE, 0.1)
    slopes = (g, *values, wanted[2].astype(np.float32))
    if grad:
        wanted = (reference.cross_entropy_grad(wide(g), wide(logits), target, wide(weight), IGNORE, 0.1, wanted[2]),)

    def right() -> bool:
        got: Any
        if grad:
            got = (cuda.cross_entropy_grad(*slopes),)
        else:
            got = cuda.cross_entropy(*values)
        return all(np.allclose(a, b, 1e-5, 1e-5) for a, b in zip(got, wanted, strict=True))

    assert_caught(right, file, replace, by)
