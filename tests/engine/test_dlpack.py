"""DLPack both ways: memory shared with other libraries, no gradient lost."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn


def test_both_ways_without_a_copy():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = tn.from_dlpack(array)
    assert x.dtype == np.float32
    array[0, 0] = 7
    assert x[0, 0].item() == 7
    back = np.from_dlpack(x)
    assert np.shares_memory(back, array)


def test_gradients_are_not_lost_and_nonsense_is_refused():
    with pytest.raises(tn.GradientError, match=r"use t\.detach"):
        np.from_dlpack(tn.ones(3, requires_grad=True))
    with pytest.raises(tn.DTypeError, match="x is list, which does not speak DLPack"):
        tn.from_dlpack([1.0])
    with pytest.raises(tn.DTypeError, match="int16"):
        tn.from_dlpack(np.zeros(2, np.int16))


def test_another_device_is_refused():
    class Elsewhere:
        def __dlpack__(self):
            raise AssertionError("must not be asked")

        def __dlpack_device__(self):
            return (10, 0)

    with pytest.raises(tn.DeviceError, match="device of DLPack's kind 10"):
        tn.from_dlpack(Elsewhere())


@pytest.mark.parity
def test_pytorch():
    torch = pytest.importorskip("torch")
    t = torch.arange(4.0)
    x = tn.from_dlpack(t)
    t[0] = 9
    assert x.tolist() == [9, 1, 2, 3]
    assert torch.from_dlpack(x * 2.0).tolist() == [18, 2, 4, 6]
