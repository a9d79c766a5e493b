"""Samples of trigonometric and hyperbolic functions, logarithms of other bases, angles and lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_notes.ops import atan2, hypot, logaddexp
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, positive, sample

# Name: the reference, and a map of small numbers to where the function is smooth.
UNARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tan": (lambda a: np.sin(a) / np.cos(a), lambda a: a),
    "asin": (np.arcsin, np.tanh),
    "acos": (np.arccos, np.tanh),
    "atan": (np.arctan, lambda a: 3 * a),
    "sinh": (lambda a: (np.exp(a) - np.exp(-a)) / 2, lambda a: a),
    "cosh": (lambda a: (np.exp(a) + np.exp(-a)) / 2, lambda a: a),
    "asinh": (np.arcsinh, lambda a: 3 * a),
    "acosh": (np.arccosh, lambda a: 1.5 + np.abs(a)),
    "atanh": (np.arctanh, np.tanh),
    "reciprocal": (lambda a: 1 / a, lambda a: a + np.sign(a) * 0.5),
    "exp2": (lambda a: 2**a, lambda a: a),
    "log2": (lambda a: np.log(a) / np.log(2), np.exp),
    "log10": (lambda a: np.log(a) / np.log(10), np.exp),
    "logsigmoid": (lambda a: -np.log(1 + np.exp(-a)), lambda a: a),
}
BINARY = {
    "atan2": lambda a, b: np.angle(b + 1j * a),
    "hypot": lambda a, b: np.abs(a + 1j * b),
    "logaddexp": lambda a, b: np.log(np.exp(a) + np.exp(b)),
}
SHAPES = {
    "": ((2, 3), (2, 3)),
    "broadcast": ((3, 1), (1, 2)),
    "scalar": ((), (2, 2)),
    "new axis": ((2,), (3, 2)),
    "one element": ((1,), (1,)),
    "empty": ((0, 2), (1, 2)),
}


def _unary() -> list[Sample]:
    samples = []
    for seed, (name, (reference, inside)) in enumerate(UNARY.items()):
        samples += [
            sample(name, inside(distinct(seed, 2, 3)), reference=reference),
            sample(name, inside(distinct(seed, 0, 2)), label="empty", reference=reference),
            sample(name, inside(distinct(seed, 1).reshape(())), label="no axes", reference=reference),
            sample(name, inside(distinct(seed, 3, 4))[::2, ::-1].T, label="strided", reference=reference),
        ]
    far = np.array([-700.0, -40.0, 40.0, 700.0])
    return [
        *samples,
        sample("logsigmoid", far, label="far out", reference=lambda a: -np.logaddexp(0, -a)),
        sample("atan", far * 1e20, label="far out", reference=np.arctan, order=0),
        sample("asinh", far * 1e30, label="far out", reference=np.arcsinh, order=0),
    ]


def _binary() -> list[Sample]:
    samples = []
    for seed, (name, reference) in enumerate(BINARY.items()):
        for label, (first, second) in SHAPES.items():
            operands = (positive(seed, *first), positive(seed + 50, *second))
            samples.append(sample(name, *operands, label=label, reference=reference))
    a, b = distinct(7, 3, 4)[::2, ::-1], normal(8, 2, 4)
    return [
        *samples,
        sample("atan2", a, b, label="four quarters", reference=BINARY["atan2"]),
        sample("hypot", a, b, label="strided", reference=BINARY["hypot"]),
        sample("logaddexp", a * 100, b, label="far apart", reference=np.logaddexp),
        sample(
            "atan2", a, label="with a number", call=lambda x: atan2(x, -0.5), reference=lambda x: np.arctan2(x, -0.5)
        ),
        sample("hypot", a, label="with a number", call=lambda x: hypot(3.0, x), reference=lambda x: np.sqrt(9 + x * x)),
        sample(
            "logaddexp",
            a,
            label="with a number",
            call=lambda x: logaddexp(x, 0.0),
            reference=lambda x: np.log(1 + np.exp(x)),
        ),
    ]


SAMPLES = [*_unary(), *_binary()]
