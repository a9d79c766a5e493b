"""Elementwise ops against PyTorch: values and gradients, broadcasting, kinks, far-out and non-finite numbers."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
SHAPES = pytest.mark.parametrize(
    "shapes", [((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2, 3)), ((2, 3), ()), ((0, 3), (1, 3))], ids=str
)
FAR = np.array([-100.0, -20.0, -5.0, -0.5, -1e-6, 1e-6, 0.5, 5.0, 20.0, 80.0])

BINARY = {
    "add": (tn.add, torch.add),
    "subtract": (tn.subtract, torch.sub),
    "multiply": (tn.multiply, torch.mul),
    "divide": (tn.divide, torch.div),
    "pow": (tn.pow, torch.pow),
    "remainder": (tn.remainder, torch.remainder),
    "maximum": (tn.maximum, torch.maximum),
    "minimum": (tn.minimum, torch.minimum),
}
UNARY = {
    "negative": (tn.negative, torch.neg),
    "abs": (tn.abs, torch.abs),
    "square": (tn.square, torch.square),
    "exp": (tn.exp, torch.exp),
    "expm1": (tn.expm1, torch.expm1),
    "sin": (tn.sin, torch.sin),
    "cos": (tn.cos, torch.cos),
    "tanh": (tn.tanh, torch.tanh),
    "sigmoid": (tn.sigmoid, torch.sigmoid),
    "erf": (tn.erf, torch.erf),
    "relu": (tn.relu, F.relu),
    "leaky_relu": (tn.leaky_relu, F.leaky_relu),
    "gelu": (tn.gelu, F.gelu),
    "silu": (tn.silu, F.silu),
    "softplus": (tn.softplus, F.softplus),
    "clone": (tn.clone, torch.clone),
}
POSITIVE = {"sqrt": (tn.sqrt, torch.sqrt), "log": (tn.log, torch.log), "log1p": (tn.log1p, torch.log1p)}
OPTIONS = {
    "leaky_relu": (lambda x: tn.leaky_relu(x, 0.3), lambda x: F.leaky_relu(x, 0.3)),
    "gelu tanh": (lambda x: tn.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "softplus": (lambda x: tn.softplus(x, 2.0, 3.0), lambda x: F.softplus(x, 2.0, 3.0)),
    "clip": (lambda x: tn.clip(x, -1.0, 2.0), lambda x: torch.clip(x, -1.0, 2.0)),
    "clip above": (lambda x: tn.clip(x, max=0.5), lambda x: torch.clip(x, max=0.5)),
    "clip below": (lambda x: tn.clip(x, 0.5), lambda x: torch.clip(x, 0.5)),
    "cube": (lambda x: x**3, lambda x: x**3),
    "reciprocal": (lambda x: x**-1, lambda x: x**-1),
    "to the zero": (lambda x: x**0, lambda x: x**0),
    "from a number": (lambda x: 2.0 - x / 3, lambda x: 2.0 - x / 3),
    "of a number": (lambda x: 2.0 / x, lambda x: 2.0 / x),
    "negative divisor": (lambda x: x % -0.7, lambda x: x % -0.7),
    "where": (lambda x: tn.where(x > 0, x * x, -x), lambda x: torch.where(x > 0, x * x, -x)),
}


@DTYPES
@SHAPES
@pytest.mark.parametrize("name", BINARY)
def test_binary(parity, dtype, shapes, name):
    rng = np.random.default_rng(3)
    a, b = (rng.uniform(0.5, 2.5, shape) for shape in shapes)
    parity.check(*BINARY[name], a, b, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("shape", [(5, 7), (), (1,), (2, 0)])
@pytest.mark.parametrize("name", [*UNARY, *POSITIVE])
def test_unary(parity, dtype, shape, name):
    rng = np.random.default_rng(5)
    x = rng.uniform(0.1, 3, shape) if name in POSITIVE else rng.standard_normal(shape) * 2
    parity.check(*(UNARY | POSITIVE)[name], x, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("name", [n for n in UNARY if n not in ("square", "exp", "expm1", "sin", "cos")])
def test_far_out(parity, dtype, name):
    parity.check(*UNARY[name], FAR, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("name", OPTIONS)
def test_options(parity, dtype, name):
    parity.check(*OPTIONS[name], np.random.default_rng(6).standard_normal((6, 5)) * 2, dtype=dtype)


@pytest.mark.parametrize("name", ["abs", "relu", "leaky_relu", "maximum", "minimum", "clip"])
def test_at_the_kink(parity, name):
    """Subgradients are torch's: 0 at 0, ties share equally, bounds belong to the inside."""
    x = np.array([-1.0, 0.0, 1.0])
    if name in BINARY:
        parity.check(*BINARY[name], x, np.array([-1.0, 0.0, 2.0]))
    elif name == "clip":
        parity.check(lambda a: tn.clip(a, -1.0, 1.0), lambda a: torch.clip(a, -1.0, 1.0), x)
    else:
        parity.check(*UNARY[name], x)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "exp", "abs", "erf", "softplus"])
def test_not_finite(parity, name):
    """Values alone: at NaN the slopes differ, ours is 0 for relu and NaN for abs, torch's 1 and 0."""
    ours, theirs = UNARY[name]
    x = np.array([np.inf, -np.inf, 0.0, np.nan])
    parity.compare(ours(x), theirs(torch.from_numpy(x)))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("float32", "float64"),
        ("float32", "int64"),
        ("int32", "float64"),
        ("int64", "int32"),
        ("uint8", "int32"),
        ("bool", "float32"),
    ],
)
def test_promotion(parity, a, b):
    x, y = np.array([1, 0, 3]).astype(a), np.array([2, 5, 4]).astype(b)
    for ours, theirs in ((tn.add, torch.add), (tn.multiply, torch.mul), (tn.maximum, torch.maximum)):
        parity.compare(ours(x, y), theirs(torch.from_numpy(x), torch.from_numpy(y)))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
def test_numbers_promote_nothing_they_need_not(parity, dtype):
    x = np.array([1, 2, 3]).astype(dtype)
    ours, theirs = tn.tensor(x), torch.from_numpy(x)
    for function in (lambda t: t + 1, lambda t: 2 * t, lambda t: t + 1.5, lambda t: t / 2, lambda t: 1 / t):
        parity.compare(function(ours), function(theirs))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (tn.equal, torch.eq), (tn.not_equal, torch.ne), (tn.less, torch.lt), (tn.less_equal, torch.le),
        (tn.greater, torch.gt), (tn.greater_equal, torch.ge), (tn.logical_and, torch.logical_and),
        (tn.logical_or, torch.logical_or), (tn.logical_xor, torch.logical_xor),
    ],
)  # fmt: skip
def test_comparison(parity, ours, theirs):
    a, b = np.array([0.0, 1.0, np.nan, np.inf, -1.0]), np.array([0.0, 2.0, np.nan, np.inf, 0.0])
    parity.compare(ours(a, b), theirs(torch.from_numpy(a), torch.from_numpy(b)))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (tn.isnan, torch.isnan),
        (tn.isinf, torch.isinf),
        (tn.isfinite, torch.isfinite),
        (tn.logical_not, torch.logical_not),
        (tn.sign, torch.sign),
    ],
)
def test_predicates(parity, ours, theirs):
    x = np.array([0.0, -2.0, np.inf, -np.inf, 3.0])
    parity.compare(ours(x), theirs(torch.from_numpy(x)))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_bits(parity, dtype):
    a, b = np.array([0, 1, 7, 12]).astype(dtype), np.array([1, 1, 3, 10]).astype(dtype)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    parity.compare(
        [tn.bitwise_and(a, b), tn.bitwise_or(a, b), tn.bitwise_xor(a, b), tn.bitwise_invert(a)],
        [x & y, x | y, x ^ y, ~x],
    )


@DTYPES
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_softmax(parity, dtype, axis, name, scale):
    x = np.random.default_rng(7).standard_normal((4, 5, 3)) * scale
    parity.check(lambda a: getattr(tn, name)(a, axis), lambda a: getattr(F, name)(a, axis), x, dtype=dtype)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "silu", "softplus", "erf", "softmax", "log_softmax"])
def test_second_derivatives(parity, name):
    ours, theirs = UNARY.get(name, (lambda a: getattr(tn, name)(a, -1), lambda a: getattr(F, name)(a, -1)))
    x = np.random.default_rng(8).standard_normal((3, 5))
    parity.check(
        lambda a: tn.grad((ours(a) ** 2).sum(), a, create_graph=True),
        lambda a: torch.autograd.grad((theirs(a) ** 2).sum(), a, create_graph=True)[0],
        x,
        dtype="float64",
    )
