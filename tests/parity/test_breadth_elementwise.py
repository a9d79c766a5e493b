"""Trigonometric and hyperbolic functions, rounding and activations against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
# torch computes with these numbers, 1/6 and 1/alpha, in float32 precision, in float64 too.
ROUNDED = {"hardsigmoid": 1e-7, "celu": 1e-7}
FAR = np.array([-100.0, -20.0, -5.0, -0.5, -1e-6, 1e-6, 0.5, 5.0, 20.0, 80.0])

UNARY = {
    "tan": (tn.tan, torch.tan),
    "atan": (tn.atan, torch.atan),
    "sinh": (tn.sinh, torch.sinh),
    "cosh": (tn.cosh, torch.cosh),
    "asinh": (tn.asinh, torch.asinh),
    "exp2": (tn.exp2, torch.exp2),
    "reciprocal": (tn.reciprocal, torch.reciprocal),
    "logsigmoid": (tn.logsigmoid, F.logsigmoid),
    "elu": (tn.elu, F.elu),
    "selu": (tn.selu, F.selu),
    "celu": (tn.celu, F.celu),
    "hardtanh": (tn.hardtanh, F.hardtanh),
    "relu6": (tn.relu6, F.relu6),
    "hardsigmoid": (tn.hardsigmoid, F.hardsigmoid),
    "hardswish": (tn.hardswish, F.hardswish),
    "mish": (tn.mish, F.mish),
    "softsign": (tn.softsign, F.softsign),
}
INSIDE = {"asin": (tn.asin, torch.asin), "acos": (tn.acos, torch.acos), "atanh": (tn.atanh, torch.atanh)}
POSITIVE = {
    "acosh": (lambda a: tn.acosh(a + 1), lambda a: torch.acosh(a + 1)),
    "log2": (tn.log2, torch.log2),
    "log10": (tn.log10, torch.log10),
}
BINARY = {
    "atan2": (tn.atan2, torch.atan2),
    "hypot": (tn.hypot, torch.hypot),
    "logaddexp": (tn.logaddexp, torch.logaddexp),
}
OPTIONS = {
    "elu": (lambda x: tn.elu(x, 0.3), lambda x: F.elu(x, 0.3)),
    "celu": (lambda x: tn.celu(x, 0.3), lambda x: F.celu(x, 0.3)),
    "hardtanh": (lambda x: tn.hardtanh(x, -0.5, 1.5), lambda x: F.hardtanh(x, -0.5, 1.5)),
    "glu": (tn.glu, F.glu),
    "glu first axis": (lambda x: tn.glu(x, 0), lambda x: F.glu(x, 0)),
    "softmin": (lambda x: tn.softmin(x, 1), lambda x: F.softmin(x, 1)),
}
ROUNDINGS = {
    "floor": (tn.floor, torch.floor),
    "ceil": (tn.ceil, torch.ceil),
    "trunc": (tn.trunc, torch.trunc),
    "round": (tn.round, torch.round),
}


@DTYPES
@pytest.mark.parametrize("shape", [(5, 7), (), (1,), (2, 0)])
@pytest.mark.parametrize("name", [*UNARY, *INSIDE, *POSITIVE])
def test_unary(parity, dtype, shape, name):
    rng = np.random.default_rng(5)
    x = rng.standard_normal(shape) * 2
    x = rng.uniform(-0.9, 0.9, shape) if name in INSIDE else rng.uniform(0.1, 3, shape) if name in POSITIVE else x
    tolerance = ROUNDED.get(name) if dtype == "float64" else None
    parity.check(*(UNARY | INSIDE | POSITIVE)[name], x, dtype=dtype, tolerance=tolerance)


@DTYPES
@pytest.mark.parametrize("name", [n for n in UNARY if n not in ("tan", "sinh", "cosh", "exp2")])
def test_far_out(parity, dtype, name):
    parity.check(*UNARY[name], FAR, dtype=dtype, tolerance=ROUNDED.get(name) if dtype == "float64" else None)


@DTYPES
@pytest.mark.parametrize(
    "shapes", [((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2, 3)), ((2, 3), ()), ((0, 3), (1, 3))], ids=str
)
@pytest.mark.parametrize("name", BINARY)
def test_binary(parity, dtype, shapes, name):
    rng = np.random.default_rng(3)
    parity.check(*BINARY[name], *(rng.standard_normal(shape) * 2 for shape in shapes), dtype=dtype)


@pytest.mark.parametrize("name", BINARY)
def test_binary_far_out(parity, name):
    """Neither a square nor an exponential overflows. (torch's gradient of atan2 squares, so values alone.)"""
    a, b = np.array([300.0, -300.0, 1e5, -1e30]), np.array([-200.0, 400.0, 1e5, 1e25])
    ours, theirs = BINARY[name]
    if name == "atan2":
        parity.compare(ours(a, b), theirs(torch.from_numpy(a), torch.from_numpy(b)))
    else:
        parity.check(ours, theirs, a, b, dtype="float64")


@pytest.mark.parametrize("name", ["elu", "selu", "celu", "hardtanh", "relu6", "hardsigmoid", "hardswish", "softsign"])
def test_at_the_kink(parity, name):
    parity.check(*UNARY[name], np.array([-3.0, -1.0, 0.0, 1.0, 3.0, 6.0]))


def test_at_the_origin(parity):
    """hypot and atan2 have the gradient 0 here and NaN in torch, so their values alone."""
    zero = np.zeros(1)
    for name in ("hypot", "atan2"):
        ours, theirs = BINARY[name]
        parity.compare(ours(zero, zero), theirs(torch.from_numpy(zero), torch.from_numpy(zero)))
        a, b = (tn.Tensor(zero, requires_grad=True) for _ in "ab")
        ours(a, b).sum().backward()
        assert a.grad.tolist() == b.grad.tolist() == [0.0], name


def test_infinities_added(parity):
    inf = np.array([np.inf, -np.inf, np.inf, -np.inf, 1.0])
    other = np.array([np.inf, -np.inf, -np.inf, 3.0, np.inf])
    parity.compare(tn.logaddexp(inf, other), torch.logaddexp(torch.from_numpy(inf), torch.from_numpy(other)))
    a = tn.Tensor(inf, requires_grad=True)
    tn.logaddexp(a, other).backward(np.ones(5))
    assert a.grad.tolist() == [0.5, 0.5, 1.0, 0.0, 0.0]


@DTYPES
@pytest.mark.parametrize("name", OPTIONS)
def test_options(parity, dtype, name):
    tolerance = ROUNDED.get(name) if dtype == "float64" else None
    parity.check(*OPTIONS[name], np.random.default_rng(6).standard_normal((6, 4)) * 2, dtype=dtype, tolerance=tolerance)


@DTYPES
@pytest.mark.parametrize(
    ("shape", "slopes"), [((5, 3), 1), ((5, 3), 3), ((2, 3, 4, 4), 3), ((2, 3, 4), 1), ((0, 3), 3)]
)
def test_prelu(parity, dtype, shape, slopes):
    rng = np.random.default_rng(7)
    parity.check(tn.prelu, F.prelu, rng.standard_normal(shape), rng.standard_normal(slopes), dtype=dtype)


@pytest.mark.parametrize("name", ROUNDINGS)
def test_rounding(parity, name):
    ours, theirs = ROUNDINGS[name]
    x = np.array([-2.5, -1.5, -0.7, -0.5, 0.0, 0.5, 1.5, 2.5, 1e20, np.inf, -np.inf, np.nan])
    parity.compare(ours(x), theirs(torch.from_numpy(x)))
    parity.compare(ours(np.array([3, -4])), theirs(torch.tensor([3, -4])))
    assert not ours(tn.Tensor(x, requires_grad=True)).requires_grad


@pytest.mark.parametrize("decimals", [0, 1, 3, -2])
def test_rounding_to_places(parity, decimals):
    x = np.random.default_rng(8).standard_normal(50) * 300
    parity.compare(tn.round(x, decimals), torch.round(torch.from_numpy(x), decimals=decimals))
