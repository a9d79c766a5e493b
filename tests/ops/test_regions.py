"""What samples cannot show of regions: published examples, ties, orders of boxes, wrong arguments."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 2, 6, 7))


def test_example_of_a_known_book():
    """Zhang et al., Dive into Deep Learning, 13.8."""
    boxes = [[0, 0, 0, 20, 20], [0, 0, 10, 30, 30]]
    y = tn.roi_pool(np.arange(16.0).reshape(1, 1, 4, 4), boxes, (2, 2), 0.1)
    assert y.tolist() == [[[[5.0, 6.0], [9.0, 10.0]]], [[[9.0, 11.0], [13.0, 15.0]]]]


@pytest.mark.parametrize("function", [tn.roi_pool, tn.roi_align])
def test_a_list_is_the_same_boxes(function):
    corners = [np.sort(rng.uniform(0, 6, (n, 2, 2)), 1).reshape(n, 4) for n in (2, 0, 3)]
    together = np.concatenate([np.c_[np.full(len(c), i), c] for i, c in enumerate(corners)])
    expected = function(X, together, 3).data
    np.testing.assert_array_equal(function(X, corners, 3).data, expected)
    np.testing.assert_array_equal(function(X, [tn.Tensor(c) for c in corners], 3).data, expected)


@pytest.mark.parametrize("function", [tn.roi_pool, tn.roi_align])
def test_the_order_of_boxes_is_kept(function):
    boxes = np.array([[2, 0, 0, 3, 3], [0, 1, 1, 5, 4], [2, 2, 1, 6, 5], [1, 0, 0, 6, 5]])
    one_by_one = np.concatenate([function(X, boxes[[i]], 2).data for i in range(4)])
    np.testing.assert_allclose(function(X, boxes, 2).data, one_by_one, rtol=1e-13)


def test_first_of_equals_gets_the_gradient():
    x = tn.zeros((1, 1, 2, 2), requires_grad=True)
    tn.roi_pool(x, [[0, 0, 0, 1, 1]], 1).sum().backward()
    assert x.grad.tolist() == [[[[1.0, 0.0], [0.0, 0.0]]]]
    nowhere = np.full((1, 1, 2, 2), -np.inf)
    assert tn.roi_pool(nowhere, [[0, 0, 0, 1, 1]], 1).item() == -np.inf
    assert np.isnan(tn.roi_pool(np.array([[[[1.0, np.nan]]]]), [[0, 0, 0, 1, 0]], 1).item())


def test_overlapping_boxes_add_up():
    x = tn.Tensor(X, requires_grad=True)
    tn.roi_align(x, [[0, 0, 0, 3, 3]] * 3, 2).sum().backward()
    three, x.grad = x.grad.data.copy(), None
    tn.roi_align(x, [[0, 0, 0, 3, 3]], 2).sum().backward()
    np.testing.assert_allclose(three, 3 * x.grad.data, rtol=1e-13)


def test_aligned_features_of_a_ramp():
    """A plane whose elements are their own centres, x + ½: a mean over a box inside is the box's centre."""
    plane = np.broadcast_to(np.arange(8) + 0.5, (1, 1, 8, 8))
    y = tn.roi_align(plane, [[0, 1.3, 2.0, 5.9, 6.0]], 1, sampling_ratio=3, aligned=True)
    assert y.item() == pytest.approx((1.3 + 5.9) / 2, abs=1e-12)


def test_no_boxes_have_no_gradient():
    x = tn.Tensor(X, requires_grad=True)
    for function in (tn.roi_pool, tn.roi_align):
        y = function(x, np.zeros((0, 5)), (2, 3))
        assert y.shape == (0, 2, 2, 3)
        y.sum().backward()
    assert not x.grad.data.any()


def test_suppressed_boxes():
    boxes = np.sort(rng.uniform(0, 9, (60, 2, 2)), 1).reshape(60, 4)
    scores = rng.random(60)
    for limit in (0.0, 0.2, 0.5, 1.0):
        kept = tn.nms(boxes, scores, limit)
        chosen = boxes[kept.data]
        overlap = tn.box_iou(chosen, chosen).data - np.eye(len(chosen))
        assert overlap.max() <= limit
        assert (np.diff(scores[kept.data]) <= 0).all()
        again = tn.nms(chosen, scores[kept.data], limit)
        assert again.tolist() == list(range(len(chosen)))
    assert tn.nms(boxes, scores, 1.0).shape == (60,)


def test_overlap_is_symmetric_and_at_most_one():
    boxes = np.sort(rng.uniform(0, 9, (20, 2, 2)), 1).reshape(20, 4)
    overlap = tn.box_iou(boxes, boxes).data
    np.testing.assert_array_equal(overlap, overlap.T)
    np.testing.assert_allclose(np.diag(overlap), 1)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    assert tn.box_iou([[1.0, 1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0, 1.0]]).item() == 0


def test_a_box_is_learned_by_its_overlap():
    box, target = tn.tensor([[0.0, 0.0, 2.0, 2.0]], requires_grad=True), [[1.0, 0.5, 4.0, 3.0]]
    for _ in range(300):
        (g,) = tn.grad([1 - tn.box_iou(box, target).sum()], [box])
        box = tn.Tensor(box.data - 0.05 * g.data, requires_grad=True)
    assert tn.box_iou(box, target).item() > 0.9


WRONG = [
    (lambda: tn.roi_pool(X[0], [[0, 0, 0, 1, 1]], 2), tn.ShapeError, r"roi_pool: x has shape \(2, 6, 7\), expected"),
    (lambda: tn.roi_pool(X, [[0, 0, 1, 1]], 2), tn.ShapeError, r"boxes have shape \(1, 4\), expected \(K, 5\)"),
    (lambda: tn.roi_pool(X, [[3, 0, 0, 1, 1]], 2), IndexError, "index 3 is out of range for the number of images = 3"),
    (lambda: tn.roi_align(X, [[-1, 0, 0, 1, 1]], 2), IndexError, "index -1 is out of range"),
    (lambda: tn.roi_align(X, [[0.5, 0, 0, 1, 1]], 2), tn.DTypeError, "boxes have a fraction in column 0"),
    (lambda: tn.roi_align(X, [[0, 0, 0, np.nan, 1]], 2), tn.ShapeError, "boxes have corners that are not finite"),
    (lambda: tn.roi_align(X, [np.zeros((1, 4))], 2), tn.ShapeError, "boxes are a list of 1, expected 3"),
    (lambda: tn.roi_align(X, [np.zeros((1, 5))] * 3, 2), tn.ShapeError, r"list with an array of shape \(1, 5\)"),
    (lambda: tn.roi_align(X, [[0, 0, 0, 1, 1]], 0), tn.ShapeError, "roi_align: output_size is 0, expected at least 1"),
    (lambda: tn.roi_align(X, [[0, 0, 0, 1, 1]], 2, -1.0), tn.ShapeError, "roi_align: spatial_scale is -1.0"),
    (lambda: tn.roi_align(X, [[0, 0, 0, 1, 1]], 2, 1.0, 1.5), tn.DTypeError, "sampling_ratio is 1.5, expected an int"),
    (lambda: tn.box_iou(np.zeros((2, 5)), np.zeros((2, 4))), tn.ShapeError, r"boxes1 have shape \(2, 5\), expected"),
    (lambda: tn.nms(np.zeros((2, 4)), np.zeros(3), 0.5), tn.ShapeError, r"scores have shape \(3,\), expected \(2,\)"),
    (lambda: tn.nms(np.zeros((2, 4)), np.zeros(2), -0.5), tn.ShapeError, "nms: iou_threshold is -0.5, expected"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
