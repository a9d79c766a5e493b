"""checkpoint: the same values and gradients with less kept, and everything inside computed again in backward."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf
from tinygrad_notes import GradientError


def same_as_plain(block, inputs, leaves):
    """Value and gradients of ``block`` with checkpoint and without."""

    def run(call):
        values = call()
        values = values if isinstance(values, tuple | list) else (values,)
        loss = sum((v * v).sum() for v in values)
        gradients = tn.grad(loss, leaves, retain_graph=True, allow_unused=True)
        return [v.data for v in values], [None if g is None else g.data for g in gradients]

    (values, gradients), (plain_values, plain_gradients) = (
        run(lambda: tn.checkpoint(block, *inputs)),
        run(lambda: block(*inputs)),
    )
    for a, b in zip(values, plain_values):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(gradients, plain_gradients):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-14)


def test_frees_what_is_inside_and_reaches_captured_parameters(no_collector):
    w, x = leaf(0.1, 0.2, 0.3), leaf(1.0, 2.0, 3.0)
    inner = []

    def block(z):
        h = tn.exp(z * w)
        inner.append(weakref.ref(h.data))
        return h * z

    y = tn.checkpoint(block, x)
    assert inner[0]() is None
    y.sum().backward()
    assert len(inner) == 2
    assert inner[1]() is None
    gw, gx = w.grad, x.grad
    w.grad = x.grad = None
    block(x).sum().backward()
    np.testing.assert_allclose(gw.data, w.grad.data)
    np.testing.assert_allclose(gx.data, x.grad.data)


@pytest.mark.parametrize(
    "block",
    [
        lambda z: z,
        lambda z: z * 2.0,
        lambda z: z.sum(),
        lambda z: z @ z.T,
        lambda z: tn.relu(z - 3.0).reshape(-1)[::2],
        lambda z: (z * 2.0, z.sum(axis=0)),
        lambda z: [tn.sin(z), z],
        lambda z: (z * 3.0,),
    ],
    ids=["identity", "scale", "sum", "matmul", "view", "tuple", "list", "single"],
)
def test_values_and_gradients_of_blocks_of_every_form(block):
    x = counting(2, 2)
    same_as_plain(block, [x], [x])


def test_result_has_the_form_the_function_gave_it():
    x = counting(2)
    assert isinstance(tn.checkpoint(lambda z: (z, z * 2.0), x), tuple)
    assert isinstance(tn.checkpoint(lambda z: z * 2.0, x), tn.Tensor)
    (only,) = tn.checkpoint(lambda z: (z * 2.0,), x)
    assert only.tolist() == [2.0, 4.0]


def test_returns_a_captured_leaf():
    w, x = leaf(1.0, 2.0), leaf(3.0, 4.0)
    same_as_plain(lambda z: w, [x], [w, x])


def test_some_outputs_unused():
    x = counting(3)
    _, b, _ = tn.checkpoint(lambda z: (z * 2.0, z * z, tn.exp(z)), x)
    assert tn.grad(b.sum(), x).tolist() == [2.0, 4.0, 6.0]


def test_outputs_without_a_gradient():
    x = counting(3)
    best, y = tn.checkpoint(lambda z: (z.argmax(), z * 2.0), x)
    assert not best.requires_grad
    assert tn.grad(y.sum(), x).tolist() == [2.0] * 3


def test_nested(no_collector):
    w, x = leaf(0.5, 0.6), leaf(1.0, 2.0)
    calls = []

    def inner(z):
        calls.append(1)
        return tn.tanh(z * w)

    def outer(z):
        return tn.checkpoint(inner, z) * tn.checkpoint(inner, z * 2.0)

    same_as_plain(outer, [x], [w, x])
    calls.clear()
    tn.checkpoint(outer, x).sum().backward()
    assert len(calls) == 2 + 2 + 2  # forward; the outer block again, without a tape inside; each inner block again


def test_chain_of_blocks():
    w, x = leaf(0.5, 0.6), leaf(1.0, 2.0)

    def chain(step):
        y = x
        for _ in range(20):
            y = step(lambda z: tn.tanh(z * w) + z, y)
        return tn.grad((y * y).sum(), [w, x])

    for a, b in zip(chain(tn.checkpoint), chain(lambda f, z: f(z))):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-14)


def test_random_ops_repeat_their_numbers_and_the_generator_goes_on():
    x = tn.ones((50,), dtype=tn.float64, requires_grad=True)
    tn.manual_seed(3)
    y = tn.checkpoint(lambda z: tn.dropout(z, 0.5), x)
    after = tn.generator().integers(0, 2**31)
    g = tn.grad(y.sum(), x)
    np.testing.assert_array_equal(g.data, y.data)  # the same elements were dropped
    tn.manual_seed(3)
    tn.dropout(x, 0.5)
    assert tn.generator().integers(0, 2**31) == after
    state = tn.get_rng_state()
    tn.checkpoint(lambda z: tn.dropout(z, 0.5), x).sum().backward()
    tn.set_rng_state(state)
    tn.dropout(x, 0.5)


def test_backward_leaves_the_generator_where_it_was():
    x = tn.ones((5,), dtype=tn.float64, requires_grad=True)
    y = tn.checkpoint(lambda z: tn.dropout(z, 0.5), x)
    state = tn.get_rng_state()
    y.sum().backward()
    assert tn.get_rng_state() == state


def test_captured_values_that_are_no_leaves():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    h = x * w
    same_as_plain(lambda z: z * h, [w], [x, w, h])
    h = x * w
    y = tn.checkpoint(lambda z: z * h, w)
    ((y * h).sum() + h.sum()).backward()  # h is used on both sides of the checkpoint
    wanted = tn.grad(((w * (x * w)) * (x * w)).sum() + (x * w).sum(), [x, w])
    np.testing.assert_allclose(x.grad.data, wanted[0].data)
    np.testing.assert_allclose(w.grad.data, wanted[1].data)


def test_no_input_requires_a_gradient():
    w, x = leaf(2.0, 3.0), np.array([5.0, 7.0])
    y = tn.checkpoint(lambda z: z * w, tn.tensor(x))
    assert y.requires_grad
    assert tn.grad(y.sum(), w).tolist() == [5.0, 7.0]


def test_inputs_that_are_no_tensors_come_as_they_are():
    w = leaf(2.0, 3.0)
    seen = []

    def block(z, array, number, flag):
        seen.append((type(z), type(array), number, flag))
        return z * array * number

    tn.checkpoint(block, w, np.array([1.0, 2.0]), 3.0, "yes").sum().backward()
    assert w.grad.tolist() == [3.0, 6.0]
    assert seen == [(tn.Tensor, np.ndarray, 3.0, "yes")] * 2


def test_under_create_graph():
    x, w = leaf(0.5, 1.5), leaf(0.3, 0.7)

    def second(call):
        gx, gw = tn.grad(call(lambda z: tn.sin(z * w) * z, x).sum(), [x, w], create_graph=True)
        return tn.grad((gx * gx).sum() + (gx * gw).sum(), [x, w])

    for a, b in zip(second(tn.checkpoint), second(lambda f, z: f(z))):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)


def test_retain_graph_replays_again():
    x = leaf(2.0)
    y = tn.checkpoint(lambda z: z**3, x)
    assert tn.grad(y.sum(), x, retain_graph=True).item() == 12.0
    assert tn.grad(y.sum(), x).item() == 12.0
    with pytest.raises(GradientError, match="already used and freed"):
        tn.grad(y.sum(), x)


def test_grad_for_one_captured_leaf_only():
    x, w, unused = leaf(2.0), leaf(5.0), leaf(1.0)
    y = tn.checkpoint(lambda z: z * w * w, x * 1.0)
    assert tn.grad(y.sum(), w, retain_graph=True).item() == 20.0
    assert tn.grad(y.sum(), unused, allow_unused=True) is None


def test_under_no_grad_records_nothing():
    x = leaf(2.0)
    with tn.no_grad():
        y = tn.checkpoint(lambda z: z * 2.0, x)
    assert not y.requires_grad


def test_input_changed_in_place_afterwards_is_refused():
    """The block would be computed again from other numbers."""
    w = leaf(1.0, 2.0)
    x = tn.ones(2, dtype=tn.float64)
    y = tn.checkpoint(lambda z: z * w, x)
    x += 5.0
    with pytest.raises(GradientError, match=r"checkpoint kept an array .* in place at .*test_checkpoint.py:\d+"):
        y.sum().backward()
    h = w * 1.0
    y = tn.checkpoint(lambda z: z * 3.0, h)
    h *= 2.0
    with pytest.raises(GradientError, match="checkpoint kept"):
        y.sum().backward()


def test_function_that_changes_its_input_is_refused():
    x = leaf(1.0, 2.0) * 1.0

    def block(z):
        z += 1.0
        return z * 2.0

    with pytest.raises(GradientError, match=r"the function changes input 0 in place at .*test_checkpoint.py:\d+"):
        tn.checkpoint(block, x)


@pytest.mark.parametrize("returned", [None, 3.0, "text", {"a": 1}, (tn.ones(1), 2.0), np.ones(2)])
def test_function_that_returns_something_else_is_refused(returned):
    with pytest.raises(tn.DTypeError, match="checkpoint: the function returned something else than a Tensor"):
        tn.checkpoint(lambda z: returned, leaf(1.0))


def test_errors_inside_come_through_as_they_are():
    x = leaf(1.0)
    calls = []

    def block(z):
        calls.append(1)
        if len(calls) > 1:
            raise ValueError("only once")
        return z * 2.0

    y = tn.checkpoint(block, x)
    with pytest.raises(ValueError, match=r"^only once$"):
        y.sum().backward()
    assert x.grad is None
    assert tn.is_grad_enabled()


@pytest.mark.parametrize("nested", [False, True])
def test_a_captured_parameter_changed_before_backward_is_refused(nested):
    """The replay would read the new values: another gradient than that of the value that was computed."""
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)

    def inside(v):
        return v * w

    y = tn.checkpoint(lambda v: tn.checkpoint(inside, v) + 0.0, x) if nested else tn.checkpoint(inside, x)
    with tn.no_grad():
        w *= 2.0
    with pytest.raises(GradientError, match=r"multiply kept an array .* changed in place at .*test_checkpoint\.py"):
        y.sum().backward()


def test_a_captured_buffer_that_the_function_writes_itself():
    """Batch normalisation writes its running statistics in the first run and in the replay: no harm is done."""
    norm, x = tn.nn.BatchNorm1d(2), tn.tensor([[1.0, 2.0], [3.0, 5.0], [4.0, 9.0]], requires_grad=True)
    y = tn.checkpoint(norm, x) * tn.checkpoint(norm, x * 2.0)
    (y * y * y).sum().backward()
    plain = tn.tensor(x.data, requires_grad=True)
    z = norm(plain) * norm(plain * 2.0)
    (z * z * z).sum().backward()
    np.testing.assert_allclose(x.grad.data, plain.grad.data, rtol=1e-6)
