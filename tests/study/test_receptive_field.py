"""Receptive fields: by formula, in closed form, and by looking."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.study.receptive_field import (
    Window,
    empirical_receptive_field,
    influence,
    receptive_field,
    receptive_field_in_closed_form,
    windows_of,
)


def looked_up(windows):
    """The pixels that output 0 reaches, walked down set by set."""
    pixels = {0}
    for w in reversed(windows):
        pixels = {p * w.stride + w.dilation * i for p in pixels for i in range(w.kernel)}
    return max(pixels) - min(pixels) + 1


@pytest.mark.parametrize("seed", range(20))
def test_both_formulas_reach_as_far_as_the_pixels_walked_down(seed):
    random = np.random.default_rng(seed)
    windows = [Window(*map(int, row)) for row in random.integers(1, 5, (random.integers(0, 5), 3))]
    assert receptive_field(windows) == receptive_field_in_closed_form(windows) == looked_up(windows)


class Branches(nn.Module):
    """Concatenation of a 1×1 and a 5×5 path, plus the input."""

    def __init__(self):
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(2, 1, 1), nn.Conv2d(2, 1, 5, padding=2)

    def forward(self, x):
        return x + tn.concat([self.narrow(x), self.wide(x)], axis=1)


def test_where_paths_meet_the_widest_counts():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), Branches(), nn.BatchNorm2d(2), nn.Dropout(0.5))
    assert windows_of(net, (1, 1, 16, 16)) == (Window(3), Window(5))
    assert empirical_receptive_field(net, (1, 1, 16, 16)) == (7, 7)


def test_axes_are_looked_at_one_by_one():
    net = nn.Sequential(nn.Conv2d(1, 1, (1, 7), stride=(1, 2)), nn.AvgPool2d((3, 1), stride=1))
    assert windows_of(net, (1, 1, 20, 20), axis=0) == (Window(1), Window(3))
    assert windows_of(net, (1, 1, 20, 20), axis=1) == (Window(7, 2), Window(1))
    assert empirical_receptive_field(net, (1, 1, 20, 20)) == (3, 7)


def test_activations_that_saturate_and_dilated_windows_do_not_hide_pixels():
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, dilation=3), nn.Sigmoid(), nn.Conv2d(3, 3, 3), nn.Tanh(), nn.MaxPool2d(2, ceil_mode=True)
    )
    assert receptive_field(windows_of(net, (1, 1, 24, 24))) == 10
    assert empirical_receptive_field(net, (1, 1, 24, 24)) == (10, 10)


def test_the_network_itself_stays_as_it_is():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.MaxPool2d(2)).train()
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    influence(net, (1, 1, 12, 12))
    windows_of(net, (1, 1, 12, 12))
    assert [type(layer).__name__ for layer in net] == ["Conv2d", "Sigmoid", "MaxPool2d"]
    assert all(np.array_equal(before[name], value.numpy()) for name, value in net.state_dict().items())
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_field_at_the_edge_of_the_image_is_refused():
    with pytest.raises(ShapeError, match="too small"):
        empirical_receptive_field(nn.Conv2d(1, 1, 5), (1, 1, 5, 5))


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 8, 8)])
def test_one_image_is_looked_at(shape):
    with pytest.raises(ShapeError, match=r"expected \(1, channels, height, width\)"):
        influence(nn.Conv2d(1, 1, 3), shape)


def test_what_has_no_mean_or_no_map_is_refused():
    with pytest.raises(DTypeError, match="dilated"):
        influence(nn.Sequential(nn.MaxPool2d(2, dilation=2)), (1, 1, 8, 8))
    with pytest.raises(ShapeError, match="the output has shape"):
        influence(nn.Sequential(nn.Flatten()), (1, 1, 8, 8))
