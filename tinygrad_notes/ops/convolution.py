"""Convolution over images and its transpose. Images are (N, C, H, W), or one image (C, H, W) without the batch axis.

Three ops, each of whose derivatives are the other two: conv2d of x and weight, conv_transpose2d (the gradient of
conv2d's x), conv2d_weight_grad (of its weight). All are linear in each operand, so every order of derivative exists.
"""

from __future__ import annotations

from tinygrad_notes import kernels
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.ops.reduction import sum
from tinygrad_notes.ops.shape import as_shape, pad
from tinygrad_notes.ops.windows import batched, check_fits, check_images, of_axes, pair
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import as_floating

# ---------------------------------------------------------------------- windows as columns


@op
def im2col(x: Array, kernel_size, stride=1, padding=0, dilation=1):
    """The windows of x (N, C, H, W) as columns: (N, C·kh·kw, oh·ow). Its derivative is col2im.

    oh = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1. Row (c·kh + i)·kw + j holds what all windows see at
    their offset (i, j) in channel c. PyTorch's ``unfold``.
    """
    window = _window(kernel_size, stride, padding, dilation)
    check_images(x)
    check_fits(x.shape[-2:], window[0], window[2], window[3])
    ndim, size = x.ndim, x.shape[-2:]
    value = kernels.im2col(batched(as_floating(x)), *window)
    return value if ndim == 4 else value[0], lambda g: col2im(g, size, *window)


@op
def col2im(columns: Array, output_size, kernel_size, stride=1, padding=0, dilation=1):
    """Columns (N, C·kh·kw, oh·ow) added up where im2col read them: (N, C, *output_size). Its derivative is im2col.

    PyTorch's ``fold``.
    """
    window = _window(kernel_size, stride, padding, dilation)
    size = pair(output_size, "output_size", 1)
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
    return pair(kernel_size, "kernel_size", 1), *_steps(stride, padding, dilation)


def _steps(stride, padding, dilation):
    return pair(stride, "stride", 1), pair(padding, "padding", 0), pair(dilation, "dilation", 1)


# ---------------------------------------------------------------------- convolution


@op
def conv2d_(x: Array, weight: Array, bias: Array | None, stride, padding, dilation, groups):
    _check_operands(x, weight, groups)
    steps = _, padding, dilation = _steps(stride, padding, dilation)
    channels, outputs = x.shape[-3], weight.shape[0]
    if channels != weight.shape[1] * groups:
        raise ShapeError(
            f"x has {channels} channels (shape {tuple(x.shape)}), expected {weight.shape[1] * groups} for weight "
            f"{tuple(weight.shape)}, (out, in / groups, kh, kw), and groups {groups}"
        )
    if outputs % groups:
        raise ShapeError(
            f"groups is {groups}, expected a divisor of the {outputs} outputs of weight {tuple(weight.shape)}"
        )
    _check_bias(bias, outputs)
    check_fits(x.shape[-2:], weight.shape[2:], padding, dilation)
    ndim, size, kernel_size = x.ndim, x.shape[-2:], weight.shape[2:]
    images, *others = as_floating(x, weight, bias)
    return (
        of_axes(kernels.conv2d(batched(images), *others, *steps, groups), ndim),
        lambda g, weight: conv_transpose2d_(g, weight, None, *steps, groups, size),
        lambda g, x: conv2d_weight_grad(x, g, kernel_size, *steps, groups),
        lambda g: _per_output(g, ndim),
    )


@op
def conv_transpose2d_(x: Array, weight: Array, bias: Array | None, stride, padding, dilation, groups, output_size):
    _check_operands(x, weight, groups)
    steps = _steps(stride, padding, dilation)
    channels, outputs = x.shape[-3], weight.shape[1] * groups
    if channels != weight.shape[0]:
        raise ShapeError(
            f"x has {channels} channels (shape {tuple(x.shape)}), expected {weight.shape[0]} for weight "
            f"{tuple(weight.shape)}, (in, out / groups, kh, kw)"
        )
    if channels % groups:
        raise ShapeError(f"groups is {groups}, expected a divisor of the {channels} channels of x {tuple(x.shape)}")
    _check_bias(bias, outputs)
    ndim, kernel_size = x.ndim, weight.shape[2:]
    images, *others = as_floating(x, weight, bias)
    return (
        of_axes(kernels.conv_transpose2d(batched(images), *others, *steps, groups, output_size), ndim),
        lambda g, weight: conv2d_(g, weight, None, *steps, groups),
        lambda g, x: conv2d_weight_grad(g, x, kernel_size, *steps, groups),
        lambda g: _per_output(g, ndim),
    )


@op
def conv2d_weight_grad(x: Array, g_: Array, kernel_size, stride, padding, dilation, groups):
    """The gradient of conv2d's weight, (O, C/groups, kh, kw), from x and the gradient of its value. Linear in both."""
    steps, size = (stride, padding, dilation), x.shape[-2:]
    images, upstream = as_floating(x, g_)
    return (
        kernels.conv2d_weight_grad(batched(images), batched(upstream), kernel_size, *steps, groups),
        lambda g, g_: conv_transpose2d_(g_, g, None, *steps, groups, size),
        lambda g, x: conv2d_(x, g, None, *steps, groups),
    )


def _per_output(g, ndim):
    """The gradient of the bias: every element of a channel had it added."""
    return sum(g, (0, 2, 3) if ndim == 4 else (1, 2))


def _check_operands(x, weight, groups):
    check_images(x)
    if weight.ndim != 4 or 0 in weight.shape[2:]:
        raise ShapeError(f"weight has shape {tuple(weight.shape)}, expected 4 axes and a kernel of at least 1 × 1")
    count(groups, "groups")


def _check_bias(bias, outputs):
    if bias is not None and bias.shape != (outputs,):
        raise ShapeError(f"bias has shape {tuple(bias.shape)}, expected ({outputs},)")


@named
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of x (N, C, H, W) with weight (O, C/groups, kh, kw), plus bias (O): (N, O, oh, ow).

    y[n, o, r, s] = b[o] + Σ w[o, c, i, j] x[n, c, r·stride + i·dilation - padding, s·stride + j·dilation - padding]
    over the C/groups channels c of o's group and the kernel's offsets (i, j); outside x stands 0.
    oh = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1. ``stride``, ``padding`` and ``dilation`` are an int, or
    two for rows and columns. ``padding`` "valid" is 0; "same" makes oh = H at stride 1, the odd one on the right.
    """
    if isinstance(padding, str):
        x, padding = _padded(x, weight, stride, padding, dilation)
    return conv2d_(x, weight, bias, stride, padding, dilation, groups)


def _padded(x, weight, stride, padding, dilation):
    """x and the numbers for the paddings that are words."""
    if padding == "valid":
        return x, 0
    if padding != "same":
        raise ShapeError(f"conv2d: padding is {padding!r}, expected integers, 'same' or 'valid'")
    if pair(stride, "conv2d: stride", 1) != (1, 1):
        raise ShapeError(f"conv2d: padding 'same' needs stride 1, got {stride!r}")
    totals = [d * (k - 1) for k, d in zip(as_shape(weight)[2:], pair(dilation, "conv2d: dilation", 1))]
    before = [total // 2 for total in totals]
    beyond = [total % 2 for total in totals]
    axes = len(as_shape(x))
    if any(beyond) and axes > 2:
        x = pad(x, [(0, 0)] * (axes - 2) + [(0, n) for n in beyond])
    return x, tuple(before)


@named
def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of x (N, C, h, w) with weight (C, O/groups, kh, kw), plus bias (O): (N, O, H, W).

    Each element of x puts the kernel, times itself, into the value, ``stride`` further for its neighbour; ``padding``
    cuts the rim off. It is the gradient of conv2d's x: H = (h - 1) stride - 2 padding + dilation (kh - 1) + 1 +
    output_padding, where ``output_padding`` < ``stride`` chooses among the sizes that conv2d takes to h.
    """
    shape, kernel_size = tuple(as_shape(x)), tuple(as_shape(weight))[2:]
    steps = [pair(v, f"conv_transpose2d: {name}", least) for v, name, least in
             ((stride, "stride", 1), (padding, "padding", 0), (dilation, "dilation", 1))]  # fmt: skip
    extra = pair(output_padding, "conv_transpose2d: output_padding", 0)
    if any(e >= s for e, s in zip(extra, steps[0])):
        raise ShapeError(f"conv_transpose2d: output_padding {output_padding!r} is not less than stride {stride!r}")
    if len(shape) in (3, 4) and 0 in shape[-2:]:
        raise ShapeError(f"conv_transpose2d: x has shape {shape}, expected at least one row and one column")
    spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, steps[2])]
    size = tuple((n - 1) * s - 2 * p + span + e for n, span, s, p, e in zip(shape[-2:], spans, *steps[:2], extra))
    if any(n < 1 for n in size):
        raise ShapeError(f"conv_transpose2d: the value would have size {size}: padding {steps[1]} cuts everything off")
    return conv_transpose2d_(x, weight, bias, *steps, groups, size)
