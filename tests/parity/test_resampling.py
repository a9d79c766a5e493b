"""Resampling against PyTorch: values and gradients of every mode, and the layers."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
SHAPE = (2, 3, 5, 7, 4)


def planes(axes, seed=0):
    return np.random.default_rng([seed, axes]).standard_normal(SHAPE[: 2 + axes])


def both(parity, x, dtype="float32", **options):
    parity.check(lambda a: tn.interpolate(a, **options), lambda a: F.interpolate(a, **options), x, dtype=dtype)


SIZES = [1, 3, 5, 6, 11, 20]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area"])
def test_sizes_without_interpolation(parity, mode, axes, size):
    both(parity, planes(axes), size=size, mode=mode)


@DTYPES
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("align_corners", [None, False, True])
@pytest.mark.parametrize(("mode", "axes"), [("linear", 1), ("bilinear", 2), ("bicubic", 2), ("trilinear", 3)])
def test_sizes(parity, mode, axes, align_corners, size, dtype):
    both(parity, planes(axes), dtype, size=size, mode=mode, align_corners=align_corners)


@pytest.mark.parametrize("recompute", [None, True])
@pytest.mark.parametrize("factor", [0.4, 0.75, 1.0, 1.3, 2.0, 2.3, 3.7])
@pytest.mark.parametrize(
    ("mode", "axes"),
    [("nearest", 1), ("nearest", 2), ("nearest", 3), ("nearest-exact", 2), ("area", 2), ("linear", 1), ("bilinear", 2),
     ("bicubic", 2), ("trilinear", 3)],
)  # fmt: skip
def test_factors(parity, mode, axes, factor, recompute):
    x = np.random.default_rng(axes).standard_normal((2, 2, 6, 7, 8)[: 2 + axes])
    both(parity, x, scale_factor=factor, mode=mode, recompute_scale_factor=recompute)


@pytest.mark.parametrize("factor", [1.05, 1.11, 2.01, 2.05])
@pytest.mark.parametrize(
    ("mode", "axes"), [("nearest", 1), ("nearest", 2), ("nearest", 3), ("nearest-exact", 2), ("linear", 1),
                       ("bilinear", 2), ("bicubic", 2), ("trilinear", 3)],
)  # fmt: skip
def test_factors_that_lengths_do_not_show(parity, mode, axes, factor):
    """Values alone: PyTorch's gradient is here not always that of its value."""
    x = planes(axes).astype(np.float32)
    ours, theirs = (f(t, scale_factor=factor, mode=mode) for f, t in (
        (tn.interpolate, x), (F.interpolate, torch.tensor(x))))  # fmt: skip
    parity.compare(ours, theirs)


@DTYPES
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialias(parity, mode, align_corners, size, dtype):
    both(parity, planes(2), dtype, size=size, mode=mode, align_corners=align_corners, antialias=True)


def test_factors_for_each_axis(parity):
    both(parity, planes(2), scale_factor=(0.7, 2.5), mode="bilinear")
    both(parity, planes(3), scale_factor=(0.7, 2.5, 1.5), mode="trilinear", align_corners=True)
    both(parity, planes(2), size=(3, 14), mode="nearest")
    both(parity, np.zeros((0, 3, 4, 5)), size=(3, 14), mode="bicubic")


# ---------------------------------------------------------------------- free positions


@DTYPES
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("axes", [2, 3])
def test_grid_sample(parity, axes, mode, padding_mode, align_corners, dtype):
    """With positions far outside and exactly on the borders."""
    grid = np.random.default_rng(axes).uniform(-2.5, 2.5, (2, *(3, 4, 5)[:axes], axes))
    grid[0, 0, 0], grid[1, 0, 0], grid[0, 1, 0], grid[1, 1, 0] = 1, -1, 100, 0
    options = mode, padding_mode, align_corners
    if mode == "bilinear":
        parity.check(
            lambda x, g: tn.grid_sample(x, g, *options), lambda x, g: F.grid_sample(x, g, *options),
            planes(axes), grid, dtype=dtype, tolerance=1e-4 if dtype == "float32" else None,
        )  # fmt: skip
    else:  # torch gives the grid zeros for a gradient, ours none
        grid = grid.astype(dtype)
        parity.check(
            lambda x: tn.grid_sample(x, grid, *options),
            lambda x: F.grid_sample(x, torch.tensor(grid), *options), planes(axes), dtype=dtype,
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")
@DTYPES
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 1, 3), (2, 3, 2, 4, 5), (2, 1, 3, 1, 1)])
def test_affine_grid(parity, size, align_corners, dtype):
    n = len(size) - 2
    theta = np.random.default_rng(n).standard_normal((2, n, n + 1))
    parity.check(
        lambda t: tn.affine_grid(t, size, align_corners), lambda t: F.affine_grid(t, list(size), align_corners), theta,
        dtype=dtype,
    )  # fmt: skip


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_spatial_transformer(parity, padding_mode, align_corners):
    """From the map to the image, with both gradients (Jaderberg et al. 2015)."""
    theta = np.random.default_rng(3).standard_normal((2, 2, 3))
    parity.check(
        lambda x, t: tn.grid_sample(x, tn.affine_grid(t, (2, 3, 6, 5), align_corners), "bilinear", padding_mode,
                                    align_corners),
        lambda x, t: F.grid_sample(x, F.affine_grid(t, [2, 3, 6, 5], align_corners), "bilinear", padding_mode,
                                   align_corners),
        planes(2), theta, dtype="float64",
    )  # fmt: skip


# ---------------------------------------------------------------------- pixels, channels, layers


@DTYPES
@pytest.mark.parametrize("shape", [(2, 12, 6, 4), (12, 4, 6), (2, 3, 12, 2, 2)])
def test_shuffles(parity, shape, dtype):
    x = np.random.default_rng(len(shape)).standard_normal(shape)
    parity.check(lambda a: tn.pixel_shuffle(a, 2), lambda a: F.pixel_shuffle(a, 2), x, dtype=dtype)
    parity.check(lambda a: tn.pixel_unshuffle(a, 2), lambda a: F.pixel_unshuffle(a, 2), x, dtype=dtype)
    if shape[1] % 3 == 0:
        parity.check(lambda a: tn.channel_shuffle(a, 3), lambda a: F.channel_shuffle(a, 3), x, dtype=dtype)


LAYERS = [
    ("Upsample", {"scale_factor": 2}),
    ("Upsample", {"size": (3, 9), "mode": "bilinear"}),
    ("Upsample", {"scale_factor": 1.7, "mode": "bicubic", "align_corners": True}),
    ("Upsample", {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True}),
    ("UpsamplingNearest2d", {"size": 9}),
    ("UpsamplingNearest2d", {"scale_factor": 3}),
    ("UpsamplingBilinear2d", {"scale_factor": 2}),
    ("UpsamplingBilinear2d", {"size": (3, 9)}),
    ("PixelShuffle", {"upscale_factor": 2}),
    ("PixelUnshuffle", {"downscale_factor": 2}),
    ("ChannelShuffle", {"groups": 2}),
]  # fmt: skip


@DTYPES
@pytest.mark.parametrize(("name", "options"), LAYERS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(LAYERS)])
def test_layers(parity, name, options, dtype):
    x = np.random.default_rng(5).standard_normal((2, 4, 4, 6))
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    parity.check(ours, theirs, x, dtype=dtype)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == []
