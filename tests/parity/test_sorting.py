"""Rows searched, distinct slices and weighted histograms against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
rng = np.random.default_rng(0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("shape", "found"), [((5,), (2, 3)), ((4, 6), (4, 3)), ((2, 3, 8), (2, 3, 1)), ((3, 0), (3, 2))]
)
@pytest.mark.parametrize("integers", [False, True])
def test_searchsorted(parity, shape, found, side, integers):
    a, v = (np.round(2 * rng.standard_normal(s)).astype(int if integers else "float32") for s in (shape, found))
    a = np.sort(a, -1)
    parity.compare(tn.searchsorted(a, v, side), torch.searchsorted(torch.tensor(a), torch.tensor(v), side=side))


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_unique(parity, axis):
    a = rng.integers(0, 2, (7, 2, 3))
    values, inverse, counts = tn.unique(a, return_inverse=True, return_counts=True, axis=axis)
    expected = torch.unique(torch.tensor(a), return_inverse=True, return_counts=True, dim=axis)
    parity.compare([values, inverse, counts], list(expected))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("bins", [1, 5, [-1.0, 0.0, 0.5, 2.0]])
def test_weighted_histogram(parity, bins, density, dtype):
    a, weights = rng.standard_normal(60).astype(dtype), rng.uniform(0, 1, 60).astype(dtype)
    edges = np.array(bins, dtype) if isinstance(bins, list) else bins
    ours = tn.histogram(a, edges, density=density, weights=weights)
    theirs = torch.histogram(
        torch.tensor(a), torch.tensor(edges) if isinstance(bins, list) else bins, weight=torch.tensor(weights),
        density=density,
    )  # fmt: skip
    parity.compare(list(ours), list(theirs))
