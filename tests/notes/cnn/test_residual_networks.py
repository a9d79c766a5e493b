"""Residual networks: what their facts do not say."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.notes.cnn.resnet_basic import (
    OPTIONS,
    BasicBlock,
    book_resnet,
    resnet,
    zero_last_gamma,
)
from tinygrad_notes.notes.cnn.shortcut_options import smallest_gain
from tinygrad_notes.notes.note import multiply_adds, without_memory


def test_published_weights_fit_by_their_names():
    names = set(without_memory(resnet, 50).state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer1.0.downsample.1.bias"} <= names
    assert {"layer3.5.conv3.weight", "layer4.2.bn3.weight", "fc.weight", "fc.bias"} <= names
    assert len(names) == 53 * 6 + 2  # each convolution with five tensors of its normalisation


def test_the_book_has_biases_and_no_normalised_projection():
    names = set(without_memory(book_resnet).state_dict())
    assert {"conv1.bias", "layer2.0.downsample.weight", "layer2.0.downsample.bias"} <= names


def test_a_plain_block_has_no_way_around():
    tn.manual_seed(0)
    plain = BasicBlock(4, 4, shortcut=None)
    zero_last_gamma(plain)
    assert not plain(tn.ones((2, 4, 5, 5))).data.any()


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_changes_what_a_block_says(option):
    tn.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype(np.float32)
    block = BasicBlock(4, 8, 2, OPTIONS[option])
    with_shortcut = block(x).data
    assert with_shortcut.shape == (2, 8, 3, 3)
    block.downsample = None
    assert np.abs(block(x).data - with_shortcut).max() > 0.1


def test_option_a_reads_every_second_pixel():
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    y = OPTIONS["A"](2, 3, 2)(tn.tensor(x)).data
    assert y[0].tolist() == [[[0, 2], [8, 10]], [[16, 18], [24, 26]], [[0, 0], [0, 0]]]


@pytest.mark.parametrize(("layers", "billions"), [(50, 4.089), (152, 11.514)])
def test_an_image_costs_the_multiply_adds_that_torchvision_states(layers, billions):
    assert multiply_adds(without_memory(resnet, layers), (1, 3, 224, 224)) == billions


def test_matrices_shrink_some_gradient_and_the_more_the_deeper():
    tn.manual_seed(0)
    assert 1 > smallest_gain(2, identity=False) > 100 * smallest_gain(8, identity=False) > 0
