"""Samples of the normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.ops.normalization import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from tinygrad_notes.study.samples.sample import Sample, normal, positive, sample

MEAN, VARIANCE = np.array([0.3, -0.2, 0.1]), np.array([0.5, 2.0, 1.5])


def _standard(values: np.ndarray, eps: float) -> np.ndarray:
    return (values - values.mean()) / np.sqrt(values.var() + eps)


def _by_channel(x: np.ndarray, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> np.ndarray:
    """One channel after the other, by the statistics of the batch."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        y[:, c] = _standard(x[:, c], eps)
        y[:, c] = y[:, c] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
    return y


def _by_buffers(x: np.ndarray, weight: Any = None, bias: Any = None) -> np.ndarray:
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        y[:, c] = (x[:, c] - MEAN[c]) / np.sqrt(VARIANCE[c] + 1e-5)
        y[:, c] = y[:, c] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
    return y


def _by_example(x: np.ndarray, axes: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> np.ndarray:
    """One example after the other; its last ``axes`` axes are normalised."""
    y = np.empty_like(x)
    for index in np.ndindex(x.shape[: x.ndim - axes]):
        y[index] = _standard(x[index], eps) * (1 if weight is None else weight) + (0 if bias is None else bias)
    return y


def _training(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    return batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def _evaluating(x: Any, weight: Any = None, bias: Any = None) -> Any:
    like = x.data
    mean, variance = (np.asarray(b, like=like).astype(like.dtype) for b in (MEAN, VARIANCE))
    return batch_norm(x, mean, variance, weight, bias)


def _batch_norm() -> list[Sample]:
    weight, bias = positive(1, 3), normal(2, 3)
    images, rows = normal(3, 4, 3, 2, 2), normal(4, 5, 3)
    return [
        sample("batch_norm", images, weight, bias, label="images", call=_training, reference=_by_channel),
        sample("batch_norm", images, label="plain", call=_training, reference=_by_channel),
        sample("batch_norm", rows, weight, label="weight only", call=_training, reference=_by_channel),
        sample("batch_norm", rows, bias, label="bias only", call=lambda x, b: _training(x, None, b),
               reference=lambda x, b: _by_channel(x, None, b)),
        sample("batch_norm", normal(5, 1, 3, 4), weight, bias, label="one signal", call=_training,
               reference=_by_channel),
        sample("batch_norm", rows + 100, weight, bias, label="far from zero",
               call=lambda x, w, b: _training(x, w, b, 0.1),
               reference=lambda x, w, b: _by_channel(x, w, b, 0.1)),
        sample("batch_norm", images[::-2, :, ::-1].swapaxes(2, 3), weight, bias, label="strided", call=_training,
               reference=_by_channel),
        sample("batch_norm", images, weight, bias, label="evaluating", call=_evaluating, reference=_by_buffers),
        sample("batch_norm", rows, label="evaluating plain", call=_evaluating, reference=_by_buffers),
        sample("batch_norm", rows[:1], bias, label="evaluating one example", call=lambda x, b: _evaluating(x, None, b),
               reference=lambda x, b: _by_buffers(x, None, b)),
        sample("batch_norm", rows[:0], weight, bias, label="evaluating nothing", call=_evaluating,
               reference=_by_buffers),
        sample("batch_norm", rows[:, :0], label="no channels", call=_training, reference=_by_channel),
    ]  # fmt: skip


def _layer_norm() -> list[Sample]:
    x, weight, bias = normal(6, 2, 3, 4), positive(7, 4), normal(8, 4)
    return [
        sample("layer_norm", x, weight, bias, call=lambda x, w, b: layer_norm(x, 4, w, b),
               reference=lambda x, w, b: _by_example(x, 1, w, b)),
        sample("layer_norm", x, label="plain", call=lambda x: layer_norm(x, (4,)),
               reference=lambda x: _by_example(x, 1)),
        sample("layer_norm", x, positive(9, 3, 4), label="two axes",
               call=lambda x, w: layer_norm(x, (3, 4), w, eps=0.1),
               reference=lambda x, w: _by_example(x, 2, w, eps=0.1)),
        sample("layer_norm", x, normal(10, 2, 3, 4), label="all axes, bias only",
               call=lambda x, b: layer_norm(x, [2, 3, 4], None, b), reference=lambda x, b: _by_example(x, 3, None, b)),
        sample("layer_norm", normal(11, 5), label="one example", call=lambda x: layer_norm(x, 5),
               reference=lambda x: _by_example(x, 1)),
        sample("layer_norm", normal(12, 3, 1), positive(13, 1), label="one element",
               call=lambda x, w: layer_norm(x, 1, w), reference=lambda x, w: np.zeros_like(x)),
        sample("layer_norm", x[::-1, :, ::2], weight[::2], bias[::-2], label="strided",
               call=lambda x, w, b: layer_norm(x, 2, w, b), reference=lambda x, w, b: _by_example(x, 1, w, b)),
        sample("layer_norm", x[:0], weight, bias, label="empty batch", call=lambda x, w, b: layer_norm(x, 4, w, b),
               reference=lambda x, w, b: x),
        sample("layer_norm", x[:, :, :0], label="empty rows", call=lambda x: layer_norm(x, 0), reference=lambda x: x),
    ]  # fmt: skip


def _by_group(x: np.ndarray, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> np.ndarray:
    """One example and one group of channels after the other."""
    y, size = np.empty_like(x), x.shape[1] // groups
    for n in range(len(x)):
        for first in range(0, x.shape[1], max(size, 1)):
            y[n, first : first + size] = _standard(x[n, first : first + size], eps)
        for c in range(x.shape[1]):
            y[n, c] = y[n, c] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
    return y


def _group_norm() -> list[Sample]:
    x, weight, bias = normal(20, 2, 4, 3), positive(21, 4), normal(22, 4)
    images = normal(23, 4, 4, 2, 3)[::-2, :, :, ::-1]
    return [
        sample("group_norm", x, weight, bias, label="two groups", call=lambda x, w, b: group_norm(x, 2, w, b),
               reference=lambda x, w, b: _by_group(x, 2, w, b)),
        sample("group_norm", images, weight[::-1], bias, label="strided images",
               call=lambda x, w, b: group_norm(x, 2, w, b), reference=lambda x, w, b: _by_group(x, 2, w, b)),
        sample("group_norm", x[:, :, 0], label="plain rows", call=lambda x: group_norm(x, 2),
               reference=lambda x: _by_group(x, 2)),
        sample("group_norm", x[:1], weight, label="one group, weight only",
               call=lambda x, w: group_norm(x, 1, w, eps=0.1), reference=lambda x, w: _by_group(x, 1, w, eps=0.1)),
        sample("group_norm", x[:, :, :1], weight, bias, label="groups of one value",
               call=lambda x, w, b: group_norm(x, 4, w, b), reference=lambda x, w, b: np.zeros_like(x) + b[:, None]),
        sample("group_norm", x[:0], bias, label="no examples", call=lambda x, b: group_norm(x, 2, None, b),
               reference=lambda x, b: x),
        sample("group_norm", x[:, :, :0], weight, label="no values", call=lambda x, w: group_norm(x, 2, w),
               reference=lambda x, w: x),
    ]  # fmt: skip


def _instance_by_buffers(x: Any) -> Any:
    like = x.data
    mean, variance = (np.asarray(b, like=like).astype(like.dtype) for b in (MEAN, VARIANCE))
    return instance_norm(x, mean, variance, use_input_stats=False)


def _instance_norm() -> list[Sample]:
    x, weight, bias = normal(24, 2, 3, 2, 2), positive(25, 3), normal(26, 3)
    return [
        sample("instance_norm", x, weight, bias, call=lambda x, w, b: instance_norm(x, None, None, w, b),
               reference=lambda x, w, b: _by_group(x, 3, w, b)),
        sample("instance_norm", x[:, :, 0], label="plain signals", eps=0.1,
               reference=lambda x: _by_group(x, 3, eps=0.1)),
        sample("instance_norm", x, label="by buffers", call=_instance_by_buffers, reference=_by_buffers),
        sample("instance_norm", x[:, :0], label="no channels", reference=lambda x: x),
    ]  # fmt: skip


def _by_size(x: np.ndarray, axes: int, weight: Any = None, eps: float = float(np.finfo(np.float64).eps)) -> np.ndarray:
    """One example after the other; its last ``axes`` axes are divided by their root mean square."""
    y = np.empty_like(x)
    for index in np.ndindex(x.shape[: x.ndim - axes]):
        mean = sum(v * v for v in x[index].ravel()) / max(x[index].size, 1)
        y[index] = x[index] / np.sqrt(mean + eps) * (1 if weight is None else weight)
    return y


def _rms_norm() -> list[Sample]:
    x, weight = normal(27, 2, 3, 4), positive(28, 4)
    return [
        sample("rms_norm", x, weight, call=lambda x, w: rms_norm(x, 4, w), reference=lambda x, w: _by_size(x, 1, w)),
        sample("rms_norm", x, label="plain", call=lambda x: rms_norm(x, (4,), None, 0.1),
               reference=lambda x: _by_size(x, 1, eps=0.1)),
        sample("rms_norm", x[::-1, :, ::-2], positive(29, 3, 2), label="two axes, strided",
               call=lambda x, w: rms_norm(x, (3, 2), w, 1e-3), reference=lambda x, w: _by_size(x, 2, w, 1e-3)),
        sample("rms_norm", normal(30, 3, 1), label="one element", call=lambda x: rms_norm(x, 1, None, 1.0),
               reference=lambda x: x / np.sqrt(x * x + 1)),
        sample("rms_norm", x[:0], weight, label="empty batch", call=lambda x, w: rms_norm(x, 4, w),
               reference=lambda x, w: x),
        sample("rms_norm", x[:, :, :0], label="empty rows", call=lambda x: rms_norm(x, 0), reference=lambda x: x),
    ]  # fmt: skip


def _by_neighbours(x: np.ndarray, size: int, alpha: float, beta: float, k: float) -> np.ndarray:
    """Channel after channel, divided by the channels around it."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        window = x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * (window**2).sum(axis=1)) ** beta
    return y


def _local_response_norm() -> list[Sample]:
    x = normal(31, 2, 5, 3)
    cases = [("odd", x, 3, 0.5, 0.75, 1.0), ("even", x, 4, 0.5, 0.75, 2.0), ("default", x, 5, 1e-4, 0.75, 1.0),
             ("strided images", normal(32, 2, 3, 4, 2)[:, ::-1, ::2], 2, 1.0, 1.0, 1.0),
             ("wider than the channels", x[:, :2], 9, 2.0, 0.5, 1.0), ("one channel", x[:, :1], 1, 2.0, 0.5, 1.0),
             ("empty", x[:0], 3, 0.5, 0.75, 1.0), ("no channels", x[:, :0], 3, 0.5, 0.75, 1.0)]  # fmt: skip
    return [
        sample("local_response_norm", values, label=label,
               call=lambda x, o=options: local_response_norm(x, *o),
               reference=lambda x, o=options: _by_neighbours(x, *o))
        for label, values, *options in cases
    ]  # fmt: skip


SAMPLES = [*_batch_norm(), *_layer_norm(), *_group_norm(), *_instance_norm(), *_rms_norm(), *_local_response_norm()]
