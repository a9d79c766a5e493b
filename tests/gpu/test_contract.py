"""Every function of the contract on CuPy's arrays, against the reference in float64. Needs a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu.test_fusion import calls_of_ops
from tests.gpu import cases
from tinygrad_notes import kernels
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda import recurrent
from tinygrad_notes.modes import RAW, in_mode

TABLE = cases.table()


def on_gpu(cupy: Any, x: Any) -> Any:
    return cupy.asarray(x)


def strided(cupy: Any, x: Any) -> Any:
    """The same numbers with steps between them, backwards along the first axis."""
    if not x.ndim:
        return cupy.asarray(x)
    wide = cupy.asarray(np.ascontiguousarray(np.repeat(x, 2, axis=-1)[::-1]))
    return wide[::-1, ..., ::2] if x.ndim > 1 else cupy.asarray(np.repeat(x, 2))[::2]


def fetched(found: list[Any]) -> list[Any]:
    return [x.get() if hasattr(x, "get") else x for x in found]


def inputs(case: Any, arguments: Any) -> list[Any]:
    """The arrays among the arguments that a call must not write."""
    found: list[Any] = []

    def collect(value: Any) -> None:
        if isinstance(value, list | tuple):
            for one in value:
                collect(one)
        elif hasattr(value, "dtype"):
            found.append(value)

    collect([x for i, x in enumerate(arguments) if i not in cases.IN_PLACE.get(case.function, ())])
    return found


@pytest.mark.parametrize("layout", [on_gpu, strided])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", reference.__all__)
def test_against_float64(cupy, poisoned, name, dtype, layout):
    """Inputs stay what they are, and twice the same bits come out."""
    for case in (case for case in TABLE if case.function == name):
        twice = []
        for _ in range(2):
            given = cases.mapped(cases.rounded(case, dtype), lambda x: layout(cupy, x))
            twice.append(fetched(cases.results(case, cuda, given)))
            kept, before = (inputs(case, one) for one in (given, cases.rounded(case, dtype)))
            for x, y in zip(kept, before, strict=True):
                np.testing.assert_array_equal(
                    x.get() if hasattr(x, "get") else x, y, err_msg=f"{case} wrote into an argument"
                )
        cases.compare(case, twice[0], cases.exact(case, dtype), dtype)
        if name != "ctc_loss":  # log_alpha beyond an input's length holds anything
            for first, second in zip(*twice):
                np.testing.assert_array_equal(first, second, err_msg=f"{case} is not the same twice")


# What "high" and "medium" permit: of the largest value; scans repeat their rounding at each step.
LESS = {"high": 2e-3, "medium": 2e-2}
PRODUCTS = ("matmul", "linear", "conv", "attention", "rnn_scan", "lstm_scan", "gru_scan")


@pytest.mark.parametrize("precision", LESS)
@pytest.mark.parametrize("name", [name for name in reference.__all__ if name.startswith(PRODUCTS)])
def test_less_precise_products(cupy, poisoned, name, precision):
    """TF32 and bfloat16, near float64 as far as they may be, and twice the same bits."""
    for case in (case for case in TABLE if case.function == name):
        twice = []
        with kernels.precision(precision):
            for _ in range(2):
                given = cases.mapped(cases.rounded(case, np.float32), cupy.asarray)
                twice.append(fetched(cases.results(case, cuda, given)))
        cases.compare(case, twice[0], cases.exact(case, np.float32), np.float32, LESS[precision])
        for first, second in zip(*twice):
            np.testing.assert_array_equal(first, second, err_msg=f"{case} is not the same twice")


def test_derivatives_of_every_elementwise_op(cupy):
    """Each as one kernel, which is written from the derivative itself."""
    with np.errstate(all="ignore"):
        calls = calls_of_ops(np.float32)
    with in_mode(lambda _: RAW), np.errstate(all="ignore"):
        for label, (x, function, others) in calls:
            right = function(x, *others)
            if right is not None:
                got = cuda.fused(cupy.asarray(x), function, cases.mapped(others, cupy.asarray)).get()
                np.testing.assert_allclose(got, right, rtol=3e-5, atol=3e-5, err_msg=label)


@pytest.mark.parametrize("name", ["rnn_scan", "lstm_scan", "gru_scan"])
def test_scans_by_clusters(cupy, monkeypatch, name):
    """What no default chooses before it was measured."""
    if int(cupy.cuda.Device().compute_capability) < 90:
        pytest.skip("clusters of blocks exist from sm_90 on")
    monkeypatch.setattr(recurrent, "LARGEST_IN_CLUSTER", dict.fromkeys(recurrent.GATES, 256))
    for case in (case for case in TABLE if case.function.startswith(name)):
        given = cases.mapped(cases.rounded(case, np.float32), cupy.asarray)
        got = fetched(cases.results(case, cuda, given))
        cases.compare(case, got, cases.exact(case, np.float32), np.float32)


@pytest.mark.parametrize(
    "name", ["exp", "sigmoid", "softmax", "log_softmax", "layer_norm", "max_pool", "matmul", "conv"]
)
def test_values_that_are_not_finite(cupy, name):
    for case in [case for case in TABLE if case.function == name and "(0" not in case.label]:
        given = cases.rounded(case, np.float32)
        if not given[0].ndim:
            continue
        given[0].flat[0], given[0].flat[-1] = np.nan, np.inf
        with np.errstate(all="ignore"):
            wanted = cases.results(case, reference, given)
        got = fetched(cases.results(case, cuda, cases.mapped(given, cupy.asarray)))
        for x, y in zip(got, wanted):
            for kind in (np.isnan, np.isposinf, np.isneginf):
                np.testing.assert_array_equal(kind(x), kind(y), err_msg=str(case))
