"""Writes in place that would make a gradient wrong are refused, with op and line; all others are not."""

from __future__ import annotations

import gc
import operator

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf
from tinygrad_notes import GradientError
from tinygrad_notes.writes import writes

HERE = r"test_stale\.py:\d+"
WRITES = [
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ipow,
    lambda x, v: x.__setitem__(0, v[0]),
]

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


@pytest.mark.parametrize("write", WRITES)
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


def test_view_of_a_written_view_does_not_come_home():
    """x[0] = row assigns what is already there, but x[1] was written too, and x does not know of it."""
    a, w = counting(2, 2), leaf(5.0, 6.0)
    x = a * 1.0
    flipped = x[::-1]
    flipped *= 3.0
    row = flipped[1]
    with pytest.raises(GradientError, match="setitem: an operand made by multiply was changed in place"):
        x[0] = row
    x = tn.zeros((2, 2), dtype=tn.float64)
    flipped = x[::-1]
    flipped += w
    row = flipped[1]
    with pytest.raises(GradientError, match="given a gradient in place"):
        x[0] = row
    assert tn.grad(flipped.sum(), w).tolist() == [2.0, 2.0]


def test_part_that_comes_home_forgives_no_older_view():
    x = tn.zeros((2, 2), dtype=tn.float64)
    row = x[1]
    x[0] = leaf(1.0, 2.0)
    x[0] += leaf(1.0, 2.0)
    x[...] = x
    with pytest.raises(GradientError, match="given a gradient in place"):
        row * 2.0
    y = counting(2, 2) * 1.0
    row = y[1]
    y[0] += 1.0
    with pytest.raises(GradientError, match="changed in place"):
        row * 2.0


def test_part_comes_home_after_several_writes():
    a = counting(2, 2)
    x = a * 1.0
    row = x[0]
    row += 1.0
    row *= 2.0
    row[0] = 0.0
    x[0] = row
    assert tn.grad(x.sum(), a).tolist() == [[0.0, 2.0], [1.0, 1.0]]


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
