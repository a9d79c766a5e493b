"""Samples of trigonometric and hyperbolic functions, angles and lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_notes.ops import atan2, hypot
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, of_one, of_two, sample

# Name: the reference, and a map of small numbers to where the function is smooth.
UNARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sin": (np.sin, lambda a: a),
    "cos": (np.cos, lambda a: a),
    "tan": (lambda a: np.sin(a) / np.cos(a), lambda a: a),
    "asin": (np.arcsin, np.tanh),
    "acos": (np.arccos, np.tanh),
    "atan": (np.arctan, lambda a: 3 * a),
    "sinh": (lambda a: (np.exp(a) - np.exp(-a)) / 2, lambda a: a),
    "cosh": (lambda a: (np.exp(a) + np.exp(-a)) / 2, lambda a: a),
    "asinh": (np.arcsinh, lambda a: 3 * a),
    "acosh": (np.arccosh, lambda a: 1.5 + np.abs(a)),
    "atanh": (np.arctanh, np.tanh),
}
BINARY = {
    "atan2": lambda a, b: np.angle(b + 1j * a),
    "hypot": lambda a, b: np.abs(a + 1j * b),
}


def _unary() -> list[Sample]:
    samples = []
    for seed, (name, (reference, inside)) in enumerate(UNARY.items()):
        samples += of_one(name, reference, seed, lambda seed, *shape, inside=inside: inside(distinct(seed, *shape)))
    far = np.array([-700.0, -40.0, 40.0, 700.0])
    return [
        *samples,
        sample("atan", far * 1e20, label="far out", reference=np.arctan, order=0),
        sample("asinh", far * 1e30, label="far out", reference=np.arcsinh, order=0),
    ]


def _binary() -> list[Sample]:
    a, b = distinct(7, 3, 4)[::2, ::-1], normal(8, 2, 4)
    return [
        *(one for seed, (name, reference) in enumerate(BINARY.items()) for one in of_two(name, reference, seed)),
        sample("atan2", a, b, label="four quarters", reference=BINARY["atan2"]),
        sample("hypot", a, b, label="strided", reference=BINARY["hypot"]),
        sample(
            "atan2", a, label="with a number", call=lambda x: atan2(x, -0.5), reference=lambda x: np.arctan2(x, -0.5)
        ),
        sample("hypot", a, label="with a number", call=lambda x: hypot(3.0, x), reference=lambda x: np.sqrt(9 + x * x)),
    ]


SAMPLES = [*_unary(), *_binary()]
