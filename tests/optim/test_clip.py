"""Clipping by norm and by value."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim


def parameters(*gradients):
    made = []
    for gradient in gradients:
        p = nn.Parameter(np.zeros(np.shape(gradient), np.float32))
        p.grad = tn.tensor(np.array(gradient, np.float32))
        made.append(p)
    return [*made, nn.Parameter([1.0])]  # one without a gradient


def test_norm_over_all_parameters_is_scaled_to_the_limit():
    ps = parameters([3.0, 0.0], [[4.0]])
    buffers = [p.grad.data for p in ps[:2]]
    norm = optim.clip_grad_norm_(ps, 1.0)
    assert type(norm) is tn.Tensor
    assert norm.item() == 5.0
    assert np.allclose(ps[0].grad.data, [0.6, 0], atol=1e-6)
    assert np.allclose(ps[1].grad.data, [[0.8]], atol=1e-6)
    assert all(p.grad.data is buffer for p, buffer in zip(ps, buffers))
    assert optim.clip_grad_norm_(iter(ps), 10.0).item() == pytest.approx(1.0, abs=1e-5)
    assert np.allclose(ps[0].grad.data, [0.6, 0], atol=1e-6)  # below the limit nothing changes


@pytest.mark.parametrize(("order", "expected"), [(math.inf, 4.0), (1.0, 7.0), (3.0, 91 ** (1 / 3))])
def test_other_norms(order, expected):
    ps = parameters([3.0, 0.0], [[-4.0]])
    assert optim.clip_grad_norm_(ps, 1.0, order).item() == pytest.approx(expected, rel=1e-6)
    assert np.allclose(ps[1].grad.data, -4 / expected, rtol=1e-5)


def test_gradients_that_are_not_finite():
    ps = parameters([math.inf, 1.0])
    with pytest.raises(tn.GradientError, match="norm of the gradients is inf"):
        optim.clip_grad_norm_(ps, 1.0, error_if_nonfinite=True)
    assert ps[0].grad.tolist() == [math.inf, 1.0]
    ps = parameters([math.nan, 1.0])
    assert math.isnan(optim.clip_grad_norm_(ps, 1.0).item())
    assert np.isnan(ps[0].grad.data).all()


def test_no_gradients_and_one_tensor():
    assert optim.clip_grad_norm_([nn.Parameter([1.0])], 1.0).item() == 0
    assert optim.clip_grad_norm_([], 1.0).item() == 0
    p = parameters([30.0])[0]
    assert optim.clip_grad_norm_(p, 3.0).item() == 30
    assert p.grad.item() == pytest.approx(3)


def test_values():
    ps = parameters([3.0, -0.5], [[-4.0]])
    optim.clip_grad_value_(ps, 1.0)
    assert ps[0].grad.tolist() == [1.0, -0.5]
    assert ps[1].grad.tolist() == [[-1.0]]


def test_a_gradient_with_a_history_is_not_written():
    x = nn.Parameter([2.0])
    (x * x * x).sum().backward(create_graph=True)
    gradient = x.grad
    optim.clip_grad_norm_([x], 1.0)
    assert gradient.item() == 12
    assert x.grad.item() == pytest.approx(1)
    assert tn.grad(gradient, x).item() == 12  # the second derivative, 6x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.clip_grad_norm_([], -1.0), tn.ShapeError, "max_norm is -1.0"),
        (lambda: optim.clip_grad_norm_([], 1.0, 0.0), tn.ShapeError, "norm_type is 0.0"),
        (lambda: optim.clip_grad_norm_([3], 1.0), tn.DTypeError, "parameter 0 is int"),
        (lambda: optim.clip_grad_value_([], math.nan), tn.ShapeError, "clip_value is nan"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
