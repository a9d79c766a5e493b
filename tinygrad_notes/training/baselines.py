"""Baselines of classification, computed on the data at hand when they are asked for: what a network has to beat.

Each takes training inputs (N, ...), training labels, test inputs and test labels, and returns the accuracy on the test.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.lazy import load


def majority(train_labels: np.ndarray, test_labels: np.ndarray) -> float:
    """Always the commonest training label.

    >>> from tinygrad_notes.training import baselines
    >>> baselines.majority(np.array([1, 1, 0]), np.array([1, 0, 1, 1]))
    0.75
    """
    classes, counts = np.unique(train_labels, return_counts=True)
    return float(np.mean(test_labels == classes[counts.argmax()]))


def logistic_regression(
    train: Any, train_labels: np.ndarray, test: Any, test_labels: np.ndarray, C: float = 1.0
) -> float:
    """scikit-learn's multinomial logistic regression on the raw inputs, its L2 penalty at 1 / ``C``, to convergence.

    >>> from tinygrad_notes.training import baselines
    >>> x, y = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1])
    >>> baselines.logistic_regression(x, y, x, y)
    1.0
    """
    model = load("sklearn.linear_model").LogisticRegression(C=C, max_iter=10_000)
    with load("threadpoolctl").threadpool_limits(1):  # the products are so small that threads only wait for each other
        return float(model.fit(_flat(train), train_labels).score(_flat(test), test_labels))


def nearest_neighbour(train: Any, train_labels: np.ndarray, test: Any, test_labels: np.ndarray) -> float:
    """The label of the nearest training input, by Euclidean distance.

    >>> from tinygrad_notes.training import baselines
    >>> x, y = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1])
    >>> baselines.nearest_neighbour(x, y, [[1.4], [3.6]], np.array([0, 1]))
    1.0
    """
    model = load("sklearn.neighbors").KNeighborsClassifier(n_neighbors=1)
    return float(model.fit(_flat(train), train_labels).score(_flat(test), test_labels))


def _flat(inputs: Any) -> np.ndarray:
    array = np.asarray(inputs)
    return array.reshape(len(array), -1).astype(np.float64)  # in float32 the solver ends where rounding leads it
