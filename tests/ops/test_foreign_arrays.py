"""The whole table of samples on an array type that is not NumPy's: nothing falls back to NumPy unseen."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.foreign_array import ForeignArray
from tinygrad_notes.kernels import BACKENDS, DEVICES, register_array_type
from tinygrad_notes.study.samples import SAMPLES
from tinygrad_notes.tensor import Tensor, wrap


@pytest.fixture(autouse=True, scope="module")
def device():
    register_array_type(ForeignArray, "foreign")
    yield
    del DEVICES[ForeignArray]
    for table in BACKENDS.values():
        del table[ForeignArray]


def run(sample, make):
    """Value and gradients of a sample whose arrays were made by ``make``."""
    operands = []
    for i, array in enumerate(sample.operands):
        operand = wrap(make(array.copy()))
        operands.append(operand.requires_grad_() if i in sample.differentiable else operand)
    values = sample.call(*operands)
    values = list(values) if isinstance(values, list | tuple) else [values]
    found = list(values)
    tops = [v for v in values if isinstance(v, Tensor) and v.requires_grad]
    leaves = [operands[i] for i in sample.differentiable]
    if sample.order and tops:
        seeds = [tn.ones_like(v) for v in tops]
        found += tn.grad(tops, leaves, seeds, allow_unused=True, retain_graph=True)
        if sample.order > 1:
            found += tn.grad(tops, leaves, seeds, allow_unused=True, create_graph=True)
    return [t for t in found if t is not None]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.title.replace(" ", "-"))
def test_sample(sample):
    got, wanted = run(sample, ForeignArray), run(sample, lambda array: array)
    assert len(got) == len(wanted)
    for ours, numpy in zip(got, wanted):
        assert type(ours.data) is ForeignArray, f"a {type(ours.data).__name__} came out"
        np.testing.assert_allclose(ours.data.values, numpy.data, rtol=1e-12, atol=1e-12)


def test_mixed_devices_are_refused():
    a, b = wrap(ForeignArray(np.ones(3))), wrap(np.ones(3))
    for function in (tn.add, tn.multiply, tn.maximum):
        with pytest.raises(
            tn.DeviceError, match=r"operands are on different devices \(a \[3\] float64 on foreign, b \[3\] float64\)"
        ):
            function(a, b)
    with pytest.raises(tn.DeviceError, match="different devices"):
        tn.concat([a, b])


def test_conversion_is_refused():
    with pytest.raises(TypeError, match="implicit conversion"):
        np.asarray(ForeignArray(np.ones(2)))
