"""Products, windows, normalisation, softmax, attention, losses, and ONNX's operators for them, both ways."""

from __future__ import annotations

import numpy as np

from tinygrad_notes import ops
from tinygrad_notes.interop.table import OnnxError, reads, writes
from tinygrad_notes.interop.trace import Symbol

# ---------------------------------------------------------------------- products


@writes("matmul")
def _matmul(graph, call):
    return graph.node("MatMul", *graph.together(call["a"], call["b"]))


@reads("MatMul")
def _read_matmul(node, a, b):
    return ops.matmul(a, b)


@writes("linear")
def _linear(graph, call):
    x, weight, bias = graph.floating(call["x"], call["weight"], call["bias"])
    if call["x"].ndim == 2:
        return graph.node("Gemm", x, weight, bias, transB=1)
    product = graph.node("MatMul", x, graph.node("Transpose", weight, perm=[1, 0]))
    return product if bias is None else graph.node("Add", product, bias)


@reads("Gemm")
def _read_gemm(node, a, b, c=None):
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    a = a.mT if node.get("transA", 0) else a
    if node.get("transB", 0) and alpha == beta == 1 and (c is None or c.shape == b.shape[:1]):
        return ops.linear(a, b, c)
    value = ops.matmul(a, b.mT if node.get("transB", 0) else b)
    value = value if alpha == 1 else value * alpha
    return value if c is None else value + (c if beta == 1 else c * beta)


@writes("det")
def _det(graph, call):
    return graph.node("Det", *graph.floating(call["a"]))


@reads("Det")
def _read_det(node, a):
    return ops.det(a)


@reads("Einsum")
def _read_einsum(node, *operands):
    return ops.einsum(node["equation"], *operands)


# ---------------------------------------------------------------------- windows


def _sizes(value, n):
    """An int, or one per axis, as a list."""
    return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)] * n


def _batched(graph, x, n, write):
    """``write`` of a batch; one image gets an axis for it and loses it again."""
    name, ndim = x if isinstance(x, tuple) else (x, x.ndim)
    if ndim == n + 2:
        return write(name)
    return graph.node("Squeeze", write(graph.node("Unsqueeze", name, graph.ints([0]))), graph.ints([0]))


def _window(call, n, kernel_size):
    pads = _sizes(call["padding"], n)
    stride = call["stride"]
    return {
        "kernel_shape": kernel_size, "strides": kernel_size if stride is None else _sizes(stride, n),
        "pads": pads + pads,
    }  # fmt: skip


@writes("conv")
def _conv(graph, call):
    x, weight, bias = graph.floating(call["x"], call["weight"], call["bias"])
    n, kernel_size = call["weight"].ndim - 2, list(call["weight"].shape[2:])
    attributes = _window(call, n, kernel_size) | {"dilations": _sizes(call["dilation"], n), "group": call["groups"]}
    return _batched(graph, (x, call["x"].ndim), n, lambda x: graph.node("Conv", x, weight, bias, **attributes))


@writes("conv_transpose")
def _conv_transpose(graph, call):
    x, weight, bias = graph.floating(call["x"], call["weight"], call["bias"])
    n, kernel_size = call["weight"].ndim - 2, list(call["weight"].shape[2:])
    window, dilations = _window(call, n, kernel_size), _sizes(call["dilation"], n)
    sizes = zip(call["x"].shape[-n:], call["output_size"], kernel_size, window["strides"], window["pads"], dilations)
    extra = [_first(out) - ((_first(size) - 1) * s - 2 * p + d * (k - 1) + 1) for size, out, k, s, p, d in sizes]
    attributes = window | {"dilations": dilations, "group": call["groups"], "output_padding": extra}
    return _batched(graph, (x, call["x"].ndim), n, lambda x: graph.node("ConvTranspose", x, weight, bias, **attributes))


def _first(n):
    return n.sizes[0] if isinstance(n, Symbol) else n


@reads("Conv")
def _read_conv(node, x, weight, bias=None):
    n = weight.ndim - 2
    strides, dilations = node.get("strides", [1] * n), node.get("dilations", [1] * n)
    x, padding = _padding(node, x, weight.shape[2:], strides, dilations, 0.0)
    return _by_axes(node, "conv", n)(x, weight, bias, tuple(strides), padding, tuple(dilations), node.get("group", 1))


@reads("ConvTranspose")
def _read_conv_transpose(node, x, weight, bias=None):
    n = weight.ndim - 2
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.get("output_shape") is not None:
        raise OnnxError("ConvTranspose: auto_pad or output_shape is given; here pads and output_padding are known")
    strides, dilations = node.get("strides", [1] * n), node.get("dilations", [1] * n)
    pads, extra = node.get("pads", [0] * 2 * n), node.get("output_padding", [0] * n)
    low = [min(a, b) for a, b in zip(pads, pads[n:])]
    convolve = _by_axes(node, "conv_transpose", n)
    y = convolve(x, weight, bias, tuple(strides), tuple(low), tuple(extra), node.get("group", 1), tuple(dilations))
    before = [a - p for a, p in zip(pads, low)]
    after = [b - p for b, p in zip(pads[n:], low)]
    return y if not any(before + after) else y[(..., *(slice(a, -b or None) for a, b in zip(before, after)))]


def _by_axes(node, name, n):
    function = getattr(ops, f"{name}{n}d", None)
    if function is None:
        raise OnnxError(f"{node.operator}: over {n} axes, for which there is no {name}{n}d")
    return function


def _padding(node, x, kernel_size, strides, dilations, fill):
    """x and a symmetric padding: what is more on one side is put around x, as ``fill``."""
    n = len(kernel_size)
    pads, auto = node.get("pads", [0] * 2 * n), node.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilations)]
        total = [max((-(-size // s) - 1) * s + span - size, 0) for size, s, span in zip(x.shape[2:], strides, spans)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + large if auto == "SAME_UPPER" else large + small
    pairs = list(zip(pads, pads[n:]))
    if all(a == b for a, b in pairs):
        return x, tuple(a for a, _ in pairs)
    return ops.pad(x, [(0, 0), (0, 0), *pairs], constant_values=fill), (0,) * n


@writes("max_pool")
def _max_pool(graph, call):
    if call["return_indices"]:
        raise OnnxError("max_pool: with return_indices; ONNX counts them through the whole batch, not in each plane")
    n = _spatial(call)
    attributes = _window(call, n, _sizes(call["kernel_size"], n))
    dilations = _sizes(call["dilation"], n)
    _ceil(call, attributes, dilations)
    (x,) = graph.floating(call["x"])
    return _batched(
        graph, (x, call["x"].ndim), n, lambda x: graph.node("MaxPool", x, dilations=dilations, **attributes)
    )


def _ceil(call, attributes, dilations):
    """With ``ceil_mode``, padding at the end up to the last window: versions of ONNX differ on which one that is."""
    if not call["ceil_mode"]:
        return
    n = len(dilations)
    sizes, made = call["x"].shape[-n:], call.value.shape[-n:]
    if any(isinstance(size, Symbol) for size in sizes):
        raise OnnxError(f"{call.name}: with ceil_mode over a dynamic axis, whose last window is not known")
    windows = zip(sizes, made, attributes["kernel_shape"], attributes["strides"], attributes["pads"], dilations)
    ends = [max((out - 1) * s + d * (k - 1) + 1 - size - p, p) for size, out, k, s, p, d in windows]
    counted = call.name == "avg_pool" and call["count_include_pad"] and any(attributes["pads"])
    if counted and ends != attributes["pads"][n:]:
        raise OnnxError(f"{call.name}: with ceil_mode the last window leaves the padding, of which only a part counts")
    attributes["pads"] = attributes["pads"][:n] + ends


@reads("MaxPool")
def _read_max_pool(node, x):
    n = x.ndim - 2
    kernel_size, strides = node["kernel_shape"], node.get("strides", [1] * n)
    dilations = node.get("dilations", [1] * n)
    if node.outputs > 1:
        raise OnnxError("MaxPool: its second output, Indices, is used, which counts through the whole batch")
    x, padding = _padding(node, x, kernel_size, strides, dilations, -np.inf)
    pool = _by_axes(node, "max_pool", n)
    return pool(x, tuple(kernel_size), tuple(strides), padding, tuple(dilations), bool(node.get("ceil_mode", 0)))


@writes("avg_pool")
def _avg_pool(graph, call):
    n = _spatial(call)
    attributes = _window(call, n, _sizes(call["kernel_size"], n))
    include = int(bool(call["count_include_pad"]) and any(attributes["pads"]))
    _ceil(call, attributes, [1] * n)
    (x,) = graph.floating(call["x"])
    return _batched(
        graph, (x, call["x"].ndim), n, lambda x: graph.node("AveragePool", x, count_include_pad=include, **attributes)
    )


@reads("AveragePool")
def _read_avg_pool(node, x):
    n = x.ndim - 2
    kernel_size, strides, include = node["kernel_shape"], node.get("strides", [1] * n), node.get("count_include_pad", 0)
    if any(d != 1 for d in node.get("dilations", [1] * n)):
        raise OnnxError("AveragePool: dilations are not 1, which averages here do not have")
    padded, padding = _padding(node, x, kernel_size, strides, [1] * n, 0.0)
    window = tuple(kernel_size), tuple(strides), padding, bool(node.get("ceil_mode", 0)), bool(include)
    pool = _by_axes(node, "avg_pool", n)
    if padded is x or include:
        return pool(padded, *window)
    counts, _ = _padding(node, ops.ones_like(x), kernel_size, strides, [1] * n, 0.0)  # what was put around is none
    return pool(padded, *window) / pool(counts, *window)


def _spatial(call):
    """How many axes a window has: those of the kernel where it is a list, else those of a batch."""
    given = call["kernel_size"]
    return len(given) if isinstance(given, tuple) else call["x"].ndim - 2


@writes("adaptive_avg_pool")
def _adaptive_avg_pool(graph, call):
    """Global where the size is 1, with equal windows where it divides, else a product with a matrix for each axis."""
    (x,) = graph.floating(call["x"])
    written = _equal_windows(graph, x, call, "AveragePool")
    if written is not None:
        return written
    axes = list(range(call["x"].ndim))
    for axis, (size, m) in enumerate(zip(call["x"].shape, call.value.shape)):
        if size == m or axis < len(axes) - _adaptive_axes(call):
            continue
        means = np.zeros((size, m), call.value.dtype)
        for j in range(m):
            start, stop = j * size // m, -(-(j + 1) * size // m)
            means[start:stop, j] = 1 / (stop - start)
        order = [a for a in axes if a != axis] + [axis]
        product = graph.node("MatMul", graph.node("Transpose", x, perm=order), graph.constant(means))
        x = graph.node("Transpose", product, perm=[order.index(a) for a in axes])
    return x


@writes("adaptive_max_pool")
def _adaptive_max_pool(graph, call):
    written = None if call["return_indices"] else _equal_windows(graph, *graph.floating(call["x"]), call, "MaxPool")
    if written is None:
        raise OnnxError("adaptive_max_pool: with return_indices, or windows that are not all of one size")
    return written


def _adaptive_axes(call):
    wanted = call["output_size"]
    return len(wanted) if isinstance(wanted, tuple) else call["x"].ndim - 2


def _equal_windows(graph, x, call, operator):
    """Adaptive pooling whose windows are all of one size and do not overlap; None where they are not."""
    n = _adaptive_axes(call)
    sizes, made = call["x"].shape[-n:], call.value.shape[-n:]
    if all(m == 1 for m in made):
        return _batched(graph, (x, call["x"].ndim), n, lambda x: graph.node(f"Global{operator}", x))
    if any(isinstance(size, Symbol) for size in sizes):
        raise OnnxError(f"{call.name}: over a dynamic axis to more than one place, whose windows are not known")
    if any(size % m for size, m in zip(sizes, made)):
        return None
    kernel = [size // m for size, m in zip(sizes, made)]
    window = {"kernel_shape": kernel, "strides": kernel}
    return _batched(graph, (x, call["x"].ndim), n, lambda x: graph.node(operator, x, **window))


@reads("GlobalAveragePool", "GlobalMaxPool")
def _read_global_pool(node, x):
    axes = tuple(range(2, x.ndim))
    return ops.mean(x, axes, True) if node.operator == "GlobalAveragePool" else ops.max(x, axes, True)


# ---------------------------------------------------------------------- normalisation and softmax


@writes("batch_norm_by_running_statistics")
def _batch_norm(graph, call):
    channels = call["x"].shape[1]
    weight, bias = (
        graph.constant(np.full(channels, fill, call["x"].dtype)) if call[name] is None else call[name]
        for name, fill in (("weight", 1), ("bias", 0))
    )
    return graph.node(
        "BatchNormalization", call["x"], weight, bias, call["mean"], call["variance"], epsilon=call["eps"]
    )


@reads("BatchNormalization")
def _read_batch_norm(node, x, weight, bias, mean, variance):
    """By the statistics in the file, whatever the module's mode is."""
    if node.get("training_mode", 0) or node.outputs > 1:
        raise OnnxError("BatchNormalization: training_mode is 1, expected a file for evaluation")
    eps = node.get("epsilon", 1e-5)
    if mean.requires_grad or variance.requires_grad:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale = weight / ops.sqrt(variance + eps)
        return (x - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)
    return ops.batch_norm(x, mean, variance, weight, bias, eps=eps)


@writes("layer_norm")
def _layer_norm(graph, call):
    x, weight, bias = graph.floating(call["x"], call["weight"], call["bias"])
    count = call["axes_count"]
    if weight is None:
        weight = graph.constant(np.ones(call["x"].shape[call["x"].ndim - count :], call.value.dtype))
    return graph.node("LayerNormalization", x, weight, bias, axis=-count, epsilon=call["eps"])


@reads("LayerNormalization")
def _read_layer_norm(node, x, weight, bias=None):
    axis = node.get("axis", -1) % x.ndim
    shape = x.shape[axis:]
    weight, bias = (
        None if v is None else ops.broadcast_to(v, shape) if v.shape != shape else v for v in (weight, bias)
    )
    return ops.layer_norm(x, shape, weight, bias, node.get("epsilon", 1e-5))


@reads("InstanceNormalization")
def _read_instance_norm(node, x, weight, bias):
    axes, shape = tuple(range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)
    scale = weight.reshape(shape) / ops.sqrt(ops.var(x, axes, 0, True) + node.get("epsilon", 1e-5))
    return (x - ops.mean(x, axes, True)) * scale + bias.reshape(shape)


@writes("softmax", "log_softmax")
def _softmax(graph, call):
    operator = "Softmax" if call.name == "softmax" else "LogSoftmax"
    return graph.node(operator, *graph.floating(call["x"]), axis=int(call["axis"]))


@reads("Softmax", "LogSoftmax")
def _read_softmax(node, x):
    return (ops.softmax if node.operator == "Softmax" else ops.log_softmax)(x, node.get("axis", -1))


# ---------------------------------------------------------------------- attention and losses


@writes("scaled_dot_product_attention")
def _attention(graph, call):
    """softmax(scale Q Kᵀ + mask) V. A query that may attend to nothing gets 0, where Softmax alone gives NaN."""
    if call["dropout_p"]:
        raise OnnxError("scaled_dot_product_attention: dropout_p is not 0; in evaluation nothing is dropped")
    q, k, v = graph.floating(call["q"], call["k"], call["v"])
    (batch, heads, length, size), (_, key_heads, source, _) = call["q"].shape, call["k"].shape
    grouped = (batch, key_heads, _times(length, heads // key_heads), size)
    full = (batch, heads, length, source)
    like = call.value
    q = graph.node("Mul", q, graph.scalar(call["scale"], like))
    rows = q if heads == key_heads else graph.reshaped(q, call["q"].shape, grouped)
    scores = graph.node("MatMul", rows, graph.node("Transpose", k, perm=[0, 1, 3, 2]))
    if heads != key_heads:
        scores = graph.reshaped(scores, (*grouped[:3], source), full)
    minus_infinity, zero = graph.scalar(-np.inf, like), graph.scalar(0, like)
    if call["causal"]:
        ones = graph.node("Expand", graph.constant(np.float32(1)), graph.sizes((length, source)))
        allowed = graph.cast(graph.node("Trilu", ones, upper=0), bool)
        scores = graph.node("Where", allowed, scores, minus_infinity)
    mask = call["mask"]
    if mask is None:
        p = graph.node("Softmax", scores, axis=-1)
    else:
        if mask.dtype.kind == "b":
            scores = graph.node("Where", mask, scores, minus_infinity)
        else:
            scores = graph.node("Add", scores, *graph.together(mask, dtype=like.dtype))
        top = graph.node("ReduceMax", scores, graph.ints([-1]), keepdims=1)
        nothing = graph.node("Equal", top, minus_infinity)
        p = graph.node("Softmax", graph.node("Where", nothing, zero, scores), axis=-1)
        p = graph.node("Where", nothing, zero, p)
    if heads == key_heads:
        return graph.node("MatMul", p, v)
    y = graph.node("MatMul", graph.reshaped(p, full, (*grouped[:3], source)), v)
    return graph.reshaped(y, (*grouped[:3], call["v"].shape[3]), call.value.shape)


def _times(n, factor):
    return Symbol(None, (n.sizes[0] * factor, n.sizes[1] * factor)) if isinstance(n, Symbol) else n * factor


@writes("_mean_cross_entropy")
def _mean_cross_entropy(graph, call):
    (logits,) = graph.floating(call["logits"])
    return graph.node("SoftmaxCrossEntropyLoss", logits, _labels(graph, call), reduction="mean")


def _labels(graph, call):
    labels = call["labels"]
    return labels if labels.dtype == np.int64 else graph.cast(labels, np.int64)


@writes("cross_entropy")
def _cross_entropy(graph, call):
    if call["label_smoothing"]:
        raise OnnxError("cross_entropy: label_smoothing is not 0, which SoftmaxCrossEntropyLoss does not have")
    (logits,) = graph.floating(call["logits"])
    return graph.node(
        "SoftmaxCrossEntropyLoss", logits, _labels(graph, call), call["weight"], ignore_index=int(call["ignore_index"]),
        reduction="none",
    )  # fmt: skip


@reads("SoftmaxCrossEntropyLoss")
def _read_cross_entropy(node, scores, labels, weight=None):
    options = {"ignore_index": node.get("ignore_index", -100), "reduction": node.get("reduction", "mean")}
    loss = ops.cross_entropy(scores, labels.data, None if weight is None else weight.detach(), **options)
    return loss if node.outputs == 1 else (loss, ops.log_softmax(scores, 1))


@reads("NegativeLogLikelihoodLoss")
def _read_nll(node, scores, labels, weight=None):
    options = {"ignore_index": node.get("ignore_index", -100), "reduction": node.get("reduction", "mean")}
    return ops.nll_loss(scores, labels.data, None if weight is None else weight.detach(), **options)
