"""Softmax beyond its samples: far-out numbers, masked rows, the fast gradient, dtypes, errors."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import kernels
from tinygrad_notes.study.gradcheck import gradcheck

X = np.random.default_rng(0).standard_normal((3, 4))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4, 1e30])
def test_rows_sum_to_one_however_large_the_numbers(dtype, offset):
    p = tn.softmax((X + offset).astype(dtype)).data
    assert p.dtype == dtype
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-6 if dtype == np.float32 else 1e-14)


def test_logarithm_where_softmax_is_zero():
    """e⁻¹⁰⁰⁰ is no float, its logarithm is; and the gradient does not vanish with it."""
    x = tn.tensor([0.0, -1000.0], requires_grad=True)
    assert tn.softmax(x).data[1] == 0
    y = tn.log_softmax(x)
    assert y.tolist() == [0.0, -1000.0]
    y[1].backward()
    assert x.grad.tolist() == [-1.0, 1.0]


def test_masked_elements_get_no_gradient():
    x = tn.tensor([[0.0, -np.inf, 1.0]], requires_grad=True)
    tn.softmax(x)[0, 0].backward()
    assert x.grad.data[0, 1] == 0
    assert np.isfinite(x.grad.data).all()


def test_a_row_of_minus_inf_is_nan_and_leaves_the_others_alone():
    x = np.array([[-np.inf, -np.inf], [0.0, 1.0]])
    for function in (tn.softmax, tn.log_softmax):
        y = function(x).data
        assert np.isnan(y[0]).all()
        assert np.isfinite(y[1]).all()


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_first_order_is_one_kernel(name, monkeypatch):
    function, kernel, calls = getattr(tn, name), f"{name}_grad", []
    original = getattr(kernels, kernel)
    monkeypatch.setattr(kernels, kernel, lambda *operands: calls.append(1) or original(*operands))
    x = tn.tensor(X, requires_grad=True)
    y = function(x)
    tn.grad(y, x, tn.ones_like(y), retain_graph=True)
    assert calls == [1]
    g = tn.grad(y, x, tn.ones_like(y).requires_grad_(), create_graph=True)
    assert g.node.name == kernel


@pytest.mark.parametrize("function", [tn.softmax, tn.log_softmax])
def test_third_derivative(function):
    def gradient(a):
        return tn.grad((function(a, axis=0) ** 3).sum(), a, create_graph=True)

    gradcheck(gradient, X, order=2).raise_if_failed()


def test_only_the_value_is_kept():
    x = tn.tensor(X, requires_grad=True)
    for function in (tn.softmax, tn.log_softmax):
        y = function(x)
        (kept,) = y.node.saved[0]
        assert kept is y.data


def test_integers_become_float32():
    assert tn.softmax(np.arange(3)).dtype == tn.float32
    assert tn.log_softmax([1, 2]).dtype == tn.float32


@pytest.mark.parametrize("axis", [2, -3, None, (0, 1), 0.0])
def test_wrong_axis(axis):
    with pytest.raises(tn.ShapeError, match=r"softmax: axis .* is out of bounds for 2 axes"):
        tn.softmax(X, axis=axis)
    with pytest.raises(tn.ShapeError, match=r"log_softmax: axis .* is out of bounds for 2 axes"):
        tn.log_softmax(X, axis=axis)


def test_a_number_has_no_axis():
    with pytest.raises(tn.ShapeError, match="axis -1 is out of bounds for 0 axes"):
        tn.softmax(tn.tensor(1.0))
