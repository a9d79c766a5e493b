"""Calls that cannot work: each message names the op, the argument, what came and what was expected."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf
from tests.foreign_array import DEVICE, ForeignArray
from tinygrad_notes import DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.kernels import DEVICES, register_array_type

x, m = leaf(1.0, 2.0, 3.0), counting(2, 3)
OURS = (ShapeError, DTypeError, DeviceError, GradientError, IndexError)

CALLS = {
    # shapes
    "add": (lambda: x + m.T, ShapeError, r"add: .*\[3\] float64.*\[3, 2\] float64"),
    "matmul": (lambda: m @ m, ShapeError, r"matmul: .*[\[(]2, 3[\])]"),
    "matmul 0-D": (lambda: m @ 2.0, (ShapeError, DTypeError), "matmul: "),
    "linear": (lambda: tn.linear(x, m.T), ShapeError, r"linear: x has shape \(3,\), weight \(3, 2\), expected"),
    "linear bias": (lambda: tn.linear(x, m, x), ShapeError, r"linear: bias has shape \(3,\), expected \(2,\)"),
    "einsum letters": (lambda: tn.einsum("ij,j->i", m, leaf(1.0)[:0]), ShapeError,
    "einsum: the letter 'j' has size 3 and 0"),
    "einsum terms": (lambda: tn.einsum("ij,jk", m), ShapeError, "einsum: .* 2 terms for 1 operands"),
    "einsum output": (lambda: tn.einsum("ij->ik", m), ShapeError, "einsum: the output"),
    "reshape": (lambda: m.reshape(4), ShapeError, r"reshape: cannot reshape array of size 6 into shape \(4,\)"),
    "reshape two -1": (lambda: m.reshape(-1, -1), ShapeError, "reshape: can only specify one unknown dimension"),
    "permute_dims": (lambda: m.permute_dims(0, 0), ShapeError, "permute_dims: "),
    "permute_dims few": (lambda: m.permute_dims(0), ShapeError, "permute_dims: "),
    "squeeze": (lambda: m.squeeze(0), ShapeError, "squeeze: cannot select an axis to squeeze out"),
    "broadcast_to": (lambda: tn.broadcast_to(m, (3, 3)), ShapeError, "broadcast_to: "),
    "concat": (lambda: tn.concat([m, m.T]), ShapeError, "concat: "),
    "concat of nothing": (lambda: tn.concat([]), ShapeError, "concat: no arrays to join"),
    "concat of a Tensor": (lambda: tn.concat(m), DTypeError, "concat: arrays is Tensor, expected a list or tuple"),
    "stack": (lambda: tn.stack([m, x]), ShapeError, "stack: "),
    "split": (lambda: tn.split(m, 2, axis=1), ShapeError, "split: axis 1 of size 3 cannot be split into 2 equal parts"),
    "pad": (lambda: tn.pad(m, -1), ShapeError, "pad: pad_width -1 is negative"),
    "pad mode": (lambda: tn.pad(m, 1, mode="wild"), ShapeError, "pad: mode is 'wild', expected"),
    "flatten": (lambda: m.flatten(1, 0), ShapeError, "flatten: start_axis 1 comes after end_axis 0"),
    "take_along_axis": (lambda: tn.take_along_axis(m, np.zeros((2, 2, 2), int), 0), ShapeError,
    "take_along_axis: indices have 3 axes"),
    "setitem": (lambda: tn.zeros(3).__setitem__(slice(2), np.ones(3)), ShapeError, "setitem: could not broadcast"),
    "max of nothing": (lambda: tn.zeros((0, 2)).max(), ShapeError, "max: no elements"),
    # axes
    "axis": (lambda: x.sum(axis=1), (ShapeError, IndexError), "sum: axis 1 is out of bounds"),
    "axis twice": (lambda: m.sum(axis=(0, 0)), ShapeError, "sum: duplicate value in 'axis'"),
    "axis text": (lambda: x.sum(axis="rows"), DTypeError, "sum: "),
    "softmax axis": (lambda: tn.softmax(m, axis=2), (ShapeError, IndexError), "softmax: "),
    "cumsum axis": (lambda: tn.cumsum(m, axis=5), (ShapeError, IndexError), "cumsum: "),
    "moveaxis": (lambda: tn.moveaxis(m, 0, 4), ShapeError, "moveaxis: axis 4 is out of bounds for 2 axes"),
    "swapaxes": (lambda: tn.swapaxes(m, 0, 2), (ShapeError, IndexError), "swapaxes: "),
    # indices
    "index": (lambda: x[3], IndexError, "getitem: index 3 is out of bounds for axis 0 with size 3"),
    "index array": (lambda: x[[0, 7]], IndexError, "getitem: index 7 is out of bounds"),
    "index axes": (lambda: x[0, 0], IndexError, "getitem: too many indices"),
    "index float": (lambda: x[1.0], IndexError, "getitem: only integers"),
    "index floats": (lambda: x[leaf(1.0)], DTypeError, "index.* a Tensor of float64, expected integers or booleans"),
    "index text": (lambda: x["a"], IndexError, "getitem: only integers"),
    "index mask": (lambda: x[[True, False]], IndexError, "getitem: boolean index did not match"),
    "setitem index": (lambda: tn.zeros(3).__setitem__(5, 1.0), IndexError, "setitem: index 5 is out of bounds"),
    "embedding": (lambda: tn.embedding([0, 2], m), IndexError,
    "embedding: index 2 is out of range for the number of rows = 2"),
    "embedding negative": (lambda: tn.embedding([-1], m), IndexError, "embedding: index -1 is out of range"),
    "embedding floats": (lambda: tn.embedding(x, m), DTypeError, "embedding: indices are float64, expected integers"),
    "one_hot": (lambda: tn.one_hot([3], 3), IndexError, "one_hot: index 3 is out of range for num_classes = 3"),
    # types
    "add text": (lambda: x + "a", DTypeError, "add: b is str, expected a Tensor, an array or a number"),
    "add None": (lambda: x + None, DTypeError, "add: b is NoneType"),
    "exp of None": (lambda: tn.exp(None), DTypeError, "exp: a is NoneType"),
    "pow": (lambda: tn.tensor([2]) ** -1, DTypeError, "pow: an integer to a negative integer power"),
    "minus of booleans": (lambda: -tn.tensor([True]), DTypeError, "negative: "),
    "and of floats": (lambda: x & x, DTypeError, "bitwise_and: "),
    "gelu": (lambda: tn.gelu(x, "best"), DTypeError, "gelu: approximate is 'best', expected 'none' or 'tanh'"),
    "norm": (lambda: tn.norm(x, -1), ShapeError, "norm: ord is -1"),
    # creation
    "zeros": (lambda: tn.zeros((2, -1)), ShapeError, r"zeros: shape \(2, -1\) has a negative size"),
    "zeros float": (lambda: tn.zeros(2.5), DTypeError, "zeros: shape is 2.5, expected an integer"),
    "arange": (lambda: tn.arange(1, 2, 0), ShapeError, "arange: step is 0"),
    "linspace": (lambda: tn.linspace(0, 1, -1), ShapeError, "linspace: num is -1"),
    "full": (lambda: tn.full(2, [1, 2]), ShapeError, r"full: fill_value has shape \(2,\)"),
    "device": (lambda: tn.zeros(2, device="tpu"), DeviceError, "'tpu'.* expected 'cpu' or 'cuda'"),
    "ragged": (lambda: tn.tensor([[1], [1, 2]]), ShapeError, "rectangular"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_wrong_call(name):
    call, kind, message = CALLS[name]
    with pytest.raises(kind, match=message) as error:
        call()
    assert isinstance(error.value, OURS), "a bare error of NumPy's"


@pytest.mark.parametrize("name", CALLS)
def test_wrong_call_under_no_grad(name):
    call, kind, message = CALLS[name]
    with tn.no_grad(), pytest.raises(kind, match=message):
        call()


def test_our_errors_are_pythons():
    assert issubclass(ShapeError, ValueError)
    assert issubclass(DTypeError, TypeError)
    assert issubclass(DeviceError, RuntimeError)
    assert issubclass(GradientError, RuntimeError)


def test_a_failed_call_leaves_nothing_behind():
    a = leaf(1.0, 2.0)
    h = a * 1.0
    with pytest.raises(ShapeError):
        h += tn.ones((3, 2))
    with pytest.raises(IndexError):
        h[7] = 1.0
    with pytest.raises(ShapeError):
        h + tn.ones(3)
    assert h.tolist() == [1.0, 2.0]
    (h * h).sum().backward()
    assert a.grad.tolist() == [2.0, 4.0]


def test_mixed_devices_name_op_and_operands():
    register_array_type(ForeignArray, DEVICE)
    try:
        here, there = tn.ones((2, 2)), tn.asarray(ForeignArray(np.ones((2, 2), np.float32)))
        for call in (
            lambda: here + there,
            lambda: there * here,
            lambda: here @ there,
            lambda: tn.concat([here, there]),
        ):
            with pytest.raises(
                DeviceError, match=rf"\w+: operands are on different devices \(.*\[2, 2\] float32 on {DEVICE}"
            ):
                call()
    finally:
        from tinygrad_notes.kernels import BACKENDS

        del DEVICES[ForeignArray]
        for table in BACKENDS.values():
            table.pop(ForeignArray, None)


def test_no_cuda_here_is_said():
    with pytest.raises(DeviceError, match="device 'cuda': "):
        tn.ones(2).to("cuda")


def test_unknown_attribute_of_the_package():
    with pytest.raises(AttributeError, match="module 'tinygrad_notes' has no attribute 'convolve'"):
        _ = tn.convolve
