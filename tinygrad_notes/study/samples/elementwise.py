"""Samples of the elementwise ops."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.ops import maximum, where
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, positive, sample

special = lazy.module("scipy.special")

BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "remainder": np.remainder,
    "pow": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
UNARY = {
    "negative": np.negative,
    "positive": np.positive,
    "abs": np.abs,
    "square": np.square,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "erf": lambda a: special.erf(a),
    "relu": lambda a: np.where(a > 0, a, 0),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "gelu": lambda a: a * special.ndtr(a),
    "silu": lambda a: a / (1 + np.exp(-a)),
    "softplus": lambda a: np.log(1 + np.exp(a)),
    "clone": np.copy,
}
COMPARISONS = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
SHAPES = {
    "": ((2, 3), (2, 3)),
    "broadcast": ((3, 1), (1, 2)),
    "scalar": ((), (2, 2)),
    "new axis": ((2,), (3, 2)),
    "empty": ((0, 2), (1, 2)),
}


def _binary() -> list[Sample]:
    samples = []
    for number, (name, reference) in enumerate(BINARY.items()):
        for label, (first, second) in SHAPES.items():
            operands = (positive(number, *first), positive(number + 50, *second))
            samples.append(sample(name, *operands, label=label, reference=reference))
    x = distinct(3, 4)
    samples += [
        sample("multiply", x, label="by a number", call=lambda a: 2.0 * a * 3, reference=lambda a: 6 * a),
        sample("subtract", x, label="from a number", call=lambda a: 1 - a, reference=lambda a: 1 - a),
        sample("divide", x, label="of a number", call=lambda a: 2.0 / a, reference=lambda a: 2 / a),
        sample("pow", x, label="cube", call=lambda a: a**3, reference=lambda a: a**3),
        sample("pow", x, label="reciprocal", call=lambda a: a**-1, reference=lambda a: 1 / a),
        sample("pow", np.array([0.0, 1.5, -2.0]), label="to zero", call=lambda a: a**0, reference=np.ones_like),
        sample("pow", positive(1, 3), label="of a number", call=lambda b: 2.0**b, reference=lambda b: 2.0**b),
        sample("remainder", x, label="negative", call=lambda a: a % -0.7, reference=lambda a: np.mod(a, -0.7)),
        sample(
            "maximum",
            x,
            label="with a number",
            call=lambda a: maximum(a, 0.03),
            reference=lambda a: np.maximum(a, 0.03),
        ),
        sample("multiply", x[::-2], label="negative stride", call=lambda a: a * a, reference=lambda a: a * a),
    ]
    return samples


def _unary() -> list[Sample]:
    samples = []
    for number, (name, reference) in enumerate(UNARY.items()):
        make = positive if name in ("sqrt", "log", "log1p") else distinct
        samples.append(sample(name, make(number, 2, 3), reference=reference))
        samples.append(sample(name, make(number, 0, 2), label="empty", reference=reference))
        samples.append(sample(name, make(number, 1).reshape(()), label="no axes", reference=reference))
        samples.append(sample(name, make(number, 3, 4)[::2, ::-1].T, label="strided", reference=reference))
    far = np.array([-50.0, -9.0, 9.0, 50.0])
    samples += [
        sample("sigmoid", far, label="far out", reference=lambda a: special.expit(a)),
        sample("softplus", far, label="far out", reference=lambda a: np.logaddexp(0, a)),
        sample("softplus", normal(4, 3), label="beta", beta=2.0, threshold=3.0,
               reference=lambda a: np.where(2 * a > 3, a, np.logaddexp(0, 2 * a) / 2)),
        sample("gelu", distinct(5, 2, 3), label="tanh", approximate="tanh",
               reference=lambda a: a / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))),
        sample("leaky_relu", distinct(6, 4), label="slope", negative_slope=0.3,
               reference=lambda a: np.where(a > 0, a, 0.3 * a)),
        sample("clip", distinct(7, 12), label="both", min=-0.2, max=0.3, reference=lambda a: np.clip(a, -0.2, 0.3)),
        sample("clip", distinct(7, 12), label="above", max=0.3, reference=lambda a: np.clip(a, None, 0.3)),
        sample("clip", distinct(7, 12), label="below", min=0.1, reference=lambda a: np.clip(a, 0.1, None)),
        sample("clip", distinct(7, 12), distinct(8, 12) - 1.03, label="by a Tensor",
               reference=lambda a, low: np.maximum(a, low)),
        sample("astype", distinct(9, 3), dtype="float64", reference=lambda a: a),
        sample("where", np.array([True, False, True]), normal(10, 3), normal(11, 2, 3), reference=np.where),
        sample("where", normal(12, 4) > 0, normal(13, 4), label="with a number", call=lambda c, a: where(c, a, 0.0),
               reference=lambda c, a: np.where(c, a, 0.0)),
    ]  # fmt: skip
    return samples


def _without_gradient() -> list[Sample]:
    a, b = np.array([[0.0, 1.0, 2.0]]), np.array([[0.0], [1.5], [2.0]])
    odd = np.array([1.0, np.nan, np.inf, -np.inf, 0.0])
    m, n = np.array([12, 5, 7]), np.array([10, 3, 8])
    samples = [sample(name, a, b, reference=reference, order=0) for name, reference in COMPARISONS.items()]
    samples += [sample(name, odd, reference=reference, order=0) for name, reference in
                {"isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite,
                 "logical_not": np.logical_not}.items()]  # fmt: skip
    samples += [sample(name, m, n, reference=reference, order=0) for name, reference in
                {"bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or,
                 "bitwise_xor": np.bitwise_xor}.items()]  # fmt: skip
    samples += [
        sample("bitwise_invert", m, reference=np.invert, order=0),
        sample("sign", a - 1, reference=np.sign, order=0),
        sample("floor_divide", positive(1, 3) * 3, positive(2, 2, 3), reference=np.floor_divide, order=0),
    ]
    return samples


SAMPLES = [*_binary(), *_unary(), *_without_gradient()]
