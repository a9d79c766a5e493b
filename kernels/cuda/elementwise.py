"""Elementwise functions, of one operand and gradients of two: a thread for each 16 bytes."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, blocks, contiguous

Array = np.ndarray
KINDS = dict.fromkeys(("exp", "tanh", "sigmoid", "erf", "gelu", "gelu_grad", "silu", "silu_grad"), "kernel")

THREADS, BYTES = 256, 16  # of a block; that a thread reads at once
WAYS = {"none": "Exactly", "tanh": "ByTanh"}

KERNELS = Kernels(
    "elementwise.cu",
    [
        f"{kernel}, {type_name}>"
        for type_name in TYPES.values()
        for kernel in (
            *(f"map<{name}" for name in ("Exp", "Tanh", "Sigmoid", "Erf", "Silu")),
            *(f"{kernel}<{way}>" for kernel in ("map<Gelu", "map_grad<GeluGrad") for way in WAYS.values()),
            "map_grad<SiluGrad",
        )
    ],
)


def exp(x: Array) -> Array:
    """e to the power x."""
    return _run("map<Exp", x) if _fits(x) else reference.exp(x)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    return _run("map<Tanh", x) if _fits(x) else reference.tanh(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return _run("map<Sigmoid", x) if _fits(x) else reference.sigmoid(x)


def erf(x: Array) -> Array:
    """Error function."""
    return _run("map<Erf", x) if _fits(x) else reference.erf(x)


def gelu(x: Array, approximate: str) -> Array:
    """x Φ(x), Φ the normal distribution function or its approximation by tanh."""
    return _run(f"map<Gelu<{WAYS[approximate]}>", x) if _fits(x) else reference.gelu(x, approximate)


def gelu_grad(g: Array, x: Array, approximate: str) -> Array:
    """g d gelu(x)/dx."""
    if not _fits(g, x):
        return reference.gelu_grad(g, x, approximate)
    return _run(f"map_grad<GeluGrad<{WAYS[approximate]}>", g, x)


def silu(x: Array) -> Array:
    """x sigmoid(x)."""
    return _run("map<Silu", x) if _fits(x) else reference.silu(x)


def silu_grad(g: Array, x: Array) -> Array:
    """g d silu(x)/dx."""
    return _run("map_grad<SiluGrad", g, x) if _fits(g, x) else reference.silu_grad(g, x)


def _fits(*operands: Array) -> bool:
    first = operands[0]
    return first.dtype in TYPES and all(x.dtype == first.dtype and x.shape == first.shape for x in operands)


def _run(kernel: str, *operands: Array) -> Array:
    """The kernel on operands in one order: C, or Fortran's where all lie so."""
    x = operands[0]
    if x.ndim > 1 and not x.flags.c_contiguous and all(operand.flags.f_contiguous for operand in operands):
        return _run(kernel, *(operand.T for operand in operands)).T
    y = np.empty(x.shape, x.dtype, like=x)
    if x.size:
        grid = blocks(x.size, THREADS * BYTES // x.itemsize)
        arguments = (*(contiguous(operand) for operand in operands), y, np.int64(x.size))
        KERNELS.launch(f"{kernel}, {TYPES[x.dtype]}>", grid, (THREADS,), arguments)
    return y
