"""Running metrics. They keep plain numbers, never a Tensor, so no graph stays alive."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.tensor import Tensor, to_numpy


class Metric:
    """A number that is gathered batch by batch. A subclass says what a batch adds to ``total`` and ``count``.

    ``higher_is_better`` decides what early stopping takes for an improvement.

    >>> class Largest(tn.training.Metric):
    ...     name = "largest"
    ...
    ...     def update(self, output, target):
    ...         self.total, self.count = max(self.total, output.max().item()), 1
    >>> metric = Largest()
    >>> metric.update(tn.tensor([1.0, 3.0]), None)
    >>> metric.compute()
    3.0
    """

    name = "metric"
    higher_is_better = True

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0.0

    def update(self, output: Tensor, target: Any) -> None:
        """Take in one batch of outputs and targets."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    def compute(self) -> float:
        """The metric of all batches since :meth:`reset`; NaN when there was none."""
        return self.total / self.count if self.count else float("nan")

    def reset(self) -> None:
        """Forget all batches."""
        self.total = self.count = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total, self.count = state["total"], state["count"]


class Mean(Metric):
    """The mean of numbers, each with the weight it comes with.

    >>> mean = tn.training.Mean()
    >>> mean.add(1.0, weight=3)
    >>> mean.add(5.0)
    >>> mean.compute()
    2.0
    """

    name = "loss"
    higher_is_better = False

    def add(self, value: float, weight: float = 1.0) -> None:
        """Take in a mean ``value`` over ``weight`` examples."""
        self.total += value * weight
        self.count += weight


class Accuracy(Metric):
    """The part of targets (class indices) that the largest output along ``axis`` hits.

    >>> accuracy = tn.training.Accuracy()
    >>> accuracy.update(tn.tensor([[0.9, 0.1], [0.8, 0.2]]), tn.tensor([0, 1]))
    >>> accuracy.compute()
    0.5
    """

    name = "accuracy"

    def __init__(self, axis: int = -1):
        super().__init__()
        self.axis = count(axis, "Accuracy: axis", -64)

    def update(self, output: Tensor, target: Any) -> None:
        if not -output.ndim <= self.axis < output.ndim:
            raise ShapeError(f"Accuracy: axis is {self.axis}, the outputs have shape {output.shape}")
        predicted = to_numpy(output.data.argmax(axis=self.axis))
        wanted = to_numpy(target.data) if type(target) is Tensor else np.asarray(target)
        if predicted.shape != wanted.shape:
            raise ShapeError(
                f"Accuracy: outputs of shape {output.shape} give classes of shape {predicted.shape} along axis "
                f"{self.axis}, the targets have shape {wanted.shape}"
            )
        self.total += int((predicted == wanted).sum())
        self.count += wanted.size
