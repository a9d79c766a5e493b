"""What random calls found, each as a test of its own."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim


def test_no_sample_of_no_weights():
    assert tn.multinomial(np.zeros(0), 0).shape == (0,)
    assert tn.multinomial(np.zeros((0, 3)), 2).shape == (0, 2)


@pytest.mark.parametrize("axes", [(1, 0), (0, 5), (-2, -1)])
def test_axes_of_a_flattened_number_are_checked(axes):
    assert tn.flatten(tn.tensor(5.0)).tolist() == [5.0]
    with pytest.raises(tn.ShapeError, match=r"flatten: axis -?\d is out of bounds for 1 axes"):
        tn.flatten(tn.tensor(5.0), *axes)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [0, -1, (0,)])
def test_a_number_has_no_axis_to_sum_exponentials_over(axis, keepdims):
    with pytest.raises(tn.ShapeError, match="logsumexp: axis"):
        tn.logsumexp(tn.tensor(1.0), axis, keepdims)


def test_a_histogram_needs_edges():
    with pytest.raises(tn.ShapeError, match=r"histogram: bins have shape \(0,\), expected one row of edges"):
        tn.histogram([1.0], [])


def test_true_is_no_size_of_an_identity():
    with pytest.raises(tn.DTypeError, match="eye: n_rows is True, expected an integer"):
        tn.eye(True)


def test_a_box_far_beyond_the_image_is_refused_before_its_bins_are_made():
    far = tn.tensor([[0.0, 0.0, 0.0, 1e30, 1.0]])
    for pool in (tn.roi_pool, tn.roi_align):
        with pytest.raises(tn.ShapeError, match=rf"{pool.__name__}: boxes have a corner at 1e\+30 elements"):
            pool(tn.ones((1, 1, 4, 4)), far, 2)


@pytest.mark.parametrize("value", [-1, 300])
def test_a_number_that_the_dtype_cannot_hold_fills_nothing(value):
    """300 became 44."""
    with pytest.raises(tn.DTypeError, match=f"masked_fill: where: Python integer {value} out of bounds for uint8"):
        tn.masked_fill(np.array([4, 5], np.uint8), [True, False], value)
    with pytest.raises(tn.DTypeError, match="pad: constant_values is"):
        tn.pad(np.array([4, 5], np.uint8), 1, constant_values=value)
    with pytest.raises(tn.DTypeError, match=f"where: Python integer {value} out of bounds for uint8"):
        tn.where([True, False], value, np.array([4, 5], np.uint8))


def test_filling_keeps_booleans():
    with pytest.raises(tn.DTypeError, match="masked_fill: value is 0, which a of bool cannot hold"):
        tn.masked_fill(np.array([True, False]), [True, False], 0)
    assert tn.masked_fill(np.array([True, False]), [True, False], False).tolist() == [False, False]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: tn.max_pool2d(x, 2, ceil_mode="no"),
        lambda x: tn.avg_pool2d(x, 2, count_include_pad="no"),
        lambda x: tn.interpolate(x, 3, mode="bilinear", align_corners="no"),
        lambda x: tn.svd(x, "no"),
        lambda x: tn.median(x, 0, "no"),
        lambda x: tn.poisson_nll_loss(x, x, log_input="no"),
        lambda x: tn.kl_div(x, x, log_target="no"),
        lambda x: tn.gumbel_softmax(x, hard="no"),
        lambda x: nn.TripletMarginLoss(swap="no"),
        lambda x: optim.SGD([tn.ones(2, requires_grad=True)], 0.1, maximize="no"),
    ],
)
def test_a_word_is_no_flag(call):
    """ "no" counted as true."""
    with pytest.raises(tn.DTypeError, match="is 'no', expected True or False"):
        call(tn.ones((1, 1, 4, 4)))
