"""What this GPU can do at best: copying, products in float32, TF32 and bfloat16, launching a kernel and a graph."""

from __future__ import annotations

import importlib
import importlib.util
import statistics

from benchmarks.gpu_parts.events import Clock, tell
from tinygrad_notes.tensor import cuda_array_module

COPY, SIZE = 2**30, 8192  # bytes; rows of square matrices


def main() -> int:
    cupy = cuda_array_module()
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    clock = Clock(cupy, torch)
    device = cupy.cuda.runtime.getDeviceProperties(0)
    tell(
        name=f"GPU {device['name'].decode()}, CuPy {cupy.__version__}", value=device["multiProcessorCount"], unit="SMs"
    )

    def best(call, count):
        return statistics.median(clock.microseconds(call, count) for _ in range(7))

    with clock.stream:
        x, y = cupy.random.random(COPY // 8), cupy.empty(COPY // 8)
        us = best(lambda: cupy.copyto(y, x), 5)
        tell(name="copy, read and written", value=2 * COPY / us / 1e3, unit="GB/s")
        empty = cupy.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
        tell(name="a launch, empty kernel", value=best(lambda: empty((1,), (1,), ()), 500), unit="µs")
    graph, how = clock.graph_of_ours(lambda: [empty((1,), (1,), ()) for _ in range(100)])
    tell(name=f"a kernel of a {how}", value=best(graph, 10) / 100, unit="µs")
    if torch is not None:
        with torch.cuda.stream(clock.theirs):
            for name, dtype, tf32 in (
                ("float32", torch.float32, False), ("TF32", torch.float32, True), ("bfloat16", torch.bfloat16, False)
            ):  # fmt: skip
                torch.backends.cuda.matmul.allow_tf32 = tf32
                a, b = (torch.randn(SIZE, SIZE, device="cuda").to(dtype) for _ in range(2))
                out = torch.empty_like(a)
                torch.matmul(a, b, out=out)
                us = best(lambda a=a, b=b, out=out: torch.matmul(a, b, out=out), 2)
                tell(name=f"product {SIZE}³, {name}", value=2 * SIZE**3 / us / 1e6, unit="TFLOP/s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
