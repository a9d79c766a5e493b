"""Calls of every function of the contract: small, odd shapes. On a GPU test_contract.py runs them; they are checked on
the CPU too (test_cases.py), and ``python -m tests.gpu.small`` runs a few of each under compute-sanitizer.

Arguments are in float64, and rounded to the dtype of a test. The truth is the reference in float64 of the rounded ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference

# Functions that write into lists of arrays: the arguments that are results too.
IN_PLACE = {"sgd_step": (0, 2), "adam_step": (0, 2, 3)}
# Largest difference over the largest value; scans repeat their rounding at each step.
BOUNDS = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 1e-13}
LOOSER = {"rnn_scan": 10, "lstm_scan": 10, "gru_scan": 10, "attention": 3, "ctc_loss": 10, "conv": 3}


@dataclass(frozen=True)
class Case:
    function: str
    label: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.function} {self.label}"


def table() -> list[Case]:
    rng = np.random.default_rng(8)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape)

    families = (
        elementwise,
        products,
        convolutions,
        pooling,
        rows,
        indexing,
        optimisers,
        norms,
        attention,
        scans,
        losses,
    )
    return [Case(name, label, tuple(given)) for family in families for name, label, *given in family(normal, rng)]


Row = tuple[Any, ...]
Normal = Callable[..., Any]


def slope_of_tanh(g: Any, y: Any, mask: Any) -> Any:
    return g - g * y * y


def chosen(x: Any, g: Any, mask: Any) -> Any:
    return np.where(np.logical_and(mask, g < x), np.exp(-x) * 2.0, np.maximum(x, g) / 3.0)


def elementwise(normal: Normal, rng: Any) -> Iterator[Row]:
    for shape in ((7,), (3, 1, 130), (2, 1025), (0, 3), ()):
        x, g, label = np.asarray(2 * normal(*shape)), np.asarray(normal(*shape)), f"{shape}"
        for name in ("exp", "tanh", "sigmoid", "erf", "silu"):
            yield name, label, x
        yield "silu_grad", label, g, x
        for kind in ("none", "tanh"):
            yield "gelu", f"{label} {kind}", x, kind
            yield "gelu_grad", f"{label} {kind}", g, x, kind
        for kind, function in {"slope": slope_of_tanh, "chosen": chosen}.items():
            yield "fused", f"{label} {kind}", x, function, (g, x > 0)
        for p in (0.3, 1):
            yield "dropout", f"{label} {p}", x, p, 2**62 + 11
            yield "dropout_mask", f"{label} {p}", x, p, 5


def products(normal: Normal, rng: Any) -> Iterator[Row]:
    shapes = [((5, 7), (7, 3)), ((129, 33), (33, 65)), ((64, 128), (128, 64)), ((1, 1), (1, 1)), ((4,), (4,))]
    shapes += [((4, 5), (5,)), ((5,), (5, 3)), ((3, 1, 4, 6), (2, 6, 5)), ((0, 3), (3, 2)), ((2, 0), (0, 3))]
    for a, b in shapes:
        yield "matmul", f"{a} {b}", normal(*a), normal(*b)
    yield "matmul", "transposed", normal(40, 20).T, normal(31, 40).T
    yield "matmul", "transposed batches", normal(3, 8, 20).swapaxes(1, 2), normal(3, 5, 8).swapaxes(1, 2)
    for rows, inputs, outputs in (((3, 4), 17, 9), ((), 5, 2), ((130,), 64, 33), ((0,), 3, 2)):
        for bias in (normal(outputs), None):
            label = f"{rows} {inputs} {outputs} {'bias' if bias is not None else ''}"
            yield "linear", label, normal(*rows, inputs), normal(outputs, inputs), bias


def convolutions(normal: Normal, rng: Any) -> Iterator[Row]:
    for channels, outputs, groups, size, kernel, stride, padding, dilation in (
        (3, 4, 1, (7, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
        (4, 6, 2, (9, 8), (3, 2), (2, 1), (1, 0), (1, 2)),
        (5, 5, 5, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1)),  # depthwise
        (12, 36, 1, (5, 5), (1, 1), (1, 1), (0, 0), (1, 1)),
        (2, 3, 1, (11,), (4,), (3,), (2,), (2,)),
        (2, 3, 1, (4, 5, 3), (2, 2, 2), (1, 2, 1), (0, 1, 1), (1, 1, 1)),
        (32, 48, 1, (13, 12), (3, 3), (1, 1), (1, 1), (1, 1)),
    ):
        for batch in (2, 0) if channels == 3 else (2,):
            x, weight = normal(batch, channels, *size), normal(outputs, channels // groups, *kernel)
            label = f"{x.shape} {weight.shape} {stride} {padding} {dilation} {groups}"
            window = stride, padding, dilation
            bias = normal(outputs)
            yield "im2col", label, x, kernel, *window
            columns = reference.im2col(x, kernel, *window)
            yield "col2im", label, normal(*columns.shape), size, kernel, *window
            yield "conv", label, x, weight, bias, *window, groups
            yield "conv_im2col", label, x, weight, None, *window, groups
            y = reference.conv(x, weight, None, *window, groups)
            yield "conv_weight_grad", label, x, normal(*y.shape), kernel, *window, groups
            yield "conv_transpose", label, normal(*y.shape), weight, normal(channels), *window, groups, size


def pooling(normal: Normal, rng: Any) -> Iterator[Row]:
    for shape, kernel, stride, padding, dilation, ceil in (
        ((2, 3, 7, 6), (3, 3), (2, 2), (1, 1), (1, 1), False),
        ((1, 2, 9, 8), (2, 3), (2, 2), (0, 1), (2, 1), True),
        ((2, 2, 11), (3,), (2,), (1,), (1,), True),
        ((1, 2, 4, 5, 4), (2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1), False),
        ((0, 2, 6, 6), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ):
        x, label = normal(*shape), f"{shape} {kernel} {stride} {padding} {dilation} {ceil}"
        y, indices = reference.max_pool(x, kernel, stride, padding, dilation, ceil)
        yield "max_pool", label, x, kernel, stride, padding, dilation, ceil
        yield "max_pool_grad", label, normal(*y.shape), indices, shape[2:]
        yield "max_pool_gather", label, normal(*shape), indices
        for counted in (True, False):
            z = reference.avg_pool(x, kernel, stride, padding, ceil, counted)
            yield "avg_pool", f"{label} {counted}", x, kernel, stride, padding, ceil, counted
            more = shape[2:], kernel, stride, padding, ceil, counted
            yield "avg_pool_grad", f"{label} {counted}", normal(*z.shape), *more
        size = tuple(range(3, 3 + len(kernel)))
        yield "adaptive_max_pool", label, x, size
        yield "adaptive_avg_pool", label, x, size
        yield "adaptive_avg_pool_grad", label, normal(*shape[:2], *size), shape[2:]


def rows(normal: Normal, rng: Any) -> Iterator[Row]:
    for shape, axis in (((5, 33), 1), ((2, 1100), -1), ((4, 6, 50), 1), ((40, 70), 0), ((3, 1), 1), ((0, 4), 1)):
        x, g, label = 3 * normal(*shape), normal(*shape), f"{shape} {axis}"
        for name in ("softmax", "log_softmax"):
            yield name, label, x, axis
            yield f"{name}_grad", label, g, getattr(reference, name)(x, axis), axis


def indexing(normal: Normal, rng: Any) -> Iterator[Row]:
    for count, size, shape in ((11, 5, (3, 4)), (7, 130, (260,)), (3, 4, (0,))):
        indices, label = rng.integers(0, count, shape), f"{count} {size} {shape}"
        yield "embedding", label, normal(count, size), indices
        yield "embedding_grad", label, normal(*shape, size), indices, count
        yield "scatter_add", label, normal(*shape, size), (indices,), (count, size)


def optimisers(normal: Normal, rng: Any) -> Iterator[Row]:
    shapes = [(3, 5), (1,), (0,), (257,), (2, 3, 4)]

    def several() -> list[Any]:
        return [normal(*shape) for shape in shapes]

    yield "sgd_step", "plain", several(), several(), None, 0.1, 0, 0, False, 0, False
    yield "sgd_step", "first", several(), several(), [None] * len(shapes), 0.1, 0.9, 0.1, False, 0.01, True
    yield "sgd_step", "nesterov", several(), several(), several(), 0.1, 0.9, 0, True, 0.01, False
    for decoupled in (True, False):
        squares = [np.abs(x) for x in several()]
        settings = 3, 1e-2, 0.9, 0.99, 1e-6, 0.02, decoupled, not decoupled
        yield "adam_step", f"decoupled {decoupled}", several(), several(), several(), squares, *settings
    yield "global_norm", "several", several()
    yield "global_norm", "large", [normal(70, 1000)]


def norms(normal: Normal, rng: Any) -> Iterator[Row]:
    for shape, groups in (((4, 6, 5, 3), 3), ((9, 4), 2), ((2, 8, 130), 8), ((0, 4, 3), 2)):
        x, g, label = normal(*shape) + 0.5, normal(*shape), f"{shape}"
        weight, bias = normal(shape[1]), normal(shape[1])
        for w, b in ((weight, bias), (None, None)):
            more = f"{label} {'affine' if w is not None else ''}"
            yield "batch_norm", more, x, w, b, 1e-3
            yield "batch_norm_grad", more, g, x, w, *reference.batch_norm(x, w, b, 1e-3)[1:3]
            yield "group_norm", more, x, w, b, 1e-3, groups
            yield "group_norm_grad", more, g, x, w, *reference.group_norm(x, w, b, 1e-3, groups)[1:3], groups
    for shape, axes in (((5, 33), 1), ((3, 4, 20), 2), ((2, 1500), 1), ((0, 7), 1)):
        x, g, label = normal(*shape) + 0.5, normal(*shape), f"{shape} {axes}"
        weight, bias = normal(*shape[-axes:]), normal(*shape[-axes:])
        yield "layer_norm", label, x, weight, bias, 1e-3, axes
        yield "layer_norm_grad", label, g, x, weight, *reference.layer_norm(x, weight, bias, 1e-3, axes)[1:], axes
        yield "rms_norm", label, x, weight, 1e-3, axes
        yield "rms_norm_grad", label, g, x, weight, reference.rms_norm(x, weight, 1e-3, axes)[1], axes


def attention(normal: Normal, rng: Any) -> Iterator[Row]:
    for heads, key_heads, length, keys, size, values, causal in (
        (2, 2, 5, 7, 4, 6, False),
        (4, 2, 33, 33, 8, 8, True),
        (1, 1, 65, 63, 16, 16, True),
        (2, 1, 130, 129, 64, 64, False),
        (1, 1, 3, 0, 4, 4, False),
        (2, 2, 1, 70, 32, 32, False),
    ):
        q, k = normal(2, heads, length, size), normal(2, key_heads, keys, size)
        v, g = normal(2, key_heads, keys, values), normal(2, heads, length, values)
        masks: list[Any] = [None]
        if keys == 7:
            masks += [rng.random((length, keys)) < 0.7, normal(2, 1, length, keys)]
        for mask in masks:
            for p in (0.0, 0.25) if keys < 40 else (0.0,):
                kind = "no" if mask is None else mask.dtype.kind
                label = f"{q.shape} {k.shape} {values} causal {causal} mask {kind} dropout {p}"
                more = mask, causal, size**-0.5, p, 77
                yield "attention", label, q, k, v, *more
                out, logsumexp = reference.attention(q, k, v, *more)
                wanted = mask is not None and mask.dtype.kind == "f"
                yield "attention_grad", label, g, q, k, v, out, logsumexp, *more, wanted


def scans(normal: Normal, rng: Any) -> Iterator[Row]:
    scan: Any = reference
    for steps, batch, inputs, hidden, lengths, reverse in (
        (5, 3, 4, 6, None, False),
        (7, 2, 3, 5, np.array([7, 0]), True),
        (4, 17, 33, 40, np.arange(17) % 5, False),
        (0, 2, 3, 4, None, False),
    ):
        x, label = normal(steps, batch, inputs), f"{(steps, batch, inputs, hidden)} reverse {reverse}"
        h, c, g = normal(batch, hidden), normal(batch, hidden), normal(steps, batch, hidden)
        last = normal(batch, hidden), normal(batch, hidden)
        tail: tuple[Any, ...] = lengths, reverse
        for name, gates in (("tanh", 1), ("relu", 1), ("lstm", 4), ("gru", 3), ("gru before", 3)):
            weights: tuple[Any, ...] = 0.4 * normal(gates * hidden, inputs), 0.3 * normal(gates * hidden, hidden)
            biases: tuple[Any, ...] = (normal(gates * hidden), normal(gates * hidden)) if hidden != 5 else (None, None)
            if name == "lstm":
                outputs, _, _, kept, cells = scan.lstm_scan(x, h, c, *weights, *biases, *tail)
                yield "lstm_scan", label, x, h, c, *weights, *biases, *tail
                yield "lstm_scan_grad", label, g, *last, x, h, c, *weights, outputs, kept, cells, *tail
            elif gates == 3:
                after = name == "gru"
                outputs, _, kept = scan.gru_scan(x, h, *weights, *biases, after, *tail)
                yield "gru_scan", f"{label} {name}", x, h, *weights, *biases, after, *tail
                yield "gru_scan_grad", f"{label} {name}", g, last[0], x, h, *weights, outputs, kept, after, *tail
            else:
                outputs, _ = scan.rnn_scan(x, h, *weights, *biases, name, *tail)
                yield "rnn_scan", f"{label} {name}", x, h, *weights, *biases, name, *tail
                yield "rnn_scan_grad", f"{label} {name}", g, last[0], x, h, *weights, outputs, name, *tail


def losses(normal: Normal, rng: Any) -> Iterator[Row]:
    for count, classes in ((5, 7), (33, 1100), (0, 4), (3, 1)):
        x, g, label = 3 * normal(count, classes), normal(count), f"{(count, classes)}"
        labels, soft = rng.integers(0, classes, count), np.abs(normal(count, classes))
        labels[1:2] = -100
        for weight, smoothing in ((None, 0.0), (np.abs(normal(classes)), 0.1)):
            more = f"{label} smoothing {smoothing}"
            kept = reference.cross_entropy(x, labels, weight, -100, smoothing)[2]
            yield "cross_entropy", more, x, labels, weight, -100, smoothing
            yield "cross_entropy_grad", more, g, x, labels, weight, -100, smoothing, kept
            kept = reference.cross_entropy_probabilities(x, soft, weight, smoothing)[1]
            yield "cross_entropy_probabilities", more, x, soft, weight, smoothing
            yield "cross_entropy_probabilities_grad", more, g, x, soft, weight, smoothing, kept
    for steps, batch, classes, longest in ((6, 3, 5, 2), (20, 2, 9, 8)):
        scores = reference.log_softmax(normal(steps, batch, classes), 2)
        targets = rng.integers(1, classes, (batch, longest))
        lengths = np.array([steps, steps - 1, steps][:batch]), np.array([longest, longest - 1, 0][:batch])
        kept, label = reference.ctc_loss(scores, targets, *lengths, 0)[1], f"{(steps, batch, classes, longest)}"
        yield "ctc_loss", label, scores, targets, *lengths, 0
        yield "ctc_loss_grad", label, normal(batch), scores, targets, *lengths, 0, kept


# ---------------------------------------------------------------------- running one


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Arguments with their arrays changed."""
    if isinstance(value, list | tuple):
        return type(value)(mapped(v, change) for v in value)
    return change(value) if isinstance(value, np.ndarray) else value


def rounded(case: Case, dtype: Any) -> tuple[Any, ...]:
    """The arguments in ``dtype``, copied."""
    return mapped(case.arguments, lambda x: x.astype(dtype if x.dtype.kind == "f" else x.dtype))  # type: ignore[no-any-return]


def exact(case: Case, dtype: Any) -> list[Any]:
    """The results of the reference in float64."""
    upper = mapped(rounded(case, dtype), lambda x: x.astype(np.float64) if x.dtype.kind == "f" else x)
    with np.errstate(all="ignore"):
        return results(case, reference, upper)


def results(case: Case, backend: Any, arguments: tuple[Any, ...]) -> list[Any]:
    """All arrays that a call returns, or writes."""
    returned = getattr(backend, case.function)(*arguments)
    found = returned if isinstance(returned, list | tuple) else [returned]
    written = [x for i in IN_PLACE.get(case.function, ()) for x in arguments[i] or () if x is not None]
    return [x for x in [*written, *found] if x is not None]


def compare(case: Case, got: list[Any], wanted: list[Any], dtype: Any, bound: float | None = None) -> None:
    """AssertionError where a result has another shape, dtype or value; ``got`` are NumPy's."""
    factor = next((f for name, f in LOOSER.items() if case.function.startswith(name)), 1)
    assert len(got) == len(wanted), f"{case}: {len(got)} results, expected {len(wanted)}"
    for i, (x, y) in enumerate(zip(got, wanted)):
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape, f"{case}: result {i} has shape {x.shape}, expected {y.shape}"
        assert x.dtype == (np.dtype(dtype) if y.dtype.kind == "f" else y.dtype), f"{case}: result {i} is {x.dtype}"
        if case.function == "ctc_loss" and i == 1:
            continue  # beyond an input's length it holds anything
        finite = np.isfinite(y)
        np.testing.assert_array_equal(np.where(finite, 0, x), np.where(finite, 0, y), err_msg=f"{case}: result {i}")
        if y.dtype.kind != "f":
            np.testing.assert_array_equal(x, y, err_msg=f"{case}: result {i}")
            continue
        scale = max(float(np.max(np.abs(y[finite]), initial=0)), 0.05)  # one small number has lost digits
        error = float(np.max(np.abs(x[finite] - y[finite]), initial=0)) / scale
        allowed = factor * (BOUNDS[np.dtype(dtype)] if bound is None else bound)
        assert error <= allowed, f"{case}: result {i} is off by {error:.1e} of the largest value, allowed {allowed:.1e}"
