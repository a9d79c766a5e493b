"""Pooling against PyTorch: values, indices and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.parity.layer_pairs import same
from tinygrad_notes import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
SHAPES = pytest.mark.parametrize("shape", [(2, 3, 9, 8), (2, 7, 10)])


def image(shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


@DTYPES
@SHAPES
@pytest.mark.parametrize("kernel", [2, (3, 2)])
@pytest.mark.parametrize("stride", [None, 1, (2, 3)])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pool2d(parity, dtype, shape, kernel, stride, padding, dilation, ceil_mode):
    arguments = kernel, stride, padding, dilation, ceil_mode
    parity.check(
        lambda x: tn.max_pool2d(x, *arguments), lambda x: F.max_pool2d(x, *arguments), image(shape), dtype=dtype
    )


@DTYPES
@SHAPES
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool2d_indices(parity, dtype, shape, ties):
    """The same elements win, ties included. Ours are int32, torch's int64."""
    x = np.round(image(shape)) if ties else image(shape)
    parity.check(
        lambda x: [
            v if v.requires_grad else v.astype(tn.int64) for v in tn.max_pool2d(x, 3, 2, 1, return_indices=True)
        ],
        lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
        x,
        dtype=dtype,
    )


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_max_pool2d_not_finite(parity, value):
    """One NaN a plane: of several, ours takes the first in a window, torch the last."""
    x = image((2, 3, 8, 8))
    x[x > 0.5 if value == value else (..., 4, 3)] = value
    parity.check(lambda x: tn.max_pool2d(x, 3, 2, 1), lambda x: F.max_pool2d(x, 3, 2, 1), x)


@DTYPES
@SHAPES
@pytest.mark.parametrize("kernel", [2, (3, 2)])
@pytest.mark.parametrize("stride", [None, 1, (2, 5)])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool2d(parity, dtype, shape, kernel, stride, padding, ceil_mode, count_include_pad):
    arguments = kernel, stride, padding, ceil_mode, count_include_pad
    parity.check(
        lambda x: tn.avg_pool2d(x, *arguments), lambda x: F.avg_pool2d(x, *arguments), image(shape), dtype=dtype
    )


@DTYPES
@SHAPES
@pytest.mark.parametrize("size", [1, 3, (2, 5), (None, 1), (4, None), 12])
def test_adaptive_avg_pool2d(parity, dtype, shape, size):
    parity.check(
        lambda x: tn.adaptive_avg_pool2d(x, size), lambda x: F.adaptive_avg_pool2d(x, size), image(shape), dtype=dtype
    )


@DTYPES
def test_no_images(parity, dtype):
    empty = np.zeros((0, 3, 6, 6))
    parity.check(lambda x: tn.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 2), empty, dtype=dtype)
    parity.check(lambda x: tn.avg_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2), empty, dtype=dtype)
    parity.check(lambda x: tn.adaptive_avg_pool2d(x, 2), lambda x: F.adaptive_avg_pool2d(x, 2), empty, dtype=dtype)


# ---------------------------------------------------------------------- one and three spatial axes

OTHER = [(1, (2, 3, 9)), (1, (3, 10)), (3, (2, 2, 5, 6, 7)), (3, (2, 5, 6, 7))]
OTHER_SHAPES = pytest.mark.parametrize(("axes", "shape"), OTHER, ids=str)


def with_int64(values):
    """Ours are int32, torch's int64."""
    return [v if v.requires_grad else v.astype(tn.int64) for v in values]


@DTYPES
@OTHER_SHAPES
@pytest.mark.parametrize("arguments", [(2,), (3, 2, 1), (3, 2, 1, 2), (3, 2, 0, 1, True), (2, 3, 1, 1, True)], ids=str)
def test_max_pool_of_other_axes(parity, dtype, axes, shape, arguments):
    """With indices; of equal elements the first wins."""
    ours, theirs = getattr(tn, f"max_pool{axes}d"), getattr(F, f"max_pool{axes}d")
    parity.check(
        lambda x: with_int64(ours(x, *arguments, return_indices=True)),
        lambda x: theirs(x, *arguments, return_indices=True),
        np.round(2 * image(shape)),
        dtype=dtype,
    )


@DTYPES
@OTHER_SHAPES
@pytest.mark.parametrize("arguments", [(2,), (3, 2, 1), (3, 2, 1, True), (2, 3, 1, True, False)], ids=str)
def test_avg_pool_of_other_axes(parity, dtype, axes, shape, arguments):
    ours, theirs = getattr(tn, f"avg_pool{axes}d"), getattr(F, f"avg_pool{axes}d")
    parity.check(lambda x: ours(x, *arguments), lambda x: theirs(x, *arguments), image(shape), dtype=dtype)


ADAPTIVE = [*((axes, shape, size) for axes, shape in OTHER for size in (1, 3, 11)),
            (3, (2, 5, 6, 7), (2, None, 4)), (3, (2, 2, 5, 6, 7), (None, 1, 1)),
            *((2, shape, size) for shape in ((2, 3, 9, 8), (2, 7, 10)) for size in (1, (2, 5), (None, 3)))]  # fmt: skip


@DTYPES
@pytest.mark.parametrize(("axes", "shape", "size"), ADAPTIVE, ids=str)
def test_adaptive_pools(parity, dtype, axes, shape, size):
    """The largest with indices; of equal elements the first wins."""
    parity.check(
        lambda x: getattr(tn, f"adaptive_avg_pool{axes}d")(x, size),
        lambda x: getattr(F, f"adaptive_avg_pool{axes}d")(x, size),
        image(shape),
        dtype=dtype,
    )
    parity.check(
        lambda x: with_int64(getattr(tn, f"adaptive_max_pool{axes}d")(x, size, return_indices=True)),
        lambda x: getattr(F, f"adaptive_max_pool{axes}d")(x, size, return_indices=True),
        np.round(2 * image(shape)),
        dtype=dtype,
    )


@SHAPES
@pytest.mark.parametrize("p", [1, 1.5, 2, 3.0])
@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"stride": (3, 2), "ceil_mode": True}], ids=str)
def test_lp_pool2d(parity, shape, p, options):
    """Zeros too: where a window holds nothing else the gradient is 0."""
    x = np.abs(image(shape))
    x[..., :4, :4] = 0
    parity.check(
        lambda x: tn.lp_pool2d(x, p, (2, 3), **options),
        lambda x: F.lp_pool2d(x, p, (2, 3), **options),
        x,
        dtype="float64",
    )


@DTYPES
@SHAPES
@pytest.mark.parametrize("pooling", [(2,), (3, 3), (2, 3), (3, 3, 1)], ids=str)
def test_max_unpool2d(parity, dtype, shape, pooling):
    """Windows do not overlap, so no place is named twice. torch wants the indices as int64."""
    y, indices = F.max_pool2d(torch.from_numpy(image(shape)), *pooling, return_indices=True)
    options = {**dict(zip(("kernel_size", "stride", "padding"), pooling)), "output_size": shape[-2:]}
    parity.check(
        lambda x: tn.max_unpool2d(x, indices.numpy(), **options),
        lambda x: F.max_unpool2d(x, indices, **options),
        y.numpy(),
        dtype=dtype,
    )


def test_max_unpool2d_of_overlapping_windows(parity):
    """A place that two windows name holds the element itself, once; what each of them gets as gradient differs."""
    y, indices = F.max_pool2d(torch.from_numpy(image((2, 3, 9, 8))), 3, 2, 1, return_indices=True)
    ours, theirs = (
        tn.max_unpool2d(y.numpy(), indices.numpy(), 3, 2, 1, (9, 8)),
        F.max_unpool2d(y, indices, 3, 2, 1, (9, 8)),
    )
    parity.compare(ours, theirs)


# ---------------------------------------------------------------------- layers

LAYERS = [
    ("MaxPool1d", (3, 2, 1), {"dilation": 2, "ceil_mode": True}, (2, 3, 9)),
    ("MaxPool1d", (2,), {}, (3, 9)),
    ("MaxPool2d", ((3, 2),), {"stride": 1}, (3, 7, 8)),
    ("MaxPool3d", ((1, 2, 3), (1, 2, 2), (0, 1, 1)), {}, (2, 3, 4, 5, 6)),
    ("MaxPool3d", (2,), {}, (3, 4, 5, 6)),
    ("AvgPool1d", (3, 2, 1, True, False), {}, (2, 3, 8)),
    ("AvgPool3d", (2,), {"padding": 1, "count_include_pad": False}, (2, 3, 4, 5, 6)),
    ("AdaptiveAvgPool1d", (4,), {}, (2, 3, 9)),
    ("AdaptiveAvgPool3d", ((None, 2, 3),), {}, (2, 3, 4, 5, 6)),
    ("AdaptiveMaxPool1d", (4,), {}, (2, 3, 9)),
    ("AdaptiveMaxPool2d", ((3, None),), {}, (2, 3, 7, 8)),
    ("AdaptiveMaxPool3d", (2,), {}, (3, 4, 5, 6)),
    ("LPPool2d", (2, 3), {"stride": 2, "ceil_mode": True}, (2, 3, 7, 8)),
]


@DTYPES
@pytest.mark.parametrize(
    ("name", "arguments", "options", "shape"), LAYERS, ids=[f"{i}-{layer[0]}" for i, layer in enumerate(LAYERS)]
)
def test_layer(parity, tmp_path, name, arguments, options, shape, dtype):
    ours, theirs = getattr(nn, name)(*arguments, **options), getattr(torch.nn, name)(*arguments, **options)
    same(parity, ours, theirs, [image(shape)], tmp_path, dtype)


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("MaxPool1d", (3, 2), (2, 3, 9)),
        ("MaxPool2d", (3, 2), (2, 3, 9, 8)),
        ("MaxPool3d", (2,), (2, 3, 4, 5, 6)),
        ("AdaptiveMaxPool1d", (4,), (2, 3, 9)),
        ("AdaptiveMaxPool2d", (4,), (3, 9, 8)),
        ("AdaptiveMaxPool3d", (2,), (2, 3, 4, 5, 6)),
    ],
)
def test_layers_with_indices(parity, name, arguments, shape):
    ours, theirs = (getattr(n, name)(*arguments, return_indices=True) for n in (nn, torch.nn))
    parity.check(lambda x: with_int64(ours(x)), theirs, image(shape), dtype="float64")


@pytest.mark.parametrize("size", [None, (9, 8), [2, 3, 9, 8]])
def test_unpooling_layer(parity, size):
    ours, theirs = nn.MaxUnpool2d(2, 3), torch.nn.MaxUnpool2d(2, 3)
    y, indices = F.max_pool2d(torch.from_numpy(image((2, 3, 9, 8))), 2, 3, return_indices=True)
    parity.check(lambda x: ours(x, indices.numpy(), size), lambda x: theirs(x, indices, size), y.numpy())
