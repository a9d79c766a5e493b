"""The gradient checker: what it finds, what it says, and what it does not blame."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.study import gradcheck, gradgradcheck


def test_right_gradients_pass_and_the_report_says_how_well():
    report = gradcheck(lambda x, y: tn.sin(x) * y, np.array([0.3, 1.0]), np.array([2.0, -1.0]))
    assert report
    assert report.max_error < 1e-9
    assert {c.name for c in report.checks} == {"input 0", "input 1"}
    assert "passed" in str(report)
    assert report.raise_if_failed() is report


def wrong(factor):
    @tn.op
    def slightly_wrong(a: tn.Array, b: tn.Array):
        return a * b, lambda g, b: g * b, lambda g, a: g * a * factor

    return slightly_wrong


def test_a_wrong_gradient_of_one_input_is_named():
    op = wrong(1.0001)
    try:
        report = gradcheck(lambda a, b: op(a, b), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
        assert not report
        assert report.max_error == pytest.approx(1e-4, rel=0.01)
        assert all(c.error < 1e-8 for c in report.checks if c.name == "input 0")
        assert "<-- wrong" in str(report)
        with pytest.raises(tn.GradientError, match="FAILED"):
            report.raise_if_failed()
    finally:
        del REGISTRY["slightly_wrong"]


def test_float32_is_checked_in_float64_and_integers_are_passed_on():
    report = gradcheck(lambda x, i: tn.exp(x)[i], np.ones(4, np.float32), np.array([0, 2, 2]))
    assert report.passed
    assert [c.name for c in report.checks] == ["input 0"] * 2


@pytest.mark.parametrize("function", [tn.relu, tn.leaky_relu], ids=["relu", "leaky_relu"])
def test_a_kink_at_the_point_is_said_and_not_blamed(function):
    report = gradcheck(function, np.zeros(3))
    assert report.passed
    assert all(c.kink for c in report.checks)
    assert "kink" in str(report)


def test_a_wrong_gradient_at_a_smooth_point_of_a_kinked_function_is_blamed():
    @tn.op
    def leaning(a: tn.Array):
        return np.maximum(a, 0), lambda g, y: g * (y > 0) * 1.01

    try:
        assert not gradcheck(leaning, np.array([0.5, -0.5, 2.0])).passed
    finally:
        del REGISTRY["leaning"]


def test_a_kink_within_a_large_step_is_no_failure():
    report = gradcheck(tn.relu, np.array([2e-5, -3e-5, 1.0]))
    assert report.passed
    assert not any(c.kink for c in report.checks)


def test_modules_are_checked_on_a_float64_copy():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    report = gradcheck(net, np.random.default_rng(0).standard_normal((5, 3)))
    assert report.passed
    assert {"0.weight", "0.bias", "2.weight", "2.bias", "input 0"} == {c.name for c in report.checks}
    assert all(t.dtype == np.float32 and np.array_equal(t.numpy(), before[n]) for n, t in net.state_dict().items())


def test_random_ops_see_the_same_numbers():
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    assert gradcheck(net, np.ones((4, 3))).passed


def test_second_order():
    assert gradgradcheck(lambda x: tn.exp(x) * x, np.array([0.1, 0.2])).passed
    assert gradcheck(nn.Sequential(nn.Linear(2, 3), nn.Sigmoid()), np.ones((2, 2)), order=2, directions=1).passed


def test_ops_by_name_and_by_function():
    assert gradcheck("tanh").passed
    assert gradcheck(tn.matmul).passed
    assert gradcheck(tn.tanh, np.array([0.5])).passed
    with pytest.raises(tn.DTypeError, match="there is no op 'tanhh'"):
        gradcheck("tanhh")
    with pytest.raises(tn.DTypeError, match="no samples of order 1"):
        gradcheck("equal")


def test_bad_calls():
    with pytest.raises(tn.DTypeError, match="no floating-point input"):
        gradcheck(lambda i: i, np.array([1, 2]))
    with pytest.raises(tn.DTypeError, match="order is 3"):
        gradcheck(tn.exp, np.ones(2), order=3)
    with pytest.raises(tn.DTypeError, match="returned no floating-point Tensor"):
        gradcheck(lambda x: x > 0, np.ones(2))


def test_inputs_and_generator_are_left_as_they_were():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    state = tn.get_rng_state()
    gradcheck(lambda a: tn.dropout(a, 0.5), x)
    assert tn.get_rng_state() == state
    assert x.grad is None
    assert x.detach().numpy().tolist() == [1.0, 2.0]
