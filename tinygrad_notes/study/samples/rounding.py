"""Samples of rounding: no gradient flows."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.study.samples.sample import distinct, sample

HALVES = np.array([-2.5, -1.5, -0.5, -0.25, 0.0, 0.25, 0.5, 1.5, 2.5, np.inf, np.nan])
ROUNDINGS = {
    "floor": lambda a: a // 1.0,
    "ceil": lambda a: -(-a // 1.0),
    "trunc": lambda a: np.sign(a) * (np.abs(a) // 1.0),
    "round": lambda a: np.vectorize(lambda v: float(round(v)) if math.isfinite(v) else v, otypes=[float])(a),
}

SAMPLES = [
    *(sample(name, HALVES[:-2], label="halves", reference=f, order=0) for name, f in ROUNDINGS.items()),
    *(sample(name, HALVES[-2:], label="not finite", reference=lambda a: a, order=0) for name in ROUNDINGS),
    *(
        sample(name, distinct(1, 4, 3)[::2, ::-1] * 7, label="strided", reference=f, order=0)
        for name, f in ROUNDINGS.items()
    ),
    *(sample(name, distinct(1, 0, 3), label="empty", reference=f, order=0) for name, f in ROUNDINGS.items()),
    *(sample(name, np.array(-3.7), label="no axes", reference=f, order=0) for name, f in ROUNDINGS.items()),
    *(sample(name, np.array([[-3, 4]]), label="integers", reference=lambda a: a, order=0) for name in ROUNDINGS),
    sample(
        "round",
        np.array([0.126, 3.14159, -7.5]),
        label="decimals",
        decimals=2,
        reference=lambda a: np.array([0.13, 3.14, -7.5]),
        order=0,
    ),
    sample(
        "round",
        np.array([1250.0, -1349.0, 7.0]),
        label="hundreds",
        decimals=-2,
        reference=lambda a: np.array([1200.0, -1300.0, 0.0]),
        order=0,
    ),
]
