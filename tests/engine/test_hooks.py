"""Hooks on gradients, and gradients retained inside a graph."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import leaf
from tinygrad_notes import GradientError


def test_hook_replaces_the_gradient():
    x = leaf(1.0, 1.0)
    h = x * 2.0
    h.register_hook(lambda g: g * 10.0)
    h.register_hook(lambda g: g + 1.0)  # hooks run in order, each on what the last one returned
    h.sum().backward()
    assert x.grad.tolist() == [22.0, 22.0]


def test_hook_sees_the_whole_gradient_once():
    x = leaf(1.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * 2.0 + x * 3.0).sum().backward()
    assert seen == [5.0]
    assert tn.grad((x * 4.0).sum(), x).item() == 4.0
    assert seen == [5.0, 4.0]


def test_hook_on_a_leaf_replaces_and_is_removed():
    x = leaf(1.0)
    remove = x.register_hook(lambda g: g * 0.0)
    keep = x.register_hook(lambda g: None)
    (x * 2.0).sum().backward()
    assert x.grad.item() == 0.0
    remove()
    remove()  # again does nothing
    (x * 2.0).sum().backward()
    assert x.grad.item() == 2.0
    keep()


def test_remover_removes_its_own_hook_only():
    x = leaf(1.0)
    remove = x.register_hook(lambda g: g * 0.0)
    remove()
    x.register_hook(lambda g: g * 5.0)
    remove()
    (x * 2.0).sum().backward()
    assert x.grad.item() == 10.0


def test_hook_may_keep_and_change_what_it_saw():
    a, b, constant = leaf(1.0), leaf(1.0), tn.tensor(np.array([7.0]))
    kept = []
    a.register_hook(lambda g: kept.append(g))
    b.register_hook(lambda g: constant)
    for _ in range(3):
        (a * 2.0 + b).sum().backward()
    assert [g.item() for g in kept] == [2.0] * 3
    assert constant.item() == 7.0
    assert b.grad.item() == 21.0


def test_hooks_on_values_of_an_op_with_several():
    x = tn.tensor(np.random.default_rng(0).standard_normal((2, 1, 3)), requires_grad=True)
    weights = [np.random.default_rng(k).standard_normal(s) for k, s in enumerate([(8, 3), (8, 2), (8,), (8,)])]
    _, (h, c) = tn.lstm(x, None, [weights])
    seen = []
    h.register_hook(lambda g: seen.append("h") or g * 0.0)
    c.register_hook(lambda g: seen.append("c") or g * 0.0)
    (h.sum() + c.sum()).backward()
    assert sorted(seen) == ["c", "h"]
    assert not x.grad.data.any()


@pytest.mark.parametrize("returned", [np.ones(2), 3.0, tn.ones(2), tn.ones(3, dtype=tn.float64)])
def test_hook_that_returns_the_wrong_thing(returned):
    h = leaf(1.0, 2.0) * 2.0
    h.register_hook(lambda g: returned)
    with pytest.raises(GradientError, match=r"a hook on a value of multiply returned .*expected None or a "):
        h.sum().backward()


def test_errors_of_a_hook_come_through_as_they_are():
    h = leaf(1.0) * 2.0

    def hook(g):
        raise ValueError("mine")

    h.register_hook(hook)
    with pytest.raises(ValueError, match=r"^mine$"):
        h.sum().backward()
    assert tn.is_grad_enabled()


def test_hook_is_not_recorded_unless_create_graph():
    x = leaf(3.0)
    h = x * x
    modes = []
    h.register_hook(lambda g: modes.append(tn.is_grad_enabled()) or g * g)
    tn.grad(h.sum(), x, retain_graph=True)
    g = tn.grad(h.sum(), x, tn.tensor(np.array(2.0)), create_graph=True)
    assert modes == [False, True]
    assert g.item() == 4.0 * 6.0
    assert tn.grad(g.sum(), x).item() == 4.0 * 2.0


def test_hook_may_itself_go_backward():
    x, other = leaf(3.0), leaf(5.0)

    def hook(g):
        with tn.enable_grad():
            (other * other).sum().backward()
        return g

    h = x * 2.0
    h.register_hook(hook)
    h.sum().backward()
    assert (x.grad.item(), other.grad.item()) == (2.0, 10.0)


def test_hook_needs_a_gradient():
    with pytest.raises(GradientError, match="register_hook: this Tensor does not require a gradient"):
        tn.ones(2).register_hook(lambda g: g)
    with pytest.raises(GradientError, match="retain_grad: this Tensor does not require a gradient"):
        tn.ones(2).retain_grad()


def test_retain_grad():
    x = leaf(1.0)
    h = x * 2.0
    h.retain_grad()
    loss = (h * h).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert h.grad.item() == 8.0
    assert x.grad.item() == 16.0
    k = x * 2.0
    (k * k).sum().backward()
    assert k.grad is None


def test_retained_gradient_of_a_leaf_and_of_a_value_do_not_alias():
    x = leaf(1.0)
    h = x + 0.0
    h.retain_grad()
    h.sum().backward()
    assert not np.shares_memory(h.grad.data, x.grad.data)


def test_retain_grad_of_a_value_nobody_keeps():
    x = leaf(1.0)
    h = x * 2.0
    h.retain_grad()
    y = (h * 3.0).sum()
    del h
    y.backward()
    assert x.grad.item() == 6.0
