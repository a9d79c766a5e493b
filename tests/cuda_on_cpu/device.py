"""A GPU for whole networks: arrays that behave as CuPy's do, on which the CUDA kernels run by the stand-in."""

from __future__ import annotations

import functools
import sys
from typing import Any

import pytest

from tests.capture import fake_cupy
from tests.capture.fake_cupy import FakeArray
from tests.cuda_on_cpu import stand_in
from tests.foreign_array import arrays_in
from tinygrad_notes import kernels
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda import blas, launch


def install(monkeypatch: pytest.MonkeyPatch) -> fake_cupy.State:
    """From now on ``t.to("cuda")`` gives Tensors on this device."""
    state = fake_cupy.State()
    state.own_products = True
    monkeypatch.setattr(fake_cupy, "STATE", [state])
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.cupy(state))
    monkeypatch.setitem(kernels.DEVICES, FakeArray, "cuda")
    for choice, table in kernels.BACKENDS.items():
        monkeypatch.setitem(table, FakeArray, reference if choice == "reference" else cuda)
    monkeypatch.setitem(launch.RUNNERS, FakeArray, run)
    monkeypatch.setattr(blas, "_on_gpu", multiply)
    for name in reference.__all__:
        monkeypatch.setattr(reference, name, _counted(name, getattr(reference, name), state))
    return state


def _counted(name: str, function: Any, state: fake_cupy.State) -> Any:
    """A function of the reference: with this device's arrays it is a kernel's stand-in, and ``composed`` tells."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if next(arrays_in(arguments), None) is not None:
            state.composed.append(name)
        return function(*arguments)

    return call


def later(work: Any) -> None:
    """Do it now or, while the stream is captured, when the graph is launched."""
    captured = fake_cupy.now().stream.captured
    if captured is None:
        work()
    else:
        captured.append(work)


def run(
    kernel_file: launch.Kernels,
    name: str,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    arguments: tuple[Any, ...],
    shared: int,
) -> None:
    """Who runs the kernels of this device's arrays."""
    beneath = tuple(map(_memory, arguments))
    later(lambda: stand_in.run(kernel_file, name, grid, block, beneath, shared))


def multiply(call: Any, a: Any, b: Any, out: Any, alpha: float, beta: float, precision: str) -> None:
    """cuBLAS."""
    later(lambda: blas._on_numpy(call, a.values, b.values, out.values, alpha, beta, precision))


def _memory(argument: Any) -> Any:
    """A kernel takes an array's address. Of a view with gaps (see ``blas.memory``) that is all that it spans."""
    if not isinstance(argument, FakeArray):
        return argument
    return argument.values if argument.values.flags.c_contiguous else blas.memory(argument.values)
