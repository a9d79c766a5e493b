"""Samples of softmax and its logarithm."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.study.samples.sample import normal, positive, sample


def _softmax(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def _log_softmax(x, axis=-1):
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def _jacobian_product(g, p):
    """Row by row (diag(p) - p pᵀ) g."""
    return np.stack([(np.diag(row) - np.outer(row, row)) @ h for h, row in zip(g, p)])


LARGE = np.array([[1000.0, 1001.0, 999.0], [-1000.0, 0.0, 1.0]])
ABSENT = np.array([[-np.inf, 0.5, 1.0], [0.0, -np.inf, -np.inf]])

SAMPLES = [
    one
    for name, reference in (("softmax", _softmax), ("log_softmax", _log_softmax))
    for one in (
        sample(name, normal(1, 2, 5), reference=reference),
        sample(name, normal(2, 4, 3), label="rows", axis=0, reference=lambda x, f=reference: f(x, 0)),
        sample(name, normal(3, 2, 3, 4), label="middle", axis=1, reference=lambda x, f=reference: f(x, 1)),
        sample(name, normal(3, 2, 3, 4), label="from the end", axis=-2, reference=lambda x, f=reference: f(x, 1)),
        sample(name, normal(4, 7), label="one row", reference=reference),
        sample(name, normal(5, 1), label="one element", reference=reference),
        sample(name, normal(5, 3, 1), label="rows of one", reference=reference),
        sample(name, normal(6, 0, 3), label="no rows", reference=reference),
        sample(name, normal(6, 3, 0), label="empty rows", reference=np.copy),
        sample(name, normal(7, 6, 4)[::-2, ::-1].T, label="strided", reference=reference),
        sample(name, LARGE, label="large", reference=lambda x, f=reference: f(x - x.max(axis=-1, keepdims=True))),
        sample(name, ABSENT, label="minus inf", reference=reference, order=0),
    )
] + [
    sample("softmax_grad", normal(8, 2, 3), positive(9, 2, 3), axis=1, reference=_jacobian_product),
    sample("softmax_grad", normal(8, 3, 2), positive(9, 3, 2), label="rows", axis=0,
           reference=lambda g, p: _jacobian_product(g.T, p.T).T),
    sample("log_softmax_grad", normal(10, 2, 3), normal(11, 2, 3), axis=1,
           reference=lambda g, y: g - np.exp(y) * g.sum(axis=1, keepdims=True)),
    sample("log_softmax_grad", normal(10, 3, 2), normal(11, 3, 2), label="rows", axis=0,
           reference=lambda g, y: g - np.exp(y) * g.sum(axis=0, keepdims=True)),
]  # fmt: skip
