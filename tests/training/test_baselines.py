"""Baselines and pictures."""

import numpy as np
import pytest

from tinygrad_notes.training.baselines import logistic_regression, majority, nearest_neighbour


def blobs(n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return (np.eye(3)[labels] * 6 + rng.standard_normal((n, 3))).reshape(n, 1, 3).astype(np.float32), labels


def test_the_majority_is_of_the_training_labels():
    assert majority(np.array([1, 1, 0]), np.array([0, 0, 1, 0])) == 0.25


@pytest.mark.parametrize("baseline", [logistic_regression, nearest_neighbour])
def test_separate_blobs_are_told_apart(baseline):
    pytest.importorskip("sklearn")
    assert baseline(*blobs(150, 0), *blobs(150, 1)) > 0.95
    x, y = blobs(60, 0)
    assert baseline(x, y, x, (y + 1) % 3) < 0.05


def test_the_nearest_neighbour_is_the_nearest():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    x, y, x_test, y_test = rng.random((40, 2)), rng.integers(0, 4, 40), rng.random((30, 2)), rng.integers(0, 4, 30)
    nearest = ((x_test[:, None] - x[None]) ** 2).sum(2).argmin(1)
    assert nearest_neighbour(x, y, x_test, y_test) == np.mean(y[nearest] == y_test)
