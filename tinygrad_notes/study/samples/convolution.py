"""Samples of convolution, its transpose, and windows as columns. The references slide the window in Python's loops."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.convolution import col2im, conv2d, conv_transpose2d
from tinygrad_notes.study.samples.sample import Sample, normal, sample


def _places(size, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    """Row and column of each window, and the slices of the padded plane that it sees."""
    spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation)]
    rows, columns = (range(0, n + 2 * p - span + 1, s) for n, p, span, s in zip(size, padding, spans, stride))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            seen = (slice(top, top + spans[0], dilation[0]), slice(left, left + spans[1], dilation[1]))
            yield i, j, (..., *seen)


def _padded(x, padding):
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(p, p) for p in padding])


def _convolved(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    if x.ndim == 3:
        return _convolved(x[None], weight, bias, stride, padding, dilation, groups)[0]
    places = list(_places(x.shape[2:], weight.shape[2:], stride, padding, dilation))
    y = np.zeros((x.shape[0], weight.shape[0], places[-1][0] + 1, places[-1][1] + 1))
    inputs, outputs = weight.shape[1], weight.shape[0] // groups
    x = _padded(x, padding)
    for i, j, seen in places:
        patch = x[seen]
        for o in range(weight.shape[0]):
            first = o // outputs * inputs
            y[:, o, i, j] = (patch[:, first : first + inputs] * weight[o]).sum(axis=(1, 2, 3))
    return y if bias is None else y + bias[:, None, None]


def _transposed(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, extra=(0, 0)):
    """Every element of x lays the kernel down; ``padding`` is then cut off."""
    if x.ndim == 3:
        return _transposed(x[None], weight, bias, stride, padding, dilation, groups, extra)[0]
    spans = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation)]
    height, width = ((n - 1) * s + span + e for n, s, span, e in zip(x.shape[2:], stride, spans, extra))
    y = np.zeros((x.shape[0], weight.shape[1] * groups, height, width))
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    for c in range(weight.shape[0]):
        first = c // inputs * outputs
        for i, j in np.ndindex(*x.shape[2:]):
            top, left = i * stride[0], j * stride[1]
            laid = x[:, c, i, j, None, None, None] * weight[c]
            rows, columns = slice(top, top + spans[0], dilation[0]), slice(left, left + spans[1], dilation[1])
            y[:, first : first + outputs, rows, columns] += laid
    y = y[:, :, padding[0] : height - padding[0], padding[1] : width - padding[1]]
    return y if bias is None else y + bias[:, None, None]


def _columns(x, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    padded = _padded(x, padding)
    seen = [padded[place] for _, _, place in _places(x.shape[-2:], kernel_size, stride, padding, dilation)]
    axes = x.shape[:-3]
    return np.stack([patch.reshape(*axes, x.shape[-3] * kernel_size[0] * kernel_size[1]) for patch in seen], axis=-1)


def _summed(columns, size, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    channels = columns.shape[-2] // (kernel_size[0] * kernel_size[1])
    total = np.zeros((*columns.shape[:-2], channels, size[0] + 2 * padding[0], size[1] + 2 * padding[1]))
    for k, (_, _, place) in enumerate(_places(size, kernel_size, stride, padding, dilation)):
        total[place] += columns[..., k].reshape(*columns.shape[:-2], channels, *kernel_size)
    return total[..., padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def _weight_grad(x, g, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """One product for each element of the gradient and the window it came from."""
    inputs, outputs = x.shape[1] // groups, g.shape[1] // groups
    gradient = np.zeros((g.shape[1], inputs, *kernel_size))
    padded = _padded(x, padding)
    for i, j, seen in _places(x.shape[2:], kernel_size, stride, padding, dilation):
        for o in range(g.shape[1]):
            first = o // outputs * inputs
            gradient[o] += (padded[seen][:, first : first + inputs] * g[:, o, i, j, None, None, None]).sum(axis=0)
    return gradient


def _conv(label: str, x, weight, bias=None, **options) -> Sample:
    """A sample of conv2d with ``options`` as a user would give them."""
    pairs = {name: (v, v) if isinstance(v, int) and name != "groups" else v for name, v in options.items()}
    operands = (x, weight) if bias is None else (x, weight, bias)
    return sample("conv2d", *operands, label=label, **options, reference=lambda *o: _convolved(*o, **pairs))


def _transpose(label: str, x, weight, bias=None, **options) -> Sample:
    pairs = {name: (v, v) if isinstance(v, int) and name != "groups" else v for name, v in options.items()}
    if "output_padding" in pairs:
        pairs["extra"] = pairs.pop("output_padding")
    operands = (x, weight) if bias is None else (x, weight, bias)
    return sample("conv_transpose2d", *operands, label=label, **options, reference=lambda *o: _transposed(*o, **pairs))


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
        sample("conv2d_weight_grad", normal(58, 2, 4, 5, 5), normal(59, 2, 2, 3, 2),
               kernel_size=(3, 2), stride=(1, 2), padding=(0, 0), dilation=(1, 2), groups=2,
               reference=lambda a, g: _weight_grad(a, g, (3, 2), (1, 2), (0, 0), (1, 2), 2)),
        sample("conv2d_weight_grad", normal(60, 0, 1, 3, 3), normal(61, 0, 2, 2, 2), label="empty batch",
               kernel_size=(2, 2), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1,
               reference=lambda a, g: _weight_grad(a, g, (2, 2))),
    ]  # fmt: skip


SAMPLES = [*_convolutions(), *_transposes(), *_windows()]
