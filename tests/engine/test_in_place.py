"""Writes in place: differentiable on both sides, stale buffers and false histories refused, no false alarms."""

from __future__ import annotations

import gc
import operator

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf, numerical
from tinygrad_notes import GradientError, ShapeError
from tinygrad_notes.tape import writes

HERE = r"test_in_place\.py:\d+"

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
    with pytest.raises(tn.DTypeError, match="setitem: .*300"):
        small[0] = 300


def test_value_of_another_dtype_gets_its_gradient_in_its_own():
    v = leaf(1.0, 2.0)
    x = tn.zeros(2)
    x[:] = v
    g = tn.grad((x * 3.0).sum(), v)
    assert (x.dtype, g.dtype, g.tolist()) == (tn.float32, tn.float64, [3.0, 3.0])


def test_a_broadcast_tensor_has_no_memory_to_write():
    x = tn.broadcast_to(counting(1, 100), (100, 100))
    with pytest.raises(ShapeError, match="iadd: assignment destination is read-only; .* write to its clone"):
        x += 1.0
    with pytest.raises(ShapeError, match="setitem: assignment destination is read-only"):
        x[0] = 1.0


# ---------------------------------------------------------------------- what is refused


def test_a_leaf_is_not_written_while_recording():
    w = leaf(1.0, 2.0, 3.0)
    for write in (
        lambda: operator.iadd(w, 1.0),
        lambda: w.__setitem__(0, 5.0),
        lambda: operator.imul(w, w),
        lambda: operator.iadd(w[0, ...], 1.0),
        lambda: operator.imul(w[1:], 2.0),
        lambda: operator.iadd(w.reshape(3, 1)[::-1].T, 2.0),
        lambda: w[None].__setitem__(0, 5.0),
    ):
        with pytest.raises(GradientError, match="a leaf that requires a gradient is not written in place"):
            write()
    assert w.tolist() == [1.0, 2.0, 3.0]  # not even a bit of it
    with pytest.raises(GradientError, match="a leaf that requires"):
        w[0] += 1.0
    assert w.tolist() == [1.0, 2.0, 3.0]


def test_copies_of_a_leaf_are_written():
    w = leaf(1.0, 2.0, 3.0)
    picked, cloned = w[[0, 1]], w.clone()
    picked += 1.0
    cloned *= 2.0
    assert tn.grad(picked.sum() + cloned.sum(), w).tolist() == [3.0, 3.0, 2.0]


def test_leaf_without_a_gradient_is_written():
    x = tn.zeros(3)
    x += 1.0
    x[0] = 5.0
    assert x.tolist() == [5.0, 1.0, 1.0]


@pytest.mark.parametrize("change", ["iadd", "setitem", "view", "numpy view", "no_grad"])
def test_stale_buffer_names_op_and_line(change):
    x, w = leaf(1.0, 1.0, 1.0), tn.ones(3, dtype=tn.float64)
    y = (x * w).sum()
    if change == "iadd":
        w += 1.0
    elif change == "setitem":
        w[0] = 2.0
    elif change == "view":
        part = w[1:]
        part *= 2.0
    elif change == "numpy view":
        tn.asarray(w.data[::-1])[0] = 7.0
    else:
        with tn.no_grad():
            w -= 1.0
    with pytest.raises(GradientError, match=rf"multiply kept an array .* changed in place at .*{HERE}"):
        y.backward()
    assert x.grad is None


def test_stale_value_is_refused():
    """exp keeps its value."""
    x = leaf(1.0)
    y = tn.exp(x)
    y += 1.0
    with pytest.raises(GradientError, match=rf"exp kept an array .* {HERE}|exp kept an array .*{HERE}"):
        y.sum().backward()


def test_stale_operand_under_create_graph():
    x, w = leaf(2.0), leaf(3.0)
    y = (x * w).sum()
    with tn.no_grad():
        w += 1.0
    with pytest.raises(GradientError, match="multiply kept"):
        tn.grad(y, x, create_graph=True)
    h = x * 1.0
    g = tn.grad((h * h * h).sum(), x, create_graph=True)
    with tn.no_grad():
        h += 1.0
    with pytest.raises(GradientError, match="kept an array"):
        g.sum().backward()


def test_stale_operand_of_a_composite():
    a = leaf(2.0)
    x = a * 1.0
    y = tn.gelu(x).sum()
    x += 1.0
    with pytest.raises(GradientError, match="gelu kept"):
        tn.grad(y, a, create_graph=True)


@pytest.mark.parametrize("use", ["getitem", "take_along_axis", "setitem", "tuple"])
def test_stale_index_is_refused(use):
    """The gradient of a read goes where the index pointed when it was read."""
    x, i = counting(3), tn.tensor([0, 1])
    if use == "getitem":
        y = x[i]
    elif use == "take_along_axis":
        y = tn.take_along_axis(x, i, 0)
    elif use == "tuple":
        y = x.reshape(3, 1)[i, 0]
    else:
        y = x * 1.0
        y[i] = x[:2] * 2.0
    i += 1
    with pytest.raises(GradientError, match=rf"kept an array .* changed in place at .*{HERE}"):
        y.sum().backward()


def test_false_history_is_refused():
    """A view whose memory was written under another name, and the other way round."""
    x = counting(2, 2) * 1.0
    row = x[0]
    x[0] = 5.0
    with pytest.raises(GradientError, match=rf"multiply: an operand made by getitem was changed in place at .*{HERE}"):
        row * 2.0
    x = counting(2, 2) * 1.0
    row = x[0]
    row += 1.0
    with pytest.raises(GradientError, match="add: an operand made by multiply was changed in place"):
        x + 2.0
    with pytest.raises(GradientError, match="was changed in place"):
        tn.concat([x, x])
    h = leaf(1.0) * 2.0
    with tn.no_grad():
        h += 1.0
    with pytest.raises(GradientError, match="under no_grad"):
        h * 3.0


@pytest.mark.parametrize("write", [*OPERATORS, lambda x, v: x.__setitem__(0, v[0])])
def test_false_history_is_refused_by_writes_too(write):
    """In particular by those that hand their op a copy."""
    x = counting(2, 2) * 1.0
    row = x[0]
    row += 1.0
    before = x.data.copy()
    with pytest.raises(GradientError, match="was changed in place"):
        write(x, leaf(1.0, 2.0))
    np.testing.assert_array_equal(x.data, before)
    x = counting(2, 2) * 1.0
    row = x[0]
    x += 1.0
    with pytest.raises(GradientError, match="was changed in place"):
        write(x, row)


def test_part_that_changed_after_it_was_taken_does_not_come_home():
    a = counting(3)
    x = a * 1.0
    part = x[:2]
    part += 1.0
    x.data[2] = 0.0
    other = tn.asarray(x.data)
    other[0] = 100.0
    with pytest.raises(GradientError, match="was changed in place"):
        x[:2] = part


def test_older_views_of_what_joined_the_tape_do_not_know():
    x = tn.zeros((2, 2), dtype=tn.float64)
    row, column = x[0], x[:, 1]
    x[0] = leaf(1.0, 2.0)
    for use in (lambda: row * 2.0, lambda: column.sum(), lambda: tn.stack([row]), lambda: operator.imul(row, 2.0)):
        with pytest.raises(GradientError, match=rf"views memory that was given a gradient in place at .*{HERE}"):
            use()
    assert (x[0] * 2.0).requires_grad


# ---------------------------------------------------------------------- no false alarms


def test_what_is_not_kept_may_be_written():
    x, w = leaf(1.0, 1.0, 1.0), tn.ones(3, dtype=tn.float64)
    total = (x + w).sum()  # add keeps nothing
    w += 1.0
    total.backward()
    y = (x * 2.0).sum()
    with tn.no_grad():
        x -= 0.5  # nothing keeps x: its factor was a number
    y.backward()
    k = tn.ones(3, dtype=tn.float64)
    z = (k * x).sum()  # only k is kept, for d/dx
    with tn.no_grad():
        x -= 0.5
    z.backward()
    assert x.grad.tolist() == [4.0, 4.0, 4.0]


def test_unrelated_buffers_and_earlier_writes_do_not_matter():
    x, w = leaf(1.0, 2.0), tn.ones(2, dtype=tn.float64)
    w += 1.0  # before it is kept
    other = tn.ones(2)
    y = (x * w).sum()
    other += 1.0
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_dead_buffers_address_is_no_alarm():
    """A new array may lie where a written one was."""
    x = leaf(1.0, 2.0)
    for _ in range(50):
        w = tn.ones(2, dtype=tn.float64)
        y = (x * w).sum()
        scratch = tn.zeros(2, dtype=tn.float64)
        scratch += 1.0
        del scratch
        y.backward()
    gc.collect()
    assert x.grad.tolist() == [50.0, 50.0]


def test_writes_of_dead_buffers_are_forgotten():
    before = len(writes.by_buffer)
    joined = writes.joined
    for _ in range(100):
        x = tn.zeros(3, dtype=tn.float64)
        x += 1.0
        x[0] = leaf(2.0)[0]
    del x
    assert len(writes.by_buffer) == before
    assert writes.joined == joined


def test_optimiser_like_writes_between_steps():
    rng = np.random.default_rng(0)
    w, v = tn.tensor(rng.standard_normal((3, 3)), requires_grad=True), None
    x = tn.tensor(rng.standard_normal((5, 3)))
    losses = []
    for _ in range(30):
        loss = (tn.tanh(x @ w) ** 2).mean()
        w.grad = None
        loss.backward()
        with tn.no_grad():
            v = w.grad.clone() if v is None else v
            v *= 0.5
            v += w.grad
            w -= v * 0.5
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_optimiser_step_before_backward_is_found():
    w, x = leaf(1.0, 2.0), leaf(3.0, 4.0)
    loss = (w * x).sum()
    with tn.no_grad():
        w -= 0.1
    with pytest.raises(GradientError, match="multiply kept"):
        loss.backward()


def test_detached_and_no_grad_views_of_a_written_buffer_are_plain():
    """A cache that is filled on the tape and read off it."""
    cache = tn.zeros((3, 2), dtype=tn.float64)
    for t in range(3):
        cache[t] = leaf(1.0, 2.0)
        assert (cache.detach()[: t + 1] * 2.0).sum().item() == 6.0 * (t + 1)
        with tn.no_grad():
            seen = cache[: t + 1].T
        assert not (seen[0] + 1.0).requires_grad
    assert cache.requires_grad


def test_buffer_is_used_again_in_the_next_step():
    w = leaf(2.0, 3.0)
    buffer = tn.zeros((2, 2), dtype=tn.float64)
    for _ in range(3):
        buffer = buffer.detach()
        buffer[0] = w
        buffer[1] = w * w
        w.grad = None
        buffer.sum().backward()
        assert w.grad.tolist() == [5.0, 7.0]


def test_memory_of_a_plain_tensor_is_numpys():
    array = np.zeros(3)
    x = tn.asarray(array)
    x += 1.0
    x[0] = 5.0
    assert array.tolist() == [5.0, 1.0, 1.0]
    y = tn.tensor(array)
    y += 1.0
    assert array.tolist() == [5.0, 1.0, 1.0]
