"""Pixels moved into channels and back, and channels dealt out among groups."""

from __future__ import annotations

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.ops.shape import operand, permute_dims, reshape


@named
def pixel_shuffle(x, upscale_factor):
    """x (..., C r², H, W) as (..., C, H r, W r): r² channels become the pixels of r × r squares (Shi et al. 2016).

    >>> tn.pixel_shuffle(np.arange(4.0).reshape(4, 1, 1), 2).tolist()
    [[[0.0, 1.0], [2.0, 3.0]]]
    """
    x, r = operand(x), count(upscale_factor, "upscale_factor")
    *first, channels, height, width = _plane(x)
    if channels % (r * r):
        raise ShapeError(f"x has {channels} channels, expected a multiple of upscale_factor², {r * r}")
    n = len(first)
    x = reshape(x, (*first, channels // (r * r), r, r, height, width))
    x = permute_dims(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(x, (*first, channels // (r * r), height * r, width * r))


@named
def pixel_unshuffle(x, downscale_factor):
    """x (..., C, H r, W r) as (..., C r², H, W): the inverse of :func:`pixel_shuffle`.

    >>> tn.pixel_unshuffle(np.arange(4.0).reshape(1, 2, 2), 2).shape
    (4, 1, 1)
    """
    x, r = operand(x), count(downscale_factor, "downscale_factor")
    *first, channels, height, width = _plane(x)
    if height % r or width % r:
        raise ShapeError(f"x has planes of {(height, width)}, expected multiples of downscale_factor, {r}")
    n = len(first)
    x = reshape(x, (*first, channels, height // r, r, width // r, r))
    x = permute_dims(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(x, (*first, channels * r * r, height // r, width // r))


def _plane(x):
    if len(x.shape) < 3:
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected (..., C, H, W)")
    return x.shape


@named
def channel_shuffle(x, groups):
    """The channels of x (N, C, ...) dealt out in turn: channel i of group j becomes channel j of group i.

    What a grouped convolution reads next then comes from every group (Zhang et al. 2018, ShuffleNet).

    >>> tn.channel_shuffle(np.arange(4.0).reshape(1, 4, 1), 2).tolist()
    [[[0.0], [2.0], [1.0], [3.0]]]
    """
    x, groups = operand(x), count(groups, "groups")
    shape = tuple(x.shape)
    if len(shape) < 3:
        raise ShapeError(f"x has shape {shape}, expected (N, C, ...) with at least three axes")
    if shape[1] % groups:
        raise ShapeError(f"x has {shape[1]} channels, expected a multiple of groups, {groups}")
    parts = reshape(x, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return reshape(permute_dims(parts, (0, 2, 1, *range(3, len(shape) + 1))), shape)
