"""Ops that move elements, and reductions, and ONNX's operators for them, both ways."""

from __future__ import annotations

import sys

import numpy as np

from tinygrad_notes import ops
from tinygrad_notes.interop.graph import axes_of
from tinygrad_notes.interop.table import READERS, WRITERS, OnnxError, reads, writes
from tinygrad_notes.interop.trace import Symbol, Value
from tinygrad_notes.tensor import int64, wrap

FIRST, LAST = -sys.maxsize - 1, sys.maxsize  # ends of any axis, for Slice

# ---------------------------------------------------------------------- shapes


@writes("copy_of_input")
def _copy_of_input(graph, call):
    given, copy = call["a"], call.value
    name = graph.name(given)
    if given.dtype != copy.dtype:
        name = graph.cast(name, copy.dtype)
    return name if given.shape == copy.shape else graph.reshaped(name, given.shape, copy.shape)


@writes("reshape")
def _reshape(graph, call):
    return graph.reshaped(call["a"], call["a"].shape, call.value.shape)


@reads("Reshape")
def _read_reshape(node, x, shape):
    sizes = shape.tolist()
    if not node.get("allowzero", 0):
        sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    return ops.reshape(x, tuple(sizes))


@reads("Flatten")
def _read_flatten(node, x):
    axis = node.get("axis", 1) % (x.ndim + 1)
    return ops.reshape(x, (int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))))


@writes("permute_dims")
def _permute_dims(graph, call):
    n = call["a"].ndim
    return graph.node("Transpose", call["a"], perm=[int(axis) % n for axis in call["axes"]] or None)


@writes("swapaxes")
def _swapaxes(graph, call):
    axes = list(range(call["a"].ndim))
    i, j = int(call["axis1"]), int(call["axis2"])
    axes[i], axes[j] = axes[j], axes[i]
    return graph.node("Transpose", call["a"], perm=axes)


@reads("Transpose")
def _read_transpose(node, x):
    return ops.transpose(x, node.get("perm"))


@writes("squeeze")
def _squeeze(graph, call):
    x, axis = call["a"], call["axis"]
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else axes_of(axis, x.ndim)
    return graph.node("Squeeze", x, graph.ints(axes)) if axes else graph.node("Identity", x)


@reads("Squeeze")
def _read_squeeze(node, x, axes=None):
    axes = node.axes(axes)
    return ops.squeeze(x, None if axes is None else tuple(axes))


@writes("expand_dims")
def _expand_dims(graph, call):
    return graph.node("Unsqueeze", call["a"], graph.ints(axes_of(call["axis"], call.value.ndim)))


@reads("Unsqueeze")
def _read_unsqueeze(node, x, axes=None):
    return ops.expand_dims(x, tuple(node.axes(axes)))


@writes("broadcast_to")
def _broadcast_to(graph, call):
    before, after = call["a"].shape, call.value.shape
    before = (None,) * (len(after) - len(before)) + tuple(before)
    return graph.node("Expand", call["a"], graph.sizes([1 if n == m else n for n, m in zip(after, before)]))


@reads("Expand")
def _read_expand(node, x, shape):
    return ops.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist())))


@reads("Shape")
def _read_shape(node, x):
    return wrap(np.asarray(x.shape[slice(node.get("start", 0), node.get("end"))], np.int64))


@reads("Size")
def _read_size(node, x):
    return wrap(np.asarray(x.size, np.int64))


@reads("ConstantOfShape")
def _read_constant_of_shape(node, shape):
    value = node.get("value")
    return wrap(np.full(tuple(shape.tolist()), np.float32(0) if value is None else value.reshape(-1)[0]))


@reads("Range")
def _read_range(node, start, limit, delta):
    return wrap(np.arange(start.item(), limit.item(), delta.item()).astype(start.dtype))


# ---------------------------------------------------------------------- joining, repeating, padding


@writes("concat")
def _concat(graph, call):
    arrays = call.operands
    if call["axis"] is None:
        return graph.node("Concat", *(graph.node("Reshape", a, graph.ints([-1])) for a in arrays), axis=0)
    return graph.node(
        "Concat", *graph.together(*arrays, dtype=call.value.dtype), axis=int(call["axis"]) % arrays[0].ndim
    )


@reads("Concat")
def _read_concat(node, *arrays):
    return ops.concat(list(arrays), node["axis"])


@writes("stack")
def _stack(graph, call):
    arrays = graph.together(*call.operands, dtype=call.value.dtype)
    axis = int(call["axis"]) % call.value.ndim
    return graph.node("Concat", *(graph.node("Unsqueeze", a, graph.ints([axis])) for a in arrays), axis=axis)


@reads("Split")
def _read_split(node, x, sizes=None):
    axis = node.get("axis", 0) % x.ndim
    sizes = node.get("split") if sizes is None else sizes.tolist()
    if sizes is None:
        count = node.get("num_outputs", node.outputs)
        most = -(-x.shape[axis] // count)
        sizes = [most] * (count - 1) + [x.shape[axis] - most * (count - 1)]
    return tuple(ops.split(x, np.cumsum(sizes)[:-1].tolist(), axis))


@reads("Tile")
def _read_tile(node, x, repeats):
    return ops.tile(x, tuple(repeats.tolist()))


@writes("_pad")
def _pad(graph, call):
    widths = call["widths"]
    pads = [low for low, _ in widths] + [high for _, high in widths]
    fill = call["fill"]
    if not isinstance(fill, int | float):
        raise OnnxError(f"pad: constant_values is {fill!r}, expected one number")
    return graph.node("Pad", call["a"], graph.ints(pads), graph.scalar(fill, call["a"]))


@reads("Pad")
def _read_pad(node, x, pads, fill=None, axes=None):
    pads, axes = pads.tolist(), range(x.ndim) if axes is None else [a % x.ndim for a in axes.tolist()]
    widths = [(0, 0)] * x.ndim
    for axis, low, high in zip(axes, pads, pads[len(pads) // 2 :]):
        widths[axis] = (low, high)
    mode = node.get("mode", "constant")
    cut = tuple(slice(max(-low, 0), min(high, 0) or None) for low, high in widths)  # a negative width cuts off
    widths = [(max(low, 0), max(high, 0)) for low, high in widths]
    return ops.pad(x[cut], widths, mode, 0 if fill is None or mode != "constant" else fill.item())


@writes("flip")
def _flip(graph, call):
    axes = axes_of(call["axis"], call["a"].ndim)
    parts = [graph.ints(numbers) for numbers in ([LAST] * len(axes), [FIRST] * len(axes), axes, [-1] * len(axes))]
    return graph.node("Slice", call["a"], *parts)


@writes("roll")
def _roll(graph, call):
    x, shift, axis = call["a"], call["shift"], call["axis"]
    if axis is None:
        raise OnnxError("roll: without an axis it rolls the flattened array, for which the table has no operators")
    shifts, axes = (v if isinstance(v, tuple) else (v,) for v in (shift, axis))
    name = graph.name(x)
    for by, along in zip(shifts, axes):
        size = x.shape[along]
        if isinstance(size, Symbol):
            raise OnnxError(f"roll: axis {along} is dynamic, so where it is cut is not known")
        cut = (size - int(by) % size) if size else 0
        last, first = (
            graph.node("Slice", name, *map(graph.ints, ([start], [stop], [int(along) % x.ndim])))
            for start, stop in ((cut, LAST), (0, cut))
        )
        name = graph.node("Concat", last, first, axis=int(along) % x.ndim)
    return name


# ---------------------------------------------------------------------- indices


@writes("getitem")
def _getitem(graph, call):
    """Slices first, then an array of integers, or integers, from the last axis on, then new axes."""
    x, index = call["a"], call["index"]
    parts = list(index) if isinstance(index, tuple) else [index]
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    rest = [slice(None)] * (x.ndim - taken)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = rest
    kept = [part for part in parts if part is not None]
    arrays = [i for i, part in enumerate(kept) if isinstance(part, Value)]
    if arrays and (len(arrays) > 1 or len(kept) < len(parts) or kept[arrays[0]].dtype.kind not in "iu"
                   or any(isinstance(p, int | np.integer) for p in kept)):  # fmt: skip
        raise OnnxError(
            "getitem: the index has a boolean array, several arrays, or an array beside integers or None; the table "
            "has slices, integers and None, or one array of integers among slices"
        )
    name = _slices(graph, graph.name(x), [(i, part) for i, part in enumerate(kept) if isinstance(part, slice)])
    for i in arrays:
        name = graph.node("Gather", name, kept[i], axis=i)
    for i, part in reversed(list(enumerate(kept))):
        if not isinstance(part, slice | Value):
            name = graph.node("Gather", name, graph.constant(np.asarray(part, np.int64)), axis=i)
    places = [p for p in parts if p is None or isinstance(p, slice | Value)]
    new = [i for i, part in enumerate(places) if part is None]
    name = graph.node("Unsqueeze", name, graph.ints(new)) if new else name
    return name if name != graph.name(x) else graph.node("Identity", x)


def _slices(graph, name, slices):
    used = [(axis, part) for axis, part in slices if part != slice(None)]
    if not used:
        return name
    starts, stops, steps = [], [], []
    for _, part in used:
        step = 1 if part.step is None else int(part.step)
        starts.append((0 if step > 0 else LAST) if part.start is None else part.start)
        stops.append((LAST if step > 0 else FIRST) if part.stop is None else part.stop)
        steps.append(step)
    return graph.node(
        "Slice", name, graph.sizes(starts), graph.sizes(stops), graph.ints([a for a, _ in used]), graph.ints(steps)
    )


@reads("Slice")
def _read_slice(node, x, starts=None, stops=None, axes=None, steps=None):
    starts, stops = (node[n] if v is None else v.tolist() for n, v in (("starts", starts), ("ends", stops)))
    axes = list(range(len(starts))) if axes is None else axes.tolist()
    index = [slice(None)] * x.ndim
    for i, axis in enumerate(axes):
        step = 1 if steps is None else steps.tolist()[i]
        # a stop before the first element, which Python would count from the end
        stop = None if step < 0 and stops[i] < -x.shape[axis] else stops[i]
        index[axis] = slice(starts[i], stop, step)
    return x[tuple(index)]


@reads("Gather")
def _read_gather(node, x, indices):
    axis, places = node.get("axis", 0), indices.data
    if axis == 0 and x.ndim == 2 and places.ndim and places.size and places.min() >= 0:
        return ops.embedding(places, x)
    return ops.take(x, places, axis)


@writes("take_along_axis")
def _take_along_axis(graph, call):
    return graph.node("GatherElements", call["a"], call["indices"], axis=int(call["axis"]))


@reads("GatherElements")
def _read_gather_elements(node, x, indices):
    axis = node.get("axis", 0) % x.ndim
    places = np.where(indices.data < 0, indices.data + x.shape[axis], indices.data)
    return ops.gather(x, axis, places)


@writes("_embedding")
def _embedding(graph, call):
    return graph.node("Gather", call["weight"], call["indices"], axis=0)


@writes("tril", "triu")
def _triangle(graph, call):
    return graph.node(
        "Trilu", call["a"], graph.constant(np.asarray(call["k"], np.int64)), upper=int(call.name == "triu")
    )


@reads("Trilu")
def _read_trilu(node, x, k=None):
    return (ops.triu if node.get("upper", 1) else ops.tril)(x, 0 if k is None else k.item())


# ---------------------------------------------------------------------- reductions


def _reduce(graph, operator, x, shape_of, axis, keepdims):
    axes = axes_of(axis, shape_of.ndim)
    if not axes:  # nothing to reduce: an empty list would mean all
        return graph.name(x)
    return graph.node(operator, x, graph.ints(axes), keepdims=int(bool(keepdims)))


REDUCTIONS = {
    "sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd",
    "logsumexp": "ReduceLogSumExp",
}  # fmt: skip


def _reduction(operator):
    def write(graph, call):
        a = call["a"]
        (x,) = graph.together(a, dtype=call.value.dtype)
        name = _reduce(graph, operator, x, a, call["axis"], call["keepdims"])
        return name if name != graph.name(a) else graph.node("Identity", name)

    return write


def _read_reduction(function):
    def read(node, x, axes=None):
        axes, keep = node.axes(axes), bool(node.get("keepdims", 1))
        if not axes and node.get("noop_with_empty_axes", 0):
            return x
        return function(x, axis=tuple(axes) if axes else None, keepdims=keep)

    return read


for _name, _operator in REDUCTIONS.items():
    WRITERS[_name], READERS[_operator] = _reduction(_operator), _read_reduction(getattr(ops, _name))
READERS["ReduceL1"] = _read_reduction(lambda x, axis, keepdims: ops.sum(ops.abs(x), axis, keepdims))
READERS["ReduceL2"] = _read_reduction(lambda x, axis, keepdims: ops.norm(x, 2, axis, keepdims))
READERS["ReduceSumSquare"] = _read_reduction(lambda x, axis, keepdims: ops.sum(ops.square(x), axis, keepdims))
READERS["ReduceLogSum"] = _read_reduction(lambda x, axis, keepdims: ops.log(ops.sum(x, axis, keepdims)))


@writes("var")
def _var(graph, call):
    a, axes = call["a"], axes_of(call["axis"], call["a"].ndim)
    (x,) = graph.together(a, dtype=call.value.dtype)
    centred = graph.node("Sub", x, _reduce(graph, "ReduceMean", x, a, axes, True))
    value = _reduce(graph, "ReduceMean", graph.node("Mul", centred, centred), a, axes, call["keepdims"])
    if not call["correction"]:
        return value
    sizes = [a.shape[axis] for axis in axes]
    if any(isinstance(n, Symbol) for n in sizes):
        raise OnnxError("var: with a correction, over a dynamic axis, whose size is not known")
    count = int(np.prod(sizes))
    factor = count / (count - call["correction"]) if count > call["correction"] else np.nan
    return graph.node("Mul", value, graph.scalar(factor, call.value))


@writes("argmax", "argmin")
def _arg(graph, call):
    x, axis, name = call["a"], call["axis"], graph.name(call["a"])
    operator = "ArgMax" if call.name == "argmax" else "ArgMin"
    if axis is None:
        flat = graph.node("Reshape", name, graph.ints([-1]))
        return graph.node("Reshape", graph.node(operator, flat, axis=0), graph.ints([1] * call.value.ndim))
    return graph.node(operator, name, axis=int(axis) % x.ndim, keepdims=int(bool(call["keepdims"])))


@reads("ArgMax", "ArgMin")
def _read_arg(node, x):
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    if node.get("select_last_index", 0):
        raise OnnxError(f"{node.operator}: select_last_index is 1; here the first of equals is chosen")
    return (ops.argmax if node.operator == "ArgMax" else ops.argmin)(x, axis, keep)


@writes("all", "any", "count_nonzero")
def _count(graph, call):
    a = call["a"]
    (truth,) = graph.together(a, dtype=bool)
    if call.name == "all":
        truth = graph.node("Not", truth)
    count = _reduce(graph, "ReduceSum", graph.cast(truth, np.int64), a, call["axis"], call["keepdims"])
    if call.name == "count_nonzero":
        return graph.node("Identity", count)
    some = graph.cast(count, bool)
    return graph.node("Not", some) if call.name == "all" else some


@writes("cumsum")
def _cumsum(graph, call):
    a, axis = call["a"], call["axis"]
    (x,) = graph.together(a, dtype=call.value.dtype)
    if axis is None:
        x, axis = graph.node("Reshape", x, graph.ints([-1])), 0
    return graph.node("CumSum", x, graph.constant(np.asarray(axis, int64)))


@reads("CumSum")
def _read_cumsum(node, x, axis):
    axis = axis.item() % x.ndim
    if node.get("reverse", 0):
        x = ops.flip(x, axis)
    value = ops.cumsum(x, axis)
    value = value - x if node.get("exclusive", 0) else value
    return ops.flip(value, axis) if node.get("reverse", 0) else value
