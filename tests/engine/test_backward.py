"""The pass backward: depth, order, accumulation, freed graphs, roots, seeds, unused inputs."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf, numerical
from tinygrad_notes import GradientError, ShapeError, Tensor

# ---------------------------------------------------------------------- depth and order


def test_chain_of_100_000_nodes_forward_backward_and_deallocation():
    assert sys.getrecursionlimit() < 100_000
    x = leaf(1.0, 2.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    z = x
    for _ in range(100_000):
        z = z * 1.0
    del z  # never went backward: its nodes die one after another, not one inside the other


def test_long_chain_under_create_graph_dies_too():
    x = leaf(2.0)
    y = x
    for _ in range(10_000):
        y = y * 1.0
    g = tn.grad(y.sum(), x, create_graph=True)
    assert g.item() == 1.0
    del y, g


def test_diamond_is_passed_once_and_in_order():
    """a + a then b + b: each node runs once, with its whole gradient."""
    x = leaf(1.0)
    seen = []
    a = x * 1.0
    a.register_hook(lambda g: seen.append(g.item()))
    b = a + a
    c = b + b
    (c + a * 3.0).sum().backward()
    assert seen == [7.0]
    assert x.grad.item() == 7.0


def test_deep_ladder_of_diamonds_is_linear():
    """60 diamonds have 2⁶⁰ paths; only their nodes are visited."""
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = (y + y) * 0.5
    y.sum().backward()
    assert x.grad.item() == 1.0


def test_used_newer_than_made():
    """A value used early and again at the end collects both before it goes on."""
    x = leaf(3.0)
    early = x * x
    late = tn.exp(x * 0.0) * 2.0
    (early * late + early).sum().backward()
    assert x.grad.item() == pytest.approx(2 * 3.0 * 2.0 + 2 * 3.0)


def test_same_tensor_as_both_operands():
    x = leaf(2.0, 3.0)
    (x * x).sum().backward()
    assert x.grad.tolist() == [4.0, 6.0]
    assert tn.grad(tn.concat([x, x]).sum(), x).tolist() == [2.0, 2.0]
    assert tn.grad((x - x).sum(), x).tolist() == [0.0, 0.0]
    assert tn.grad((x @ x).sum(), x).tolist() == [4.0, 6.0]


# ---------------------------------------------------------------------- accumulation


def test_leaves_never_share_memory_and_seeds_stay():
    a, b, seed = counting(3), counting(3), np.ones(3)
    (a + b).backward(seed)
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert not np.shares_memory(a.grad.data, seed)
    a.grad.data *= 5
    (a + b).backward(seed)
    assert b.grad.tolist() == [2.0] * 3
    assert a.grad.tolist() == [6.0] * 3
    assert seed.tolist() == [1.0] * 3


@pytest.mark.parametrize("through", ["reshape", "transpose", "flip", "slice", "broadcast"])
def test_views_of_one_gradient_are_not_shared(through):
    a, b = counting(2, 2), counting(2, 2)
    view = {
        "reshape": lambda t: t.reshape(4).reshape(2, 2),
        "transpose": lambda t: t.T,
        "flip": lambda t: tn.flip(t),
        "slice": lambda t: t[:],
        "broadcast": lambda t: tn.broadcast_to(t, (2, 2)),
    }[through]
    seed = tn.ones((2, 2), dtype=tn.float64)
    (view(a) + b).backward(seed, retain_graph=True)
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert not np.shares_memory(a.grad.data, seed.data)
    assert not np.shares_memory(b.grad.data, seed.data)
    assert a.grad.data.flags.writeable


def test_leaves_never_share_memory_with_create_graph_either():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = tn.ones(2, dtype=tn.float64)
    (a + b).backward(seed, create_graph=True)
    assert a.grad is not b.grad
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert not np.shares_memory(a.grad.data, seed.data)
    ga, gb = tn.grad(a + b, [a, b], seed, create_graph=True)
    assert ga is not gb
    ga += 1.0
    assert gb.tolist() == [1.0, 1.0]
    assert seed.tolist() == [1.0, 1.0]


def test_accumulates_into_grad_until_it_is_cleared():
    x = leaf(1.0, 2.0)
    for n in (1, 2, 3):
        (x * 2.0).sum().backward()
        assert x.grad.tolist() == [2.0 * n] * 2
    x.grad = None
    (x * 2.0).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_accumulates_on_what_create_graph_left():
    x = leaf(3.0)
    (x * x * x).sum().backward(create_graph=True)
    first = x.grad
    (x * 2.0).sum().backward()
    assert x.grad.item() == 27.0 + 2.0
    assert first.item() == 27.0  # its history was not written
    assert tn.grad(first.sum(), x).item() == 18.0


def test_no_axes_and_many_paths():
    """NumPy returns scalars for values of no axes, which cannot be added to in place."""
    x = tn.tensor(np.array(2.0), requires_grad=True)
    (x * 3.0 + x * x + x.sum() + tn.exp(x * 0.0)).backward()
    assert x.grad.shape == ()
    assert x.grad.item() == 3.0 + 4.0 + 1.0
    assert type(x.grad.data) is np.ndarray


def test_grad_of_a_wrong_kind_shape_or_dtype_is_refused():
    x = leaf(1.0, 2.0)
    for wrong in (np.zeros(2), tn.zeros(3), tn.tensor([0, 0])):
        x.grad = wrong
        with pytest.raises(
            GradientError,
            match=r"grad of a float64 Tensor of shape \(2,\) is (ndarray|Tensor \(3,\)|Tensor \(2,\) int64)",
        ):
            (x * 2.0).sum().backward()


# ---------------------------------------------------------------------- graphs used once, or kept


def test_freed_graph_is_refused_before_any_gradient_is_touched():
    x, w = leaf(1.0, 1.0), leaf(1.0, 1.0)
    shared = x * w
    first, second = (shared * 2.0).sum(), (shared * 3.0 + w).sum()
    first.backward()
    before = (x.grad.tolist(), w.grad.tolist())
    with pytest.raises(GradientError, match=r"already used and freed \(at multiply\); pass retain_graph=True"):
        second.backward()
    assert (x.grad.tolist(), w.grad.tolist()) == before


def test_freed_graph_is_refused_by_grad_too():
    x = leaf(1.0)
    y = tn.exp(x)
    y.sum().backward()
    with pytest.raises(GradientError, match="already used and freed"):
        tn.grad(y.sum(), x)


def test_retain_graph_lets_a_graph_be_used_again():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [6.0, 12.0]
    with pytest.raises(GradientError, match="already used"):
        y.backward()


def test_create_graph_keeps_unless_told_otherwise():
    x = leaf(3.0)
    y = (x * x).sum()
    g = tn.grad(y, x, create_graph=True)
    assert tn.grad(y, x).item() == 6.0
    assert tn.grad(g.sum(), x, retain_graph=True).item() == 2.0


def test_grad_frees_only_what_it_used():
    x, w = leaf(2.0), leaf(5.0)
    side = w * w
    y = (x * x * side).sum()
    assert tn.grad(y, x).item() == 4.0 * 25.0
    assert tn.grad(side.sum(), w).item() == 10.0  # not on the way to x: still there


# ---------------------------------------------------------------------- roots and seeds


def test_root_of_several_elements_needs_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(GradientError, match=r"backward: the Tensor has shape \(2,\); give the gradient"):
        (x * 2.0).backward()
    (x * 2.0).backward([1.0, 10.0])
    assert x.grad.tolist() == [2.0, 20.0]


def test_root_of_one_element_in_any_shape():
    x = leaf(3.0)
    (x * x).reshape(1, 1).backward()
    assert x.grad.tolist() == [6.0]


def test_root_that_is_a_leaf():
    x = leaf(3.0)
    x.backward()
    x.backward([2.0])
    assert x.grad.tolist() == [3.0]
    assert tn.grad(x, x).tolist() == [1.0]


def test_root_without_a_graph_is_refused():
    for plain in (tn.tensor(1.0), leaf(1.0).detach(), tn.argmax(leaf(1.0, 2.0))):
        with pytest.raises(GradientError, match="does not depend on anything that requires a gradient"):
            plain.backward()


def test_seed_of_a_wrong_shape_is_refused():
    y = leaf(1.0, 2.0) * 2.0
    with pytest.raises(ShapeError, match=r"the gradient has shape \(3,\), the Tensor \(2,\)"):
        y.backward(np.ones(3))
    with pytest.raises(ShapeError, match=r"grad: 1 gradients for 2 outputs"):
        tn.grad([y, y], leaf(1.0), [np.ones(2)])


def test_seed_keeps_its_value_and_its_history_in_another_dtype():
    x = leaf(2.0)
    (x * 1.0).backward([0.1])
    assert x.grad.item() == 0.1  # not 0.1 rounded to float32
    seed = tn.tensor([3.0], dtype=tn.float32, requires_grad=True)
    g = tn.grad(x * x, x, seed, create_graph=True)
    assert tn.grad(g, seed).item() == 4.0


def test_grad_of_something_else_than_a_tensor_is_refused():
    with pytest.raises(tn.DTypeError, match="grad: expected a Tensor, got float"):
        tn.grad(3.0, leaf(1.0))
    x = leaf(1.0)
    with pytest.raises(GradientError, match="input 1 does not require a gradient"):
        tn.grad(x * 2.0, [x, tn.ones(1)])


def test_integers_do_not_require_gradients():
    for dtype in (tn.int64, tn.int32, tn.uint8, tn.bool_):
        with pytest.raises(GradientError, match=rf"only floating-point Tensors have gradients, this one is {dtype}"):
            tn.tensor([1, 0], dtype=dtype, requires_grad=True)
    counts = tn.tensor([1, 2])
    with pytest.raises(GradientError, match="floating-point"):
        counts.requires_grad = True
    assert not (leaf(1.5).astype(tn.int64)).requires_grad


def test_requires_grad_is_asked_of_leaves_only():
    x = leaf(1.0)
    y = x * 2.0
    assert y.requires_grad_() is y
    with pytest.raises(GradientError, match="made by multiply; only leaves change requires_grad"):
        y.requires_grad_(False)
    x.requires_grad = False
    assert x.is_leaf
    assert not (x * 2.0).requires_grad


# ---------------------------------------------------------------------- outputs and inputs of grad


def test_unused_input_is_an_error_or_none():
    x, w = leaf(1.0), leaf(1.0)
    y = x * 2.0
    with pytest.raises(GradientError, match="no path leads from the outputs to input 1; pass allow_unused=True"):
        tn.grad(y.sum(), [x, w])
    assert tn.grad((x * 2.0).sum(), [w, x], allow_unused=True)[0] is None
    assert tn.grad((x * 2.0).sum(), w, allow_unused=True) is None


def test_grad_touches_no_grad_attribute():
    x, w = leaf(2.0), leaf(3.0)
    assert tn.grad((x * w).sum(), x).item() == 3.0
    assert x.grad is None
    assert w.grad is None


def test_grad_for_values_inside_the_graph():
    x = leaf(2.0)
    h = x * 3.0
    y = (h * h).sum()
    gx, gh, gx_again = tn.grad(y, [x, h, x], retain_graph=True)
    assert (gx.item(), gh.item(), gx_again.item()) == (36.0, 12.0, 36.0)
    assert tn.grad(y, y, retain_graph=True).item() == 1.0
    assert tn.grad(y, h).item() == 12.0


def test_inputs_and_outputs_in_any_iterable():
    """Such as the generator that net.parameters() is."""
    x, w = leaf(2.0), leaf(3.0)
    gradients = tn.grad((y for y in [x * w]), (t for t in (x, w)), [None])
    assert [g.item() for g in gradients] == [3.0, 2.0]
    assert list(tn.grad((x * w).sum(), {"x": x}.values())) == [3.0]


def test_several_outputs_add_up():
    x = leaf(2.0)
    y, z = x * 3.0, x * x
    assert tn.grad([y, z, y], x, [None, [10.0], None]).item() == 3.0 + 40.0 + 3.0


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_ops_with_several_values(which):
    """The values that nobody uses get zeros."""
    x = np.random.default_rng(0).standard_normal((3, 2, 4))
    w = [np.random.default_rng(k).standard_normal(s) for k, s in enumerate([(12, 4), (12, 3), (12,), (12,)])]

    def loss(x, *w):
        output, (h, c) = tn.lstm(x, None, [tuple(w)])
        parts = (output, h, c)
        return sum((parts[i] * parts[i]).sum() for i in which)

    tensors = [tn.tensor(a, requires_grad=True) for a in (x, *w)]
    got = tn.grad(loss(*tensors), tensors)
    wanted = numerical(lambda *arrays: loss(*map(tn.asarray, arrays)).item(), [x, *w])
    for g, n in zip(got, wanted):
        np.testing.assert_allclose(g.data, n, rtol=1e-6, atol=1e-8)


def test_tensor_that_died_gets_nothing():
    x, w = leaf(1.0), leaf(2.0)
    y = (x * w).sum()
    del w
    y.backward()
    assert x.grad.item() == 2.0


def test_detach_cuts():
    x = leaf(3.0)
    (x * x.detach()).sum().backward()
    assert x.grad.item() == 3.0
    assert np.shares_memory(x.data, x.detach().data)
    assert isinstance(x.detach(), Tensor)
