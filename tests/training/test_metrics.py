"""Running metrics."""

import gc
import math
import weakref

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.training import Accuracy, Mean, Metric


def test_accuracy_over_batches_is_the_accuracy_of_all():
    rng = np.random.default_rng(0)
    outputs, targets = rng.standard_normal((50, 4)), rng.integers(0, 4, 50)
    metric = Accuracy()
    for part in (slice(0, 30), slice(30, 33), slice(33, 50)):
        metric.update(tn.tensor(outputs[part]), tn.tensor(targets[part]))
    assert metric.compute() == np.mean(outputs.argmax(1) == targets)
    metric.reset()
    assert math.isnan(metric.compute())


def test_accuracy_over_pixels_takes_classes_along_its_axis():
    outputs = np.zeros((2, 3, 4, 4))
    outputs[:, 1] = 1
    metric = Accuracy(axis=1)
    metric.update(tn.tensor(outputs), np.ones((2, 4, 4), np.int64))
    assert metric.compute() == 1.0


def test_accuracy_refuses_targets_of_another_shape():
    with pytest.raises(ShapeError, match=r"\(2,\).*\(2, 1\)"):
        Accuracy().update(tn.zeros((2, 3)), tn.zeros((2, 1), dtype=tn.int64))


def test_a_mean_counts_each_value_by_its_weight():
    mean = Mean()
    mean.add(1.0, 3)
    mean.add(5.0, 1)
    assert mean.compute() == 2.0
    copy = Mean()
    copy.load_state_dict(mean.state_dict())
    assert copy.compute() == 2.0


def test_no_graph_is_held():
    x = tn.ones((3, 2), requires_grad=True)
    output = x * 2
    node = weakref.ref(output.node)
    metric = Accuracy()
    gc.disable()
    try:
        metric.update(output, tn.tensor([0, 1, 0]))
        del output
        assert node() is None
    finally:
        gc.enable()


def test_a_metric_must_say_what_a_batch_adds():
    with pytest.raises(NotImplementedError, match="Metric does not define update"):
        Metric().update(tn.zeros(1), None)
