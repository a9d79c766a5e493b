"""Initialisers: the statistics of what they write, in place and off the tape."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.nn import init


def weight(*shape, dtype=tn.float32):
    return tn.zeros(shape, dtype=dtype, requires_grad=True)


def close(measured, expected, count):
    """Within five standard errors of a spread, about 1/√(2n) of it."""
    return abs(measured / expected - 1) < 5 / math.sqrt(2 * count)


@pytest.mark.parametrize("dtype", [tn.float32, tn.float64])
@pytest.mark.parametrize(
    ("fill", "std"),
    [
        (lambda t: init.uniform_(t, -2.0, 4.0), 6 / math.sqrt(12)),
        (lambda t: init.normal_(t, 1.0, 3.0), 3.0),
        (lambda t: init.xavier_uniform_(t, gain=2.0), 2 * math.sqrt(2 / (300 * 6 + 200 * 6))),
        (lambda t: init.xavier_normal_(t), math.sqrt(2 / (300 * 6 + 200 * 6))),
        (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), math.sqrt(2 / (300 * 6))),
        (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / (200 * 6))),
        (lambda t: init.kaiming_normal_(t, a=math.sqrt(5)), math.sqrt(1 / (3 * 300 * 6))),
    ],
)
def test_spread(fill, std, dtype):
    tensor = weight(200, 300, 2, 3, dtype=dtype)
    buffer = tensor.data
    assert fill(tensor) is tensor
    assert tensor.data is buffer
    assert tensor.is_leaf
    assert tensor.dtype == dtype
    assert close(float(tensor.data.std(dtype=np.float64)), std, tensor.size)


def test_bounds_and_means():
    uniform = init.uniform_(weight(1000), -2.0, 4.0).data
    assert -2 <= uniform.min() < -1.9
    assert 3.9 < uniform.max() <= 4
    assert abs(init.normal_(weight(10_000), 5.0, 1.0).data.mean() - 5) < 0.05
    bound = 1 / math.sqrt(50)
    default = nn.Linear(50, 400)
    assert 0.99 * bound < abs(default.weight.data).max() <= bound
    assert 0.9 * bound < abs(default.bias.data).max() <= bound


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (-0.5, 3.0), (2.0, 3.0), (4.0, 5.0), (-9.0, -4.0)])
def test_truncated_normal_keeps_its_bounds_and_its_mean(low, high):
    values = init.trunc_normal_(weight(20_000), std=1.0, a=low, b=high).data.astype(np.float64)
    assert low <= values.min()
    assert values.max() <= high
    density = lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if low > 0:  # no digits left in a difference of two ones
        mass = (math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2))) / 2
    if high < 0:
        mass = (math.erfc(-high / math.sqrt(2)) - math.erfc(-low / math.sqrt(2))) / 2
    expected = (density(low) - density(high)) / mass
    assert abs(values.mean() - expected) < 5 * values.std() / math.sqrt(values.size)


def test_truncated_normal_scales_with_mean_and_std():
    values = init.trunc_normal_(weight(5000), mean=10.0, std=2.0, a=8.0, b=12.0).data
    assert 8 <= values.min() < 8.1
    assert 11.9 < values.max() <= 12


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6), (4, 2, 3, 3)])
def test_orthogonal(shape):
    tensor = init.orthogonal_(weight(*shape, dtype=tn.float64), gain=3.0)
    matrix = tensor.data.reshape(shape[0], -1) / 3
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    assert np.allclose(product, np.eye(len(product)))


def test_orthogonal_matrices_are_uniform():
    """Every element of a uniform rotation has mean 0; LAPACK's Q alone would have a first one below 0."""
    first = [init.orthogonal_(weight(3, 3)).data[0, 0] for _ in range(300)]
    assert abs(np.mean(first)) < 5 * np.std(first) / math.sqrt(300)


def test_constants_and_copies():
    tensor = weight(2, 2)
    assert (init.ones_(tensor).data == 1).all()
    assert (init.constant_(tensor, 0.5).data == 0.5).all()
    assert (init.zeros_(tensor).data == 0).all()
    assert init.copy_(tensor, [[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    scalar = tn.zeros((), requires_grad=True)
    assert 0 <= init.uniform_(scalar).item() < 1
    assert init.orthogonal_(weight(0, 3)).shape == (0, 3)
    assert nn.Linear(0, 3).weight.shape == (3, 0)


def test_identities():
    assert init.eye_(weight(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    images = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32)
    kernel = init.dirac_(weight(4, 4, 3, 3))
    assert kernel.is_leaf
    assert np.array_equal(tn.conv2d(images, kernel, padding=1).data, images)
    grouped = init.dirac_(weight(8, 2, 3, 3), groups=2)
    found = tn.conv2d(images, grouped, padding=1, groups=2).data
    assert np.array_equal(found[:, [0, 1, 4, 5]], images)
    assert not found[:, [2, 3, 6, 7]].any()
    assert init.dirac_(weight(0, 2, 3)).shape == (0, 2, 3)


def test_sparse():
    tensor = init.sparse_(weight(50, 400), sparsity=0.31, std=2.0)
    assert ((tensor.data == 0).sum(0) == 16).all()
    assert close(float(tensor.data[tensor.data != 0].std()), 2.0, 34 * 400)
    assert (init.sparse_(weight(5, 2), 1.0).data == 0).all()
    given = [init.sparse_(weight(4, 3), 0.5, generator=np.random.default_rng(1)).tolist() for _ in range(2)]
    assert given[0] == given[1]


def test_gains():
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("leaky_relu", 0.2) == pytest.approx(math.sqrt(2 / 1.04))
    assert init.calculate_gain("conv2d") == init.calculate_gain("linear") == 1


def test_numbers_come_from_the_package_generator_or_the_one_given():
    tn.manual_seed(7)
    first = nn.Linear(3, 2).weight.data
    tn.manual_seed(7)
    assert np.array_equal(nn.Linear(3, 2).weight.data, first)
    given = [init.normal_(weight(4), generator=np.random.default_rng(1)).tolist() for _ in range(2)]
    assert given[0] == given[1]


def test_a_write_after_forward_is_seen_by_the_tape():
    w = weight(2, 2)
    y = (w * w).sum()
    init.ones_(w)
    with pytest.raises(tn.GradientError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.uniform_(weight(2), 1.0, 0.0), tn.ShapeError, "expected a <= b"),
        (lambda: init.normal_(weight(2), std=-1.0), tn.ShapeError, "std is -1.0"),
        (lambda: init.trunc_normal_(weight(2), a=1.0, b=1.0), tn.ShapeError, "expected a < b"),
        (lambda: init.kaiming_normal_(weight(2)), tn.ShapeError, "at least two axes"),
        (lambda: init.orthogonal_(weight(2)), tn.ShapeError, "at least two axes"),
        (lambda: init.kaiming_normal_(weight(2, 2), mode="in"), tn.ShapeError, "mode is 'in'"),
        (lambda: init.calculate_gain("gelu"), tn.ShapeError, "nonlinearity is 'gelu'"),
        (lambda: init.copy_(weight(2), [1.0]), tn.ShapeError, "values have shape"),
        (lambda: init.zeros_(tn.arange(3)), tn.DTypeError, "int64, expected a floating dtype"),
        (lambda: init.zeros_(np.zeros(3)), tn.DTypeError, "tensor is ndarray"),
        (lambda: init.eye_(weight(2)), tn.ShapeError, r"eye_: the Tensor has shape \(2,\), expected \(n, m\)"),
        (lambda: init.dirac_(weight(2, 2)), tn.ShapeError, r"dirac_: the Tensor has shape \(2, 2\), expected"),
        (lambda: init.dirac_(weight(3, 2, 1), 2), tn.ShapeError, "3 outputs, expected a multiple of groups, 2"),
        (lambda: init.sparse_(weight(2, 2), 1.5), tn.ShapeError, "sparse_: sparsity is 1.5, expected a number from 0"),
        (lambda: init.sparse_(weight(2), 0.5), tn.ShapeError, r"sparse_: the Tensor has shape \(2,\)"),
        (lambda: init.normal_(weight(2), generator=4), tn.DTypeError, "generator is 4, expected a numpy.random"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
