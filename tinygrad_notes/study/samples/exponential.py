"""Samples of exponentials, logarithms, tanh, sigmoid and the error function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.ops import logaddexp
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, of_one, of_two, positive, sample

special = lazy.module("scipy.special")

UNARY: dict[str, Callable[..., Any]] = {
    "exp": np.exp,
    "exp2": lambda a: 2**a,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "logsigmoid": lambda a: -np.log(1 + np.exp(-a)),
    "erf": lambda a: special.erf(a),
}
LOGARITHMS: dict[str, Callable[..., Any]] = {
    "log": np.log,
    "log1p": np.log1p,
    "log2": lambda a: np.log(a) / np.log(2),
    "log10": lambda a: np.log(a) / np.log(10),
}


def _special() -> list[Sample]:
    far, a, b = np.array([-700.0, -40.0, 40.0, 700.0]), distinct(7, 3, 4)[::2, ::-1], normal(8, 2, 4)
    return [
        sample("sigmoid", far / 14, label="far out", reference=lambda a: special.expit(a)),
        sample("logsigmoid", far, label="far out", reference=lambda a: -np.logaddexp(0, -a)),
        sample("logaddexp", a * 100, b, label="far apart", reference=np.logaddexp),
        sample(
            "logaddexp",
            a,
            label="with a number",
            call=lambda x: logaddexp(x, 0.0),
            reference=lambda x: np.log(1 + np.exp(x)),
        ),
    ]


SAMPLES = [
    *(one for seed, (name, reference) in enumerate(UNARY.items()) for one in of_one(name, reference, seed)),
    *(one for seed, (name, reference) in enumerate(LOGARITHMS.items())
      for one in of_one(name, reference, seed, positive)),
    *of_two("logaddexp", lambda a, b: np.log(np.exp(a) + np.exp(b)), 2),
    *_special(),
]  # fmt: skip
