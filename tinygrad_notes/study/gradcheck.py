"""Gradients against finite differences: of a function, an op, a module, a whole network, to first and second order.

The derivative along a random direction d, ∇f·d, is compared with central differences of fourth order,

    (8 (f(x + hd) - f(x - hd)) - (f(x + 2hd) - f(x - 2hd))) / 12h,

in float64. A direction lies in one input alone, so a wrong gradient of a small input cannot hide behind a large one.
The error is |analytic - numeric| / max(|analytic|, |numeric|, 1e-3 ‖∇f‖). Several steps h are tried, because a step may
cross a kink of relu or of pooling; a wrong gradient is wrong at every step. Where the two one-sided derivatives differ,
the function has a kink at the very point, which is said instead of failing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.autograd import grad
from tinygrad_notes.errors import DTypeError, GradientError
from tinygrad_notes.generator import get_rng_state, set_rng_state
from tinygrad_notes.modes import enable_grad
from tinygrad_notes.nn import Module
from tinygrad_notes.registry import REGISTRY, Op
from tinygrad_notes.study.graph import floating_in
from tinygrad_notes.tensor import Tensor, float64, to_array, wrap

samples = lazy.module("tinygrad_notes.study.samples")

STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Check:
    """One direction in one input. ``kink``: the one-sided derivatives differ there, so there is nothing to compare.

    >>> tn.study.gradcheck(tn.relu, [0.0]).checks[0].kink
    True
    """

    name: str
    shape: tuple[int, ...]
    analytic: float
    numeric: float
    error: float
    kink: bool = False


@dataclass
class Report:
    """What a gradient check found. True (as a bool) when every error is within ``tolerance``.

    >>> report = tn.study.gradcheck(tn.tanh, [0.5, -1.0], order=2)
    >>> report.passed, len(report.checks), report.max_error < 1e-6
    (True, 2, True)
    """

    title: str
    order: int
    tolerance: float
    checks: list[Check] = field(default_factory=list)

    @property
    def max_error(self) -> float:
        return max((c.error for c in self.checks if not c.kink), default=0.0)

    @property
    def passed(self) -> bool:
        return all(c.kink or c.error <= self.tolerance for c in self.checks)

    def __bool__(self) -> bool:
        return self.passed

    def raise_if_failed(self) -> Report:
        """The report itself, or GradientError with the report as its message."""
        if not self.passed:
            raise GradientError(str(self))
        return self

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"gradient check of {self.title}, order {self.order}: {verdict}, "
                 f"largest error {self.max_error:.1e} (at most {self.tolerance:.0e}), "
                 f"{len(self.checks)} directions"]  # fmt: skip
        width = max((len(c.name) for c in self.checks), default=4)
        for c in self.checks:
            if c.kink:
                note = "kink: not differentiable at this point, move the input"
            else:
                note = "" if c.error <= self.tolerance else "  <-- wrong"
            if note or len(self.checks) <= 40:
                lines.append(
                    f"  {c.name:<{width}} {c.shape!s:>18}  analytic {c.analytic: .10e}  numeric {c.numeric: .10e}  "
                    f"error {c.error:.1e} {note}".rstrip()
                )
        return "\n".join(lines)


def gradcheck(
    function: Callable[..., Any] | Module | Op | str,
    *inputs: Any,
    order: int = 1,
    directions: int = 2,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Report:
    """Compare the gradients of ``function`` at ``inputs`` with finite differences.

    ``function``: a function of Tensors that returns a Tensor or several; a Module, whose parameters are checked too (on
    a float64 copy); an op or its name, which is then checked on its samples. ``inputs``: floating ones are checked, in
    float64; integers and booleans are passed on. ``order=2`` checks the gradients of the gradients. Random ops see the
    same numbers at every evaluation.

    >>> bool(tn.study.gradcheck(lambda a, b: (a @ b).sum(0), np.ones((2, 3)), np.ones((3, 2))))
    True
    >>> bool(tn.study.gradcheck(nn.Linear(3, 2), np.ones((4, 3))))
    True
    >>> wrong = lambda a: a * a.detach()  # the gradient lacks a factor of 2
    >>> bool(tn.study.gradcheck(wrong, np.array([1.0, 2.0])))
    False
    """
    if isinstance(function, str | Op) or hasattr(function, "op"):
        return _check_samples(function, inputs, order, directions, tolerance, seed)
    if not callable(function):
        raise DTypeError(f"gradcheck: function is {function!r}, expected a function, a Module, or an op or its name")
    names, leaves, evaluate = _prepare(function, inputs)
    title = type(function).__name__ if isinstance(function, Module) else getattr(function, "__name__", repr(function))
    report = Report(title, order, tolerance)
    rng = np.random.default_rng(seed)
    scalar = _objective(evaluate, rng)
    if order == 2:
        scalar = _gradient_objective(scalar, leaves, rng)
    elif order != 1:
        raise DTypeError(f"gradcheck: order is {order!r}, expected 1 or 2")
    state = get_rng_state()
    try:
        _compare(report, scalar, names, leaves, directions, rng, state)
    finally:
        set_rng_state(state)
    return report


def gradgradcheck(function: Any, *inputs: Any, **options: Any) -> Report:
    """:func:`gradcheck` of order 2: the gradients of the gradients.

    >>> bool(tn.study.gradgradcheck("softmax"))
    True
    """
    return gradcheck(function, *inputs, order=2, **options)


# ---------------------------------------------------------------------- what is checked


def _prepare(function: Any, inputs: Sequence[Any]) -> tuple[list[str], list[Tensor], Callable[[], Any]]:
    """Names and leaves that are checked, and the call that evaluates the function at their present values."""
    names, leaves, arguments = [], [], []
    if isinstance(function, Module):
        function = copy.deepcopy(function).to(float64)
        for name, parameter in function.named_parameters():
            names.append(name)
            leaves.append(parameter)
    for i, value in enumerate(inputs):
        array = to_array(value, copy=True) if isinstance(value, Tensor | np.ndarray | int | float | list) else None
        if array is not None and array.dtype.kind == "f":
            leaf = wrap(array.astype(float64)).requires_grad_()
            names.append(f"input {i}")
            leaves.append(leaf)
            arguments.append(leaf)
        else:
            arguments.append(value)
    if not leaves:
        raise DTypeError("gradcheck: there is no floating-point input or parameter to check")
    return names, leaves, lambda: function(*arguments)


def _objective(evaluate: Callable[[], Any], rng: np.random.Generator) -> Callable[[], Tensor]:
    """The values of a function, weighted at random and summed: one number that every element enters."""
    weights: list[np.ndarray] = []

    def scalar() -> Tensor:
        with enable_grad():
            values = evaluate()
            total = None
            for i, value in enumerate(floating_in(values)):
                if i == len(weights):
                    weights.append(np.asarray(rng.standard_normal(value.shape), like=value.data))
                part = (value * weights[i]).sum()
                total = part if total is None else total + part
        if total is None:
            raise DTypeError("gradcheck: the function returned no floating-point Tensor")
        return total

    return scalar


def _gradient_objective(
    scalar: Callable[[], Tensor], leaves: list[Tensor], rng: np.random.Generator
) -> Callable[[], Tensor]:
    """The gradients of ``scalar``, weighted at random and summed."""
    weights = [np.asarray(rng.standard_normal(leaf.shape), like=leaf.data) for leaf in leaves]

    def gradient_scalar() -> Tensor:
        total: Tensor | None = None
        value = scalar()
        if value.requires_grad:
            for g, w in zip(grad(value, leaves, create_graph=True, allow_unused=True), weights):
                if g is not None:
                    total = (g * w).sum() if total is None else total + (g * w).sum()
        return wrap(np.zeros(())) if total is None else total

    return gradient_scalar


# ---------------------------------------------------------------------- the comparison


def _compare(report: Report, scalar: Callable[[], Tensor], names: list[str], leaves: list[Tensor], directions: int,
             rng: np.random.Generator, state: dict) -> None:  # fmt: skip
    def value() -> float:
        set_rng_state(state)
        return float(scalar().data)

    set_rng_state(state)
    top = scalar()
    gradients = grad(top, leaves, allow_unused=True) if top.requires_grad else [None] * len(leaves)
    for name, leaf, g in zip(names, leaves, gradients):
        gradient = np.zeros_like(leaf.data) if g is None else g.data
        for _ in range(directions if leaf.size else 0):
            direction = np.asarray(_direction(leaf.shape, rng), like=leaf.data)
            report.checks.append(_check(value, name, leaf, gradient, direction, report.tolerance))


def _direction(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A random direction of length 1 whose every component matters: none is below a tenth of their typical size."""
    d = rng.standard_normal(shape)
    d = np.where(np.abs(d) < 0.1, np.where(d < 0, -0.1, 0.1), d)
    return d / math.sqrt(float((d * d).sum()))


def _check(
    value: Callable[[], float], name: str, leaf: Tensor, gradient: np.ndarray, direction: np.ndarray, tolerance: float
) -> Check:
    analytic = float((gradient * direction).sum())
    floor = 1e-3 * math.sqrt(float((gradient * gradient).sum()))
    original = leaf.data.copy()

    def at(step: float) -> float:
        np.add(original, step * direction, out=leaf.data)
        return value()

    best = (math.inf, math.nan)
    try:
        for h in STEPS:
            near, far = (at(h), at(-h)), (at(2 * h), at(-2 * h))
            numeric = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * h)
            rounding = 1e-15 * max(map(abs, (*near, *far))) / h  # where the derivative is 0, this is all that is left
            scale, difference = max(abs(analytic), abs(numeric), floor), abs(analytic - numeric)
            error = difference / scale if scale > 1e-12 and not difference <= rounding else difference
            error = math.inf if math.isnan(error) else error
            best = min(best, (error, numeric))
            if error <= tolerance:
                break
        kink = best[0] > tolerance and _is_kink(at)
    finally:
        leaf.data[...] = original
    return Check(name, leaf.shape, analytic, best[1], best[0], kink)


def _is_kink(at: Callable[[float], float]) -> bool:
    """Whether the one-sided derivatives differ, however small the step."""
    h = 1e-7
    middle = at(0.0)
    right, left = (at(h) - middle) / h, (middle - at(-h)) / h
    wide_right, wide_left = (at(16 * h) - middle) / (16 * h), (middle - at(-16 * h)) / (16 * h)
    gap, wide_gap = right - left, wide_right - wide_left
    # A smooth function's gap grows with the step, sixteenfold here; a kink's stays.
    return abs(gap) > 1e-5 * max(abs(right), abs(left), 1e-12) and 0.5 < wide_gap / gap < 2.0


# ---------------------------------------------------------------------- ops


def _check_samples(
    function: Any, inputs: Sequence[Any], order: int, directions: int, tolerance: float, seed: int
) -> Report:
    op = REGISTRY.get(function) if isinstance(function, str) else getattr(function, "op", function)
    if op is None:
        raise DTypeError(f"gradcheck: there is no op {function!r}; see tn.REGISTRY")
    if inputs:
        return gradcheck(_Named(op), *inputs, order=order, directions=directions, tolerance=tolerance, seed=seed)
    report = Report(f"op {op.name}", order, tolerance)
    found = [s for s in samples.samples_of(op.name) if s.order >= order]
    if not found:
        raise DTypeError(f"gradcheck: op {op.name} has no samples of order {order}")
    for one in found:
        part = gradcheck(one.call, *one.operands, order=order, directions=directions, tolerance=tolerance, seed=seed)
        for c in part.checks:
            report.checks.append(Check(f"{one.title}, {c.name}", c.shape, c.analytic, c.numeric, c.error, c.kink))
    return report


class _Named:
    """An op as a plain function of its operands, so that it is checked at the given inputs."""

    def __init__(self, op: Op):
        self.call, self.__name__ = op.call, op.name

    def __call__(self, *inputs: Any) -> Any:
        return self.call(*inputs)
