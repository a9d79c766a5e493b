"""What samples cannot show of searching rows, distinct slices and weighted histograms."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

rng = np.random.default_rng(0)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8])
@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_are_searched_as_one_row_is(n, side):
    """NaN among both too: it is the largest number."""
    a = np.sort(rng.integers(0, 5, (4, 3, n)).astype(float), -1)
    v = rng.integers(-1, 6, (4, 3, 9)).astype(float)
    v[..., 0], v[..., 1] = np.nan, np.inf
    if n:
        a[0, 0, -1] = np.nan
    expected = [[np.searchsorted(a[i, j], v[i, j], side) for j in range(3)] for i in range(4)]
    found = tn.searchsorted(a, v, side)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found.data, expected)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_few_of_many_are_those_that_sorting_puts_first(dtype, largest):
    """Ties and NaN (the largest number) as in argsort, though the other elements are not sorted."""
    a = rng.integers(-2, 3, (30, 16, 2)).astype(dtype)
    if dtype == np.float32:
        a[rng.random(a.shape) < 0.2] = np.nan
        a[:3], a[3:6] = np.nan, -np.inf
    for k in (1, 2):
        values, indices = tn.topk(a, k, 1, largest)
        order = tn.argsort(a, 1, descending=largest).data[:, :k]
        np.testing.assert_array_equal(indices.data, order)
        np.testing.assert_array_equal(values.data, np.take_along_axis(a, order, 1))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_unique_slices(axis):
    a = rng.integers(0, 2, (9, 2, 3))
    ours = tn.unique(a, True, True, True, axis)
    values, index, inverse, counts = np.unique(a, True, True, True, axis)
    for got, wanted in zip(ours, (values, index, inverse.reshape(-1), counts)):
        np.testing.assert_array_equal(got.data, wanted)
    np.testing.assert_array_equal(tn.take(ours[0], ours[2], axis).data, a)


@pytest.mark.parametrize("bins", [1, 7, np.array([-1.0, 0.0, 0.25, 2.0])])
@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weighted_histogram(bins, density, dtype):
    a, weights = rng.standard_normal((20, 5)).astype(dtype), rng.uniform(0, 1, (20, 5)).astype(dtype)
    bins = bins if isinstance(bins, int) else bins.astype(dtype)
    ours, edges = tn.histogram(a, bins, density=density, weights=weights)
    expected, borders = np.histogram(a, bins, density=density, weights=weights)
    np.testing.assert_allclose(ours.data, expected, rtol=1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(edges.data, borders.astype(dtype))
    assert ours.dtype == dtype


def test_weights_of_integers_stay_integers():
    counts, _ = tn.histogram([1, 2, 2, 3], 3, weights=np.array([1, 2, 3, 4]))
    assert counts.dtype == np.int64
    assert counts.tolist() == [1, 5, 4]


def test_what_lies_outside_has_no_weight():
    weights = tn.ones(4, requires_grad=True)
    tn.histogram([-1.0, 0.0, 1.0, np.nan], 2, (0, 1), weights=weights)[0].sum().backward()
    assert weights.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tn.histogram(np.ones(3), weights=np.ones(2)), tn.ShapeError, r"weights have shape \(2,\), a \(3,\)"),
        (lambda: tn.unique(np.ones((2, 2)), axis=2), tn.ShapeError, "unique: axis 2 is out of bounds for 2 axes"),
        (lambda: tn.searchsorted(np.ones((2, 3)), np.ones((3, 3))), tn.ShapeError, r"searchsorted: a has shape \(2, 3"),
        (lambda: tn.searchsorted(np.ones(()), 1.0), tn.ShapeError, r"searchsorted: a has shape \(\), expected \(n,\)"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
