"""Convolution over sequences, images and volumes, and its transpose.

Operands are (N, C, L), (N, C, H, W) or (N, C, D, H, W), or without the batch axis N. Three ops, each of whose
derivatives are the other two: conv of x and weight, conv_transpose (the gradient of conv's x), conv_weight_grad (of its
weight). All are linear in each operand, so every order of derivative exists. They take any number of spatial axes, as
many as their sizes have numbers; the public functions say how many.
"""

from __future__ import annotations

from tinygrad_notes import kernels
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.ops.reduction import sum
from tinygrad_notes.ops.shape import as_shape, pad
from tinygrad_notes.ops.windows import LEAST, SHAPES, batched, check_axes, check_fits, of_axes, per_axis
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import as_floating

KERNELS = {1: "k", 2: "kh, kw", 3: "kd, kh, kw"}  # by the number of spatial axes

# ---------------------------------------------------------------------- windows as columns


@op
def im2col(x: Array, kernel_size, stride=1, padding=0, dilation=1):
    """The windows of x (N, C, H, W) as columns: (N, C·kh·kw, oh·ow). Its derivative is col2im.

    oh = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1. Row (c·kh + i)·kw + j holds what all windows see at
    their offset (i, j) in channel c. PyTorch's ``unfold``.

    >>> tn.im2col(tn.arange(6.0).reshape(1, 2, 3), 2)
    Tensor([[0., 1.],
            [1., 2.],
            [3., 4.],
            [4., 5.]])
    """
    window = _window(kernel_size, stride, padding, dilation)
    check_axes(x, 2)
    check_fits(x.shape[-2:], window[0], window[2], window[3])
    ndim, size = x.ndim, x.shape[-2:]
    value = kernels.im2col(batched(as_floating(x), 2), *window)
    return value if ndim == 4 else value[0], lambda g: col2im(g, size, *window)


@op
def col2im(columns: Array, output_size, kernel_size, stride=1, padding=0, dilation=1):
    """Columns (N, C·kh·kw, oh·ow) added up where im2col read them: (N, C, *output_size). Its derivative is im2col.

    PyTorch's ``fold``.

    >>> tn.col2im(tn.ones((4, 2)), (2, 3), 2)
    Tensor([[[1., 2., 1.],
             [1., 2., 1.]]])
    """
    window = _window(kernel_size, stride, padding, dilation)
    size = per_axis(output_size, 2, "output_size", 1)
    kernel, step, _, _ = window
    check_fits(size, kernel, window[2], window[3])
    counts = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, *window)]
    area, windows = kernel[0] * kernel[1], counts[0] * counts[1]
    ndim = columns.ndim
    if ndim not in (2, 3) or columns.shape[-2] % area or columns.shape[-1] != windows:
        raise ShapeError(
            f"columns has shape {tuple(columns.shape)}, expected (N, C·{area}, {windows}) or (C·{area}, {windows}): "
            f"a kernel of size {kernel} with stride {step} stands at {counts[0]} × {counts[1]} places on {size}"
        )
    x = as_floating(columns)
    value = kernels.col2im(x if ndim == 3 else x.reshape((1, *x.shape)), size, *window)
    return value if ndim == 3 else value[0], lambda g: im2col(g, *window)


def _window(kernel_size, stride, padding, dilation):
    return (
        per_axis(kernel_size, 2, "kernel_size", 1),
        per_axis(stride, 2, "stride", 1),
        per_axis(padding, 2, "padding", 0),
        per_axis(dilation, 2, "dilation", 1),
    )


# ---------------------------------------------------------------------- the three ops


@op
def conv_(x: Array, weight: Array, bias: Array | None, stride, padding, dilation, groups):
    axes = len(stride)
    _check_operands(x, weight, groups, axes)
    channels, outputs = x.shape[-axes - 1], weight.shape[0]
    if channels != weight.shape[1] * groups:
        raise ShapeError(
            f"x has {channels} channels (shape {tuple(x.shape)}), expected {weight.shape[1] * groups} for weight "
            f"{tuple(weight.shape)}, (out, in / groups, {KERNELS[axes]}), and groups {groups}"
        )
    if outputs % groups:
        raise ShapeError(
            f"groups is {groups}, expected a divisor of the {outputs} outputs of weight {tuple(weight.shape)}"
        )
    _check_bias(bias, outputs)
    ndim, size, kernel_size = x.ndim, x.shape[-axes:], weight.shape[2:]
    check_fits(size, kernel_size, padding, dilation)
    images, *others = as_floating(x, weight, bias)
    return (
        of_axes(kernels.conv(batched(images, axes), *others, stride, padding, dilation, groups), ndim),
        lambda g, weight: conv_transpose_(g, weight, None, stride, padding, dilation, groups, size),
        lambda g, x: conv_weight_grad(x, g, kernel_size, stride, padding, dilation, groups),
        lambda g: _per_output(g, axes),
    )


@op
def conv_transpose_(x: Array, weight: Array, bias: Array | None, stride, padding, dilation, groups, output_size):
    axes = len(stride)
    _check_operands(x, weight, groups, axes)
    channels, outputs = x.shape[-axes - 1], weight.shape[1] * groups
    if channels != weight.shape[0]:
        raise ShapeError(
            f"x has {channels} channels (shape {tuple(x.shape)}), expected {weight.shape[0]} for weight "
            f"{tuple(weight.shape)}, (in, out / groups, {KERNELS[axes]})"
        )
    if channels % groups:
        raise ShapeError(f"groups is {groups}, expected a divisor of the {channels} channels of x {tuple(x.shape)}")
    _check_bias(bias, outputs)
    ndim, kernel_size = x.ndim, weight.shape[2:]
    images, *others = as_floating(x, weight, bias)
    steps = stride, padding, dilation
    return (
        of_axes(kernels.conv_transpose(batched(images, axes), *others, *steps, groups, output_size), ndim),
        lambda g, weight: conv_(g, weight, None, *steps, groups),
        lambda g, x: conv_weight_grad(g, x, kernel_size, *steps, groups),
        lambda g: _per_output(g, axes),
    )


@op
def conv_weight_grad(x: Array, g_: Array, kernel_size, stride, padding, dilation, groups):
    """The gradient of conv's weight, (O, C/groups, *kernel_size), from x and the gradient of its value. Bilinear."""
    axes, steps = len(kernel_size), (stride, padding, dilation)
    size = x.shape[-axes:]
    images, upstream = as_floating(x, g_)
    return (
        kernels.conv_weight_grad(batched(images, axes), batched(upstream, axes), kernel_size, *steps, groups),
        lambda g, g_: conv_transpose_(g_, g, None, *steps, groups, size),
        lambda g, x: conv_(x, g, None, *steps, groups),
    )


def _per_output(g, axes):
    """The gradient of the bias: every element of a channel had it added."""
    spatial = tuple(range(-axes, 0))
    return sum(g, spatial if len(g.shape) == axes + 1 else (0, *spatial))


def _check_operands(x, weight, groups, axes):
    check_axes(x, axes)
    if weight.ndim != axes + 2 or 0 in weight.shape[2:]:
        least = " × ".join("1" * axes)
        raise ShapeError(
            f"weight has shape {tuple(weight.shape)}, expected {axes + 2} axes and a kernel of at least {least}"
        )
    count(groups, "groups")


def _check_bias(bias, outputs):
    if bias is not None and bias.shape != (outputs,):
        raise ShapeError(f"bias has shape {tuple(bias.shape)}, expected ({outputs},)")


# ---------------------------------------------------------------------- convolution


@named
def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of x (N, C, L) with weight (O, C/groups, k), plus bias (O): (N, O, ol).

    y[n, o, r] = b[o] + Σ w[o, c, i] x[n, c, r·stride + i·dilation - padding]. See :func:`conv2d`.

    >>> tn.conv1d([[1.0, 2.0, 4.0, 8.0]], [[[-1.0, 1.0]]])
    Tensor([[1., 2., 4.]])
    """
    return _conv(1, x, weight, bias, stride, padding, dilation, groups)


@named
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of x (N, C, H, W) with weight (O, C/groups, kh, kw), plus bias (O): (N, O, oh, ow).

    y[n, o, r, s] = b[o] + Σ w[o, c, i, j] x[n, c, r·stride + i·dilation - padding, s·stride + j·dilation - padding]
    over the C/groups channels c of o's group and the kernel's offsets (i, j); outside x stands 0.
    oh = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1. ``stride``, ``padding`` and ``dilation`` are an int, or
    one for each spatial axis. ``padding`` "valid" is 0; "same" makes oh = H at stride 1, the odd one on the right.

    >>> tn.conv2d(tn.ones((1, 3, 3)), tn.ones((1, 1, 2, 2)), [0.5])
    Tensor([[[4.5, 4.5],
             [4.5, 4.5]]])
    >>> tn.conv2d(tn.ones((8, 3, 32, 32)), tn.ones((16, 3, 5, 5)), padding="same").shape
    (8, 16, 32, 32)
    """
    return _conv(2, x, weight, bias, stride, padding, dilation, groups)


@named
def conv3d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of x (N, C, D, H, W) with weight (O, C/groups, kd, kh, kw), plus bias (O): (N, O, od, oh, ow).

    The sum of :func:`conv2d` over three axes; for video D is time (Ji et al. 2010).

    >>> tn.conv3d(tn.ones((2, 3, 8, 16, 16)), tn.ones((4, 3, 3, 3, 3)), stride=(1, 2, 2), padding=1).shape
    (2, 4, 8, 8, 8)
    """
    return _conv(3, x, weight, bias, stride, padding, dilation, groups)


def _conv(axes, x, weight, bias, stride, padding, dilation, groups):
    if isinstance(padding, str):
        x, padding = _padded(axes, x, weight, stride, padding, dilation)
    return conv_(
        x,
        weight,
        bias,
        per_axis(stride, axes, "stride", 1),
        per_axis(padding, axes, "padding", 0),
        per_axis(dilation, axes, "dilation", 1),
        groups,
    )


def _padded(axes, x, weight, stride, padding, dilation):
    """x and the numbers for the paddings that are words."""
    if padding == "valid":
        return x, 0
    if padding != "same":
        raise ShapeError(f"padding is {padding!r}, expected integers, 'same' or 'valid'")
    if set(per_axis(stride, axes, "stride", 1)) != {1}:
        raise ShapeError(f"padding 'same' needs stride 1, got {stride!r}")
    ndim, kernel_size = len(as_shape(x)), as_shape(weight)[2:]
    if len(kernel_size) != axes or ndim not in (axes + 1, axes + 2):
        return x, 0  # refused by the op
    totals = [d * (k - 1) for k, d in zip(kernel_size, per_axis(dilation, axes, "dilation", 1))]
    beyond = [total % 2 for total in totals]
    if any(beyond):
        x = pad(x, [(0, 0)] * (ndim - axes) + [(0, n) for n in beyond])
    return x, tuple(total // 2 for total in totals)


# ---------------------------------------------------------------------- transposed convolution


@named
def conv_transpose1d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of x (N, C, l) with weight (C, O/groups, k), plus bias (O): (N, O, L).

    L = (l - 1) stride - 2 padding + dilation (k - 1) + 1 + output_padding. See :func:`conv_transpose2d`.

    >>> tn.conv_transpose1d([[1.0, 2.0]], [[[1.0, 10.0, 100.0]]], stride=2)
    Tensor([[  1.,  10., 102.,  20., 200.]])
    """
    return _conv_transpose(1, x, weight, bias, stride, padding, output_padding, groups, dilation)


@named
def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of x (N, C, h, w) with weight (C, O/groups, kh, kw), plus bias (O): (N, O, H, W).

    Each element of x puts the kernel, times itself, into the value, ``stride`` further for its neighbour; ``padding``
    cuts the rim off. It is the gradient of conv2d's x: H = (h - 1) stride - 2 padding + dilation (kh - 1) + 1 +
    output_padding, where ``output_padding`` < ``stride`` chooses among the sizes that conv2d takes to h. PyTorch also
    takes an ``output_padding`` below ``dilation``.

    >>> tn.conv_transpose2d([[[0.0, 1.0], [2.0, 3.0]]], [[[[0.0, 1.0], [2.0, 3.0]]]])
    Tensor([[[ 0.,  0.,  1.],
             [ 0.,  4.,  6.],
             [ 4., 12.,  9.]]])
    """
    return _conv_transpose(2, x, weight, bias, stride, padding, output_padding, groups, dilation)


@named
def conv_transpose3d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of x (N, C, d, h, w) with weight (C, O/groups, kd, kh, kw), plus bias: (N, O, D, H, W).

    The gradient of conv3d's x; sizes as in :func:`conv_transpose2d`.

    >>> tn.conv_transpose3d(tn.ones((1, 4, 2, 3, 3)), tn.ones((4, 2, 2, 2, 2)), stride=2).shape
    (1, 2, 4, 6, 6)
    """
    return _conv_transpose(3, x, weight, bias, stride, padding, output_padding, groups, dilation)


def _conv_transpose(axes, x, weight, bias, stride, padding, output_padding, groups, dilation):
    shape, kernel_size = tuple(as_shape(x)), tuple(as_shape(weight))[2:]
    steps = (
        per_axis(stride, axes, "stride", 1),
        per_axis(padding, axes, "padding", 0),
        per_axis(dilation, axes, "dilation", 1),
    )
    extra = per_axis(output_padding, axes, "output_padding", 0)
    if any(e >= s for e, s in zip(extra, steps[0])):
        raise ShapeError(f"output_padding {output_padding!r} is not less than stride {stride!r}")
    if len(shape) not in (axes + 1, axes + 2):
        raise ShapeError(f"x has shape {shape}, expected {SHAPES[axes]}")
    if 0 in shape[-axes:]:
        raise ShapeError(f"x has shape {shape}, expected {LEAST[axes]}")
    spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, steps[2])]
    size = tuple((n - 1) * s - 2 * p + span + e for n, span, s, p, e in zip(shape[-axes:], spans, *steps[:2], extra))
    if any(n < 1 for n in size):
        raise ShapeError(f"the value would have size {size}: padding {steps[1]} cuts everything off")
    return conv_transpose_(x, weight, bias, *steps, groups, size)
