"""What lives how long: no reference cycles, nothing kept that is not declared, training that does not grow."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import leaf
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.tape import Node
from tinygrad_notes.writes import writes

rng = np.random.default_rng(0)


def alive(watched) -> list[int]:
    return [i for i, ref in enumerate(watched) if ref() is not None]


# ---------------------------------------------------------------------- cycles


def test_no_cycles_after_backward(no_collector):
    x = tn.tensor(rng.standard_normal((3, 3)), requires_grad=True)
    h = tn.tanh(x @ x)
    loss = (tn.gelu(h) ** 2).sum()
    watched = [weakref.ref(o) for o in (h, loss, h.node, loss.node, h.data)]
    loss.backward()
    del h, loss
    assert alive(watched) == []


def checkpointed(captured, x):
    return tn.checkpoint(lambda z: z * captured, x)


def test_no_cycles_without_backward(no_collector):
    x = tn.tensor(rng.standard_normal((3, 3)), requires_grad=True)
    h = x * 2.0
    h.retain_grad()
    h.register_hook(lambda g: g)
    parts = tn.lstm(h[None], None, [[tn.ones(s, dtype=tn.float64) for s in ((8, 3), (8, 2), (8,), (8,))]])
    y = checkpointed(h, parts[0].sum())
    watched = [weakref.ref(o) for o in (h, h.node, y, y.node, parts[0], parts[0].node)]
    del h, parts, y
    assert alive(watched) == []


def test_no_cycles_with_create_graph(no_collector):
    x = tn.tensor(rng.standard_normal((3, 3)), requires_grad=True)
    y = (tn.exp(x) * tn.silu(x)).sum()
    g = tn.grad(y, x, create_graph=True)
    gg = tn.grad(g.sum(), x, create_graph=True)
    watched = [weakref.ref(o) for o in (y, y.node, g, g.node, gg, gg.node, g.data)]
    del y, g, gg
    assert alive(watched) == []


def test_no_cycles_with_grads_that_have_histories(no_collector):
    """backward(create_graph=True) leaves x.grad, whose history leads to the node of x, which knows x only weakly."""
    x = leaf(1.0, 2.0)
    (x**3).sum().backward(create_graph=True)
    watched = [weakref.ref(x), weakref.ref(x.grad), weakref.ref(x.grad.node)]
    del x
    assert alive(watched) == []


def test_no_cycles_through_writes_and_in_place(no_collector):
    v = leaf(1.0, 2.0)
    x = tn.zeros((2, 2), dtype=tn.float64)
    x[0] = v
    x *= x
    x[1] += v
    watched = [weakref.ref(x), weakref.ref(x.node), weakref.ref(x.data)]
    x.sum().backward()
    del x
    assert alive(watched) == []


def test_no_cycles_after_errors(no_collector):
    x = leaf(1.0, 2.0)
    h = x * 1.0
    watched = [weakref.ref(h), weakref.ref(h.node)]
    with pytest.raises(tn.ShapeError):
        h + tn.ones(3)
    with pytest.raises(tn.GradientError):
        h.backward()
    with pytest.raises(IndexError):
        h[5]
    del h
    assert alive(watched) == []


def test_functions_of_functions_leave_nothing(no_collector):
    before = live_nodes()
    for _ in range(3):
        tn.hessian(lambda x: tn.sin(x).sum(), np.ones(3))
        tn.jvp(lambda x: tn.sin(x), [np.ones(3)], [np.ones(3)])
        tn.value_and_grad(lambda x: tn.sin(x).sum())(np.ones(3))
    assert live_nodes() == before


def live_nodes() -> int:
    return sum(type(o) is Node for o in gc.get_objects())


# ---------------------------------------------------------------------- what a graph keeps


def test_backward_frees_as_it_goes(no_collector):
    """A value that was used is gone before the older ones are reached."""
    x = leaf(1.0, 2.0)
    a = tn.exp(x)
    b = tn.exp(a * 1.0)
    early, late = weakref.ref(a.data), weakref.ref(b.data)
    a_node = a.node
    seen = []
    a.register_hook(lambda g: seen.append((early() is not None, late() is not None)))
    loss = b.sum()
    del a, b
    loss.backward()
    assert seen == [(True, False)]
    assert early() is None
    assert a_node.saved is None


def test_retain_graph_keeps():
    x = leaf(1.0)
    y = tn.exp(x)
    value = weakref.ref(y.data)
    loss = y.sum()
    del y
    loss.backward(retain_graph=True)
    assert value() is not None
    loss.backward()
    assert value() is None


def written(a):
    target = tn.zeros(8, dtype=tn.float64)
    target[:] = a
    return a


# op: (call of a float64 operand, whether the operand, and whether the value, must outlive their Tensors)
KEPT = {
    "add": (lambda a: a + 1.0, False, False),
    "multiply by a number": (lambda a: a * 3.0, False, False),
    "multiply by a constant": (lambda a: a * np.ones(8), False, False),
    "square": (lambda a: tn.square(a), True, False),
    "exp": (lambda a: tn.exp(a), False, True),
    "log": (lambda a: tn.log(a), True, False),
    "tanh": (lambda a: tn.tanh(a), False, True),
    "relu": (lambda a: tn.relu(a), False, True),
    "sin": (lambda a: tn.sin(a), True, False),
    "sum": (lambda a: a.sum(), False, False),
    "mean": (lambda a: a.mean(), False, False),
    "getitem by array": (lambda a: a[[0, 2]], False, False),
    "concat": (lambda a: tn.concat([a, a]), False, False),
    "matmul": (lambda a: np.ones((2, 8)) @ a, False, False),
    "astype": (lambda a: a.astype(tn.float32), False, False),
    "clone": (lambda a: a.clone(), False, False),
    "dropout": (lambda a: tn.dropout(a, 0.5), False, False),
    "cumsum": (lambda a: tn.cumsum(a), False, False),
    "where": (lambda a: tn.where(np.ones(8, bool), a, 0.0), False, False),
    "gelu": (lambda a: tn.gelu(a), True, False),
    "softmax": (lambda a: tn.softmax(a, axis=-1), False, True),
    "log_softmax": (lambda a: tn.log_softmax(a, axis=-1), False, True),
    "setitem": (lambda a: written(a) * 1.0, False, False),
}


@pytest.mark.parametrize("name", KEPT)
def test_only_what_a_derivative_needs_outlives_its_tensor(name, no_collector):
    call, operand_kept, value_kept = KEPT[name]
    x = tn.ones(8, dtype=tn.float64, requires_grad=True)
    a = x + 0.5
    y = call(a)
    operand, value, end = weakref.ref(a.data), weakref.ref(y.data), y.node
    del a, y
    assert (operand() is not None, value() is not None) == (operand_kept, value_kept)
    del end
    assert operand() is None
    assert value() is None


def test_nothing_is_kept_for_operands_without_a_gradient(no_collector):
    """d(ab)/db needs a, but b is a constant."""
    x, b = leaf(1.0, 2.0), tn.ones(2, dtype=tn.float64)
    a = x + 1.0
    y = a * b
    operand = weakref.ref(a.data)
    del a
    assert operand() is None
    assert y.requires_grad


def test_nothing_is_kept_under_no_grad(no_collector):
    x = leaf(1.0, 2.0)
    with tn.no_grad():
        a = tn.exp(x)
        y = tn.exp(a)
    gone = weakref.ref(a.data)
    del a
    assert gone() is None
    assert y.node is None


def test_keeps_are_published():
    assert REGISTRY["multiply"].keeps == [("b",), ("a",)]
    assert REGISTRY["tanh"].keeps == [("y",)]
    assert REGISTRY["add"].keeps == [(), ()]
    assert REGISTRY["argmax"].keeps == []
    assert not REGISTRY["argmax"].differentiable
    for op in REGISTRY.values():
        for keep in op.keeps:
            assert set(keep) <= {"y", *op.operands}, op.name


def test_a_hook_that_is_removed_is_freed(no_collector):
    class Hook:
        def __call__(self, g):
            return None

    x, hook = leaf(1.0), Hook()
    gone = weakref.ref(hook)
    remove = x.register_hook(hook)
    del hook
    assert gone() is not None
    remove()
    assert gone() is None


def test_a_metric_by_item_holds_no_graph(no_collector):
    x = leaf(1.0)
    total = 0.0
    for _ in range(3):
        loss = (x * x).sum()
        node = weakref.ref(loss.node)
        total += loss.item()
        del loss
        assert node() is None
    assert total == 3.0


# ---------------------------------------------------------------------- training


def test_thousand_training_steps_with_the_collector_off(no_collector):
    """Memory after 1,000 steps is what it was after 100."""
    r = np.random.default_rng(0)
    w1, w2 = (tn.tensor(r.standard_normal(s) * 0.3, requires_grad=True) for s in ((4, 16), (16, 3)))
    moments = [tn.zeros(w.shape, dtype=tn.float64) for w in (w1, w2)]
    x, labels = tn.tensor(r.standard_normal((8, 4))), r.integers(0, 3, 8)

    def step():
        loss = tn.cross_entropy(tn.dropout(tn.relu(x @ w1), 0.1) @ w2, labels)
        for w in (w1, w2):
            w.grad = None
        loss.backward()
        with tn.no_grad():
            for w, m in zip((w1, w2), moments):
                m *= 0.9
                m += w.grad
                w -= m * 0.05
        return loss.item()

    first = step()  # loads the kernels too
    tracemalloc.start()
    try:
        for _ in range(99):
            step()
        nodes, kept, memory = live_nodes(), len(writes.by_buffer), tracemalloc.get_traced_memory()[0]
        for _ in range(900):
            last = step()
        assert live_nodes() == nodes
        assert len(writes.by_buffer) == kept
        assert tracemalloc.get_traced_memory()[0] < memory + 20_000
    finally:
        tracemalloc.stop()
    assert last < first


def test_peak_of_a_checkpointed_chain_is_lower():
    x = tn.ones((200, 200), requires_grad=True)

    def block(z):
        for _ in range(5):
            z = tn.sin(z)
        return z

    def peak(call):
        tracemalloc.start()
        try:
            y = x
            for _ in range(6):
                y = call(block, y)
            y.sum().backward()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            x.grad = None

    assert peak(tn.checkpoint) < 0.5 * peak(lambda f, z: f(z))
