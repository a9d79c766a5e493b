"""What the parts of ``bench gpu`` ask of CuPy and PyTorch beyond what a captured step does, without a GPU.

CuPy is the fake of ``tests/capture``; PyTorch is its build for the CPU, with graphs that only run once. The cases are
made small.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.cases import attention, convolution, optimiser, pooling, products, recurrent, rows
from benchmarks.gpu_parts import ceilings, events, kernels, lines, steps
from tests.capture import fake_cupy

MILLISECONDS = 50.0  # that every block of calls seems to take


def install(monkeypatch: pytest.MonkeyPatch, cupy: Any) -> None:
    """Streams that can be waited for, events with a time, kernels that do nothing."""
    monkeypatch.setattr(fake_cupy.Stream, "synchronize", lambda self: None, raising=False)
    monkeypatch.setattr(fake_cupy.Stream, "ptr", 0, raising=False)
    monkeypatch.setattr(fake_cupy.Event, "synchronize", lambda self: None, raising=False)
    cupy.__version__ = "14.2.0"
    cupy.cuda.get_elapsed_time = lambda start, end: MILLISECONDS
    cupy.cuda.runtime.getDeviceProperties = lambda _: {
        "name": b"Fake GPU", "multiProcessorCount": 132, "l2CacheSize": 0
    }  # fmt: skip
    cupy.random = SimpleNamespace(
        random=lambda size: fake_cupy.FakeArray(np.random.default_rng(0).random(size)),
        standard_normal=lambda size, dtype: fake_cupy.FakeArray(np.random.default_rng(0).standard_normal(size, dtype)),
    )
    cupy.copyto = lambda target, source: target.operate(np.copyto, (target, source), {})
    cupy.empty_like = np.empty_like
    cupy.RawKernel = lambda code, name: lambda *launch: None
    cupy.RawModule = lambda **given: SimpleNamespace(get_function=lambda name: lambda *launch: None)
    for part in (kernels, steps):
        monkeypatch.setattr(
            part, "in_turns", lambda sides, us, block=events.BLOCK: events.in_turns(sides, us, 2, block)
        )
    monkeypatch.setattr(ceilings, "BYTES", 2**10)
    monkeypatch.setattr(ceilings, "SIZE", 16)
    monkeypatch.setattr(ceilings.blas, "gemm", lambda a, b, out, **more: np.matmul(a, b))


def install_torch(monkeypatch: pytest.MonkeyPatch, torch: Any) -> None:
    """PyTorch on the CPU, asked as on a GPU."""

    class Graph:
        def replay(self) -> None: ...

    monkeypatch.setattr(events.Clock, "where", "cpu")
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda pointer: pointer)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: contextlib.nullcontext())


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cases, of few elements."""

    def smaller(make: Any, change: Any) -> Any:
        return lambda *given, **more: make(*change(*given), **more)

    def image(name: str, x: Any, weight: Any, *rest: Any) -> Any:
        most = 64 if "depthwise" in name else 6
        return name, (2, min(x[1], most), 9, 9), (min(weight[0], most), min(weight[1], most), *weight[2:]), *rest

    def square(name: str, a: Any, b: Any, target: float) -> Any:
        return name, tuple(min(n, 8) for n in a), tuple(min(n, 8) for n in b), target

    for module, name, change in (
        (products, "product", square), (convolution, "convolution", image), (convolution, "transposed", image),
        (attention, "attention", lambda shape, causal: ((1, 2, 8, shape[3] // 8), causal)),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, smaller(getattr(module, name), change))
    for module, values in (
        (recurrent, {"STEPS": 3, "BATCH": 2, "INPUTS": 4, "HIDDEN": 5}),
        (
            rows,
            {
                "SCORES": (4, 10),
                "TOKENS": (3, 768),
                "IMAGES": (2, 64, 3, 3),
                "MANY": (50, 20, 10),
                "SPOKEN": (20, 2, 6),
            },
        ),
        (pooling, {"X": (2, 3, 8, 8)}),
    ):
        for key, value in values.items():
            monkeypatch.setattr(module, key, value)
    monkeypatch.setattr(optimiser, "resnet50_shapes", lambda: [(3, 4), (5,)])
    images = convolution.cases
    monkeypatch.setattr(convolution, "cases", lambda: [images()[i] for i in (0, 3, 5, 6)])  # of each kind one
    whole = rows.elementwise
    monkeypatch.setattr(rows, "elementwise", lambda: [case for case in whole() if "embedding" not in case.name])
    assert lines.LINES
