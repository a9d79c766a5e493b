"""Every function of the contract on CuPy's arrays, against the reference in float64. Needs a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.gpu import cases
from tinygrad_notes.kernels import cuda, reference

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
            np.testing.assert_array_equal(np.isfinite(x), np.isfinite(y), err_msg=str(case))
