"""Linear probes: what a frozen network knows, by a softmax regression on its features.

The protocol of learning without labels: the trained encoder is frozen, in evaluation mode and off the tape, and the
last affine layer alone is learned, from all labels or from a few.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import tinygrad_notes.ops as ops
from tinygrad_notes.data import DataLoader
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn import Linear, Module, init
from tinygrad_notes.ops.arguments import at_least, count
from tinygrad_notes.optim import Adam, CosineAnnealingLR
from tinygrad_notes.tensor import to_numpy
from tinygrad_notes.training.loop import predict

FEW_LABELS = 100  # of the probe that tells encoders apart where one from all labels does not
STEPS, RATE = 300, 0.1
BATCH = 256


def few_labels(labels: np.ndarray, number: int = FEW_LABELS, seed: int = 0) -> np.ndarray:
    """Indices of ``number`` examples drawn by ``seed``, each class as often as every other.

    ShapeError when the classes do not divide ``number``, or one has too few examples.

    >>> from tinygrad_notes.training.probes import few_labels
    >>> labels = np.array([0, 1, 1, 0, 1, 0])
    >>> labels[few_labels(labels, 4)].tolist()
    [0, 0, 1, 1]
    """
    labels = np.asarray(labels)
    classes, sizes = np.unique(labels, return_counts=True)
    each, left = divmod(count(number, "few_labels: number"), len(classes))
    if left or each > sizes.min():
        raise ShapeError(
            f"few_labels: number is {number}, expected a multiple of {len(classes)}, the number of classes, of which "
            f"the smallest has {sizes.min()} examples"
        )
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(np.flatnonzero(labels == one))[:each] for one in classes])


def frozen_features(encoder: Module, dataset: Any, device: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What ``encoder`` makes of every image of ``dataset``, (N, features), and the labels (N,).

    The network is in evaluation mode, so that batch normalisation does not learn either, and is left as it was.

    >>> from tinygrad_notes.training.probes import frozen_features
    >>> dataset = tn.data.TensorDataset(np.ones((3, 2, 2), np.float32), np.arange(3))
    >>> features, labels = frozen_features(nn.Flatten(), dataset)
    >>> features.shape, labels.tolist()
    ((3, 4), [0, 1, 2])
    """
    loader = DataLoader(dataset, BATCH)
    features = predict(encoder, loader, device)
    labels = np.concatenate([to_numpy(batch[-1].data) for batch in loader])
    return features.reshape(len(features), -1), labels


def linear_probe(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, penalty: float = 1e-2
) -> float:
    """Test accuracy of a softmax regression on features (N, d), standardised by the training features.

    The mean cross-entropy and ``penalty``/2 times the squared weights are minimised on all rows at once, from zeros, by
    Adam with a rate that falls as half a cosine. The problem is convex, so that nothing random is in it.

    >>> from tinygrad_notes.training.probes import linear_probe
    >>> x, y = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1])
    >>> linear_probe(x, y, x, y)
    1.0
    """
    at_least(penalty, "linear_probe: penalty", 0)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation = np.where(deviation > 1e-6 * (np.abs(mean) + 1e-6), deviation, 1)  # a feature that says nothing
    standard, standard_test = ((part - mean) / deviation for part in (train, test))
    layer = Linear(train.shape[1], int(train_labels.max()) + 1, dtype=standard.dtype)
    for parameter in layer.parameters():
        init.zeros_(parameter)
    optimizer = Adam(layer.parameters(), lr=RATE)
    schedule = CosineAnnealingLR(optimizer, T_max=STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = ops.cross_entropy(layer(standard), train_labels)
        (loss + 0.5 * penalty * (layer.weight * layer.weight).sum()).backward()
        optimizer.step()
        schedule.step()
    scores = standard_test @ layer.weight.data.T + layer.bias.data  # type: ignore[union-attr]
    return float((scores.argmax(axis=1) == test_labels).mean())


def probe(
    encoder: Module, train: Any, test: Any, labels: int | None = None, seed: int = 0, device: str | None = None
) -> float:
    """Test accuracy of a linear probe of a frozen ``encoder`` from all ``train``, or from so many ``labels`` of it.

    ``train`` and ``test`` are data sets of images and labels; ``seed`` draws the labels.

    >>> from tinygrad_notes.training.probes import probe
    >>> dataset = tn.data.TensorDataset(np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1]))
    >>> probe(nn.Identity(), dataset, dataset, labels=2)
    1.0
    """
    features, targets = frozen_features(encoder, train, device)
    if labels is not None:
        chosen = few_labels(targets, labels, seed)
        features, targets = features[chosen], targets[chosen]
    return linear_probe(features, targets, *frozen_features(encoder, test, device))


def fingerprint(module: Module) -> str:
    """A SHA-256 of all parameters and buffers: two of them are the same when no bit has changed.

    >>> from tinygrad_notes.training.probes import fingerprint
    >>> layer = nn.Linear(2, 2)
    >>> before = fingerprint(layer)
    >>> layer.bias.data[0] += 1
    >>> before == fingerprint(layer)
    False
    """
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        array = np.ascontiguousarray(to_numpy(value.data))
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
