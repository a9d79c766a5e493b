"""Normalisation beyond its samples: running statistics, second calls, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3, 5))


@pytest.mark.parametrize("momentum", [0.1, 0.75, 1.0, 0.0])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_running_statistics(momentum, as_tensor):
    mean, var = np.arange(3.0), np.arange(1.0, 4.0)
    buffers = (tn.asarray(mean), tn.asarray(var)) if as_tensor else (mean, var)
    expected = (
        (1 - momentum) * mean + momentum * X.mean((0, 2)),
        (1 - momentum) * var + momentum * X.var((0, 2), ddof=1),
    )
    tn.batch_norm(tn.Tensor(X), *buffers, training=True, momentum=momentum)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-12)
    np.testing.assert_allclose(var, expected[1], rtol=1e-12)


def test_one_buffer_alone_is_kept():
    var = np.ones(3)
    tn.batch_norm(tn.Tensor(X), None, var, training=True, momentum=1.0)
    np.testing.assert_allclose(var, X.var((0, 2), ddof=1), rtol=1e-12)


def test_buffers_keep_their_dtype():
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert tn.batch_norm(tn.Tensor(X), mean, var, training=True).dtype == tn.float64
    assert mean.dtype == var.dtype == np.float32
    assert tn.batch_norm(tn.Tensor(X, dtype=tn.float32), mean.astype(np.float64), var).dtype == tn.float32


def test_variance_of_a_constant_channel_is_zero():
    mean, var = np.zeros(3), np.ones(3)
    y = tn.batch_norm(tn.Tensor(np.full((4, 3), 7.25)), mean, var, training=True, momentum=1.0)
    assert not y.numpy().any()
    np.testing.assert_array_equal(mean, 7.25)
    np.testing.assert_allclose(var, 0, atol=1e-12)


def test_a_second_batch_leaves_the_first_graph_whole():
    """The buffers are written by every batch, but no gradient depends on them: not in training, nor when evaluating."""
    mean, var = np.zeros(3), np.ones(3)
    x = tn.Tensor(X, requires_grad=True)
    evaluated = tn.batch_norm(x, mean, var)
    first = tn.batch_norm(x, mean, var, training=True)
    tn.batch_norm(x, mean, var, training=True)
    (g,) = tn.grad([first.pow(3).sum()], [x], create_graph=True)
    g.square().sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    (plain,) = tn.grad([evaluated.sum()], [x])
    np.testing.assert_allclose(plain.numpy(), 1 / np.sqrt(1 + 1e-5))


def test_the_second_derivative_does_not_count_as_a_batch():
    mean, var = np.zeros(3), np.ones(3)
    x = tn.Tensor(X, requires_grad=True)
    y = tn.batch_norm(x, mean, var, training=True)
    before = mean.copy(), var.copy()
    tn.grad(y.sum(), x, create_graph=True)
    np.testing.assert_array_equal((mean, var), before)


def test_a_tape_that_kept_a_buffer_refuses_after_the_write():
    mean = tn.zeros(3, dtype=tn.float64)
    x = tn.Tensor(X, requires_grad=True)
    y = x.sum((0, 2)) * mean
    tn.batch_norm(x, mean, None, training=True)
    with pytest.raises(tn.GradientError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tiny_variance_is_kept_with_all_its_digits(dtype):
    """Far below eps: 1 / rstd² - eps would know nothing of it."""
    x = (1e-6 * X).astype(dtype)
    for norm, exact in (
        (tn.batch_norm, x.var((0, 2), ddof=1, dtype=np.float64)),
        (tn.instance_norm, x.var(2, ddof=1, dtype=np.float64).mean(0)),
    ):
        var, options = np.zeros(3, dtype), {"training": True} if norm is tn.batch_norm else {}
        norm(x, None, var, momentum=1.0, **options)
        np.testing.assert_allclose(var, exact, rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_running_statistics_of_instances():
    mean, var = np.arange(3.0), np.arange(1.0, 4.0)
    expected = 0.7 * mean + 0.3 * X.mean(2).mean(0), 0.7 * var + 0.3 * X.var(2, ddof=1).mean(0)
    x = tn.Tensor(X, requires_grad=True)
    y = tn.instance_norm(x, mean, var, momentum=0.3)
    np.testing.assert_allclose((mean, var), expected, rtol=1e-12)
    tn.grad(y.pow(3).sum(), x, create_graph=True)
    np.testing.assert_allclose((mean, var), expected, rtol=1e-12)
    tn.instance_norm(X[:0], mean, var)  # no example: nothing to learn
    np.testing.assert_allclose((mean, var), expected, rtol=1e-12)


def test_no_example_depends_on_another():
    x = X.copy()
    before = [tn.group_norm(x, 3).numpy()[0], tn.instance_norm(x).numpy()[0], tn.layer_norm(x, (3, 5)).numpy()[0]]
    x[1:] *= 7
    after = [tn.group_norm(x, 3).numpy()[0], tn.instance_norm(x).numpy()[0], tn.layer_norm(x, (3, 5)).numpy()[0]]
    np.testing.assert_array_equal(before, after)


def test_rms_norm_knows_the_spacing_of_its_dtype():
    for dtype in (np.float32, np.float64):
        x = np.zeros(4, dtype)
        x[0] = 2 * np.sqrt(np.finfo(dtype).eps)  # the mean of the squares is eps
        np.testing.assert_allclose(tn.rms_norm(x, 4).numpy()[0], x[0] / np.sqrt(2 * np.finfo(dtype).eps), rtol=1e-6)
    assert tn.rms_norm([3, 4], 2).dtype == tn.float32


def test_integers_become_float32():
    assert tn.batch_norm(np.arange(6).reshape(3, 2), None, None, training=True).dtype == tn.float32
    assert tn.layer_norm([[1, 2, 3]], 3).dtype == tn.float32


def test_far_from_zero_nothing_cancels():
    x = np.float32(1e4) + np.float32(0.25) * np.arange(8, dtype=np.float32)
    expected = (np.arange(8) - 3.5) / np.sqrt(np.arange(8).var() + 1e-5 * 16)
    np.testing.assert_allclose(tn.layer_norm(x, 8).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tn.batch_norm(X[0, 0], None, None, training=True), r"batch_norm: x has shape \(5,\), expected \(N, C"),
        (lambda: tn.batch_norm(X, np.zeros(2), np.ones(3)), r"running_mean has shape \(2,\), expected \(3,\)"),
        (lambda: tn.batch_norm(X, None, None, np.ones((3, 1)), training=True), r"weight has shape \(3, 1\)"),
        (
            lambda: tn.batch_norm(X, None, None),
            "running_mean and running_var are the statistics when training is False",
        ),
        (lambda: tn.batch_norm(X[:1, :, 0], None, None, training=True), "more than one value for each channel"),
        (lambda: tn.batch_norm(X[:0], None, None, training=True), "more than one value for each channel"),
        (lambda: tn.layer_norm(X, 4), r"layer_norm: normalized_shape is \(4,\), x has shape \(4, 3, 5\)"),
        (lambda: tn.layer_norm(X, ()), "normalized_shape"),
        (lambda: tn.layer_norm(X, (2, 4, 3, 5)), "normalized_shape"),
        (lambda: tn.layer_norm(X, 5, np.ones(4)), r"weight has shape \(4,\), expected \(5,\)"),
        (lambda: tn.layer_norm(X, (3, 5), None, np.ones(5)), r"bias has shape \(5,\), expected \(3, 5\)"),
        (lambda: tn.group_norm(X, 2), r"group_norm: num_groups is 2, which does not divide the 3 channels of x"),
        (lambda: tn.group_norm(X, 0), "group_norm: num_groups is 0, expected at least 1"),
        (lambda: tn.group_norm(X[0, 0], 1), r"group_norm: x has shape \(5,\), expected \(N, C"),
        (lambda: tn.group_norm(X, 3, np.ones(5)), r"group_norm: weight has shape \(5,\), expected \(3,\)"),
        (lambda: tn.instance_norm(X[:, :, :1]), "instance_norm: x has shape .*more than one value for each channel"),
        (lambda: tn.instance_norm(X[:, :, 0]), "more than one value for each channel of an example"),
        (lambda: tn.instance_norm(X, use_input_stats=False), "the statistics when use_input_stats is False"),
        (lambda: tn.instance_norm(X, np.zeros(3), np.ones(3), momentum=2), "instance_norm: momentum is 2"),
        (lambda: tn.rms_norm(X, 3), r"rms_norm: normalized_shape is \(3,\), x has shape \(4, 3, 5\)"),
        (lambda: tn.rms_norm(X, 5, np.ones(3)), r"rms_norm: weight has shape \(3,\), expected \(5,\)"),
        (lambda: tn.rms_norm(X, 5, eps=-1), "rms_norm: eps is -1"),
        (lambda: tn.local_response_norm(X[0], 2), r"local_response_norm: x has shape \(3, 5\), expected \(N, C"),
        (lambda: tn.local_response_norm(X, 0), "local_response_norm: size is 0, expected at least 1"),
    ],
)
def test_wrong_shapes(call, message):
    with pytest.raises(tn.ShapeError, match=message):
        call()


def test_a_buffer_with_a_gradient_is_refused():
    with pytest.raises(tn.GradientError, match="running_var requires a gradient"):
        tn.batch_norm(X, np.zeros(3), tn.ones(3, dtype=tn.float64, requires_grad=True), training=True)
