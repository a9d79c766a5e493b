"""The shape after every layer."""

import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.errors import DTypeError
from tinygrad_notes.study import layer_shapes


def test_every_layer_or_those_of_some_kinds():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5))
    x = tn.zeros((4, 1, 8, 8))
    assert layer_shapes(net, x) == [(2, 6, 6), (2, 6, 6), (72,), (5,)]
    assert layer_shapes(net, x, nn.Conv2d, nn.Linear) == [(2, 6, 6), (5,)]


def test_the_layers_run_in_evaluation_mode_and_stay_in_their_own():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    layer_shapes(net, tn.ones((1, 3)))  # one example, which training would refuse
    assert net.training
    assert net[0].training
    assert net[0].num_batches_tracked.item() == 0


def test_only_a_sequence_has_an_order():
    with pytest.raises(DTypeError, match="expected a Sequential"):
        layer_shapes(nn.Linear(1, 1), tn.zeros((1, 1)))
