"""Samples of the activations of activation.py."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, of_one, sample

special = lazy.module("scipy.special")

SCALE, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _elu(a, alpha=1.0):
    return np.where(a > 0, a, alpha * (np.exp(a) - 1))


USUAL = {
    "relu": lambda a: np.where(a > 0, a, 0),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "gelu": lambda a: a * special.ndtr(a),
    "silu": lambda a: a / (1 + np.exp(-a)),
    "softplus": lambda a: np.log(1 + np.exp(a)),
}
UNARY = {
    "elu": _elu,
    "selu": lambda a: SCALE * _elu(a, ALPHA),
    "celu": _elu,
    "hardtanh": lambda a: np.maximum(np.minimum(a, 1), -1),
    "relu6": lambda a: np.maximum(np.minimum(a, 6), 0),
    "hardsigmoid": lambda a: np.maximum(np.minimum(a + 3, 6), 0) / 6,
    "hardswish": lambda a: a * np.maximum(np.minimum(a + 3, 6), 0) / 6,
    "mish": lambda a: a * np.tanh(np.log(1 + np.exp(a))),
    "softsign": lambda a: a / (1 + np.abs(a)),
    "softmin": lambda a: np.exp(-a) / np.exp(-a).sum(-1, keepdims=True),
}


def _prelu(a, w):
    return np.where(a > 0, a, a * (w if w.size == 1 else w.reshape(-1, *(1,) * (a.ndim - 2))))


def _glu(axis):
    def reference(a):
        u, v = np.split(a, 2, axis)
        return u / (1 + np.exp(-v))

    return reference


def _unary() -> list[Sample]:
    samples = []
    for seed, (name, reference) in enumerate(UNARY.items()):
        samples += [
            sample(name, distinct(seed, 2, 3), reference=reference),
            sample(name, distinct(seed, 5, 3) * 13, label="wide", reference=reference),
            sample(name, distinct(seed, 0, 2), label="empty", reference=reference),
            sample(name, distinct(seed, 1), label="one element", reference=reference),
            sample(name, distinct(seed, 3, 4)[::2, ::-1].T, label="strided", reference=reference),
        ]
    far = np.array([-600.0, -60.0, -9.0, 9.0, 60.0, 600.0])
    return [
        *samples,
        sample("mish", far, label="far out", reference=lambda a: a * np.tanh(np.logaddexp(0, a))),
        sample("elu", distinct(20, 6), label="alpha", alpha=0.4, reference=lambda a: _elu(a, 0.4)),
        sample("celu", distinct(21, 6), label="alpha", alpha=0.4, reference=lambda a: 0.4 * _elu(a / 0.4)),
        sample(
            "hardtanh",
            distinct(22, 9),
            label="bounds",
            min_val=-0.2,
            max_val=0.3,
            reference=lambda a: np.maximum(np.minimum(a, 0.3), -0.2),
        ),
        sample(
            "softmin", normal(23, 3, 2), label="first axis", axis=0, reference=lambda a: np.exp(-a) / np.exp(-a).sum(0)
        ),
    ]


def _usual() -> list[Sample]:
    far = np.array([-50.0, -9.0, 9.0, 50.0])
    return [
        *(one for seed, (name, reference) in enumerate(USUAL.items()) for one in of_one(name, reference, seed)),
        sample("softplus", far, label="far out", reference=lambda a: np.logaddexp(0, a)),
        sample("softplus", normal(4, 3), label="beta", beta=2.0, threshold=3.0,
               reference=lambda a: np.where(2 * a > 3, a, np.logaddexp(0, 2 * a) / 2)),
        sample("gelu", distinct(5, 2, 3), label="tanh", approximate="tanh",
               reference=lambda a: a / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))),
        sample("leaky_relu", distinct(6, 4), label="slope", negative_slope=0.3,
               reference=lambda a: np.where(a > 0, a, 0.3 * a)),
    ]  # fmt: skip


SAMPLES = [
    *_usual(),
    *_unary(),
    sample("prelu", distinct(1, 3, 4), np.array(0.3), label="no axes", reference=_prelu),
    sample("prelu", distinct(2, 2, 3), np.array([0.3]), label="one slope", reference=_prelu),
    sample("prelu", distinct(3, 2, 3), normal(4, 3), label="per channel", reference=_prelu),
    sample("prelu", distinct(5, 4, 3, 2)[::2], normal(6, 3)[::-1], label="images, strided", reference=_prelu),
    sample("prelu", distinct(7, 4), normal(8, 4), label="one axis", reference=lambda a, w: np.where(a > 0, a, a * w)),
    sample("prelu", distinct(9, 0, 3), normal(10, 3), label="empty", reference=_prelu),
    sample("glu", normal(11, 2, 4), reference=_glu(-1)),
    sample("glu", normal(12, 4, 3)[:, ::2], label="first axis, strided", axis=0, reference=_glu(0)),
    sample("glu", normal(13, 2), label="one element", reference=_glu(0)),
    sample("glu", normal(14, 0, 4), label="empty", reference=_glu(-1)),
]
