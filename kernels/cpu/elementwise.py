"""exp, tanh, sigmoid, erf, gelu and silu: one pass over memory, whatever the formula, where NumPy makes a pass a step.

A body is the formula on one vector of each input; :func:`row` runs it along a share of the elements.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address
from tinygrad_notes.kernels.cpu.compile import instance, kernel
from tinygrad_notes.kernels.cpu.isa import functions
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import Lanes, itemsize
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
SMALL = {"f": 400, "d": 3000}  # elements up to which NumPy's exp and tanh are as fast
PER_THREAD = 1 << 15  # elements that repay waking a thread
PIECE = 64  # a share is a multiple of it, so that no two threads write to one cache line
CUBE, SLOPE = 0.044715, math.sqrt(2 / math.pi)  # of the approximation of GELU by tanh


# ---------------------------------------------------------------------- bodies: v, vectors of the inputs, scalars


def exp_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    return [functions.exp(v, x[0])], []


def tanh_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    return [functions.tanh(v, x[0])], []


def sigmoid_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    return [functions.sigmoid(v, x[0])], []


def erf_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    return [functions.erf(v, x[0])], []


def gelu_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    """x Φ(x) = x (1 + erf(x/√2)) / 2."""
    b = v.builder
    near = v.at_least(v.constant(-functions.GELU_END), x[0])
    twice = b.fadd(v.constant(1.0), functions.erf(v, b.fmul(x[0], v.constant(math.sqrt(0.5)))))
    return [b.fmul(b.fmul(near, v.constant(0.5)), twice)], []


def gelu_grad_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    """g (Φ(x) + x Φ'(x))."""
    return [v.builder.fmul(x[0], functions.gelu_slope(v, x[1]))], []


def gelu_tanh_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    """x (1 + tanh u) / 2 = x sigmoid(2u), u = √(2/π) (x + 0.044715 x³)."""
    b = v.builder
    near = clipped(v, x[0], functions.GELU_END)
    u = b.fmul(near, v.multiply_add(b.fmul(near, near), v.constant(2 * SLOPE * CUBE), v.constant(2 * SLOPE)))
    return [b.fmul(v.at_least(v.constant(-functions.GELU_END), x[0]), functions.sigmoid(v, u))], []


def gelu_tanh_grad_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    """g (s + x s (1 - s) 2u'), s = sigmoid(2u)."""
    b = v.builder
    g, near = x[0], clipped(v, x[1], functions.GELU_END)
    square = b.fmul(near, near)
    u = b.fmul(near, v.multiply_add(square, v.constant(2 * SLOPE * CUBE), v.constant(2 * SLOPE)))
    s, slope = sigmoid_and_slope(v, u)
    inner = v.multiply_add(square, v.constant(6 * SLOPE * CUBE), v.constant(2 * SLOPE))
    return [b.fmul(g, v.multiply_add(b.fmul(near, inner), slope, s))], []


def silu_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    """x sigmoid(x)."""
    return [v.builder.fmul(v.at_least(v.constant(-largest(v)), x[0]), functions.sigmoid(v, x[0]))], []


def silu_grad_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    """g (s + x s (1 - s)), s = sigmoid(x)."""
    s, slope = sigmoid_and_slope(v, x[1])
    return [v.builder.fmul(x[0], v.multiply_add(clipped(v, x[1], largest(v)), slope, s))], []


def clipped(v: Lanes, x: Any, end: float) -> Any:
    """x between ±``end``."""
    return v.at_most(v.constant(end), v.at_least(v.constant(-end), x))


def largest(v: Lanes) -> float:
    """The largest finite number: it stands for ∞ where 0 times it must be 0."""
    return float(np.finfo(np.float32 if v.itemsize == 4 else np.float64).max)


def sigmoid_and_slope(v: Lanes, x: Any) -> tuple[Any, Any]:
    """s = sigmoid(x) and s (1 - s), by e = exp(-|x|) and r = 1 / (1 + e): s is r or e r, and its slope e r²."""
    b = v.builder
    e = functions.exp(v, b.fneg(v.call("llvm.fabs", x)))
    r = b.fdiv(v.constant(1.0), b.fadd(v.constant(1.0), e))
    other = b.fmul(e, r)
    return b.select(b.fcmp_ordered("<", x, v.constant(0.0)), other, r), b.fmul(other, r)


# ---------------------------------------------------------------------- kernels: addresses, each for its share


@kernel
def share(thread, threads, count):
    """The first element of a thread's share, and the first that is no longer in it."""
    pieces = (count + PIECE - 1) // PIECE
    return thread * pieces // threads * PIECE, min((thread + 1) * pieces // threads * PIECE, count)


along: Any = None  # in each kernel made of the texts below, the micro-kernel of its formula


def map_one(x, y, count, like, thread, threads):
    """y = f(x)."""
    first, last = share(thread, threads, count)
    skip = first * itemsize(like)
    along((x + skip, y + skip, last - first), (), like)


def map_two(g, x, dx, count, like, thread, threads):
    """dx = f(g, x)."""
    first, last = share(thread, threads, count)
    skip = first * itemsize(like)
    along((g + skip, x + skip, dx + skip, last - first), (), like)


ONE = {
    "exp": exp_body, "tanh": tanh_body, "sigmoid": sigmoid_body, "erf": erf_body, "gelu": gelu_body,
    "gelu_tanh": gelu_tanh_body, "silu": silu_body,
}  # fmt: skip
TWO = {"gelu_grad": gelu_grad_body, "gelu_tanh_grad": gelu_tanh_grad_body, "silu_grad": silu_grad_body}
KERNELS = {name: instance(map_one, f"map_{name}", along=row(1, 1, 0, body)) for name, body in ONE.items()}
KERNELS |= {name: instance(map_two, f"map_{name}", along=row(2, 1, 0, body)) for name, body in TWO.items()}


# ---------------------------------------------------------------------- functions of the contract


def exp(x: Array) -> Array:
    """e to the power x."""
    return reference.exp(x) if _small(x) else _map("exp", x)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    return reference.tanh(x) if _small(x) else _map("tanh", x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return _map("sigmoid", x) if x.dtype in LIKE else reference.sigmoid(x)


def erf(x: Array) -> Array:
    """Error function."""
    return _map("erf", x) if x.dtype in LIKE else reference.erf(x)


def gelu(x: Array, approximate: str) -> Array:
    """x Φ(x), or with ``approximate="tanh"`` x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2."""
    if x.dtype not in LIKE:
        return reference.gelu(x, approximate)
    return _map("gelu" if approximate == "none" else "gelu_tanh", x)


def gelu_grad(g: Array, x: Array, approximate: str) -> Array:
    """g d gelu(x)/dx."""
    if not _alike(g, x):
        return reference.gelu_grad(g, x, approximate)
    return _map("gelu_grad" if approximate == "none" else "gelu_tanh_grad", g, x)


def silu(x: Array) -> Array:
    """x sigmoid(x)."""
    return _map("silu", x) if x.dtype in LIKE else reference.silu(x)


def silu_grad(g: Array, x: Array) -> Array:
    """g d silu(x)/dx."""
    return _map("silu_grad", g, x) if _alike(g, x) else reference.silu_grad(g, x)


def _small(x: Array) -> bool:
    """Whether NumPy's one pass is as good, or the only one there is."""
    return x.dtype not in LIKE or x.size <= SMALL[x.dtype.char]


def _alike(g: Array, x: Array) -> bool:
    return x.dtype in LIKE and g.dtype == x.dtype and g.shape == x.shape


def _map(name: str, *inputs: Array) -> Array:
    """Run over the elements in the order in which they lie in the last input, which is also the order of the value."""
    y = np.empty_like(inputs[-1], subok=False)
    inputs = tuple([_in_order(x, y) for x in inputs])
    KERNELS[name](*map(address, inputs), address(y), y.size, LIKE[y.dtype], threads_for(y.size, PER_THREAD))
    return y


def _in_order(x: Array, y: Array) -> Array:
    """x, or a copy of it, whose elements lie as those of y do; y has no gaps.

    Without axes x is copied, because NumPy's scalars, which have no address, then pass for arrays.
    """
    if x.ndim and (x.strides == y.strides or (x.flags.c_contiguous and y.flags.c_contiguous)):
        return x
    copy = np.empty_like(y)
    copy[...] = x
    return copy
