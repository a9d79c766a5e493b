import itertools

import numpy as np
import pytest

from tinygrad_notes import kernels

rng = np.random.default_rng(0)

# images, channels, size, outputs, kernel, stride, padding, dilation, groups
CASES = {
    "plain": (2, 3, (7, 6), 4, (3, 3), (1, 1), (0, 0), (1, 1), 1),
    "odd": (2, 3, (9, 7), 5, (2, 3), (2, 3), (1, 2), (1, 1), 1),
    "dilated": (1, 2, (9, 10), 3, (3, 2), (2, 1), (2, 1), (2, 3), 1),
    "groups": (3, 4, (6, 5), 6, (3, 3), (1, 2), (1, 1), (1, 1), 2),
    "depthwise": (2, 5, (6, 6), 5, (3, 3), (2, 2), (1, 1), (1, 1), 5),
    "depthwise multiplied": (2, 3, (5, 5), 6, (3, 3), (1, 1), (1, 1), (1, 1), 3),
    "pointwise": (2, 4, (3, 5), 2, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "strided pointwise": (2, 4, (5, 6), 2, (1, 1), (2, 3), (0, 0), (1, 1), 1),
    "one window": (2, 3, (4, 5), 2, (4, 5), (1, 1), (0, 0), (1, 1), 1),
    "one element": (1, 1, (1, 1), 1, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "much padding": (1, 1, (2, 2), 2, (2, 2), (3, 3), (4, 4), (1, 1), 1),
    "no images": (0, 3, (5, 5), 2, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "sequence": (2, 4, (9,), 6, (3,), (2,), (1,), (2,), 2),
    "sequence, much padding": (2, 1, (3,), 2, (2,), (3,), (4,), (1,), 1),
    "sequence of one": (1, 2, (1,), 2, (1,), (1,), (0,), (1,), 1),
    "volume": (2, 4, (5, 6, 4), 6, (2, 3, 2), (2, 1, 1), (1, 1, 0), (1, 2, 2), 2),
    "volume, depthwise": (1, 3, (3, 4, 4), 3, (3, 2, 1), (1, 2, 2), (1, 0, 1), (1, 1, 1), 3),
    "no volumes": (0, 2, (3, 3, 3), 2, (2, 2, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def arrays(case, dtype=np.float64):
    images, channels, size, outputs, kernel, stride, padding, dilation, groups = case
    x = rng.standard_normal((images, channels, *size)).astype(dtype)
    weight = rng.standard_normal((outputs, channels // groups, *kernel)).astype(dtype)
    return x, weight, rng.standard_normal(outputs).astype(dtype), (stride, padding, dilation, groups)


def conv_loops(x, weight, bias, stride, padding, dilation, groups):
    """The formula, window by window, for any number of spatial axes."""
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    kernel = weight.shape[2:]
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    counts = [(n - span) // s + 1 for n, span, s in zip(padded.shape[2:], spans, stride)]
    y = np.zeros((x.shape[0], weight.shape[0], *counts), x.dtype)
    outs, ins = weight.shape[0] // groups, weight.shape[1]
    for o, where in itertools.product(range(weight.shape[0]), np.ndindex(*counts)):
        channels = slice(o // outs * ins, (o // outs + 1) * ins)
        window = tuple(slice(i * s, i * s + span, d) for i, s, span, d in zip(where, stride, spans, dilation))
        axes = tuple(range(1, x.ndim))
        y[(slice(None), o, *where)] = (padded[(slice(None), channels, *window)] * weight[o]).sum(axis=axes)
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(kernel))


@cases
@pytest.mark.parametrize("function", [kernels.conv, kernels.conv_im2col])
def test_conv(case, function):
    x, weight, bias, rest = arrays(case)
    for b in (bias, None):
        expected = conv_loops(x, weight, b, *rest)
        y = function(x, weight, b, *rest)
        assert y.shape == expected.shape
        assert y.flags.c_contiguous
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)


@cases
def test_gradients_are_adjoint(case):
    # <conv(x, w), g> is linear in x and in w: each gradient must give the same number.
    x, weight, _, (stride, padding, dilation, groups) = arrays(case)
    y = kernels.conv(x, weight, None, stride, padding, dilation, groups)
    g = rng.standard_normal(y.shape)
    gx = kernels.conv_transpose(g, weight, None, stride, padding, dilation, groups, x.shape[2:])
    gw = kernels.conv_weight_grad(x, g, weight.shape[2:], stride, padding, dilation, groups)
    assert (gx.shape, gw.shape) == (x.shape, weight.shape)
    for _ in range(2):
        dx, dw = rng.standard_normal(x.shape), rng.standard_normal(weight.shape)
        along_x = (conv_loops(dx, weight, None, stride, padding, dilation, groups) * g).sum()
        along_w = (conv_loops(x, dw, None, stride, padding, dilation, groups) * g).sum()
        np.testing.assert_allclose((gx * dx).sum(), along_x, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose((gw * dw).sum(), along_w, rtol=1e-10, atol=1e-11)


@cases
def test_im2col_and_col2im(case):
    images, channels, size, _, kernel, stride, padding, dilation, _ = case
    x = rng.standard_normal((images, channels, *size))
    columns = kernels.im2col(x, kernel, stride, padding, dilation)
    # An identity as weight copies each element of a window to a channel of its own.
    one = np.eye(int(np.prod(kernel))).reshape(-1, 1, *kernel)
    identity = np.concatenate([one] * channels)
    expected = conv_loops(x, identity, None, stride, padding, dilation, channels)
    np.testing.assert_array_equal(columns, expected.reshape(columns.shape))
    g = rng.standard_normal(columns.shape)
    back = kernels.col2im(g, size, kernel, stride, padding, dilation)
    assert back.shape == x.shape
    np.testing.assert_allclose((back * x).sum(), (columns * g).sum(), rtol=1e-11, atol=1e-12)


def test_layouts_dtype_and_inputs_kept():
    x, weight, bias, rest = arrays(CASES["groups"], np.float32)
    expected = kernels.conv(x, weight, bias, *rest)
    assert expected.dtype == np.float32
    for view in (x[::-1, :, ::-1].copy()[::-1, :, ::-1], np.asfortranarray(x), np.repeat(x, 2, axis=3)[..., ::2]):
        other = np.asfortranarray(weight)
        before = view.copy(), other.copy()
        np.testing.assert_array_equal(kernels.conv(view, other, bias, *rest), expected)
        np.testing.assert_array_equal(view, before[0])
        np.testing.assert_array_equal(other, before[1])
    g = np.broadcast_to(np.float32(1), expected.shape)
    gw = kernels.conv_weight_grad(x, g, (3, 3), *rest)
    gx = kernels.conv_transpose(g, weight, None, *rest, x.shape[2:])
    assert (gw.dtype, gx.dtype) == (np.float32, np.float32)
    assert gx.flags.c_contiguous


def test_transposed_convolution_fills_what_no_window_reaches():
    x, weight = np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2))
    y = kernels.conv_transpose(x, weight, np.array([0.5]), (3, 3), (0, 0), (1, 1), 1, (6, 5))
    row = np.array([1, 1, 0, 1, 1])
    np.testing.assert_array_equal(y[0, 0], np.outer([1, 1, 0, 1, 1, 0], row) + 0.5)


@pytest.mark.parity
@cases
def test_parity(case):
    torch = pytest.importorskip("torch")
    x, weight, bias, rest = arrays(case)
    tx, tw, tb = (torch.from_numpy(a).requires_grad_() for a in (x, weight, bias))
    axes = x.ndim - 2
    ty = getattr(torch.nn.functional, f"conv{axes}d")(tx, tw, tb, *rest)
    y = kernels.conv(x, weight, bias, *rest)
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-12, atol=1e-12)
    g = rng.standard_normal(y.shape)
    ty.backward(torch.from_numpy(g))
    stride, padding, dilation, groups = rest
    gx = kernels.conv_transpose(g, weight, None, stride, padding, dilation, groups, x.shape[2:])
    gw = kernels.conv_weight_grad(x, g, weight.shape[2:], stride, padding, dilation, groups)
    np.testing.assert_allclose(gx, tx.grad.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gw, tw.grad.numpy(), rtol=1e-12, atol=1e-12)
    if axes == 2 and case[0]:
        unfolded = torch.nn.functional.unfold(tx.detach(), case[4], dilation, padding, stride)
        np.testing.assert_array_equal(kernels.im2col(x, case[4], stride, padding, dilation), unfolded.numpy())


@pytest.mark.parity
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "extra"),
    [
        ((1, 1), (0, 0), (1, 1), 1, (0, 0)),
        ((2, 3), (1, 2), (1, 1), 2, (1, 2)),
        ((2, 1), (2, 0), (2, 3), 1, (1, 1)),
        ((1, 2), (0, 1), (3, 2), 1, (2, 1)),
        ((2,), (1,), (3,), 2, (1,)),
        ((2, 1, 3), (0, 1, 2), (1, 2, 1), 2, (1, 0, 2)),
    ],
)
def test_parity_transposed(stride, padding, dilation, groups, extra):
    torch = pytest.importorskip("torch")
    size, kernel, axes = (5, 4, 3)[: len(stride)], (3, 2, 2)[: len(stride)], len(stride)
    x, weight, bias = (rng.standard_normal(s) for s in [(2, 4, *size), (4, 3, *kernel), (3 * groups,)])
    tx, tw, tb = (torch.from_numpy(a).requires_grad_() for a in (x, weight, bias))
    transposed = getattr(torch.nn.functional, f"conv_transpose{axes}d")
    ty = transposed(tx, tw, tb, stride, padding, extra, groups, dilation)
    y = kernels.conv_transpose(x, weight, bias, stride, padding, dilation, groups, tuple(ty.shape[2:]))
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-12, atol=1e-13)
    g = rng.standard_normal(y.shape)
    ty.backward(torch.from_numpy(g))
    # The roles of x and g are exchanged; g may have room for more windows than x has elements.
    gw = kernels.conv_weight_grad(g, x, kernel, stride, padding, dilation, groups)
    np.testing.assert_allclose(gw, tw.grad.numpy(), rtol=1e-12, atol=1e-13)
    gx = kernels.conv(g, weight, None, stride, padding, dilation, groups)
    gx = gx[(..., *map(slice, size))]
    np.testing.assert_allclose(gx, tx.grad.numpy(), rtol=1e-12, atol=1e-13)
