"""Reverse-mode automatic differentiation

What the note says. Draw a network with the data at the bottom and the loss at the top: gradients flow from the top
down, and get smaller on the way, since each layer multiplies by its own derivative. Back-propagation through time
(BPTT) over T steps is a chain of O(T) matrix products.

The formula. For y = f_L(… f_2(f_1(x))) and a scalar loss, the chain rule is a product of Jacobians, taken from the
left,

    ∂loss/∂x = (∂loss/∂y · J_L) · … · J_1

so that each factor is a vector times a Jacobian: about the cost of the function itself, whatever the number of
parameters. From the right (forward mode) it is the same number, one product for each input. An op therefore only says
how it takes a gradient g of its value to gradients of its operands. For Y = A B these are g Bᵀ and Aᵀ g.

The check. Central differences, (f(x + h) - f(x - h)) / 2h = f' + f''' h²/6 + …, are off by O(h²), until rounding errors
of the order of 10⁻¹⁶ / h take over. The engine's own checks use a fourth-order rule, off by O(h⁴).

Where the note leaves something out. "Gets smaller" is what happens with sigmoids and small weights. The chain below is
of a recurrent network whose weights are an orthogonal matrix times a number: at a half the gradient halves with each
step back, at 1 it nearly stays, above 1 it would grow if the saturated tanh did not hold it down.

What is done here. The demo compares the gradient of every op of the engine with finite differences, at all samples that
the tests have of it, and reports the worst; and it draws the error of central differences by h.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run
from tinygrad_notes.study import gradcheck
from tinygrad_notes.study.samples import samples_of
from tinygrad_notes.training.pictures import save_curves

POINT = 0.7
SCALES = (0.5, 1.0, 1.5)
STEPS = 40


def central(f: Any, x: float, h: float) -> float:
    """(f(x + h) - f(x - h)) / 2h."""
    return (f(x + h) - f(x - h)) / (2 * h)


def recurrent(x: Any, w: Any, h: Any) -> tn.Tensor:
    """The last state of h ← tanh(x_t + W h), for inputs x (T, n), weights (n, n), state (n,)."""
    for step in x:
        h = tn.tanh(step + w @ h)
    return h


def gradient_by_lag(scale: float) -> list[float]:
    """How long the gradient of the last state is by the state so many steps before it."""
    rng = np.random.default_rng(0)
    w = scale * np.linalg.qr(rng.standard_normal((16, 16)))[0]
    h = tn.asarray(0.1 * rng.standard_normal(16)).requires_grad_()
    states = [h]
    for _ in range(STEPS):
        states.append(tn.tanh(tn.asarray(w) @ states[-1]))
    gradients = tn.grad(states[-1].sum(), states[:-1])
    return [float(np.linalg.norm(gradient.numpy())) for gradient in reversed(gradients)]


def demo(run: Run) -> Outcome:
    """Every op against finite differences, central differences by h, gradients by lag."""
    names = [name for name in tn.REGISTRY if any(sample.order >= 1 for sample in samples_of(name))]
    if run.epochs is not None:
        names = names[: run.epochs]
    worst = {name: gradcheck(name, directions=1, seed=run.seed).max_error for name in names}
    steps = np.logspace(-12, 0, 49)
    errors = [abs(central(np.sin, POINT, h) - np.cos(POINT)) for h in steps]
    expected = (steps[16:] ** 2 / 6 * np.cos(POINT)).tolist()
    lags = list(range(1, STEPS + 1))
    pictures = [
        save_curves(
            run.folder / "differences.png", "Central differences of the sine: h² until rounding takes over",
            {"error": (steps.tolist(), errors), "h²/6 · cos": (steps[16:].tolist(), expected)},
            "h", "error", logarithmic="xy",
        ),
        save_curves(
            run.folder / "lags.png", "Back-propagation through time: an orthogonal matrix, scaled",
            {f"scaled by {scale:g}": (lags, gradient_by_lag(scale)) for scale in SCALES}, "steps back",
            "length of the gradient", logarithmic="y",
        ),
    ]  # fmt: skip
    return Outcome({"ops": float(len(names)), "worst_relative_error": max(worst.values())}, pictures)


def _halving() -> float:
    """Halving h divides the error by 4; the differences are of an exponential, all of whose derivatives are there."""
    first, second = (abs(central(np.exp, POINT, h) - np.exp(POINT)) for h in (1e-2, 5e-3))
    return abs(first / second - 4)


def _product() -> float:
    rng = np.random.default_rng(0)
    a, b, g = rng.standard_normal((3, 4)), rng.standard_normal((4, 5)), rng.standard_normal((3, 5))
    _, back = tn.vjp(tn.matmul, tn.asarray(a), tn.asarray(b))
    of_a, of_b = back(tn.asarray(g))
    return float(max(np.abs(of_a.numpy() - g @ b.T).max(), np.abs(of_b.numpy() - a.T @ g).max()))


def _through_time() -> float:
    """The gradient by the first state against the product of the Jacobians diag(1 - h²) W, written out."""
    rng = np.random.default_rng(0)
    x, w, h0 = rng.standard_normal((6, 3)), rng.standard_normal((3, 3)), rng.standard_normal(3)
    start = tn.asarray(h0).requires_grad_()
    recurrent(tn.asarray(x), tn.asarray(w), start).sum().backward()
    chain, h = np.eye(3), h0
    for step in x:
        h = np.tanh(step + w @ h)
        chain = np.diag(1 - h**2) @ w @ chain
    return float(np.abs(start.grad.numpy() - np.ones(3) @ chain).max())  # type: ignore[union-attr]


def _modes() -> float:
    """u · (J v) from the right against (uᵀ J) · v from the left."""
    rng = np.random.default_rng(0)
    x, w, h, v, u = (tn.asarray(rng.standard_normal(shape)) for shape in ((6, 3), (3, 3), 3, 3, 3))
    _, forward = tn.jvp(lambda h: recurrent(x, w, h), (h,), (v,))
    _, back = tn.vjp(lambda h: recurrent(x, w, h), h)
    (backward,) = back(u)
    return abs(float((u * forward).sum().item() - (backward * v).sum().item()))


def _products(length: int) -> int:
    """How many products of matrix and vector the ops of a recurrent network over ``length`` steps are."""
    calls: list[str] = []
    x, w, h = tn.zeros((length, 3)), tn.zeros((3, 3)), tn.zeros(3)
    with tn.watch(lambda op, *rest: calls.append(op.name)):
        recurrent(x, w, h)
    return calls.count("matmul")


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    rng = np.random.default_rng(0)
    return [(recurrent, (rng.standard_normal((4, 3)), rng.standard_normal((3, 3)), rng.standard_normal(3)))]


NOTE = Note(
    slug="reverse-mode-autodiff",
    family="basics",
    title="Reverse-mode automatic differentiation",
    sources="note 004; Zhang et al., Dive into Deep Learning, 4.7, 8.7",
    paper="Linnainmaa 1970; Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors",
    text=__doc__,
    demo=demo,
    bars=[Bar("worst_relative_error", at_most=1e-6)],
    facts=[
        Fact(
            "matrix products of recurrent networks over 5 and 50 steps", (5, 50), lambda: (_products(5), _products(50)),
            "one for each step",
        )
    ],
    identities=[
        Identity("halving h divides the error of central differences by 4", _halving, 1e-3),
        Identity("the gradients of A B are g Bᵀ and Aᵀ g", _product, 1e-14),
        Identity("back-propagation through time is the product of the steps' Jacobians", _through_time, 1e-14),
        Identity("from the left and from the right the chain is the same number", _modes, 1e-13),
    ],
    checks=_checks,
)  # fmt: skip
