"""Samples of arithmetic: + - * / // % **, signs, squares and roots, dtypes and copies."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.arithmetic import transfer
from tinygrad_notes.study.samples.sample import Sample, distinct, of_one, of_two, positive, sample

BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "remainder": np.remainder,
    "pow": np.power,
}
UNARY = {
    "negative": np.negative,
    "positive": np.positive,
    "abs": np.abs,
    "square": np.square,
    "clone": np.copy,
}


def _away_from_zero(seed: int, *shape: int) -> np.ndarray:
    a = distinct(seed, *shape)
    return a + np.sign(a) * 0.5


def _special() -> list[Sample]:
    x = distinct(3, 4)
    return [
        sample("multiply", x, label="by a number", call=lambda a: 2.0 * a * 3, reference=lambda a: 6 * a),
        sample("multiply", x[::-2], label="negative stride", call=lambda a: a * a, reference=lambda a: a * a),
        sample("subtract", x, label="from a number", call=lambda a: 1 - a, reference=lambda a: 1 - a),
        sample("divide", x, label="of a number", call=lambda a: 2.0 / a, reference=lambda a: 2 / a),
        sample("pow", x, label="cube", call=lambda a: a**3, reference=lambda a: a**3),
        sample("pow", x, label="reciprocal", call=lambda a: a**-1, reference=lambda a: 1 / a),
        sample("pow", np.array([0.0, 1.5, -2.0]), label="to zero", call=lambda a: a**0, reference=np.ones_like),
        sample("pow", positive(1, 3), label="of a number", call=lambda b: 2.0**b, reference=lambda b: 2.0**b),
        sample("remainder", x, label="negative", call=lambda a: a % -0.7, reference=lambda a: np.mod(a, -0.7)),
        sample("floor_divide", positive(1, 3) * 3, positive(2, 2, 3), reference=np.floor_divide, order=0),
        sample("sign", np.array([[-1.0, 0.0, 1.0]]), reference=np.sign, order=0),
        sample("astype", distinct(9, 3), dtype="float64", reference=lambda a: a),
        sample("transfer", distinct(9, 3), call=lambda a: transfer(a, a.device), reference=lambda a: a),
    ]


SAMPLES = [
    *(one for seed, (name, reference) in enumerate(BINARY.items()) for one in of_two(name, reference, seed)),
    *(one for seed, (name, reference) in enumerate(UNARY.items()) for one in of_one(name, reference, seed)),
    *of_one("sqrt", np.sqrt, 5, positive),
    *of_one("reciprocal", lambda a: 1 / a, 6, _away_from_zero),
    *_special(),
]
