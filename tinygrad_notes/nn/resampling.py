"""Layers that change the size of planes: interpolation, and pixels moved between planes and channels."""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import count, one_of
from tinygrad_notes.ops.interpolation import MODES
from tinygrad_notes.tensor import Tensor

Size = int | tuple[int, ...] | None
Factor = float | tuple[float, ...] | None


class Upsample(Module):
    """Another size of x (N, C, one to three spatial axes): see :func:`~tinygrad_notes.ops.interpolation.interpolate`.

    >>> nn.Upsample(scale_factor=2, mode="bilinear")(tn.zeros((1, 3, 4, 5))).shape
    (1, 3, 8, 10)
    """

    def __init__(
        self,
        size: Size = None,
        scale_factor: Factor = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):
        super().__init__()
        name = type(self).__name__
        if (size is None) == (scale_factor is None):
            raise ShapeError(f"{name}: size is {size!r}, scale_factor {scale_factor!r}, expected one of them")
        self.size, self.scale_factor = size, scale_factor
        self.mode = one_of(mode, f"{name}: mode", MODES)
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, x: Any) -> Tensor:
        return ops.interpolate(
            x, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        size = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Every element of planes (N, C, H, W) repeated: Upsample with mode "nearest".

    >>> nn.UpsamplingNearest2d(scale_factor=2)(np.array([[[[1.0, 2.0]]]])).tolist()
    [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """

    def __init__(self, size: Size = None, scale_factor: Factor = None):
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Planes (N, C, H, W) interpolated bilinearly, corners on corners: Upsample with ``align_corners``.

    >>> nn.UpsamplingBilinear2d((1, 3))(np.array([[[[1.0, 2.0]]]])).tolist()
    [[[[1.0, 1.5, 2.0]]]]
    """

    def __init__(self, size: Size = None, scale_factor: Factor = None):
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Module):
    """x (..., C r², H, W) as (..., C, H r, W r), r the ``upscale_factor`` (Shi et al. 2016).

    >>> nn.PixelShuffle(2)(tn.zeros((1, 8, 3, 4))).shape
    (1, 2, 6, 8)
    """

    def __init__(self, upscale_factor: int):
        super().__init__()
        self.upscale_factor = count(upscale_factor, "PixelShuffle: upscale_factor")

    def forward(self, x: Any) -> Tensor:
        return ops.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """x (..., C, H r, W r) as (..., C r², H, W), r the ``downscale_factor``: the inverse of PixelShuffle.

    >>> nn.PixelUnshuffle(2)(tn.zeros((1, 2, 6, 8))).shape
    (1, 8, 3, 4)
    """

    def __init__(self, downscale_factor: int):
        super().__init__()
        self.downscale_factor = count(downscale_factor, "PixelUnshuffle: downscale_factor")

    def forward(self, x: Any) -> Tensor:
        return ops.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """The channels of x (N, C, ...) dealt out in turn from ``groups`` groups (Zhang et al. 2018).

    >>> nn.ChannelShuffle(2)(np.arange(4.0).reshape(1, 4, 1))[0, :, 0].tolist()
    [0.0, 2.0, 1.0, 3.0]
    """

    def __init__(self, groups: int):
        super().__init__()
        self.groups = count(groups, "ChannelShuffle: groups")

    def forward(self, x: Any) -> Tensor:
        return ops.channel_shuffle(x, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
