"""Elementwise expressions in one pass: the kernel of a function is written when it is first called; ``README.md``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_notes.kernels import BACKENDS
from tinygrad_notes.kernels.cuda.expression import BACKEND, BOOL, Expression, Lines, NotElementwise
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, blocks, contiguous

Array = np.ndarray
KINDS = {"fused": "kernel"}

THREADS, BYTES = 256, 16  # of a block; that a thread reads of each operand at once
MOST = 8  # versions of a function: a number that changes in every call would make one each time
PLAIN = (bool, int, float, str, type(None))
CONSTANT = (*PLAIN, FunctionType, BuiltinFunctionType, type)
LIBRARIES = ("tinygrad_notes", "numpy", "math")

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


for table in BACKENDS.values():
    table[Expression] = BACKEND  # type: ignore[assignment]

Numbers = tuple[str, ...]  # of a call: those among its operands, and those that the function closes over


class Version(NamedTuple):
    """A function with certain numbers: its kernel (None: it goes step by step), and the globals that it read."""

    kernels: Kernels | None
    reads: list[tuple[dict[str, Any], str, Any]]


# By code, globals, and kinds of operands: the versions by their numbers.
_versions: dict[Any, dict[Numbers, Version]] = {}


def fused(x: Array, function: Callable[..., Any], others: tuple[Any, ...]) -> Array:
    """function(x, *others), an elementwise expression: arrays of one shape, or numbers, in; the shape of x out."""
    operands = (x, *others)
    kinds = tuple([_kind(operand, x) for operand in operands])
    if None in kinds or x.dtype not in TYPES or x.size == 0:
        return function(*operands)
    version = _version(function, operands, kinds)  # type: ignore[arg-type]
    if version is None or version.kernels is None:
        return function(*operands)
    arrays = [
        operand[(slice(0, 1),) * operand.ndim] if len(kind) > 1 and operand.ndim else operand  # type: ignore[arg-type]
        for operand, kind in zip(operands, kinds)
        if kind
    ]
    turned = x.ndim > 1 and not arrays[0].flags.c_contiguous and all(a.flags.f_contiguous for a in arrays)
    arrays = [contiguous(a.T if turned else a) for a in arrays]
    y = np.empty(x.shape[::-1] if turned else x.shape, x.dtype, like=x)
    grid = blocks(x.size, THREADS * BYTES // x.itemsize)
    version.kernels.launch(version.kernels.names[0], grid, (THREADS,), (*arrays, y, np.int64(x.size)))
    return y.T if turned else y


def _kind(operand: Any, x: Array) -> str | None:
    """What a kernel is written for: the dtype's letter, with a 1 where one element stands for all; "" for a number.
    None for what no kernel takes."""
    if type(operand) is type(x):
        dtype = operand.dtype
        if dtype != x.dtype and dtype != BOOL:
            return None
        if operand.shape == x.shape:  # the gradient of a sum is one number, seen from all places
            return dtype.char if any(operand.strides) or not operand.ndim else dtype.char + "1"
        return dtype.char + "1" if operand.size == 1 and operand.ndim <= x.ndim else None
    return "" if type(operand) in PLAIN else None


def _version(function: Any, operands: tuple[Any, ...], kinds: tuple[str, ...]) -> Version | None:
    """The version that was written for such a call before, or one that is written now."""
    numbers = [_number(operand) for operand, kind in zip(operands, kinds) if not kind]
    code = _code(function, numbers)
    if code is None:
        return None
    versions = _versions.setdefault((code, kinds), {})
    version = versions.get(key := tuple(numbers))
    if version is not None and all(scope.get(name) is value for scope, name, value in version.reads):
        return version
    if version is None and len(versions) >= MOST:
        return None
    reads = _reads(function)
    written = None if reads is None else write(function, operands, kinds)
    versions[key] = version = Version(written, reads or [])
    return version


def _number(value: Any) -> str:
    """0.0 and -0.0 are two, and NaN is one."""
    return f"{type(value).__name__} {value!r}"


def _code(function: Any, numbers: list[str], outer: tuple[Any, ...] = ()) -> Any:
    """The code of a function and of those that it closes over, with what they read globals from; the numbers that they
    close over are added to ``numbers``. None where they hold anything else, such as an array."""
    if type(function) is not FunctionType or function.__defaults__ or function.__kwdefaults__ or function in outer:
        return None
    found = [function.__code__, id(function.__globals__)]
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # it is empty
            return None
        if type(value) in PLAIN:
            numbers.append(_number(value))
        elif (inner := _code(value, numbers, (*outer, function))) is not None:
            found.append(inner)
        else:
            return None
    return tuple(found)


def _reads(function: Any) -> list[tuple[dict[str, Any], str, Any]] | None:
    """The globals that a function reads and those that it calls: they may be changed, those of this package are not.
    None where one is anything but a number, a function or a library."""
    found, todo, seen = [], [function], set()
    while todo:
        one = todo.pop()
        if one in seen or type(one) is not FunctionType or _library(one.__module__):
            continue
        seen.add(one)
        scope = one.__globals__
        todo += [cell.cell_contents for cell in one.__closure__ or ()]
        for name in one.__code__.co_names:
            if name not in scope:
                continue
            value = scope[name]
            library = type(value) is ModuleType and _library(value.__name__)
            if not (library or type(value) in CONSTANT or isinstance(value, np.ufunc)):
                return None
            found.append((scope, name, value))
            todo.append(value)
    return found


def _library(name: str | None) -> bool:
    return (name or "").split(".")[0] in LIBRARIES


def write(function: Any, operands: tuple[Any, ...], kinds: tuple[str, ...]) -> Kernels | None:
    """The kernel of ``function`` on such operands; None where it is no expression, or one of one step."""
    dtype = operands[0].dtype
    try:
        lines, result = trace(function, operands, kinds)
    except Exception:  # what is wrong with the operands, the function says itself when it is called with them
        return None
    if len(lines) < 2 or result.dtype != dtype:
        return None
    parameters, loads, aligned = [], [], ""
    for i, kind in enumerate(kinds):
        if not kind:
            continue
        boolean = kind[0] == BOOL.char
        parameters.append(f"const {'bool' if boolean else 'T'}* operand_{i}")
        if len(kind) > 1:
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


def trace(function: Any, operands: tuple[Any, ...], kinds: tuple[str, ...]) -> tuple[list[str], Expression]:
    """The lines of C++ that ``function`` comes to, and its result."""
    lines = Lines(operands[0].dtype)
    result = function(
        *(
            Expression(lines, f"in_{i}", operand.dtype) if kind else operand
            for i, (operand, kind) in enumerate(zip(operands, kinds))
        )
    )
    if type(result) is not Expression:
        raise NotElementwise(f"a result that is {type(result).__name__}")
    return lines, result
