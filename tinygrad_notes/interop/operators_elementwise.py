"""Elementwise ops and ONNX's operators, both ways."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import ops
from tinygrad_notes.interop.graph import onnx
from tinygrad_notes.interop.table import READERS, WRITERS, OnnxError, reads, writes
from tinygrad_notes.tensor import as_dtype

# ---------------------------------------------------------------------- one operator for one op

UNARY = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan",
    "atanh": "Atanh", "ceil": "Ceil", "clone": "Identity", "cos": "Cos", "cosh": "Cosh", "erf": "Erf", "exp": "Exp",
    "floor": "Floor", "hardswish": "HardSwish", "isinf": "IsInf", "isnan": "IsNaN", "log": "Log", "mish": "Mish",
    "negative": "Neg", "reciprocal": "Reciprocal", "relu": "Relu", "sigmoid": "Sigmoid",
    "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "softsign": "Softsign", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
BINARY = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "maximum": "Max", "minimum": "Min", "equal": "Equal",
    "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less", "less_equal": "LessOrEqual",
}  # fmt: skip
LOGICAL = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
BITWISE = {
    "bitwise_and": ("And", "BitwiseAnd"),
    "bitwise_or": ("Or", "BitwiseOr"),
    "bitwise_xor": ("Xor", "BitwiseXor"),
}


def _unary(operator):
    def write(graph, call):
        a = call["a"]
        if operator in ("Ceil", "Floor") and call.value.dtype.kind != "f":
            return graph.node("Identity", a)
        # The value of a whole number is floating where the function is.
        return graph.node(
            operator, graph.together(a, dtype=call.value.dtype if call.value.dtype.kind == "f" else None)[0]
        )

    return write


def _binary(operator):
    return lambda graph, call: graph.node(operator, *graph.together(call["a"], call["b"]))


def _logical(operator):
    return lambda graph, call: graph.node(operator, *graph.together(call["a"], call["b"], dtype=bool))


def _bitwise(of_booleans, of_integers):
    def write(graph, call):
        booleans = call.value.dtype.kind == "b"
        return graph.node(of_booleans if booleans else of_integers, *graph.together(call["a"], call["b"]))

    return write


def _reader(name):
    function = getattr(ops, name)
    return lambda node, *inputs: function(*inputs)


for _name, _operator in UNARY.items():
    WRITERS[_name], READERS[_operator] = _unary(_operator), _reader(_name)
for _name, _operator in (BINARY | LOGICAL).items():
    WRITERS[_name] = _binary(_operator) if _name in BINARY else _logical(_operator)
    READERS[_operator] = _reader(_name)
for _name, (_boolean, _integer) in BITWISE.items():
    WRITERS[_name], READERS[_integer] = _bitwise(_boolean, _integer), _reader(_name)
WRITERS["_root"], WRITERS["positive"] = WRITERS["sqrt"], WRITERS["clone"]
READERS["BitwiseNot"] = READERS["Not"] = _reader("bitwise_invert")


@reads("Max", "Min", "Sum", "Mean")
def _variadic(node, first, *others):
    combine = {"Max": ops.maximum, "Min": ops.minimum}.get(node.operator, ops.add)
    for other in others:
        first = combine(first, other)
    return first / (1 + len(others)) if node.operator == "Mean" else first


# ---------------------------------------------------------------------- arithmetic


@writes("divide")
def _divide(graph, call):
    return graph.node("Div", *graph.together(call["a"], call["b"], dtype=call.value.dtype))


@reads("Div")
def _read_divide(node, a, b):
    if a.dtype.kind != "f" and b.dtype.kind != "f":  # whole numbers are cut off towards 0
        whole = ops.floor_divide(ops.abs(a), ops.abs(b))
        return ops.astype(whole * ops.sign(a) * ops.sign(b), a.dtype)
    return ops.divide(a, b)


@writes("pow")
def _pow(graph, call):
    return graph.node("Pow", *graph.together(call["a"], call["b"]))


@reads("Pow")
def _read_pow(node, a, b):
    """The result has a's dtype; an exponent of one element is a number, so that it promotes nothing."""
    result = ops.pow(a, b.item() if b.size == 1 and not b.shape and b.node is None else b)
    return result if result.dtype == a.dtype else ops.astype(result, a.dtype)


@writes("square")
def _square(graph, call):
    return graph.node("Mul", call["a"], call["a"])


@writes("remainder")
def _remainder(graph, call):
    a, b = graph.together(call["a"], call["b"])
    if call.value.dtype.kind != "f":
        return graph.node("Mod", a, b)
    return graph.node("Sub", a, graph.node("Mul", graph.node("Floor", graph.node("Div", a, b)), b))


@writes("floor_divide")
def _floor_divide(graph, call):
    a, b = graph.together(call["a"], call["b"])
    if call.value.dtype.kind == "f":
        return graph.node("Floor", graph.node("Div", a, b))
    return graph.node("Div", graph.node("Sub", a, graph.node("Mod", a, b)), b)


@reads("Mod")
def _read_mod(node, a, b):
    if not node.get("fmod", 0):
        return ops.remainder(a, b)
    return a - b * ops.trunc(a / b)


@writes("trunc")
def _trunc(graph, call):
    a = call["a"]
    if a.dtype.kind != "f":
        return graph.node("Identity", a)
    return graph.node("Mul", graph.node("Sign", a), graph.node("Floor", graph.node("Abs", a)))


@writes("round")
def _round(graph, call):
    """Halves to even; with ``decimals`` of the number times a power of ten."""
    a, decimals = call["a"], call["decimals"]
    if a.dtype.kind != "f":
        raise OnnxError("round: of whole numbers, which ONNX does not round")
    if not decimals:
        return graph.node("Round", a)
    power = graph.scalar(10.0 ** abs(decimals), a)
    apart, together = ("Mul", "Div") if decimals > 0 else ("Div", "Mul")
    return graph.node(together, graph.node("Round", graph.node(apart, a, power)), power)


@reads("Round")
def _read_round(node, a):
    return ops.round(a)


@writes("where")
def _where(graph, call):
    condition = call["condition"]
    a, b = graph.together(call["a"], call["b"])
    return graph.node("Where", *graph.together(condition, dtype=bool), a, b)


@reads("Where")
def _read_where(node, condition, a, b):
    return ops.where(condition, a, b)


@writes("clip")
def _clip(graph, call):
    a, low, high = call["a"], call["min"], call["max"]
    return graph.node("Clip", a, *(None if n is None else graph.scalar(n, a) for n in (low, high)))


@reads("Clip")
def _read_clip(node, a, low=None, high=None):
    low, high = (n.item() if n is not None and not n.requires_grad else n for n in (low, high))
    return ops.clip(a, low, high)


@writes("not_equal")
def _not_equal(graph, call):
    return graph.node("Not", graph.node("Equal", *graph.together(call["a"], call["b"])))


@writes("logical_not")
def _not(graph, call):
    return graph.node("Not", *graph.together(call["a"], dtype=bool))


@writes("bitwise_invert")
def _invert(graph, call):
    return graph.node("Not" if call["a"].dtype.kind == "b" else "BitwiseNot", call["a"])


@writes("isfinite")
def _isfinite(graph, call):
    a = call["a"]
    if a.dtype.kind != "f":
        raise OnnxError("isfinite: of whole numbers is true everywhere, for which the table has no operator")
    return graph.node("Not", graph.node("Or", graph.node("IsNaN", a), graph.node("IsInf", a)))


@writes("astype")
def _astype(graph, call):
    return graph.cast(call["a"], call.value.dtype)


@reads("Cast")
def _read_cast(node, a):
    return ops.astype(a, as_dtype(onnx.helper.tensor_dtype_to_np_dtype(node["to"])))


@reads("CastLike")
def _read_cast_like(node, a, like):
    return ops.astype(a, like.dtype)


# ---------------------------------------------------------------------- exponentials and logarithms in parts


def _scaled_log(base):
    def write(graph, call):
        (a,) = graph.together(call["a"], dtype=call.value.dtype)
        return graph.node("Div", graph.node("Log", a), graph.scalar(math.log(base), call.value))

    return write


WRITERS["log2"], WRITERS["log10"] = _scaled_log(2), _scaled_log(10)


@writes("exp2")
def _exp2(graph, call):
    return graph.node("Pow", graph.scalar(2, call.value), *graph.together(call["a"], dtype=call.value.dtype))


@writes("log1p")
def _log1p(graph, call):
    """log(1 + a): near 0 it has the rounding of 1 + a, which ONNX has no operator to avoid."""
    return graph.node("Log", graph.node("Add", *graph.together(call["a"], 1, dtype=call.value.dtype)))


@writes("expm1")
def _expm1(graph, call):
    """2 sinh(a/2) e^(a/2), which near 0 is as exact as sinh."""
    (a,) = graph.together(call["a"], dtype=call.value.dtype)
    half = graph.node("Mul", a, graph.scalar(0.5, call.value))
    product = graph.node("Mul", graph.node("Sinh", half), graph.node("Exp", half))
    return graph.node("Mul", product, graph.scalar(2, call.value))


# ---------------------------------------------------------------------- activations


@writes("gelu")
def _gelu(graph, call):
    (a,) = graph.together(call["a"], dtype=call.value.dtype)
    return graph.node("Gelu", a, approximate=call["approximate"])


@reads("Gelu")
def _read_gelu(node, a):
    return ops.gelu(a, node.get("approximate", "none"))


@writes("silu")
def _silu(graph, call):
    (a,) = graph.together(call["a"], dtype=call.value.dtype)
    return graph.node("Mul", a, graph.node("Sigmoid", a))


@writes("leaky_relu")
def _leaky_relu(graph, call):
    return graph.node("LeakyRelu", call["a"], alpha=float(call["negative_slope"]))


@reads("LeakyRelu")
def _read_leaky_relu(node, a):
    return ops.leaky_relu(a, node.get("alpha", 0.01))


@writes("_prelu")
def _prelu(graph, call):
    return graph.node("PRelu", *graph.together(call["a"], call["slope"]))


@reads("PRelu")
def _read_prelu(node, a, slope):
    return ops.where(a > 0, a, a * slope)


@writes("elu", "celu")
def _elu(graph, call):
    (a,) = graph.together(call["a"], dtype=call.value.dtype)
    return graph.node("Elu" if call.name == "elu" else "Celu", a, alpha=float(call["alpha"]))


@reads("Elu", "Celu")
def _read_elu(node, a):
    return (ops.elu if node.operator == "Elu" else ops.celu)(a, node.get("alpha", 1.0))


@writes("selu")
def _selu(graph, call):
    return graph.node("Selu", *graph.together(call["a"], dtype=call.value.dtype))


@reads("Selu")
def _read_selu(node, a):
    alpha, gamma = node.get("alpha", 1.67326319), node.get("gamma", 1.05070102)
    return gamma * ops.elu(a, alpha)


@writes("hardsigmoid")
def _hardsigmoid(graph, call):
    return graph.node("HardSigmoid", *graph.together(call["a"], dtype=call.value.dtype), alpha=1 / 6, beta=0.5)


@reads("HardSigmoid")
def _read_hardsigmoid(node, a):
    return ops.clip(a * node.get("alpha", 0.2) + node.get("beta", 0.5), 0.0, 1.0)


@writes("hardtanh", "relu6")
def _hardtanh(graph, call):
    low, high = (0, 6) if call.name == "relu6" else (call["min_val"], call["max_val"])
    (a,) = graph.together(call["a"], dtype=call.value.dtype)
    return graph.node("Clip", a, graph.scalar(low, call.value), graph.scalar(high, call.value))


@writes("softplus")
def _softplus(graph, call):
    (a,), beta = graph.together(call["a"], dtype=call.value.dtype), call["beta"]
    factor = graph.scalar(beta, call.value)
    scaled = a if beta == 1 else graph.node("Mul", a, factor)
    value = graph.node("Softplus", scaled)
    value = value if beta == 1 else graph.node("Div", value, factor)
    if call["threshold"] >= 20:  # beyond which both are the same number
        return value
    return graph.node("Where", graph.node("Greater", scaled, graph.scalar(call["threshold"], call.value)), a, value)


@reads("Softplus")
def _read_softplus(node, a):
    return ops.softplus(a, 1.0, np.inf)


@writes("binary_cross_entropy_with_logits")
def _binary_cross_entropy_with_logits(graph, call):
    """(1 - t) x + (1 + (w - 1) t) log(1 + e⁻ˣ)."""
    x, t, w = graph.together(call["input"], call["target"], call["pos_weight"], dtype=call.value.dtype)
    one = graph.scalar(1, call.value)
    factor = graph.node("Add", one, graph.node("Mul", graph.node("Sub", w, one), t))
    softplus = graph.node("Softplus", graph.node("Neg", x))
    linear = graph.node("Mul", graph.node("Sub", one, t), x)
    return graph.node("Add", linear, graph.node("Mul", factor, softplus))


@writes("logaddexp")
def _logaddexp(graph, call):
    """max(a, b) + log(1 + e^-|a - b|)."""
    a, b = graph.together(call["a"], call["b"], dtype=call.value.dtype)
    apart = graph.node("Neg", graph.node("Abs", graph.node("Sub", a, b)))
    rest = graph.node("Log", graph.node("Add", graph.node("Exp", apart), graph.scalar(1, call.value)))
    return graph.node("Add", graph.node("Max", a, b), rest)


@writes("logsigmoid")
def _logsigmoid(graph, call):
    (a,) = graph.together(call["a"], dtype=call.value.dtype)
    return graph.node("Neg", graph.node("Softplus", graph.node("Neg", a)))


@reads("ThresholdedRelu")
def _read_thresholded_relu(node, a):
    return ops.where(a > node.get("alpha", 1.0), a, 0.0)


@reads("Dropout")
def _read_dropout(node, x, ratio=None, training=None):
    """As the file says: off, but where its third input turns it on."""
    if training is None or not training.item():
        return x
    return ops.dropout(x, 0.5 if ratio is None else ratio.item())
