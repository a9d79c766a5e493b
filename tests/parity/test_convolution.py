"""Convolution, its transpose and windows as columns against PyTorch: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def arrays(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [None if shape is None else rng.standard_normal(shape) for shape in shapes]


@DTYPES
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("padding", [0, 1, (2, 0)])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
def test_conv2d(parity, dtype, groups, stride, padding, dilation):
    operands = arrays(groups, (2, 4, 7, 6), (8, 4 // groups, 3, 2), (8,))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    parity.check(lambda *o: tn.conv2d(*o, **options), lambda *o: F.conv2d(*o, **options), *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (4, 1), (5, 5)])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 9, 10), (3, 9, 9)])
def test_conv2d_named_padding(parity, dtype, kernel, padding, dilation, shape, recwarn):
    """recwarn: torch warns that it copies the input when the padding is uneven, as we do."""
    operands = arrays(1, shape, (2, 3, *kernel), (2,))
    options = {"padding": padding, "dilation": dilation}
    parity.check(lambda *o: tn.conv2d(*o, **options), lambda *o: F.conv2d(*o, **options), *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize(
    ("shape", "weight", "bias", "options"),
    [
        ((3, 5, 5), (2, 3, 3, 3), (2,), {}),
        ((1, 1, 1, 1), (1, 1, 1, 1), None, {}),
        ((1, 1, 1, 1), (2, 1, 3, 3), (2,), {"padding": 1}),
        ((0, 2, 4, 4), (3, 2, 2, 2), (3,), {}),
        ((2, 6, 8, 8), (12, 1, 3, 3), (12,), {"groups": 6, "padding": 1, "stride": 2}),
        ((1, 3, 32, 32), (16, 3, 5, 5), (16,), {"padding": 2}),
        ((2, 8, 14, 14), (16, 8, 1, 1), None, {"stride": 2}),
        ((1, 2, 15, 4), (4, 2, 7, 1), (4,), {"dilation": (2, 1), "padding": (6, 3)}),
    ],
)
def test_conv2d_shapes(parity, dtype, shape, weight, bias, options):
    operands = arrays(2, shape, weight, bias)
    parity.check(lambda *o: tn.conv2d(*o, **options), lambda *o: F.conv2d(*o, **options), *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("stride", "output_padding"), [(1, 0), (2, 0), (2, 1), ((3, 2), (2, 0)), ((1, 3), (0, 1))], ids=str
)
@pytest.mark.parametrize("padding", [0, 1, (0, 2)])
@pytest.mark.parametrize("dilation", [1, (1, 2)])
def test_conv_transpose2d(parity, dtype, groups, stride, output_padding, padding, dilation):
    operands = arrays(groups, (2, 4, 4, 5), (4, 3, 3, 2), (3 * groups,))
    arguments = stride, padding, output_padding, groups, dilation
    parity.check(
        lambda *o: tn.conv_transpose2d(*o, *arguments),
        lambda *o: F.conv_transpose2d(*o, *arguments),
        *operands,
        dtype=dtype,
    )


@DTYPES
@pytest.mark.parametrize(
    ("shape", "weight", "bias"),
    [((3, 4, 4), (3, 2, 2, 2), (2,)), ((1, 1, 1, 1), (1, 1, 1, 1), None), ((0, 2, 3, 3), (2, 4, 3, 3), (4,))],
)
def test_conv_transpose2d_shapes(parity, dtype, shape, weight, bias):
    operands = arrays(3, shape, weight, bias)
    parity.check(tn.conv_transpose2d, F.conv_transpose2d, *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("kernel", [2, (3, 1)])
@pytest.mark.parametrize("stride", [1, (2, 3)])
@pytest.mark.parametrize("padding", [0, (1, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("batch", [(2,), ()])
def test_im2col_and_col2im(parity, dtype, kernel, stride, padding, dilation, batch):
    size = (7, 6)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    (x,) = arrays(4, (*batch, 2, *size))
    parity.check(lambda a: tn.im2col(a, kernel, **options), lambda a: F.unfold(a, kernel, **options), x, dtype=dtype)
    (columns,) = arrays(5, tn.im2col(x, kernel, **options).shape)
    parity.check(
        lambda a: tn.col2im(a, size, kernel, **options),
        lambda a: F.fold(a, size, kernel, **options),
        columns,
        dtype=dtype,
    )


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2}], ids=str)
def test_second_derivatives(parity, options):
    """The gradients of the squared gradients, float64."""
    x, weight, bias = arrays(6, (2, 4, 6, 5), (4, 4 // options.get("groups", 1), 2, 3), (4,))

    def twice(x, weight, bias, conv2d, grad):
        y = (conv2d(x, weight, bias, **options) ** 3).sum()
        return [g * g for g in grad(y, [x, weight, bias], create_graph=True)]

    parity.check(
        lambda *o: twice(*o, tn.conv2d, tn.grad),
        lambda *o: twice(*o, F.conv2d, torch.autograd.grad),
        x,
        weight,
        bias,
        dtype="float64",
    )
