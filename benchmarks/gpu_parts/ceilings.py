"""What this GPU can do at best: copying, products of matrices by the libraries and by mma.sync, launches.

Products are cuBLAS's, called as ours are; bfloat16 ones PyTorch's where it is installed, else in float16, which is as
fast. mma.sync is the instruction of all of our tensor-core kernels, and reaches less than the libraries' wgmma.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_parts.events import Call, Clock, tell
from benchmarks.gpu_parts.targets import BFLOAT16, COPY, FLOAT32, MMA_BFLOAT16, MMA_TF32, TF32, THREE_TF32
from benchmarks.timing import torch_if_installed
from tinygrad_notes.kernels.cuda import blas, launch
from tinygrad_notes.tensor import cuda_array_module

BYTES, SIZE = 2**30, 8192  # of an array that is copied; rows of square matrices
STEPS, THREADS, BLOCKS, SUMS = 4000, 256, 4, 8  # of the probe: in each thread, on each multiprocessor, as in probe.cu
OPERATIONS = {MMA_TF32: 2 * 16 * 8 * 8, MMA_BFLOAT16: 2 * 16 * 8 * 16}  # in the order of its KIND


def main() -> int:
    cupy, torch = cuda_array_module(), torch_if_installed()
    clock = Clock(cupy, torch)
    device = cupy.cuda.runtime.getDeviceProperties(0)
    multiprocessors = int(device["multiProcessorCount"])
    library = f"CuPy {cupy.__version__}, torch {torch.__version__ if torch else 'is missing'}"
    tell(name=f"{device['name'].decode()}, {library}", value=multiprocessors, unit="multiprocessors")

    def best(call: Call, count: int) -> float:
        call()
        return statistics.median(clock.microseconds(call, count) for _ in range(7))

    with clock.on():
        tell(name=COPY, value=copying(cupy, best), unit="GB/s")
        for name, tflops in products(clock, best).items():
            tell(name=name, value=tflops, unit="TFLOP/s")
        for name, tflops in probes(cupy, multiprocessors, best).items():
            tell(name=name, value=tflops, unit="TFLOP/s")
        empty = cupy.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
        tell(name="a launch, empty kernel", value=best(lambda: empty((1,), (1,), ()), 500), unit="µs")
    side = clock.ours([lambda: empty((1,), (1,), ())])
    tell(name=f"an empty kernel of a {side.how}", value=best(side.launch, 10) / side.calls, unit="µs")
    tell(name="a launch of a graph of one", value=best(graph_of_one(clock, empty), 500), unit="µs")
    return 0


def copying(cupy: Any, best: Any) -> float:
    """GB/s, those read and those written."""
    x, y = (cupy.random.random(BYTES // 8) for _ in range(2))
    return 2 * BYTES / float(best(lambda: cupy.copyto(y, x), 5)) / 1e3


def products(clock: Clock, best: Any) -> dict[str, float]:
    """TFLOP/s of products of random square matrices."""
    cupy, torch = clock.cupy, clock.torch
    a, b = (cupy.random.standard_normal((SIZE, SIZE), dtype=np.float32) for _ in range(2))
    out = cupy.empty_like(a)
    choices = {FLOAT32: "highest", TF32: "high"}
    times = {name: best(lambda p=p: blas.gemm(a, b, out, precision=p), 2) for name, p in choices.items()}
    if torch is not None:
        c, d = (torch.randn(SIZE, SIZE, device=clock.where).bfloat16() for _ in range(2))
        times[BFLOAT16] = best(lambda: torch.matmul(c, d), 4)
    else:
        c, d, short = a.astype(np.float16), b.astype(np.float16), cupy.empty((SIZE, SIZE), np.float16)
        times[BFLOAT16] = best(lambda: blas.gemm(c, d, short), 4)
    return {name: 2 * SIZE**3 / us / 1e6 for name, us in times.items()}


def probes(cupy: Any, multiprocessors: int, best: Any) -> dict[str, float]:
    """TFLOP/s of mma.sync alone; three products of tf32 for one of float32 have a third."""
    code, grid = Path(__file__).with_name("probe.cu").read_text(), (BLOCKS * multiprocessors,)
    found = {}
    for kind, (name, operations) in enumerate(OPERATIONS.items()):
        module = cupy.RawModule(code=code, options=launch.options(), name_expressions=(f"probe<{kind}>",))
        kernel, result = module.get_function(f"probe<{kind}>"), cupy.empty(grid[0] * THREADS, np.float32)
        us = best(lambda k=kernel, r=result: k(grid, (THREADS,), (r, np.int32(STEPS))), 3)
        found[name] = grid[0] * THREADS // 32 * STEPS * SUMS * operations / us / 1e6
    return found | {THREE_TF32: found[MMA_TF32] / 3}


def graph_of_one(clock: Clock, kernel: Any) -> Call:
    with clock.on():
        clock.stream.begin_capture()
        kernel((1,), (1,), ())
        graph = clock.stream.end_capture()
    return lambda: graph.launch(clock.stream)


if __name__ == "__main__":
    raise SystemExit(main())
