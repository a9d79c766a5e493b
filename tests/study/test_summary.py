"""The summary of a network: rows, counts, work and memory."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.study import summary


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2, 2),
        nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2, 2),
        nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10),
    )  # fmt: skip


def test_lenet():
    found = summary(lenet(), (1, 1, 28, 28))
    assert found.parameters == found.trainable == 61_706
    # 6·28²·25 + 16·10²·150 + 400·120 + 120·84 + 84·10
    assert found.multiply_adds == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert found.parameter_bytes == 4 * 61_706
    shapes = [row.output_shape for row in found.rows[1:]]
    assert shapes[0] == (1, 6, 28, 28)
    assert shapes[3] == (1, 16, 10, 10)
    assert shapes[-1] == (1, 10)
    assert len(found.rows) == 13
    text = str(found)
    assert "61,706" in text
    assert "416,520 for input (1, 1, 28, 28)" in text


def test_shared_modules_and_frozen_parameters():
    layer = nn.Linear(4, 4)
    net = nn.Sequential(layer, nn.Tanh(), layer)
    layer.bias.requires_grad_(False)
    found = summary(net, (2, 4))
    assert found.parameters == 20
    assert found.trainable == 16
    assert [row.again for row in found.rows] == [False, False, False, True]
    assert found.multiply_adds == 2 * 2 * 16
    assert "4 frozen" in str(found)


def test_work_of_attention_and_scans():
    class Attend(nn.Module):
        def forward(self, x):
            return tn.scaled_dot_product_attention(x, x, x)

    assert summary(Attend(), (2, 3, 5, 4)).multiply_adds == 2 * (2 * 3 * 5 * 5 * 4)
    assert summary(nn.LSTM(3, 4), (7, 2, 3)).multiply_adds == 7 * 2 * (4 * 4 * 3 + 4 * 4 * 4)
    assert summary(nn.GRU(3, 4), (7, 2, 3)).multiply_adds == 7 * 2 * (3 * 4 * 3 + 3 * 4 * 4)
    assert summary(nn.RNN(3, 4), (7, 2, 3)).multiply_adds == 7 * 2 * (4 * 3 + 4 * 4)
    assert summary(nn.ConvTranspose2d(3, 5, 2, stride=2), (1, 3, 4, 4)).multiply_adds == 16 * 3 * 5 * 4


def test_memory_kept_for_backward():
    """tanh keeps its value; the last Linear keeps its input, which is that same buffer; the first keeps x."""
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    assert summary(net, (10, 8)).kept_bytes == 4 * (10 * 8 + 10 * 16)


def test_the_model_is_left_as_it_was():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    net[2].eval()
    before = net[1].running_mean.numpy().copy()
    summary(net, (4, 3))
    assert [m.training for m in net] == [True, True, False]
    assert np.array_equal(net[1].running_mean.numpy(), before)
    assert not net[0]._hooked
    with pytest.raises(tn.ShapeError):
        summary(net, (4, 5))
    assert not net[0]._hooked


def test_bad_calls():
    with pytest.raises(tn.DTypeError, match="expected a Module"):
        summary(lambda x: x, (1, 2))
    with pytest.raises(tn.DTypeError, match="input 0 is str"):
        summary(lenet(), "image")
