"""The cases for the GPU are right: tried here on the reference, and wrong results are seen. Needs no GPU."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gpu import cases
from tinygrad_notes.kernels import reference

TABLE = cases.table()
SOME = {case.function: case for case in TABLE if case.label.find("(0") < 0}


def test_every_function_has_cases():
    assert {case.function for case in TABLE} == set(reference.__all__)
    assert len({str(case) for case in TABLE}) == len(TABLE)


def test_float32_is_as_exact_as_asked():
    """The bounds can be reached, on every case: the reference does in float32."""
    for case in TABLE:
        wanted = cases.exact(case, np.float32)
        with np.errstate(all="ignore"):
            cases.compare(case, cases.results(case, reference, cases.rounded(case, np.float32)), wanted, np.float32)


@pytest.mark.parametrize("name", ["softmax", "conv", "adam_step", "max_pool", "lstm_scan_grad", "dropout_mask"])
def test_a_wrong_result_is_seen(name):
    case = SOME[name]
    wanted = cases.exact(case, np.float32)
    right = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in wanted]
    cases.compare(case, right, wanted, np.float32)
    for i, x in enumerate(right):
        if not x.size:
            continue
        for value in (np.nan, 1e-4 * np.max(np.abs(x)) + x.flat[-1]) if x.dtype.kind == "f" else (1 - x.flat[-1],):
            wrong = x.copy()
            wrong.flat[-1] = value
            with pytest.raises(AssertionError, match=f"result {i}"):
                cases.compare(case, [*right[:i], wrong, *right[i + 1 :]], wanted, np.float32)
    with pytest.raises(AssertionError):
        cases.compare(case, right[1:], wanted, np.float32)
