"""Steps of optimisers and the norm for clipping: a launch for up to 80 arrays, whatever their sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, contiguous, numbers, pointers

Array = np.ndarray
KINDS = dict.fromkeys(("sgd_step", "adam_step", "global_norm"), "kernel")

THREADS, PIECE, ARRAYS = 256, 4096, 80  # of a block; elements of a block; arrays of a launch

KERNELS = Kernels(
    "optimizer.cu",
    [
        f"{kernel}>"
        for type_name in TYPES.values()
        for kernel in (
            f"descend<{type_name}",
            *(f"descend_with_momentum<{type_name}, {first}" for first in ("false", "true")),
            *(f"{name}<{type_name}" for name in ("adapt", "square_sums", "root_of_sum")),
        )
    ],
)


def sgd_step(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    momentum_buffers: Sequence[Array | None] | None,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    maximize: bool,
) -> list[Array] | None:
    """One step of gradient descent in place, with momentum where ``momentum`` is not 0; see the reference."""
    before = momentum_buffers or [None] * len(parameters)
    buffers = [np.empty_like(p) if b is None else b for p, b in zip(parameters, before)] if momentum else []
    columns = _columns(parameters, gradients, *([buffers] if momentum else []))
    if columns is None:
        return reference.sgd_step(
            parameters, gradients, momentum_buffers, lr, momentum, dampening, nesterov, weight_decay, maximize
        )
    scalars: tuple[float, ...] = (-1 if maximize else 1, weight_decay, lr)
    if not momentum:
        _launch("descend", "", columns, scalars)
        return None
    scalars = (*scalars, momentum, 1 - dampening, nesterov)
    for first in (False, True):
        lines = [line for line, old in zip(zip(*columns), before) if (old is None) == first]
        _launch("descend_with_momentum", f", {str(first).lower()}", list(zip(*lines)), scalars)
    return buffers


def adam_step(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    first_moments: Sequence[Array],
    second_moments: Sequence[Array],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """Step number ``step`` (from 1) of Adam or, ``decoupled``, AdamW, in place; see the reference."""
    columns = _columns(parameters, gradients, first_moments, second_moments)
    if columns is None:
        return reference.adam_step(
            parameters, gradients, first_moments, second_moments, step, lr, beta1, beta2, eps, weight_decay,
            decoupled, maximize,
        )  # fmt: skip
    scalars = (
        -1 if maximize else 1, 0 if decoupled else weight_decay, 1 - lr * weight_decay if decoupled else 1,
        beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1**step), math.sqrt(1 - beta2**step), eps,
    )  # fmt: skip
    _launch("adapt", "", columns, scalars)
    return None


def global_norm(arrays: Sequence[Array]) -> Array:
    """Euclidean norm of all elements of all arrays, squares summed in float64, in the dtype of the first."""
    x = arrays[0]
    if x.dtype not in TYPES or any(array.dtype != x.dtype for array in arrays):
        return reference.global_norm(arrays)
    flat = [contiguous(a.T if a.flags.f_contiguous else a) for a in arrays if a.size]
    pieces = sum(-(-a.size // PIECE) for a in flat)
    sums, norm = np.empty(pieces, np.float64, like=x), np.empty((), x.dtype, like=x)
    done, name = 0, TYPES[x.dtype]
    for some, sizes, blocks in _tables([flat]):
        KERNELS.launch(f"square_sums<{name}>", (blocks,), (THREADS,), (*some, *sizes, sums[done : done + blocks]), 0, x)
        done += blocks
    KERNELS.launch(f"root_of_sum<{name}>", (1,), (THREADS,), (sums, norm, np.int32(pieces)))
    return norm


def _columns(
    parameters: Sequence[Array], gradients: Sequence[Array], *kept: Sequence[Array]
) -> list[list[Array]] | None:
    """The lists with every array in C order, views of what is written; None where the kernels cannot write there.

    All must have one dtype; parameters and what is kept must lie without gaps in the same order, C or Fortran's. A
    parameter that comes twice takes its steps one after the other, in the reference.
    """
    dtype = parameters[0].dtype
    if dtype not in TYPES or len({_address(p) for p in parameters if p.size}) < sum(p.size > 0 for p in parameters):
        return None
    lines = []
    for parameter, gradient, *others in zip(parameters, gradients, *kept):
        arrays = parameter, gradient, *others
        if any(a.dtype != dtype or a.shape != parameter.shape for a in arrays):
            return None
        if not all(a.flags.c_contiguous for a in (parameter, *others)):
            if not all(a.flags.f_contiguous for a in (parameter, *others)):
                return None
            arrays = tuple(a.T for a in arrays)
        lines.append([arrays[0], contiguous(arrays[1]), *arrays[2:]])
    return [list(column) for column in zip(*lines)]


def _launch(kernel: str, more: str, columns: Sequence[Sequence[Array]], scalars: Sequence[float]) -> None:
    """The kernel over lists of arrays, the first of which are the parameters."""
    for arrays, sizes, blocks in _tables(columns):
        dtype = columns[0][0].dtype
        given = numbers(scalars, len(scalars), dtype)
        name = f"{kernel}<{TYPES[dtype]}{more}>"
        KERNELS.launch(name, (blocks,), (THREADS,), (*arrays, *sizes, given), like=columns[0][0])


def _tables(columns: Sequence[Sequence[Array]]) -> Iterator[tuple[list[Any], list[Any], int]]:
    """For up to ARRAYS arrays of each list: their addresses, the sizes as the kernels take them, and the blocks."""
    lines = [line for line in zip(*columns) if line[0].size]
    for start in range(0, len(lines), ARRAYS):
        some = lines[start : start + ARRAYS]
        counts = [line[0].size for line in some]
        ends = np.cumsum([-(-count // PIECE) for count in counts]).tolist()
        block_end = numbers(ends + ends[-1:] * (ARRAYS - len(ends)), ARRAYS, np.int32)
        yield [pointers(column, ARRAYS) for column in zip(*some)], [numbers(counts, ARRAYS), block_end], ends[-1]


def _address(array: Any) -> int:
    return int(array.ctypes.data if type(array) is np.ndarray else array.data.ptr)
