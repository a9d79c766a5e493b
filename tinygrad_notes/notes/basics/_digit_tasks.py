"""Parts of the digits that notes on transfer share: some classes only, few labels only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinygrad_notes import nn
from tinygrad_notes.data import Digits, TensorDataset
from tinygrad_notes.notes.classification import outputs_on_test
from tinygrad_notes.training.probes import few_labels

OLD, NEW = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)


def of_classes(data: Digits, classes: Sequence[int]) -> Digits:
    """The digits of these classes in all three parts, their labels counted from 0 in the order of ``classes``."""

    def part(dataset: TensorDataset) -> TensorDataset:
        images, labels = (field.numpy() for field in dataset.tensors)
        kept = np.isin(labels, classes)
        return TensorDataset(images[kept], np.searchsorted(classes, labels[kept]))

    return replace(data, train=part(data.train), validation=part(data.validation), test=part(data.test))


def with_few_labels(data: Digits, number: int, seed: int) -> Digits:
    """``number`` training images alone, each class as often; validation and test as they were."""
    images, labels = (field.numpy() for field in data.train.tensors)
    chosen = few_labels(labels, number, seed)
    return replace(data, train=TensorDataset(images[chosen], labels[chosen]))


def accuracy_on_test(model: nn.Module, data: Digits, device: str | None = None) -> float:
    """The part of the test images whose class ``model`` says."""
    logits, labels = outputs_on_test(model, data, device)
    return float((logits.argmax(axis=1) == labels).mean())
