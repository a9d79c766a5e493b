"""Layers as functions: softmax, embedding, attention, norms, and losses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import special

import tinygrad_notes as tn
from tests.fuzz.arrays import as_axes, looked_up
from tests.fuzz.draw import Draw, Entry, array, like, mostly, nonsense, some
from tinygrad_notes import Tensor

weights = st.sampled_from([0.5, 1.0, 0, 2, -1.0, math.nan, "a", None, True])


def number(value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    if least > -math.inf and not (math.isfinite(value) and least <= value <= most):
        raise ValueError(value)
    return value


def floats(a: Any) -> np.ndarray:
    return a.astype(np.float64)


def maybe(draw: Draw, shape: tuple[int, ...]) -> np.ndarray | None:
    """None, or an array of nearly this shape."""
    return array(draw, mostly(draw, shape, st.just(like(draw, shape)))) if draw(st.booleans()) else None


# ---------------------------------------------------------------------- linear maps, softmax, attention


def np_linear(x: Any, weight: Any, bias: Any) -> Any:
    if x.ndim < 1 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ValueError(x.shape)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(bias.shape)
    return floats(x) @ floats(weight).T + (0 if bias is None else bias)


def affine(draw: Draw) -> tuple:
    x = array(draw)
    return x, array(draw, like(draw, (2, *x.shape[-1:]))), maybe(draw, (2,))


def along(function: Callable[..., Any]) -> Callable[..., Any]:
    def reference(x: Any, axis: Any) -> Any:
        if type(axis) is not int or not -x.ndim <= axis < x.ndim:
            raise ValueError(axis)
        return function(floats(x), axis=axis) if x.size else floats(x)

    return reference


def np_embedding(indices: Any, weight: Any) -> Any:
    if weight.ndim != 2 or indices.dtype.kind != "i":
        raise TypeError(indices)
    if indices.size and not 0 <= indices.min() <= indices.max() < len(weight):
        raise IndexError(indices)
    return weight[indices]


def np_attention(q: Any, k: Any, v: Any, mask: Any) -> Any:
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError("operands")
    leading = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    full = (*leading, q.shape[-2], k.shape[-2])
    if mask is not None and (mask.dtype.kind == "i" or np.broadcast_shapes(mask.shape, full) != full):
        raise ValueError("mask")
    scores = floats(q) @ np.swapaxes(floats(k), -1, -2) / math.sqrt(q.shape[-1]) if q.shape[-1] else np.zeros(full)
    scores = np.broadcast_to(scores, full) + (0 if mask is None else mask)
    share = special.softmax(scores, -1) if scores.size else scores
    return np.broadcast_to(share @ floats(v), (*leading, q.shape[-2], v.shape[-1]))


def attention(draw: Draw) -> tuple:
    q = array(draw)
    k = array(draw, like(draw, q.shape))
    mask = array(draw, like(draw, (*q.shape[:-1], *k.shape[-2:-1]))) if draw(st.booleans()) else None
    return q, k, array(draw, like(draw, k.shape)), mask


# ---------------------------------------------------------------------- norms


def scaled(value: np.ndarray, weight: Any, bias: Any, shape: tuple[int, ...], at: tuple[int, ...]) -> np.ndarray:
    for a in (weight, bias):
        if a is not None and a.shape != shape:
            raise ValueError(a.shape)
    value = value if weight is None else value * weight.reshape(at)
    return value if bias is None else value + bias.reshape(at)


def standard(x: np.ndarray, axis: tuple[int, ...], eps: float) -> np.ndarray:
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps) if x.size else x


def last(x: np.ndarray, given: Any) -> tuple[int, ...]:
    given = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not given or any(type(n) is not int for n in given) or x.shape[-len(given) :] != given:
        raise ValueError(given)
    return given


def np_layer_norm(x: Any, shape: Any, weight: Any, bias: Any, eps: Any) -> Any:
    shape = last(x, shape)
    return scaled(standard(floats(x), tuple(range(-len(shape), 0)), number(eps, 0)), weight, bias, shape, shape)


def np_rms_norm(x: Any, shape: Any, weight: Any, eps: Any) -> Any:
    shape = last(x, shape)
    if eps is None:
        eps = np.finfo(x.dtype if x.dtype.kind == "f" else np.float32).eps
    else:
        number(eps, 0)
    a = floats(x)
    mean = (a * a).mean(tuple(range(-len(shape), 0)), keepdims=True) if a.size else a
    return scaled(a / np.sqrt(mean + eps), weight, None, shape, shape)


def np_group_norm(x: Any, groups: Any, weight: Any, bias: Any, eps: Any) -> Any:
    if type(groups) is not int or groups < 1 or x.ndim < 2 or x.shape[1] % groups:
        raise ValueError(groups)
    number(eps, 0)
    split = floats(x).reshape(x.shape[0], groups, -1) if x.size else floats(x)
    value = standard(split, (2,) if x.size else (), eps).reshape(x.shape)
    return scaled(value, weight, bias, x.shape[1:2], (-1, *(1,) * (x.ndim - 2)))


def np_batch_norm(x: Any, mean: Any, var: Any, weight: Any, bias: Any, training: Any) -> Any:
    if x.ndim < 2:
        raise ValueError(x.shape)
    channels, at = x.shape[1:2], (-1, *(1,) * (x.ndim - 2))
    for a in (mean, var):
        if a is not None and (a.shape != channels or (training and a.dtype.kind != "f")):
            raise ValueError(a)
    if training:
        axes = (0, *range(2, x.ndim))
        if x.shape[0] * math.prod(x.shape[2:]) < 2:
            raise ValueError("one value")
        value = standard(floats(x), axes, 1e-5)
    elif mean is None or var is None:
        raise ValueError("no statistics")
    else:
        value = (x - floats(mean).reshape(at)) / np.sqrt(floats(var).reshape(at) + 1e-5)
    return scaled(value, weight, bias, channels, at)


def np_local_response_norm(x: Any, size: Any, alpha: Any, beta: Any, k: Any) -> Any:
    if type(size) is not int or size < 1 or x.ndim < 3:
        raise ValueError(size)
    alpha, beta, k = number(alpha), number(beta), number(k)
    a, total = floats(x), np.zeros(x.shape)
    for c in range(x.shape[1]):
        total[:, c] = (a[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1] ** 2).sum(1) / size
    return a / (k + alpha * total) ** beta


def normalized(draw: Draw) -> tuple[np.ndarray, Any, tuple[int, ...]]:
    x = array(draw)
    shape = x.shape[draw(st.integers(0, max(x.ndim - 1, 0))) :]
    return x, mostly(draw, st.just(shape), some), shape


def layer_normed(draw: Draw) -> tuple:
    x, given, shape = normalized(draw)
    return x, given, maybe(draw, shape), maybe(draw, shape), mostly(draw, 1e-5, weights)


def rms_normed(draw: Draw) -> tuple:
    x, given, shape = normalized(draw)
    return x, given, maybe(draw, shape), mostly(draw, st.sampled_from([1e-5, None]), weights)


def channelled(draw: Draw) -> np.ndarray:
    shape = draw(st.sampled_from([(2, 4), (2, 4, 3), (1, 4, 2, 3), (0, 4, 2), (2, 2, 1), (1, 4), (4,), (2, 0, 3)]))
    return array(draw, shape)


def group_normed(draw: Draw) -> tuple:
    x = channelled(draw)
    return (
        x,
        mostly(draw, st.sampled_from([1, 2, 4]), some),
        maybe(draw, x.shape[1:2]),
        maybe(draw, x.shape[1:2]),
        mostly(draw, 1e-5, weights),
    )


def batch_normed(draw: Draw) -> tuple:
    x = channelled(draw)
    return x, *(maybe(draw, x.shape[1:2]) for _ in range(4)), draw(st.booleans())


def responded(draw: Draw) -> tuple:
    values = (mostly(draw, usual, weights) for usual in (0.5, 0.75, 1.0))
    return channelled(draw), mostly(draw, st.integers(1, 5), some), *values


def batch_norm(x: Any, mean: Any, var: Any, weight: Any, bias: Any, training: Any) -> Any:
    """On copies of the statistics, which training moves."""
    mean, var = (a if a is None else tn.clone(a) for a in (mean, var))
    return tn.batch_norm(x, mean, var, weight, bias, training)


# ---------------------------------------------------------------------- losses


def reduced(losses: np.ndarray, reduction: Any) -> Any:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction)
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.mean() if losses.size else np.nan


reductions = st.sampled_from(["mean", "sum", "none", "mean", "sum", "none", "all", None, 5])


def elementwise(formula: Callable[..., np.ndarray], check: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A loss of two operands of one shape, one of them floating."""

    def reference(a: Any, b: Any, *options: Any) -> Any:
        if a.shape != b.shape:
            raise ValueError(b.shape)
        if check is not None:
            check(a, b)
        *numbers, reduction = options
        losses = formula(floats(a), floats(b), *numbers)
        return reduced(losses, reduction)

    return reference


def is_floating(a: np.ndarray, b: np.ndarray) -> None:
    if a.dtype.kind == b.dtype.kind == "i":
        raise TypeError("integers")


def is_sign(a: np.ndarray, b: np.ndarray) -> None:
    is_floating(a, b)
    if not (np.abs(b) == 1).all():
        raise ValueError(b)


def is_probability(a: np.ndarray, b: np.ndarray) -> None:
    if b.size and not 0 <= b.min() <= b.max() <= 1:
        raise ValueError(b)


def huber(a: np.ndarray, b: np.ndarray, delta: Any) -> np.ndarray:
    if number(delta, 0) == 0:
        raise ValueError(delta)
    d = np.abs(a - b)
    return np.where(d < delta, d * d / 2, delta * (d - delta / 2))


def smooth(a: np.ndarray, b: np.ndarray, beta: Any) -> np.ndarray:
    d = np.abs(a - b)
    return np.where(d < number(beta, 0), d * d / (2 * beta or 1), d - beta / 2)


def hinge_embedding(a: np.ndarray, b: np.ndarray, margin: Any) -> np.ndarray:
    return np.where(b == 1, a, np.maximum(0, number(margin) - a))


def bce(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x) - t * x


def kl(x: np.ndarray, t: np.ndarray, log_target: Any) -> np.ndarray:
    if not isinstance(log_target, bool):
        raise TypeError(log_target)
    return np.exp(t) * (t - x) if log_target else special.xlogy(t, t) - t * x


def pairs(draw: Draw, low: int = 0, high: int = 4) -> tuple[np.ndarray, np.ndarray]:
    a = array(draw)
    b = array(draw, mostly(draw, a.shape, st.just(like(draw, a.shape))))
    drawn = draw(st.lists(st.integers(low, high), min_size=b.size, max_size=b.size))
    return a, np.array(drawn, b.dtype).reshape(b.shape)


def signs(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    a, b = pairs(draw, 0, 1)
    return a, mostly(draw, st.just(b * 2 - 1), st.just(b))


def labelled(draw: Draw) -> tuple:
    shape = draw(st.sampled_from([(3, 5), (5,), (2, 5, 2), (0, 5), (2, 3), (2, 0), (3, 5, 0), ()]))
    x = array(draw, shape)
    right = shape[:1] + shape[2:] if len(shape) > 1 else ()
    wanted = mostly(draw, right, st.just(like(draw, right)))
    size = math.prod(wanted)
    classes = shape[min(1, len(shape) - 1)] if shape else 1
    drawn = draw(st.lists(st.integers(0, max(classes - 1, 0)), min_size=size, max_size=size))
    labels = np.array(drawn, np.int64).reshape(wanted)
    if size and draw(st.integers(0, 4)) == 0:
        labels.reshape(-1)[0] = draw(st.sampled_from([-100, -1, 5, 1]))
    labels = mostly(draw, st.just(labels), st.just(labels.astype(np.float32)))
    weight = array(draw, mostly(draw, (classes,), st.just((classes + 1,)))) if draw(st.integers(0, 2)) == 0 else None
    return x, labels, weight, mostly(draw, st.sampled_from([-100, 1]), st.sampled_from(["a", 1.5, True]))


def rows_of(x: Any, labels: Any, weight: Any, ignored: Any) -> tuple:
    """Rows (N, C), labels (N,), their weights (N,) and shape; what is ignored weighs 0."""
    if x.ndim == 0 or labels.shape != (x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()):
        raise ValueError(labels.shape)
    if type(ignored) is not int or labels.dtype.kind != "i":
        raise TypeError(ignored)
    classes = x.shape[min(1, x.ndim - 1)]
    flat = labels.reshape(-1)
    if ((flat != ignored) & ((flat < 0) | (flat >= classes))).any():
        raise IndexError(flat)
    if weight is not None and weight.shape != (classes,):
        raise ValueError(weight.shape)
    rows = np.moveaxis(floats(x), min(1, x.ndim - 1), -1).reshape(flat.size, classes)
    chosen = np.where(flat == ignored, 0, flat)
    each = np.ones(flat.size) if weight is None else floats(weight)[chosen] if flat.size else np.zeros(0)
    return rows, chosen, each * (flat != ignored), labels.shape


def averaged(losses: np.ndarray, each: np.ndarray, shape: tuple[int, ...], reduction: Any) -> Any:
    if reduction == "mean":
        return losses.sum() / each.sum() if each.sum() else np.nan
    return reduced(losses.reshape(shape), reduction)


def np_nll(x: Any, labels: Any, weight: Any, ignored: Any, reduction: Any) -> Any:
    rows, chosen, each, shape = rows_of(x, labels, weight, ignored)
    losses = -rows[np.arange(len(rows)), chosen] * each if len(rows) else np.zeros(0)
    return averaged(losses, each, shape, reduction)


def np_cross_entropy(x: Any, labels: Any, weight: Any, ignored: Any, reduction: Any, smoothing: Any) -> Any:
    if x.ndim and labels.dtype.kind == "f" and labels.shape == x.shape:
        raise NotImplementedError
    rows, chosen, each, shape = rows_of(x, labels, weight, ignored)
    number(smoothing, 0, 1)
    logs = special.log_softmax(rows, -1) if rows.size else rows
    sharp = -logs[np.arange(len(rows)), chosen] * each if len(rows) else np.zeros(0)
    of_classes = np.ones(rows.shape[1]) if weight is None else floats(weight)
    counts = labels.reshape(-1) != ignored
    spread = -(logs * of_classes).sum(-1) / max(rows.shape[1], 1) * counts
    return averaged((1 - smoothing) * sharp + smoothing * spread, each, shape, reduction)


def np_ctc(logs: Any, targets: Any, inputs: list[int], lengths: list[int], blank: Any, reduction: Any) -> Any:
    """Over every path of classes of the frames: those that fold to the labels."""
    frames, n, classes = logs.shape
    if type(blank) is not int:
        raise TypeError(blank)
    if not 0 <= blank < classes or len(inputs) != n or len(lengths) != n or targets.shape[0] != n:
        raise ValueError(blank)
    if any(not 0 <= t <= frames for t in inputs) or any(not 0 <= k <= targets.shape[1] for k in lengths):
        raise ValueError(lengths)
    losses = np.zeros(n)
    for i, (t, k) in enumerate(zip(inputs, lengths)):
        wanted = targets[i, :k].tolist()
        if any(not 0 <= label < classes or label == blank for label in wanted):
            raise IndexError(wanted)
        total = -np.inf
        for path in itertools.product(range(classes), repeat=t):
            if [c for c, _ in itertools.groupby(path) if c != blank] == wanted:
                total = np.logaddexp(total, logs[np.arange(t), i, list(path)].sum() if t else 0.0)
        losses[i] = -total
    if reduction == "mean":
        return (losses / np.maximum(lengths, 1)).mean() if n else np.nan
    return reduced(losses, reduction)


def aligned(draw: Draw) -> tuple:
    frames, n, classes, longest = draw(st.integers(0, 4)), draw(st.integers(1, 2)), 3, draw(st.integers(0, 2))
    logs = special.log_softmax((np.arange(frames * n * classes) * 7 % 11 / 3).reshape(frames, n, classes), -1)
    label = st.integers(1, 2) if draw(st.integers(0, 5)) else st.integers(-1, 3)
    drawn = draw(st.lists(label, min_size=n * longest, max_size=n * longest))
    inputs = [mostly(draw, frames, st.integers(-1, 5)) for _ in range(n)]
    lengths = [mostly(draw, st.integers(0, longest), st.integers(-1, 3)) for _ in range(n)]
    targets = np.array(drawn, np.int64).reshape(n, longest)
    return logs, targets, inputs, lengths, mostly(draw, 0, st.sampled_from([-1, 3, 2, "a"])), draw(reductions)


def np_cosine(a: Any, b: Any, axis: Any) -> Any:
    a, b = np.broadcast_arrays(floats(a), floats(b))
    size = [np.maximum(np.sqrt(np.asarray(x * x).sum(as_axes(axis))), 1e-8) for x in (a, b)]
    return np.asarray(a * b).sum(as_axes(axis)) / (size[0] * size[1])


def write(a: Tensor, index: Any, values: Tensor) -> Tensor:
    a = tn.clone(a)
    a[index] = values
    return a


def np_write(a: np.ndarray, index: Any, values: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "i" and values.dtype.kind == "f":
        raise ValueError("fractions are not cut off")
    a = a.copy()
    a[index] = values
    return a


def loss(name: str, formula: Callable, drawn: Callable, *options: Any, check: Callable | None = None) -> Entry:
    """A loss with options before the reduction, of which each is mostly the usual one."""

    def arguments(draw: Draw) -> tuple:
        return *drawn(draw), *(mostly(draw, usual, weights) for usual in options), draw(reductions)

    return getattr(tn, name), elementwise(formula, check), arguments


def swapped(name: str) -> Callable[..., Any]:
    """With the reduction behind the operands, where it stands before the number."""
    return lambda a, b, number, reduction: getattr(tn, name)(a, b, reduction, number)


NETWORKS: dict[str, Entry] = {
    "linear": (tn.linear, np_linear, affine),
    "softmax": (tn.softmax, along(special.softmax), lambda draw: (array(draw), draw(some))),
    "log_softmax": (tn.log_softmax, along(special.log_softmax), lambda draw: (array(draw), draw(some))),
    "softmin": (tn.softmin, along(lambda x, axis: special.softmax(-x, axis)), lambda draw: (array(draw), draw(some))),
    "embedding": (tn.embedding, np_embedding, lambda draw: (
        array(draw), array(draw, draw(st.sampled_from([(5, 2), (4, 2), (0, 2), (5,)]))))),
    "scaled_dot_product_attention": (tn.scaled_dot_product_attention, np_attention, attention),
    "cosine_similarity": (tn.cosine_similarity, np_cosine, lambda draw: (
        a := array(draw), array(draw, like(draw, a.shape)), draw(st.one_of(st.integers(-3, 2), nonsense)))),
    "setitem": (write, np_write, lambda draw: (*looked_up(draw), array(draw))),
    "layer_norm": (tn.layer_norm, np_layer_norm, layer_normed),
    "rms_norm": (tn.rms_norm, np_rms_norm, rms_normed),
    "group_norm": (tn.group_norm, np_group_norm, group_normed),
    "batch_norm": (batch_norm, np_batch_norm, batch_normed),
    "local_response_norm": (tn.local_response_norm, np_local_response_norm, responded),
    "mse_loss": loss("mse_loss", lambda a, b: (a - b) ** 2, pairs, check=is_floating),
    "l1_loss": loss("l1_loss", lambda a, b: np.abs(a - b), pairs, check=is_floating),
    "soft_margin_loss": loss("soft_margin_loss", lambda a, b: np.logaddexp(0, -b * a), signs, check=is_sign),
    "huber_loss": (swapped("huber_loss"), elementwise(huber, is_floating), loss("huber_loss", huber, pairs, 1.5)[2]),
    "smooth_l1_loss": (
        swapped("smooth_l1_loss"), elementwise(smooth, is_floating), loss("smooth_l1_loss", smooth, pairs, 1.5)[2]),
    "hinge_embedding_loss": loss("hinge_embedding_loss", hinge_embedding, signs, 2.5, check=is_sign),
    "kl_div": (swapped("kl_div"), elementwise(kl), lambda draw: (
        *pairs(draw), mostly(draw, st.booleans(), weights), draw(reductions))),
    "binary_cross_entropy_with_logits": (
        lambda a, b, reduction: tn.binary_cross_entropy_with_logits(a, b, reduction=reduction),
        elementwise(bce, is_probability),
        lambda draw: (*pairs(draw, 0, mostly(draw, 1, st.just(2))), draw(reductions))),
    "nll_loss": (tn.nll_loss, np_nll, lambda draw: (*labelled(draw), draw(reductions))),
    "cross_entropy": (tn.cross_entropy, np_cross_entropy, lambda draw: (
        *labelled(draw), draw(reductions), mostly(draw, st.sampled_from([0.0, 0.25]), weights))),
    "ctc_loss": (tn.ctc_loss, np_ctc, aligned),
}  # fmt: skip
