"""The whole table of samples on a device that behaves as CuPy's arrays do, its hot ops by the CUDA kernels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.capture.fake_cupy import FakeArray
from tests.cuda_on_cpu import device
from tests.ops.test_foreign_arrays import run
from tinygrad_notes.study.samples import SAMPLES


@pytest.fixture
def gpu(monkeypatch):
    return device.install(monkeypatch)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.title.replace(" ", "-"))
def test_sample(sample, gpu):
    got, wanted = run(sample, FakeArray), run(sample, lambda array: array)
    assert len(got) == len(wanted)
    for ours, numpy in zip(got, wanted):
        assert type(ours.data) is FakeArray, f"a {type(ours.data).__name__} came out"
        np.testing.assert_allclose(ours.data.values, numpy.data, rtol=1e-11, atol=1e-11)
