"""Layers of resampling and of dropout: shapes, what training changes, what they say of themselves, wrong arguments."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

PLANES = np.random.default_rng(0).standard_normal((2, 4, 6, 8)).astype(np.float32)

SHAPES = [
    (lambda: nn.Upsample(scale_factor=2), (2, 4, 12, 16)),
    (lambda: nn.Upsample((3, 5), mode="bicubic"), (2, 4, 3, 5)),
    (lambda: nn.Upsample(scale_factor=(1.5, 0.5), mode="bilinear", align_corners=True), (2, 4, 9, 4)),
    (lambda: nn.UpsamplingNearest2d(7), (2, 4, 7, 7)),
    (lambda: nn.UpsamplingBilinear2d(scale_factor=3), (2, 4, 18, 24)),
    (lambda: nn.PixelShuffle(2), (2, 1, 12, 16)),
    (lambda: nn.PixelUnshuffle(2), (2, 16, 3, 4)),
    (lambda: nn.ChannelShuffle(2), (2, 4, 6, 8)),
    (lambda: nn.Dropout2d(0.3), (2, 4, 6, 8)),
    (lambda: nn.AlphaDropout(0.3), (2, 4, 6, 8)),
]  # fmt: skip


@pytest.mark.parametrize(("build", "shape"), SHAPES, ids=[str(i) for i in range(len(SHAPES))])
def test_shapes_copies_and_states(build, shape):
    layer = build()
    tn.manual_seed(1)
    y = layer(PLANES)
    assert y.shape == shape
    assert y.dtype == np.float32
    assert not layer.state_dict()
    tn.manual_seed(1)
    np.testing.assert_array_equal(copy.deepcopy(layer)(PLANES).data, y.data)
    assert repr(layer).startswith(type(layer).__name__ + "(")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Dropout1d, (3, 40, 5)), (nn.Dropout2d, (3, 40, 2, 2)), (nn.Dropout3d, (3, 40, 1, 2, 2)),
     (nn.AlphaDropout, (30, 4)), (nn.Dropout, (30, 4))],
)  # fmt: skip
def test_training_alone_drops(layer, shape):
    x, module = tn.ones(shape), layer(0.5)
    assert module(x).tolist() != x.tolist()
    assert module.eval()(x) is x
    assert repr(module) == f"{layer.__name__}(p=0.5)"


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout])
def test_p_is_a_probability(layer):
    with pytest.raises(tn.ShapeError, match=f"{layer.__name__}: p is 1.5, expected a number from 0 to 1"):
        layer(1.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Upsample(), tn.ShapeError, "Upsample: size is None, scale_factor None, expected one of them"),
        (lambda: nn.Upsample(2, mode="cubic"), tn.ShapeError, "Upsample: mode is 'cubic', expected"),
        (lambda: nn.UpsamplingNearest2d(2, 2.0), tn.ShapeError, "UpsamplingNearest2d: size is 2, scale_factor 2.0"),
        (lambda: nn.PixelShuffle(0), tn.ShapeError, "PixelShuffle: upscale_factor is 0, expected at least 1"),
        (lambda: nn.PixelUnshuffle(1.5), tn.DTypeError, "PixelUnshuffle: downscale_factor is 1.5, expected an integer"),
        (lambda: nn.ChannelShuffle("2"), tn.DTypeError, "ChannelShuffle: groups is '2', expected an integer"),
        (lambda: nn.ChannelShuffle(3)(PLANES), tn.ShapeError, "channel_shuffle: x has 4 channels, expected a multiple"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
