"""Samples of comparison, logic and choice."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops import maximum, where
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, of_two, sample

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
BITS = {"bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor}
QUESTIONS = {"isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite, "logical_not": np.logical_not}


def _choice() -> list[Sample]:
    x = distinct(3, 4)
    return [
        sample(
            "maximum",
            x,
            label="with a number",
            call=lambda a: maximum(a, 0.03),
            reference=lambda a: np.maximum(a, 0.03),
        ),
        sample("clip", distinct(7, 12), label="both", min=-0.2, max=0.3, reference=lambda a: np.clip(a, -0.2, 0.3)),
        sample("clip", distinct(7, 12), label="above", max=0.3, reference=lambda a: np.clip(a, None, 0.3)),
        sample("clip", distinct(7, 12), label="below", min=0.1, reference=lambda a: np.clip(a, 0.1, None)),
        sample("clip", distinct(7, 12), distinct(8, 12) - 1.03, label="by a Tensor",
               reference=lambda a, low: np.maximum(a, low)),
        sample("where", np.array([True, False, True]), normal(10, 3), normal(11, 2, 3), reference=np.where),
        sample("where", normal(12, 4) > 0, normal(13, 4), label="with a number", call=lambda c, a: where(c, a, 0.0),
               reference=lambda c, a: np.where(c, a, 0.0)),
    ]  # fmt: skip


def _without_gradient() -> list[Sample]:
    a, b = np.array([[0.0, 1.0, 2.0]]), np.array([[0.0], [1.5], [2.0]])
    odd = np.array([1.0, np.nan, np.inf, -np.inf, 0.0])
    m, n = np.array([12, 5, 7]), np.array([10, 3, 8])
    return [
        *(sample(name, a, b, reference=reference, order=0) for name, reference in COMPARISONS.items()),
        *(sample(name, odd, reference=reference, order=0) for name, reference in QUESTIONS.items()),
        *(sample(name, m, n, reference=reference, order=0) for name, reference in BITS.items()),
        sample("bitwise_invert", m, reference=np.invert, order=0),
    ]


SAMPLES = [*of_two("maximum", np.maximum, 6), *of_two("minimum", np.minimum, 7), *_choice(), *_without_gradient()]
