"""Writes in place are differentiable on both sides: of what is written, and of what it is written into."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf, numerical
from tinygrad_notes import ShapeError

# ---------------------------------------------------------------------- gradients on both sides


def of_both_sides(program, functional, *shapes, seed=0):
    """``program`` writes in place, ``functional`` computes the same without; values and gradients must be equal."""
    rng = np.random.default_rng(seed)
    arrays = [rng.uniform(0.5, 1.5, shape) for shape in shapes]

    def run(function):
        xs = [tn.tensor(a, requires_grad=True) for a in arrays]
        y = function(*xs)
        weights = np.random.default_rng(1).standard_normal(y.shape)
        return y.data.copy(), [g.data for g in tn.grad((y * y * weights).sum(), xs)]

    (value, gradients), (wanted_value, wanted) = run(program), run(functional)
    np.testing.assert_allclose(value, wanted_value, rtol=1e-14)
    for g, w in zip(gradients, wanted):
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-14)


OPERATORS = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow]
PLAIN = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ipow: operator.pow,
    operator.imod: operator.mod,
}


@pytest.mark.parametrize("write", [*OPERATORS, operator.imod], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(2, 3), (3,), (2, 1), ()])
def test_augmented_assignment(write, shape):
    def program(a, v):
        x = a * 1.0
        x = write(x, v)
        return write(x, v * 0.7)

    def functional(a, v):
        plain = PLAIN[write]
        return plain(plain(a * 1.0, v), v * 0.7)

    of_both_sides(program, functional, (2, 3), shape)


@pytest.mark.parametrize("write", OPERATORS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("other", ["itself", "reversed", "transposed", "row", "its array"])
def test_operand_in_the_same_memory(write, other):
    """``x *= x``, ``x *= x[::-1]``: what the op keeps must not be what the write overwrites."""

    def operand(x):
        return {
            "itself": lambda: x,
            "reversed": lambda: x[::-1],
            "transposed": lambda: x.T,
            "row": lambda: x[0],
            "its array": lambda: x.data[::-1],
        }[other]()

    def program(a):
        x = a * 1.0
        x = write(x, operand(x))
        return x * 2.0

    def functional(a):
        x = a * 1.0
        right = operand(x)
        return PLAIN[write](x, right.copy() if isinstance(right, np.ndarray) else right) * 2.0

    of_both_sides(program, functional, (2, 2))


@pytest.mark.parametrize("write", OPERATORS, ids=lambda f: f.__name__)
def test_augmented_assignment_of_a_part(write):
    """``x[i] += v`` writes a view of x and then assigns it to x."""

    def program(a, v):
        x = a * 1.0
        x[1:] = write(x[1:], v)
        x[0, :2] = write(x[0, :2], v[:2] * 2.0)
        return x

    def functional(a, v):
        x = a * 1.0
        plain = PLAIN[write]
        x = tn.concat([x[:1], plain(x[1:], v)])
        return tn.concat([tn.concat([plain(x[0, :2], v[:2] * 2.0), x[0, 2:]])[None], x[1:]])

    of_both_sides(program, functional, (3, 3), (3,))


def test_augmented_assignment_of_a_part_as_it_is_written():
    a, v = counting(2, 3), leaf(10.0, 20.0, 30.0)
    x = a * 1.0
    x[0] += v
    x[1, ::2] *= 2.0
    x[:, 1] -= x[:, 0] * 3.0
    (g, h) = tn.grad(x.sum(), [a, v])
    np.testing.assert_array_equal(x.data, [[11, 22 - 33, 33], [8, 5 - 24, 12]])
    np.testing.assert_array_equal(g.data, [[1 - 3, 1, 1], [2 - 6, 1, 2]])
    np.testing.assert_array_equal(h.data, [1 - 3, 1, 1])


def test_augmented_assignment_by_integer_arrays():
    """NumPy's rule: of repeated indices the last one stands."""
    a = counting(3)
    x = a * 1.0
    x[[0, 0, 2]] += tn.tensor(np.array([10.0, 20.0, 30.0]))
    assert x.tolist() == [21.0, 2.0, 33.0]
    assert tn.grad(x.sum(), a).tolist() == [1.0, 1.0, 1.0]


INDICES = {
    "int": 1,
    "negative": -1,
    "slice": slice(1, None),
    "step": slice(None, None, -2),
    "pair": (0, slice(None, 2)),
    "new axis": (None, 1),
    "dots": (Ellipsis, 0),
    "list": [0, 2],
    "array": (np.array([[0, 1], [2, 2]]), 1),
    "mask": np.array([True, False, True]),
    "mask 2-D": np.arange(9).reshape(3, 3) % 2 == 0,
    "tensor": tn.tensor([2, 0]),
    "mixed": (slice(1, None), np.array([0, 2])),
    "nothing": slice(0, 0),
    "all": Ellipsis,
}


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("broadcast", [False, True])
def test_setitem(name, broadcast):
    """The elements written lose their gradient, the value gets it; against finite differences."""
    index = INDICES[name]
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 3))
    inside = a[index.data if isinstance(index, tn.Tensor) else index].shape
    v = rng.standard_normal(() if broadcast else inside)
    weights = rng.standard_normal((3, 3))

    def loss(a, v):
        x = a * 2.0
        x[index] = v
        return (x * x * weights).sum()

    leaves = [tn.tensor(a, requires_grad=True), tn.tensor(v, requires_grad=True)]
    got = tn.grad(loss(*leaves), leaves)
    wanted = numerical(lambda *arrays: loss(*map(tn.tensor, arrays)).item(), [a, v])
    for g, w in zip(got, wanted):
        np.testing.assert_allclose(g.data, w, rtol=1e-7, atol=1e-8)


def test_setitem_with_repeated_indices():
    """Of values written to one place the last stands, and only it has a gradient."""
    v = leaf(1.0, 2.0, 3.0)
    x = tn.zeros(3, dtype=tn.float64)
    x[[0, 0, 1]] = v
    assert x.tolist() == [2.0, 3.0, 0.0]
    g = tn.grad((x * tn.tensor([1.0, 10.0, 100.0])).sum(), v, create_graph=True)
    assert g.tolist() == [0.0, 1.0, 10.0]


def test_setitem_to_second_order():
    a, v = leaf(1.0, 2.0, 3.0), leaf(5.0)

    def f(a, v):
        x = a * a
        x[1:2] = v * v * v
        x[2] = x[1] * x[0]
        return (x * x).sum()

    def first(p, q):
        xs = [tn.tensor(p, requires_grad=True), tn.tensor(q, requires_grad=True)]
        return sum(g.sum().item() for g in tn.grad(f(*xs), xs))

    ga, gv = tn.grad(f(a, v), [a, v], create_graph=True)
    wanted = numerical(first, [a.data, v.data], 1e-6)
    second = tn.grad(ga.sum() + gv.sum(), [a, v])
    for g, w in zip(second, wanted):
        np.testing.assert_allclose(g.data, w, rtol=1e-6)


def test_overlapping_move_within_one_tensor():
    a = leaf(1.0, 2.0, 3.0, 4.0)
    x = a * 1.0
    x[1:] = x[:-1]
    assert x.tolist() == [1.0, 1.0, 2.0, 3.0]
    assert tn.grad((x * tn.tensor([1.0, 10.0, 100.0, 1000.0])).sum(), a).tolist() == [11.0, 100.0, 1000.0, 0.0]


def test_swap():
    a = leaf(1.0, 2.0)
    x = a * 1.0
    first = x[0].clone()
    x[0] = x[1]
    x[1] = first
    assert x.tolist() == [2.0, 1.0]
    assert tn.grad((x * tn.tensor([1.0, 10.0])).sum(), a).tolist() == [10.0, 1.0]


def test_plain_tensor_joins_the_tape_by_a_write():
    v = leaf(1.0, 2.0)
    for write in (lambda x: x.__setitem__(0, v), lambda x: operator.iadd(x, v), lambda x: x.__setitem__((0, 1), v[0])):
        x = tn.zeros((2, 2), dtype=tn.float64)
        write(x)
        assert x.requires_grad
        assert tn.grad(x.sum(), v).data.any()


def test_rows_filled_one_by_one():
    """What a loop over time does with a buffer."""
    w = leaf(2.0)
    out = tn.zeros((5, 1), dtype=tn.float64)
    h = w * 1.0
    for t in range(5):
        out[t] = h
        h = h * w
    assert tn.grad(out.sum(), w).item() == sum(n * 2.0 ** (n - 1) for n in range(1, 6))


def test_written_twice_and_read_between():
    a = leaf(1.0, 2.0)
    x = a * 1.0
    before = x + 0.0
    x *= 10.0
    middle = x + 0.0
    x += 5.0
    (before + middle + x).sum().backward()
    assert a.grad.tolist() == [21.0, 21.0]


def test_python_names_for_the_same_tensor_see_the_write():
    a = leaf(1.0)
    x = a * 1.0
    y = x
    x += 1.0
    assert y is x
    assert y.item() == 2.0


def test_retained_gradient_is_that_of_the_new_value():
    a = leaf(1.0, 2.0)
    x = a * 1.0
    x.retain_grad()
    x *= 3.0
    x[0] = 0.0
    (x * 2.0).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    assert a.grad.tolist() == [0.0, 6.0]


# ---------------------------------------------------------------------- dtypes and shapes of writes


def test_writes_keep_dtype_and_shape():
    x = tn.zeros(3)
    x[0] = np.float64(1.5)
    x[1:] = np.array([2.5, 3.5])
    x += 1
    x *= np.float64(2)
    assert (x.dtype, x.tolist()) == (tn.float32, [5.0, 7.0, 9.0])
    with pytest.raises(tn.DTypeError, match="iadd: the result is float64, the Tensor it is written to float32"):
        x += np.ones(3)
    with pytest.raises(ShapeError, match=r"iadd: the result has shape \(2, 3\), the Tensor it is written to \(3,\)"):
        x += tn.ones((2, 3))
    with pytest.raises(ShapeError, match=r"setitem: could not broadcast .* \(a \[3\] float32, v \[2\] float32"):
        x[:] = tn.ones(2)
    with pytest.raises(IndexError, match="setitem: index 3 is out of bounds"):
        x[3] = 0.0
    assert x.tolist() == [5.0, 7.0, 9.0]


def test_numbers_are_written_exactly():
    x = tn.zeros(4, dtype=tn.float64)
    x[0] = 0.1
    x[1:3] = [0.1, 0.2]
    x[3] = np.float64(0.3)
    assert x.tolist() == [0.1, 0.1, 0.2, 0.3]


def test_integers_carry_no_gradient():
    counts = tn.tensor([1, 2, 3])
    with pytest.raises(tn.DTypeError, match="setitem: the value is float64, the Tensor it is written to int64"):
        counts[0] = leaf(7.9).reshape(())
    counts[0] = 7
    counts[1:] = 5
    assert not counts.requires_grad
    assert (counts.dtype, counts.tolist()) == (tn.int64, [7, 5, 5])
    counts += 1
    counts //= 2
    counts |= 8
    counts &= 11
    counts ^= 1
    assert counts.tolist() == [9, 10, 10]
    with pytest.raises(tn.DTypeError, match="iadd: the result is float32"):
        counts += 1.5
    small = tn.tensor([1], dtype=tn.uint8)
    with pytest.raises(tn.DTypeError, match=r"setitem: .*300"):
        small[0] = 300


def test_value_of_another_dtype_gets_its_gradient_in_its_own():
    v = leaf(1.0, 2.0)
    x = tn.zeros(2)
    x[:] = v
    g = tn.grad((x * 3.0).sum(), v)
    assert (x.dtype, g.dtype, g.tolist()) == (tn.float32, tn.float64, [3.0, 3.0])


def test_a_broadcast_tensor_has_no_memory_to_write():
    x = tn.broadcast_to(counting(1, 100), (100, 100))
    with pytest.raises(ShapeError, match=r"iadd: assignment destination is read-only; .* write to its clone"):
        x += 1.0
    with pytest.raises(ShapeError, match="setitem: assignment destination is read-only"):
        x[0] = 1.0
