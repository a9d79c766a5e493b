"""Normalisation layers: shapes, parameters, training and evaluation, wrong arguments."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

RNG = np.random.default_rng(0)

# (layer, input shape, names of parameters and buffers)
LAYERS = [
    (lambda: nn.BatchNorm3d(3), (2, 3, 2, 4, 4), "weight bias running_mean running_var num_batches_tracked"),
    (lambda: nn.BatchNorm1d(3, bias=False), (4, 3), "weight running_mean running_var num_batches_tracked"),
    (lambda: nn.GroupNorm(2, 6), (2, 6, 3), "weight bias"),
    (lambda: nn.GroupNorm(3, 6, affine=False), (2, 6), ""),
    (lambda: nn.GroupNorm(1, 6, bias=False), (2, 6, 3, 2), "weight"),
    (lambda: nn.InstanceNorm1d(3), (2, 3, 4), ""),
    (lambda: nn.InstanceNorm1d(3, affine=True), (3, 4), "weight bias"),
    (lambda: nn.InstanceNorm2d(3, affine=True, bias=False), (2, 3, 4, 4), "weight"),
    (lambda: nn.InstanceNorm2d(3, track_running_stats=True), (3, 4, 4), "running_mean running_var num_batches_tracked"),
    (lambda: nn.InstanceNorm3d(3), (2, 3, 2, 4, 4), ""),
    (lambda: nn.RMSNorm((2, 4)), (3, 2, 4), "weight"),
    (lambda: nn.RMSNorm(4, elementwise_affine=False), (3, 4), ""),
    (lambda: nn.LocalResponseNorm(3), (2, 5, 4, 4), ""),
]


@pytest.mark.parametrize(("build", "shape", "names"), LAYERS, ids=[str(i) for i in range(len(LAYERS))])
def test_shapes_gradients_state_and_copies(build, shape, names):
    layer = build()
    x = tn.tensor(RNG.standard_normal(shape).astype(np.float32), requires_grad=True)
    y = layer(x)
    assert y.shape == shape
    assert list(layer.state_dict()) == names.split()
    y.square().sum().backward()
    assert x.grad.shape == shape
    assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())
    assert repr(layer).startswith(f"{type(layer).__name__}(")
    for p in layer.parameters():
        nn.init.normal_(p)
    other = build()
    other.load_state_dict(layer.state_dict())
    value = layer.eval()(x).data
    np.testing.assert_array_equal(other.eval()(x).data, value)
    np.testing.assert_array_equal(copy.deepcopy(layer)(x).data, value)
    if hasattr(layer, "reset_parameters"):
        layer.reset_parameters()
        fresh = build().state_dict()
        for name, tensor in layer.state_dict().items():
            np.testing.assert_array_equal(tensor.data, fresh[name].data, err_msg=name)


def test_instances_are_averaged_while_training_and_used_in_evaluation():
    layer = nn.InstanceNorm1d(2, momentum=0.5, track_running_stats=True, eps=0.0)
    x = RNG.standard_normal((3, 2, 6)).astype(np.float32)
    layer(x)
    np.testing.assert_allclose(layer.running_mean.data, 0.5 * x.mean(2).mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.running_var.data, 0.5 + 0.5 * x.var(2, ddof=1).mean(0), rtol=1e-5)
    mean, var = layer.running_mean.data.copy(), layer.running_var.data.copy()
    y = layer.eval()(x)
    np.testing.assert_allclose(y.data, (x - mean[:, None]) / np.sqrt(var[:, None]), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(layer.running_mean.data, mean)
    unaveraged = nn.InstanceNorm1d(2, momentum=None, track_running_stats=True)
    unaveraged(x)
    assert not unaveraged.running_mean.data.any()


def test_without_running_statistics_evaluation_is_training():
    x = RNG.standard_normal((3, 4, 5)).astype(np.float32)
    for layer in (nn.InstanceNorm1d(4), nn.GroupNorm(2, 4), nn.RMSNorm(5), nn.LocalResponseNorm(2)):
        trained = layer(x).data
        np.testing.assert_array_equal(layer.eval()(x).data, trained)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.GroupNorm(4, 6), "GroupNorm: num_groups is 4, which does not divide num_channels 6"),
        (lambda: nn.GroupNorm(0, 6), "GroupNorm: num_groups is 0"),
        (lambda: nn.GroupNorm(2, 6)(tn.ones((2, 4))), r"GroupNorm: x has shape \(2, 4\), expected .* C = 6"),
        (lambda: nn.InstanceNorm2d(3)(tn.ones((2, 3, 4))), r"InstanceNorm2d: x has shape .* \(C, H, W\) with C = 3"),
        (lambda: nn.InstanceNorm1d(3)(tn.ones((2, 4, 3))), "InstanceNorm1d: x has shape"),
        (lambda: nn.InstanceNorm1d(3)(tn.ones((2, 3, 1))), "instance_norm: x has shape .* more than one value"),
        (lambda: nn.BatchNorm3d(3)(tn.ones((2, 3, 4, 4))), r"BatchNorm3d: x has shape .* \(N, C, D, H, W\)"),
        (lambda: nn.RMSNorm(()), "RMSNorm: normalized_shape is empty"),
        (lambda: nn.RMSNorm(3, eps=-1.0), "RMSNorm: eps is -1"),
        (lambda: nn.LocalResponseNorm(0), "LocalResponseNorm: size is 0"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(tn.ShapeError, match=message):
        call()
