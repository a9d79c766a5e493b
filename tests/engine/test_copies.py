"""What a Tensor is as a Python object: copies, pickles, text, numbers, iteration, truth, equality."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf
from tinygrad_notes import DTypeError, GradientError, ShapeError, Tensor

COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "pickle 2": lambda x: pickle.loads(pickle.dumps(x, protocol=2)),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_leaves(name):
    x = leaf(1.0, 2.0)
    (x * 3.0).sum().backward()
    y = COPIES[name](x)
    assert type(y) is Tensor
    assert (y.tolist(), y.dtype, y.requires_grad, y.is_leaf) == ([1.0, 2.0], np.float64, True, True)
    assert y.grad.tolist() == [3.0, 3.0]
    assert not np.shares_memory(x.data, y.data)
    assert not np.shares_memory(x.grad.data, y.grad.data)
    (y * 2.0).sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([3.0, 3.0], [5.0, 5.0])


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize(
    "array", [np.array(3.0), np.zeros((0, 2)), np.arange(6).reshape(2, 3)[:, ::-1], np.array([True])]
)
def test_copies_of_plain_tensors(name, array):
    x = tn.asarray(array)
    y = COPIES[name](x)
    np.testing.assert_array_equal(y.data, array)
    assert (y.dtype, y.shape, y.requires_grad) == (x.dtype, x.shape, False)


@pytest.mark.parametrize("name", COPIES)
def test_what_has_a_history_is_not_copied(name):
    with pytest.raises(GradientError, match=r"this Tensor was made by multiply, .* copy t.detach\(\) instead"):
        COPIES[name](leaf(1.0) * 2.0)
    with pytest.raises(GradientError, match="made by multiply"):
        COPIES[name]([leaf(1.0), {"a": leaf(1.0) * 2.0}])


@pytest.mark.parametrize("name", COPIES)
def test_a_gradient_that_has_a_history_loses_it_in_the_copy(name):
    x = leaf(2.0)
    (x**3).sum().backward(create_graph=True)
    y = COPIES[name](x)
    assert y.grad.tolist() == [12.0]
    assert not y.grad.requires_grad
    assert x.grad.requires_grad


@pytest.mark.parametrize("name", ["deepcopy", "pickle"])
def test_one_tensor_twice_stays_one(name):
    x = leaf(1.0)
    y = COPIES[name]({"a": x, "b": [x]})
    assert y["a"] is y["b"][0]


def test_shallow_copy_is_a_new_leaf_of_the_same_memory():
    x = leaf(1.0)
    y = copy.copy(x)
    assert y is not x
    assert np.shares_memory(x.data, y.data)
    (y * 2.0).sum().backward()
    assert x.grad is None


def test_clone_detach_copy():
    x = leaf(1.0, 2.0)
    c = x.clone()
    assert not np.shares_memory(c.data, x.data)
    assert tn.grad((c * 3.0).sum(), x).tolist() == [3.0, 3.0]
    assert tn.grad((x.copy() * 3.0).sum(), x).tolist() == [3.0, 3.0]
    assert x.detach().is_leaf
    assert not x.detach().requires_grad


# ---------------------------------------------------------------------- text


def test_repr():
    assert repr(tn.tensor([1.0, 2.0])) == "Tensor([1., 2.])"
    assert repr(tn.tensor(3)) == "Tensor(3)"
    assert repr(leaf(1.0)) == "Tensor([1.], dtype=float64, requires_grad=True)"
    assert repr(leaf(1.0) * 2.0) == "Tensor([2.], dtype=float64, op=multiply)"
    assert repr(tn.tensor([1], dtype=tn.int32)) == "Tensor([1], dtype=int32)"
    assert repr(tn.zeros((0, 3))) == "Tensor([], shape=(0, 3))"
    assert repr(tn.tensor([[1.0, 2.0], [3.0, 4.0]])) == "Tensor([[1., 2.],\n        [3., 4.]])"
    text = repr(tn.zeros((100, 100)))
    assert "shape=(100, 100)" in text
    assert len(text) < 500


def test_format():
    assert f"{leaf(1.23456):.2f}" == "1.23"
    assert f"{tn.tensor(7):03d}" == "007"
    assert f"{tn.tensor([1.0])}" == "Tensor([1.])"
    assert f"{tn.tensor(1.0)!s:>12}" == " Tensor(1.)"[-11:].rjust(12)
    with pytest.raises(ShapeError, match=r"the Tensor has shape \(2,\), expected one element"):
        f"{leaf(1.0, 2.0):.2f}"


# ---------------------------------------------------------------------- numbers


def test_item_tolist_and_numbers():
    x = leaf(2.5).reshape(1, 1)
    assert type(x.item()) is float
    assert (x.item(), float(x), int(x)) == (2.5, 2.5, 2)
    assert type(tn.tensor(3).item()) is int
    assert type(tn.tensor(True).item()) is bool
    assert counting(2, 2).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert tn.tensor(1.5).tolist() == 1.5
    for convert in (Tensor.item, float, int):
        with pytest.raises(ShapeError, match=r"shape \(2,\), expected one element"):
            convert(leaf(1.0, 2.0))


def test_as_an_index():
    assert [10, 20, 30][tn.tensor(1)] == 20
    assert list(range(tn.tensor(3))) == [0, 1, 2]
    assert np.arange(5)[tn.tensor(2)] == 2
    for wrong in (tn.tensor(1.0), tn.tensor(True)):
        with pytest.raises(DTypeError, match=r"expected integers|only integer Tensors"):
            [1, 2][wrong]


def test_truth():
    assert tn.tensor(2.0)
    assert not tn.tensor([[0]])
    for several in (leaf(1.0, 2.0), tn.zeros(0)):
        with pytest.raises(ShapeError, match=r"truth of a Tensor of shape \(\d,\) is ambiguous"):
            bool(several)


def test_len_iteration_and_unpacking():
    x = counting(3, 2)
    assert len(x) == 3
    rows = list(x)
    assert [r.tolist() for r in rows] == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert tn.grad(rows[1].sum(), x).tolist() == [[0, 0], [1, 1], [0, 0]]
    a, b, c = x
    assert b.tolist() == [3.0, 4.0]
    assert [r.tolist() for r in reversed(x)] == [r.tolist() for r in rows][::-1]
    assert [(p.item(), q.item()) for p, q in zip(a, c)] == [(1.0, 5.0), (2.0, 6.0)]
    assert sum(x).tolist() == [9.0, 12.0]
    assert list(tn.zeros((0, 2))) == []
    for act in (len, iter, list):
        with pytest.raises(DTypeError, match="no axes"):
            act(tn.tensor(1.0))


def test_contains():
    x = counting(2, 2)
    assert 3.0 in x
    assert 5.0 not in x
    assert tn.tensor(4.0) in x
    assert 3 in tn.tensor([1, 3])


# ---------------------------------------------------------------------- equality and hashing


def test_equality():
    x = leaf(1.0, 2.0)
    assert (x == 1.0).tolist() == [True, False]
    assert (x != np.array([1.0, 5.0])).tolist() == [False, True]
    assert (x == [1, 2]).tolist() == [True, True]
    assert (x == tn.tensor([1.0, 2.0])).tolist() == [True, True]
    assert (np.float64(1.0) == x).tolist() == [True, False]
    assert not (x == 1.0).requires_grad


@pytest.mark.parametrize("other", [None, "text", object(), {}, len, ...], ids=lambda v: type(v).__name__)
def test_equality_with_something_else(other):
    x = leaf(1.0, 2.0)
    assert (x == other) is False
    assert (x != other) is True
    assert (other == x) is False


def test_hash_is_by_identity():
    x, y = leaf(1.0), leaf(1.0)
    assert {x: "x", y: "y"}[x] == "x"
    assert len({x, y, x}) == 2
    assert hash(x) == hash(x)


# ---------------------------------------------------------------------- the type


def test_final_and_without_further_attributes():
    with pytest.raises(TypeError, match="Tensor is final"):
        type("Mine", (Tensor,), {})
    with pytest.raises(AttributeError):
        leaf(1.0).colour = "red"


def test_attributes():
    x = counting(2, 3)
    assert (x.shape, x.ndim, x.size, x.nbytes, x.device, x.dtype) == ((2, 3), 2, 6, 48, "cpu", np.float64)
    assert x.T.shape == (3, 2)
    assert x[None].mT.shape == (1, 3, 2)
    assert x.is_leaf
    assert not (x * 2.0).is_leaf


def test_to():
    x = leaf(1.0, 2.0)
    assert x.to("cpu") is x
    assert x.to(tn.float64) is x
    y = x.to("cpu", tn.float32)
    assert y.dtype == np.float32
    g = tn.grad(y.sum(), x)
    assert g.dtype == np.float64
    with pytest.raises(tn.DeviceError, match="cuda"):
        x.to("cuda")
