"""Batch, layer, group and RMS normalisation of the reference kernels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.differences import assert_gradients
from tinygrad_notes.kernels.reference.normalization import (
    batch_norm,
    batch_norm_grad,
    group_norm,
    group_norm_grad,
    layer_norm,
    layer_norm_grad,
    rms_norm,
    rms_norm_grad,
)

EPS = 1e-5
BATCH_SHAPES = [(5, 3), (2, 3, 4), (3, 2, 2, 3), (2, 1, 1, 2, 3), (4, 1)]
LAYER_CASES = [((5, 3), 1), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 3, 4), 3), ((7,), 1), ((2, 1, 3, 2), 2)]


def normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(1, 2, shape).astype(dtype)


@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_batch_norm_is_the_formula(shape):
    x, weight, bias = normal(shape), normal(shape[1], 1), normal(shape[1], 2)
    y, mean, rstd, variance = batch_norm(x, weight, bias, EPS)
    assert mean.shape == rstd.shape == variance.shape == (shape[1],)
    for c in range(shape[1]):
        np.testing.assert_allclose(mean[c], x[:, c].mean(), rtol=1e-12)
        np.testing.assert_allclose(variance[c], x[:, c].var(), rtol=1e-12)
        np.testing.assert_allclose(rstd[c], (x[:, c].var() + EPS) ** -0.5, rtol=1e-12)
        expected = (x[:, c] - mean[c]) * rstd[c] * weight[c] + bias[c]
        np.testing.assert_allclose(y[:, c], expected, rtol=1e-12, atol=1e-12)
    plain, _, _, _ = batch_norm(x, None, None, EPS)
    np.testing.assert_allclose(batch_norm(x, np.ones(shape[1]), np.zeros(shape[1]), EPS)[0], plain, atol=1e-14)


@pytest.mark.parametrize("shape", BATCH_SHAPES)
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_gradients(shape, affine):
    x, g = normal(shape), normal(shape, 3)
    weight, bias = (normal(shape[1], 1), normal(shape[1], 2)) if affine else (None, None)
    _, mean, rstd, _ = batch_norm(x, weight, bias, EPS)
    gradients = batch_norm_grad(g, x, weight, mean, rstd)
    operands = [x, weight, bias] if affine else [x]
    assert_gradients(
        lambda: float((g * batch_norm(x, weight, bias, EPS)[0]).sum()), operands, gradients[: len(operands)]
    )
    if not affine:  # dweight and dbias are there all the same
        expected = batch_norm_grad(g, x, np.ones(shape[1]), mean, rstd)
        for mine, theirs in zip(gradients, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("shape", "axes_count"), LAYER_CASES)
def test_layer_norm_is_the_formula(shape, axes_count):
    normalized = shape[len(shape) - axes_count :]
    x, weight, bias = normal(shape), normal(normalized, 1), normal(normalized, 2)
    y, mean, rstd = layer_norm(x, weight, bias, EPS, axes_count)
    axes = tuple(range(len(shape) - axes_count, len(shape)))
    np.testing.assert_allclose(mean, x.mean(axes, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(rstd, (x.var(axes, keepdims=True) + EPS) ** -0.5, rtol=1e-12)
    np.testing.assert_allclose(y, (x - mean) * rstd * weight + bias, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("shape", "axes_count"), LAYER_CASES)
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_gradients(shape, axes_count, affine):
    normalized = shape[len(shape) - axes_count :]
    x, g = normal(shape), normal(shape, 3)
    weight, bias = (normal(normalized, 1), normal(normalized, 2)) if affine else (None, None)
    _, mean, rstd = layer_norm(x, weight, bias, EPS, axes_count)
    gradients = layer_norm_grad(g, x, weight, mean, rstd, axes_count)
    assert [gradient.shape for gradient in gradients] == [shape, normalized, normalized]
    operands = [x, weight, bias] if affine else [x]
    assert_gradients(
        lambda: float((g * layer_norm(x, weight, bias, EPS, axes_count)[0]).sum()), operands, gradients[: len(operands)]
    )


GROUP_CASES = [((5, 4), 2), ((2, 6, 4), 3), ((3, 4, 2, 3), 1), ((2, 3, 1, 2), 3), ((2, 3), 3)]


@pytest.mark.parametrize(("shape", "groups"), GROUP_CASES)
def test_group_norm_is_the_formula(shape, groups):
    x, weight, bias = normal(shape), normal(shape[1], 1), normal(shape[1], 2)
    y, mean, rstd, variance = group_norm(x, weight, bias, EPS, groups)
    assert mean.shape == rstd.shape == variance.shape == (shape[0], groups)
    size = shape[1] // groups
    for n in range(shape[0]):
        for c in range(shape[1]):
            members = x[n, c // size * size : (c // size + 1) * size]
            found = mean[n, c // size], variance[n, c // size], rstd[n, c // size]
            wanted = members.mean(), members.var(), (members.var() + EPS) ** -0.5
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
            expected = (x[n, c] - wanted[0]) * wanted[2] * weight[c] + bias[c]
            np.testing.assert_allclose(y[n, c], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("shape", "groups"), GROUP_CASES)
@pytest.mark.parametrize("affine", [True, False])
def test_group_norm_gradients(shape, groups, affine):
    x, g = normal(shape), normal(shape, 3)
    weight, bias = (normal(shape[1], 1), normal(shape[1], 2)) if affine else (None, None)
    _, mean, rstd, _ = group_norm(x, weight, bias, 0.1, groups)
    gradients = group_norm_grad(g, x, weight, mean, rstd, groups)
    assert [gradient.shape for gradient in gradients] == [shape, shape[1:2], shape[1:2]]
    operands = [x, weight, bias] if affine else [x]
    assert_gradients(
        lambda: float((g * group_norm(x, weight, bias, 0.1, groups)[0]).sum()), operands, gradients[: len(operands)]
    )


def test_one_group_is_layer_norm():
    x = normal((3, 4, 5))
    for ours, theirs in zip(group_norm(x, None, None, EPS, 1), layer_norm(x, None, None, EPS, 2)):
        np.testing.assert_allclose(ours.ravel(), theirs.ravel(), rtol=1e-13)


@pytest.mark.parametrize(("shape", "axes_count"), LAYER_CASES)
@pytest.mark.parametrize("affine", [True, False])
def test_rms_norm(shape, axes_count, affine):
    normalized, axes = shape[len(shape) - axes_count :], tuple(range(-axes_count, 0))
    x, g, weight = normal(shape), normal(shape, 3), normal(normalized, 1) if affine else None
    y, rrms = rms_norm(x, weight, EPS, axes_count)
    root = np.sqrt((x * x).mean(axes, keepdims=True) + EPS)
    np.testing.assert_allclose(rrms, 1 / root, rtol=1e-12)
    np.testing.assert_allclose(y, x / root * (1 if weight is None else weight), rtol=1e-12)
    gradients = rms_norm_grad(g, x, weight, rrms, axes_count)
    assert [gradient.shape for gradient in gradients] == [shape, normalized]
    operands = [x, weight] if affine else [x]
    assert_gradients(
        lambda: float((g * rms_norm(x, weight, EPS, axes_count)[0]).sum()), operands, gradients[: len(operands)]
    )


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 4, 0), (2, 0, 3), (1, 4, 1)])
def test_groups_and_rows_of_nothing(shape):
    x = np.ones(shape, np.float32)
    y, mean, rstd, _ = group_norm(x, None, None, EPS, 2)
    dx, dweight, dbias = group_norm_grad(x, x, None, mean, rstd, 2)
    assert y.shape == dx.shape == shape
    assert dweight.shape == dbias.shape == shape[1:2]
    np.testing.assert_array_equal(y, np.zeros(shape))
    y, rrms = rms_norm(x, None, 0.0, 2)
    dx, dweight = rms_norm_grad(x, x, None, rrms, 2)
    assert y.shape == dx.shape == shape
    assert dweight.shape == shape[1:]
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_groups_and_rows_far_from_zero_and_strided(dtype):
    base = (normal((4, 6, 10)) + 1e4).astype(dtype)
    x, before = base[::-2, ::-1, ::3], base.copy()
    exact, weight = x.astype(np.float64), np.broadcast_to(dtype(1.5), (6,))
    results = group_norm(x, weight, None, EPS, 3)
    gradients = group_norm_grad(x, x, weight, results[1], results[2], 3)
    y, rrms = rms_norm(x, None, EPS, 1)
    assert {a.dtype for a in (*results, *gradients, y, rrms, *rms_norm_grad(x, x, None, rrms, 1))} == {np.dtype(dtype)}
    np.testing.assert_allclose(results[3], exact.reshape(2, 3, -1).var(2), rtol=1e-5)
    np.testing.assert_allclose(rrms, (exact**2).mean(2, keepdims=True) ** -0.5, rtol=1e-6)
    for once, again in zip(results, group_norm(x, weight, None, EPS, 3)):
        np.testing.assert_array_equal(once, again)
        assert not np.shares_memory(once, base)
    np.testing.assert_array_equal(base, before)


def test_a_non_finite_value_stays_in_its_group():
    x = normal((2, 4, 3))
    x[1, 2, 0] = np.nan
    y = group_norm(x, None, None, EPS, 2)[0]
    assert np.isnan(y[1, 2:]).all()
    assert np.isfinite(y[0]).all()
    assert np.isfinite(y[1, :2]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_large_mean_does_not_cancel_and_the_dtype_is_kept(dtype):
    x = (normal((64, 3, 5)) + 1e4).astype(dtype)
    exact = x.astype(np.float64)
    weight = np.ones(3, dtype)
    y, mean, rstd, _ = batch_norm(x, weight, weight, EPS)
    gradients = batch_norm_grad(x, x, weight, mean, rstd)
    assert {a.dtype for a in (y, mean, rstd, *gradients)} == {np.dtype(dtype)}
    np.testing.assert_allclose(rstd, (exact.var((0, 2)) + EPS) ** -0.5, rtol=1e-5)
    y, mean, rstd = layer_norm(x, None, None, EPS, 2)
    gradients = layer_norm_grad(x, x, None, mean, rstd, 2)
    assert {a.dtype for a in (y, mean, rstd, *gradients)} == {np.dtype(dtype)}
    np.testing.assert_allclose(rstd, (exact.var((1, 2), keepdims=True) + EPS) ** -0.5, rtol=1e-5)


def test_empty_and_single_rows():
    for shape in [(0, 3, 4), (2, 3, 0), (2, 0, 4), (1, 3), (1, 1, 1)]:
        x, channels = np.ones(shape, np.float32), np.ones(shape[1], np.float32)
        y, mean, rstd, _ = batch_norm(x, channels, channels, EPS)
        dx, dweight, dbias = batch_norm_grad(x, x, channels, mean, rstd)
        assert y.shape == dx.shape == shape
        assert dweight.shape == dbias.shape == mean.shape == rstd.shape == channels.shape
        np.testing.assert_array_equal(y, np.ones(shape))  # (1 - 1) * rstd * weight + bias
        np.testing.assert_array_equal(dx, np.zeros(shape))
    for shape, axes_count in [((0, 3), 1), ((3, 0), 1), ((2, 0, 4), 2), ((3, 1), 1), ((0,), 1)]:
        x = np.ones(shape)
        y, mean, rstd = layer_norm(x, None, None, EPS, axes_count)
        dx, dweight, dbias = layer_norm_grad(x, x, None, mean, rstd, axes_count)
        assert y.shape == dx.shape == shape
        assert dweight.shape == dbias.shape == shape[len(shape) - axes_count :]
        np.testing.assert_array_equal(y, np.zeros(shape))


def test_non_finite_values_stay_in_their_channel_or_row():
    x = normal((4, 3))
    x[1, 2] = np.inf
    y, mean, rstd, _ = batch_norm(x, None, None, EPS)
    assert np.isfinite(y[:, :2]).all()
    assert np.isnan(y[:, 2]).all()
    assert np.isnan(batch_norm_grad(x, x, None, mean, rstd)[0][:, 2]).all()
    y, _, _ = layer_norm(x, None, None, EPS, 1)
    assert np.isnan(y[1]).all()
    assert np.isfinite(np.delete(y, 1, axis=0)).all()


def test_strides_do_not_matter_inputs_stay_and_bits_repeat():
    base = normal((8, 6, 10)).astype(np.float32)
    x = base[::-2, ::2, ::-1].transpose(2, 1, 0)
    before = base.copy()
    packed = x.copy()
    weight = np.broadcast_to(np.float32(1.5), (3,))
    g = np.broadcast_to(np.float32(2), x.shape)
    for results in zip(batch_norm(x, weight, weight, EPS), batch_norm(packed, weight, weight, EPS), strict=True):
        np.testing.assert_allclose(*results, rtol=1e-6, atol=1e-6)
    first, again = (layer_norm(x, None, None, EPS, 1) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.shares_memory(a, base)
    _, mean, rstd, _ = batch_norm(x, weight, None, EPS)
    for results in zip(
        batch_norm_grad(g, x, weight, mean, rstd), batch_norm_grad(g.copy(), packed, weight, mean, rstd), strict=True
    ):
        np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(base, before)


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_norms_as_in_torch(shape):
    torch = pytest.importorskip("torch")
    x, g = normal(shape), normal(shape, 1)
    weight, bias = normal(shape[1], 2), normal(shape[1], 3)
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, weight, bias))
    ty = torch.nn.functional.batch_norm(tx, None, None, tw, tb, training=True, eps=EPS)
    y, mean, rstd, _ = batch_norm(x, weight, bias, EPS)
    np.testing.assert_allclose(y, ty.detach().numpy(), atol=1e-12)
    expected = torch.autograd.grad(ty, (tx, tw, tb), torch.tensor(g))
    for mine, theirs in zip(batch_norm_grad(g, x, weight, mean, rstd), expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-11)

    normalized = shape[1:]
    weight, bias = normal(normalized, 4), normal(normalized, 5)
    tw, tb = (torch.tensor(a, requires_grad=True) for a in (weight, bias))
    ty = torch.nn.functional.layer_norm(tx, normalized, tw, tb, EPS)
    y, mean, rstd = layer_norm(x, weight, bias, EPS, len(normalized))
    np.testing.assert_allclose(y, ty.detach().numpy(), atol=1e-12)
    expected = torch.autograd.grad(ty, (tx, tw, tb), torch.tensor(g))
    for mine, theirs in zip(layer_norm_grad(g, x, weight, mean, rstd, len(normalized)), expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-11)
