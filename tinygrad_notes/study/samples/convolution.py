"""Samples of convolution, its transpose, and windows as columns. The references slide the window in Python's loops."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.convolution import col2im, conv2d, conv_transpose2d
from tinygrad_notes.study.samples.sample import Sample, normal, sample


def _each(value, axes):
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _places(size, kernel_size, stride=1, padding=0, dilation=1):
    """The position of each window among all, and the slices of the padded operand that it sees."""
    axes = len(size)
    steps, pads, gaps = _each(stride, axes), _each(padding, axes), _each(dilation, axes)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, gaps)]
    starts = [range(0, n + 2 * p - span + 1, s) for n, p, span, s in zip(size, pads, spans, steps)]
    for place in np.ndindex(*map(len, starts)):
        seen = (slice(r[i], r[i] + span, d) for r, i, span, d in zip(starts, place, spans, gaps))
        yield place, (..., *seen)


def _padded(x, padding, axes):
    return np.pad(x, [(0, 0)] * (x.ndim - axes) + [(p, p) for p in _each(padding, axes)])


def _convolved(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    axes = weight.ndim - 2
    if x.ndim == axes + 1:
        return _convolved(x[None], weight, bias, stride, padding, dilation, groups)[0]
    places = list(_places(x.shape[2:], weight.shape[2:], stride, padding, dilation))
    y = np.zeros((x.shape[0], weight.shape[0], *(i + 1 for i in places[-1][0])))
    inputs, outputs = weight.shape[1], weight.shape[0] // groups
    x = _padded(x, padding, axes)
    for place, seen in places:
        patch = x[seen]
        for o in range(weight.shape[0]):
            first = o // outputs * inputs
            products = patch[:, first : first + inputs] * weight[o]
            y[(slice(None), o, *place)] = products.sum(axis=tuple(range(1, axes + 2)))
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


def _transposed(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, output_padding=0):
    """Every element of x lays the kernel down; ``padding`` is then cut off."""
    axes = weight.ndim - 2
    if x.ndim == axes + 1:
        return _transposed(x[None], weight, bias, stride, padding, dilation, groups, output_padding)[0]
    steps, gaps, extra = _each(stride, axes), _each(dilation, axes), _each(output_padding, axes)
    spans = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], gaps)]
    size = [(n - 1) * s + span + e for n, s, span, e in zip(x.shape[2:], steps, spans, extra)]
    y = np.zeros((x.shape[0], weight.shape[1] * groups, *size))
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    for c in range(weight.shape[0]):
        first = c // inputs * outputs
        for place in np.ndindex(*x.shape[2:]):
            laid = x[(slice(None), c, *place)].reshape(-1, *(1,) * (axes + 1)) * weight[c]
            seen = (slice(i * s, i * s + span, d) for i, s, span, d in zip(place, steps, spans, gaps))
            y[(slice(None), slice(first, first + outputs), *seen)] += laid
    y = y[(..., *(slice(p, n - p) for p, n in zip(_each(padding, axes), size)))]
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


def _columns(x, kernel_size, stride=1, padding=0, dilation=1):
    padded = _padded(x, padding, 2)
    seen = [padded[seen] for _, seen in _places(x.shape[-2:], kernel_size, stride, padding, dilation)]
    axes = x.shape[:-3]
    return np.stack([patch.reshape(*axes, x.shape[-3] * kernel_size[0] * kernel_size[1]) for patch in seen], axis=-1)


def _summed(columns, size, kernel_size, stride=1, padding=(0, 0), dilation=1):
    channels = columns.shape[-2] // (kernel_size[0] * kernel_size[1])
    total = np.zeros((*columns.shape[:-2], channels, size[0] + 2 * padding[0], size[1] + 2 * padding[1]))
    for k, (_, seen) in enumerate(_places(size, kernel_size, stride, padding, dilation)):
        total[seen] += columns[..., k].reshape(*columns.shape[:-2], channels, *kernel_size)
    return total[..., padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def _weight_grad(x, g, kernel_size, stride=1, padding=0, dilation=1, groups=1):
    """One product for each element of the gradient and the window it came from."""
    axes, inputs, outputs = len(kernel_size), x.shape[1] // groups, g.shape[1] // groups
    gradient = np.zeros((g.shape[1], inputs, *kernel_size))
    padded = _padded(x, padding, axes)
    for place, seen in _places(x.shape[2:], kernel_size, stride, padding, dilation):
        for o in range(g.shape[1]):
            first = o // outputs * inputs
            ones = g[(slice(None), o, *place)].reshape(-1, *(1,) * (axes + 1))
            gradient[o] += (padded[seen][:, first : first + inputs] * ones).sum(axis=0)
    return gradient


def _conv(label: str, x, weight, bias=None, **options) -> Sample:
    """A sample of conv1d, conv2d or conv3d with ``options`` as a user would give them."""
    operands = (x, weight) if bias is None else (x, weight, bias)
    return sample(f"conv{weight.ndim - 2}d", *operands, label=label, **options,
                  reference=lambda *o: _convolved(*o, **options))  # fmt: skip


def _transpose(label: str, x, weight, bias=None, **options) -> Sample:
    operands = (x, weight) if bias is None else (x, weight, bias)
    return sample(f"conv_transpose{weight.ndim - 2}d", *operands, label=label, **options,
                  reference=lambda *o: _transposed(*o, **options))  # fmt: skip


def _convolutions() -> list[Sample]:
    x, weight, bias = normal(1, 2, 3, 5, 4), normal(2, 4, 3, 3, 2), normal(3, 4)
    image = normal(4, 2, 1, 7, 6)
    return [
        _conv("", x, weight, bias),
        _conv("without bias", x, weight),
        _conv("stride", x, weight, bias, stride=2),
        _conv("padding", x, weight, bias, padding=1),
        _conv("rectangular", x, weight, bias, stride=(2, 1), padding=(0, 2)),
        _conv("dilation", image, normal(5, 2, 1, 3, 2), dilation=2),
        _conv("all at once", image, normal(5, 2, 1, 3, 2), normal(6, 2),
              stride=(2, 3), padding=(2, 1), dilation=(2, 3)),
        _conv("groups", normal(7, 2, 4, 4, 4), normal(8, 6, 2, 2, 2), normal(9, 6), groups=2),
        _conv("depthwise", normal(10, 1, 3, 5, 5), normal(11, 3, 1, 3, 3), normal(12, 3), padding=1, groups=3),
        _conv("depthwise times two", normal(10, 1, 3, 4, 4), normal(11, 6, 1, 2, 2), stride=2, groups=3),
        _conv("1 by 1", normal(13, 2, 3, 3, 2), normal(14, 2, 3, 1, 1), normal(15, 2)),
        _conv("whole plane", normal(16, 2, 2, 3, 4), normal(17, 3, 2, 3, 4)),
        _conv("rest unseen", normal(18, 1, 1, 6, 6), normal(19, 1, 1, 2, 2), stride=4),
        _conv("stride over gaps", normal(18, 1, 1, 7, 7), normal(19, 2, 1, 1, 1), stride=3),
        _conv("one image", x[0], weight, bias, padding=1),
        _conv("one element", normal(20, 1, 1, 1, 1), normal(21, 1, 1, 1, 1), normal(22, 1)),
        _conv("only padding", normal(20, 1, 1, 1, 1), normal(21, 1, 1, 3, 3), padding=1),
        _conv("empty batch", normal(23, 0, 2, 3, 3), normal(24, 3, 2, 2, 2), normal(25, 3)),
        _conv("strided", normal(26, 4, 5, 3, 2).T[:, :, ::-1], normal(27, 2, 3, 2, 2)[:, :, :, ::-1]),
        sample("conv2d", x, weight, label="valid", padding="valid", reference=_convolved),
        sample("conv2d", x, normal(28, 2, 3, 3, 3), label="same", padding="same",
               reference=lambda a, w: _convolved(a, w, padding=(1, 1))),
        sample("conv2d", x, normal(29, 2, 3, 2, 4), label="same, even", padding="same",
               reference=lambda a, w: _convolved(np.pad(a, [(0, 0), (0, 0), (0, 1), (1, 2)]), w)),
        sample("conv2d", x[0], normal(29, 2, 3, 2, 2), label="same, dilation", padding="same", dilation=(1, 3),
               reference=lambda a, w: _convolved(np.pad(a, [(0, 0), (0, 1), (1, 2)]), w, dilation=(1, 3))),
        sample("conv2d", x[:1], label="by itself", call=lambda a: conv2d(a, a), reference=lambda a: _convolved(a, a)),
    ]  # fmt: skip


def _transposes() -> list[Sample]:
    x, weight, bias = normal(31, 2, 3, 3, 4), normal(32, 3, 2, 3, 2), normal(33, 2)
    return [
        _transpose("", x, weight, bias),
        _transpose("without bias", x, weight),
        _transpose("stride", x, weight, bias, stride=2),
        _transpose("padding", x, weight, bias, padding=1),
        _transpose("output padding", x, weight, bias, stride=2, padding=1, output_padding=1),
        _transpose("rectangular", x, weight, bias, stride=(3, 1), padding=(1, 0), output_padding=(2, 0)),
        _transpose("dilation", x, weight, stride=2, dilation=(2, 3)),
        _transpose("groups", normal(34, 1, 4, 2, 3), normal(35, 4, 3, 2, 2), normal(36, 6), stride=2, groups=2),
        _transpose("depthwise", normal(37, 2, 3, 2, 2), normal(38, 3, 1, 2, 3), groups=3),
        _transpose("gaps", normal(39, 1, 2, 2, 2), normal(40, 2, 1, 1, 1), normal(41, 1), stride=3),
        _transpose("one image", x[1], weight, bias, stride=2),
        _transpose("one element", normal(42, 1, 1, 1, 1), normal(43, 1, 1, 1, 1)),
        _transpose("empty batch", normal(44, 0, 2, 3, 3), normal(45, 2, 3, 2, 2), stride=2),
        _transpose("strided", normal(46, 3, 3, 2, 2).T[:, :, ::-1], normal(47, 2, 2, 2, 2).swapaxes(2, 3)),
        sample("conv_transpose2d", x, weight, label="and back",
               call=lambda a, w: conv2d(conv_transpose2d(a, w, stride=2), w, stride=2),
               reference=lambda a, w: _convolved(_transposed(a, w, stride=(2, 2)), w, stride=(2, 2))),
    ]  # fmt: skip


def _other_axes() -> list[Sample]:
    """One spatial axis, and three."""
    x, weight, bias = normal(62, 2, 4, 7), normal(63, 6, 2, 3), normal(64, 6)
    volume, kernel = normal(65, 2, 2, 3, 4, 3), normal(66, 2, 2, 2, 3, 2)
    back, kernel_back = normal(67, 2, 4, 3), normal(68, 4, 2, 3)
    box, kernel_box = normal(69, 1, 2, 2, 2, 3), normal(70, 2, 1, 2, 1, 2)
    return [
        _conv("", x, weight[:, :, :1].repeat(2, 1), bias),
        _conv("all at once", x, weight, bias, stride=2, padding=(3,), dilation=2, groups=2),
        _conv("one sequence", x[0], weight, groups=2),
        _conv("one element", normal(71, 1, 1, 1), normal(72, 1, 1, 1)),
        _conv("empty batch", x[:0], weight, bias, groups=2),
        _conv("strided", normal(73, 7, 4, 2).T[:, :, ::-2], weight[::-1, :, ::-1], groups=2),
        sample("conv1d", x, weight[..., :2], label="same", padding="same", groups=2,
               reference=lambda a, w: _convolved(np.pad(a, [(0, 0), (0, 0), (0, 1)]), w, groups=2)),
        _conv("", volume, kernel, normal(74, 2)),
        _conv("all at once", normal(75, 1, 2, 3, 4, 3), normal(76, 4, 1, 2, 3, 2), stride=(1, 2, 2),
              padding=(1, 0, 1), dilation=(2, 1, 1), groups=2),
        _conv("one volume", volume[0], kernel, padding=1, stride=(2, 3, 3)),
        _conv("empty batch", volume[:0], kernel),
        _conv("strided", normal(77, 3, 4, 3, 2, 1).T[:, :, ::-1, :, ::-1], kernel),
        sample("conv3d", volume[0], kernel, label="same", padding="same", dilation=(1, 1, 2),
               reference=lambda a, w: _convolved(np.pad(a, [(0, 0), (0, 1), (1, 1), (1, 1)]), w, dilation=(1, 1, 2))),
        _transpose("", back, kernel_back, normal(78, 2)),
        _transpose("all at once", back, kernel_back, normal(79, 4), stride=3, padding=1, output_padding=2, groups=2,
                   dilation=2),
        _transpose("one sequence", back[1], kernel_back),
        _transpose("empty batch", back[:0], kernel_back),
        _transpose("strided", normal(80, 3, 4, 2).T[:, :, ::-1], kernel_back[::-1], stride=2),
        _transpose("", box, kernel_box, normal(81, 1)),
        _transpose("all at once", box, kernel_box, normal(82, 2), stride=(2, 1, 2), padding=(1, 0, 1),
                   output_padding=(1, 0, 0), groups=2, dilation=(1, 2, 1)),
        _transpose("one volume", box[0], kernel_box, stride=2),
        _transpose("empty batch", box[:0], kernel_box),
        sample("conv_weight_grad", x, normal(83, 2, 2, 4), label="one axis",
               kernel_size=(2,), stride=(2,), padding=(1,), dilation=(1,), groups=2,
               reference=lambda a, g: _weight_grad(a, g, (2,), 2, 1, 1, 2)),
    ]  # fmt: skip


def _windows() -> list[Sample]:
    x = normal(51, 2, 2, 4, 5)
    window = {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 2), "dilation": (1, 2)}
    return [
        sample("im2col", x, kernel_size=2, reference=lambda a: _columns(a, (2, 2))),
        sample("im2col", x, label="all at once", **window, reference=lambda a: _columns(a, **window)),
        sample("im2col", x, label="stride over gaps", kernel_size=1, stride=2,
               reference=lambda a: _columns(a, (1, 1), (2, 2))),
        sample("im2col", x[0], label="one image", kernel_size=(2, 3), reference=lambda a: _columns(a, (2, 3))),
        sample("im2col", normal(52, 0, 2, 3, 3), label="empty batch", kernel_size=2,
               reference=lambda a: _columns(a, (2, 2))),
        sample("im2col", x[::-1, :, ::-1, ::2], label="strided", kernel_size=2,
               reference=lambda a: _columns(a, (2, 2))),
        sample("col2im", normal(53, 2, 8, 6), output_size=(3, 4), kernel_size=2,
               reference=lambda c: _summed(c, (3, 4), (2, 2))),
        sample("col2im", normal(54, 2, 12, 9), label="all at once", output_size=(5, 5), **window,
               reference=lambda c: _summed(c, (5, 5), **window)),
        sample("col2im", normal(55, 4, 4), label="one image", output_size=(4, 4), kernel_size=2, stride=2,
               reference=lambda c: _summed(c, (4, 4), (2, 2), (2, 2))),
        sample("col2im", normal(56, 1, 4, 4), label="rest unread", output_size=(5, 5), kernel_size=2, stride=2,
               reference=lambda c: _summed(c, (5, 5), (2, 2), (2, 2))),
        sample("col2im", normal(57, 4, 8, 1).T, label="strided",
               call=lambda c: col2im(c, (2, 2), (2, 1), padding=(0, 1), stride=(1, 1)).sum(),
               reference=lambda c: _summed(c, (2, 2), (2, 1), padding=(0, 1)).sum()),
        sample("conv_weight_grad", normal(58, 2, 4, 5, 5), normal(59, 2, 2, 3, 2),
               kernel_size=(3, 2), stride=(1, 2), padding=(0, 0), dilation=(1, 2), groups=2,
               reference=lambda a, g: _weight_grad(a, g, (3, 2), (1, 2), (0, 0), (1, 2), 2)),
        sample("conv_weight_grad", normal(60, 0, 1, 3, 3), normal(61, 0, 2, 2, 2), label="empty batch",
               kernel_size=(2, 2), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1,
               reference=lambda a, g: _weight_grad(a, g, (2, 2))),
    ]  # fmt: skip


SAMPLES = [*_convolutions(), *_transposes(), *_other_axes(), *_windows()]
