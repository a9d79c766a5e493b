"""Several threads forward and backward at once, on graphs of their own and on shared parameters."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import leaf
from tinygrad_notes import GradientError


def together(*functions: Callable[[], None]) -> None:
    """Run the functions at once, each in a thread of its own, switching between them as often as Python can."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(functions))

    def run(function):
        try:
            start.wait(10)
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


def network(w: tn.Tensor, x: np.ndarray) -> tn.Tensor:
    h = tn.tanh(x @ w)
    return (tn.gelu(h) * h).sum()


def test_separate_graphs():
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((4, 4)) for _ in range(4)]
    x = rng.standard_normal((3, 4))
    wanted = []
    for w in weights:
        t = tn.tensor(w, requires_grad=True)
        network(t, x).backward()
        wanted.append(t.grad.data)
    got: list[list[np.ndarray]] = [[] for _ in weights]

    def work(k):
        for _ in range(40):
            t = tn.tensor(weights[k], requires_grad=True)
            network(t, x).backward()
            got[k].append(t.grad.data)

    together(*[lambda k=k: work(k) for k in range(4)])
    for results, one in zip(got, wanted):
        assert len(results) == 40
        for result in results:
            np.testing.assert_array_equal(result, one)


def test_shared_parameters_lose_no_gradient():
    """Each thread's gradients are added to the same grad: all of them arrive."""
    w = tn.ones((2, 2), dtype=tn.float64, requires_grad=True)

    def work():
        for _ in range(300):
            (w * 1.0).sum().backward()

    together(work, work, work, work)
    assert w.grad.tolist() == [[1200.0] * 2] * 2


def test_shared_graph_each_thread_with_grad():
    x = leaf(1.0, 2.0)
    y = (tn.exp(x) * x).sum()
    wanted = tn.grad(y, x, retain_graph=True).data

    def work():
        for _ in range(100):
            np.testing.assert_array_equal(tn.grad(y, x, retain_graph=True).data, wanted)

    together(work, work, work)


def test_modes_do_not_leak_between_threads():
    x = leaf(1.0)

    def silent():
        for _ in range(300):
            with tn.no_grad():
                assert not (x * 2.0).requires_grad

    def loud():
        for _ in range(300):
            assert (x * 2.0).requires_grad

    together(silent, loud, silent, loud)


def test_writes_in_several_threads_are_all_found():
    """The stamps of nodes and writes come from one clock."""

    def work():
        for _ in range(100):
            x, w = leaf(1.0, 2.0), tn.ones(2, dtype=tn.float64)
            h = x * 1.0
            h += w
            h[0] *= 2.0
            y = (h * w).sum()
            assert tn.grad(y, x, retain_graph=True).tolist() == [2.0, 1.0]
            w += 1.0
            with pytest.raises(GradientError, match="multiply kept"):
                y.backward()

    together(work, work, work)


def test_create_graph_and_checkpoint_in_several_threads():
    def second(x, w):
        g = tn.grad(tn.checkpoint(lambda z: tn.gelu(z * w) * z, x).sum(), x, create_graph=True)
        return [t.tolist() for t in tn.grad((g * g).sum(), [x, w])]

    wanted = second(leaf(0.5, 1.5), leaf(0.3, 0.7))

    def work():
        for _ in range(30):
            assert second(leaf(0.5, 1.5), leaf(0.3, 0.7)) == wanted
            assert tn.is_grad_enabled()

    together(work, work)


def test_first_call_of_an_op_from_several_threads():
    """Wrappers are compiled when they are first called: in a fresh interpreter, by many threads at once."""
    code = """
import sys, threading
import numpy as np
import tinygrad_notes as tn
sys.setswitchinterval(1e-6)
x = tn.ones((2, 3, 4))
calls = [lambda: x.sum(), lambda: x.mean(axis=0), lambda: tn.softplus(x), lambda: tn.leaky_relu(x), lambda: x.var(),
         lambda: x.max(),
         lambda: tn.roll(x, 1), lambda: tn.flip(x), lambda: tn.logsumexp(x), lambda: tn.layer_norm(x, (4,)),
         lambda: x @ x.mT]
errors, start = [], threading.Barrier(8)
def work(k):
    start.wait()
    try:
        for call in calls[k:] + calls[:k]:
            call()
    except BaseException as error:
        errors.append(repr(error))
threads = [threading.Thread(target=work, args=(k % 2,)) for k in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(errors)
"""
    for _ in range(2):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert result.stdout.strip() == "[]", result.stdout + result.stderr
