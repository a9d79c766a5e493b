"""Elementwise expressions in one pass: a kernel is written for each function, when it is first called.

CuPy computes ``g - g * y * y`` in three kernels, each of which reads its operands from memory and writes its result
there. :mod:`expression` writes the function down as C++ instead; the kernel reads each operand once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_notes.kernels import BACKENDS
from tinygrad_notes.kernels.cuda.expression import BACKEND, BOOL, Expression, NotElementwise
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, blocks, contiguous

Array = np.ndarray
KINDS = {"fused": "kernel"}

THREADS, BYTES = 256, 16  # of a block; that a thread reads of each operand at once
MOST = 1000  # kernels: a number that changes in every call would make one each time
PLAIN = (bool, int, float, str, type(None))

TEMPLATE = """#include "prims.cuh"
#include "elementwise.cuh"
#include "packs.cuh"

// Written for {name}. A thread computes the elements of one pack.
template <class T>
__global__ void __launch_bounds__({threads}) {kernel}({parameters}, T* out, long long n) {{
    const long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * PACK<T>;
    if (i >= n) return;
    const bool aligned = {aligned}aligned_16(out);
{loads}
    Pack<T, PACK<T>> result;
#pragma unroll
    for (int j = 0; j < PACK<T>; ++j) {{
{lines}
    }}
    store_some(out + i, result, n - i, aligned);
}}
"""


class Kind(NamedTuple):
    """Of an operand what a kernel is written for: a dtype, and whether there is one element for all; or a number."""

    dtype: str = ""
    single: bool = False
    value: Any = None


for table in BACKENDS.values():
    table[Expression] = BACKEND  # type: ignore[assignment]
_kernels: dict[Any, Kernels | None] = {}  # None: it is computed step by step


def fused(x: Array, function: Callable[..., Any], others: tuple[Any, ...]) -> Array:
    """function(x, *others), an elementwise expression: arrays of one shape, or numbers, in; the shape of x out."""
    kinds = [_kind(operand, x) for operand in (x, *others)]
    if None in kinds or kinds[0].single or x.dtype not in TYPES or x.size == 0:  # type: ignore[union-attr]
        return function(x, *others)
    known = _fixed(function)
    key = (known, *kinds)
    if known is not None and key not in _kernels and len(_kernels) < MOST:
        _kernels[key] = write(function, kinds, x.dtype)  # type: ignore[arg-type]
    kernels = _kernels.get(key)
    if kernels is None:
        return function(x, *others)
    arrays = [operand for operand, kind in zip((x, *others), kinds) if kind.dtype]  # type: ignore[union-attr]
    turned = x.ndim > 1 and not x.flags.c_contiguous and all(a.flags.f_contiguous for a in arrays)
    arrays = [contiguous(a.T if turned else a) for a in arrays]
    y = np.empty(x.shape[::-1] if turned else x.shape, x.dtype, like=x)
    grid = blocks(x.size, THREADS * BYTES // x.itemsize)
    kernels.launch(kernels.names[0], grid, (THREADS,), (*arrays, y, np.int64(x.size)))
    return y.T if turned else y


def write(function: Callable[..., Any], kinds: list[Kind], dtype: np.dtype[Any]) -> Kernels | None:
    """The kernel of ``function`` on operands of these kinds; None where it is no expression, or one of one step."""
    try:
        lines, result = trace(function, kinds)
    except Exception:  # what is wrong with the operands, the function says itself when it is called with them
        return None
    if len(lines) < 2 or result.dtype != dtype:
        return None
    parameters, loads, aligned = [], [], ""
    for i, kind in enumerate(kinds):
        if not kind.dtype:
            continue
        boolean = np.dtype(kind.dtype) == BOOL
        parameters.append(f"const {'bool' if boolean else 'T'}* operand_{i}")
        if kind.single:
            loads.append(f"    const {'bool' if boolean else 'T'} in_{i} = *operand_{i};")
        elif boolean:  # four or two bytes of each thread: neighbours read one line of memory
            lines.insert(0, f"const bool in_{i} = i + j < n && operand_{i}[i + j];")
        else:
            aligned += f"aligned_16(operand_{i}) && "
            loads.append(f"    const Pack<T, PACK<T>> pack_{i} = load_some(operand_{i} + i, n - i, aligned);")
            lines.insert(0, f"const T in_{i} = pack_{i}.at[j];")
    text = TEMPLATE.format(
        name=function.__qualname__,
        threads=THREADS,
        kernel="KERNEL",
        parameters=", ".join(parameters),
        aligned=aligned,
        loads="\n".join(loads),
        lines="\n".join(f"        {line}" for line in [*lines, f"result.at[j] = {result.text};"]),
    )
    kernel = f"fused_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Kernels(f"{kernel}.cu", [f"{kernel}<{TYPES[dtype]}>"], written=text.replace("KERNEL", kernel))


def trace(function: Callable[..., Any], kinds: list[Kind]) -> tuple[list[str], Expression]:
    """The lines of C++ that ``function`` comes to, and its result."""
    lines: list[str] = []
    operands = [
        Expression(lines, f"in_{i}", np.dtype(kind.dtype)) if kind.dtype else kind.value[1]
        for i, kind in enumerate(kinds)
    ]
    result = function(*operands)
    if type(result) is not Expression:
        raise NotElementwise(f"a result that is {type(result).__name__}")
    return lines, result


def _kind(operand: Any, x: Array) -> Kind | None:
    """None for what no kernel takes."""
    if type(operand) is type(x):
        if operand.dtype != x.dtype and operand.dtype != BOOL:
            return None
        if operand.shape == x.shape:
            return Kind(operand.dtype.char)
        return Kind(operand.dtype.char, True) if operand.size == 1 and operand.ndim <= x.ndim else None
    if type(operand) in PLAIN and operand == operand:
        return Kind(value=(type(operand), operand))
    return None


def _fixed(function: Any) -> Any:
    """What the text of a kernel depends on beside the operands: the code, and the numbers and functions that it closes
    over. None where it holds anything else, such as an array."""
    if type(function) is not FunctionType or function.__defaults__ or function.__kwdefaults__:
        return None
    held: list[Any] = [function.__code__, function.__module__]  # equal code in two modules may call other functions
    for cell in function.__closure__ or ():
        value = cell.cell_contents
        known = _fixed(value) if type(value) is FunctionType else (type(value), value)
        if known is None or not (type(value) is FunctionType or (type(value) in PLAIN and value == value)):
            return None
        held.append(known)
    return tuple(held)
