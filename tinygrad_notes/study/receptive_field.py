"""Receptive fields: how much of an image one output of a network can see, by formula and by looking.

Along one axis a stack of windows, sizes k₁ to k_L, strides s₁ to s_L, dilations d₁ to d_L, has, from the top down,

    r_L = 1,    r_(l-1) = (r_l - 1) · s_l + k'_l,    k'_l = d_l (k_l - 1) + 1,

r₀ pixels of the image, or in closed form (Araujo, Norris & Sim 2019)

    r₀ = 1 + Σ_l (k'_l - 1) · s₁ ⋯ s_(l-1).

Where paths meet, as in a residual block, the one that sees most counts. Padding does not enter: at the edge of an image
a part of the field lies in the border.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_notes.autograd import grad
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.modes import no_grad, watch
from tinygrad_notes.nn import AvgPool2d, Identity, MaxPool2d, Module, Sigmoid, Tanh, init
from tinygrad_notes.registry import Op
from tinygrad_notes.tensor import float64, wrap

WINDOWED = ("conv", "max_pool", "avg_pool")


@dataclass(frozen=True)
class Window:
    """What a convolution or a pooling looks at along one axis.

    >>> from tinygrad_notes.study.receptive_field import Window
    >>> Window(3, dilation=2).span
    5
    """

    kernel: int
    stride: int = 1
    dilation: int = 1

    @property
    def span(self) -> int:
        """How many of its inputs it reaches over, those between dilated ones included."""
        return self.dilation * (self.kernel - 1) + 1


def receptive_field(windows: Sequence[Window]) -> int:
    """Pixels that one output of ``windows``, the first of which looks at the image, can see: from the top down.

    >>> from tinygrad_notes.study.receptive_field import Window, receptive_field
    >>> receptive_field([Window(3), Window(3)]), receptive_field([Window(5), Window(2, stride=2)])
    (5, 6)
    """
    seen = 1
    for window in reversed(windows):
        seen = (seen - 1) * window.stride + window.span
    return seen


def receptive_field_in_closed_form(windows: Sequence[Window]) -> int:
    """The same number as a sum over the layers: each adds its reach, in steps as long as all strides below make it.

    >>> from tinygrad_notes.study.receptive_field import Window, receptive_field_in_closed_form
    >>> receptive_field_in_closed_form([Window(5), Window(2, stride=2)])
    6
    """
    seen, step = 1, 1
    for window in windows:
        seen += (window.span - 1) * step
        step *= window.stride
    return seen


def windows_of(net: Module, shape: Sequence[int], axis: int = -1) -> tuple[Window, ...]:
    """The windows on the path of ``net`` that sees most along ``axis``, for one input of ``shape`` (N, C, *size).

    Found by following the calls of convolutions and poolings in one forward pass. Affine layers and global pooling see
    whatever reaches them and are no windows: give the part of the network before them.

    >>> from tinygrad_notes.study.receptive_field import windows_of
    >>> windows_of(nn.Sequential(nn.Conv2d(1, 2, 5), nn.ReLU(), nn.MaxPool2d(2)), (1, 1, 28, 28))
    (Window(kernel=5, stride=1, dilation=1), Window(kernel=2, stride=2, dilation=1))
    """
    image = np.zeros(shape, np.float32)
    paths: dict[int, tuple[Any, tuple[Window, ...]]] = {id(image): (image, ())}  # holds the arrays: an id stays theirs

    def follow(op: Op, operands: tuple[Any, ...], value: Any, others: tuple[Any, ...]) -> None:
        below = [paths[id(array)][1] for array in operands if id(array) in paths]
        if not below:
            return
        path = max(below, key=receptive_field)
        if op.name in WINDOWED:
            options = dict(zip(op.static, others))
            kernel = operands[1].shape[2:] if op.name == "conv" else options["kernel_size"]
            dilation = options.get("dilation", (1,) * len(kernel))
            path += (Window(kernel[axis], options["stride"][axis], dilation[axis]),)
        for array in value if isinstance(value, tuple) else (value,):
            paths[id(array)] = array, path

    with no_grad(), watch(follow, static=True):
        output = copy.deepcopy(net).eval()(wrap(image))
    return paths[id(output.data)][1]


def influence(net: Module, shape: Sequence[int]) -> np.ndarray:
    """How much each pixel of an image of ``shape`` (1, C, H, W) counts for the output at the centre: ∂y/∂x, (H, W).

    For a copy of ``net`` whose weights are all 1 and whose biases are 0, whose max pooling is a mean and whose
    saturating activations are left out: then no derivative vanishes by accident, and what is 0 is not seen. The sum
    over channels, with its maximum scaled to 1.

    >>> from tinygrad_notes.study.receptive_field import influence
    >>> influence(nn.Sequential(nn.Conv2d(1, 1, 2), nn.Conv2d(1, 1, 2)), (1, 1, 5, 5))[1]
    array([0.  , 0.25, 0.5 , 0.25, 0.  ])
    """
    if len(shape) != 4 or shape[0] != 1:
        raise ShapeError(f"influence: shape is {tuple(shape)}, expected (1, channels, height, width)")
    probe = copy.deepcopy(net).to(float64).eval()
    for name, parameter in probe.named_parameters():
        init.constant_(parameter, float(not name.endswith("bias")))
    for module in list(probe.modules()):
        for name, child in list(module.named_children()):
            setattr(module, name, _linear(child))
    x = wrap(np.ones(shape)).requires_grad_()
    y = probe(x)
    if y.ndim != 4:
        raise ShapeError(f"influence: the output has shape {y.shape}, expected (1, channels, height, width)")
    centre = y[:, :, y.shape[2] // 2, y.shape[3] // 2].sum()
    (gradient,) = grad(centre, [x])
    total = gradient.data.sum(axis=(0, 1))
    return total / total.max()


def _linear(layer: Module) -> Module:
    """What stands in for a layer so that its derivative depends on no value."""
    if isinstance(layer, Sigmoid | Tanh):
        return Identity()
    if not isinstance(layer, MaxPool2d):
        return layer
    if max(layer.dilation) > 1:
        raise DTypeError("influence: a max pooling is dilated, and there is no mean like it")
    return AvgPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)


def empirical_receptive_field(net: Module, shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of the part of the image that counts for the output at the centre; see :func:`influence`.

    ShapeError when it touches the edge of the image, where it may have been cut off.

    >>> from tinygrad_notes.study.receptive_field import empirical_receptive_field
    >>> empirical_receptive_field(nn.Sequential(nn.Conv2d(1, 1, 5), nn.MaxPool2d(2)), (1, 1, 28, 28))
    (6, 6)
    """
    seen = influence(net, shape) > 0
    extents = []
    for axis in (1, 0):
        places = np.flatnonzero(seen.any(axis=axis))
        if places[0] == 0 or places[-1] == seen.shape[1 - axis] - 1:
            raise ShapeError(f"empirical_receptive_field: {tuple(shape)} is too small, the field touches its edge")
        extents.append(int(places[-1] - places[0] + 1))
    return extents[0], extents[1]
