"""Compiles every kernel for this GPU, in as many processes as there are cores: CuPy keeps the results on the disk.

One after another they would take minutes, at the first launch of each, out of the time of the parts that launch them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

from benchmarks.gpu_parts.events import tell
from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels import cuda  # with all families, each of which lists its kernels
from tinygrad_notes.kernels.cuda import launch
from tinygrad_notes.tensor import cuda_array_module

# Those that take longest come first, so that no process is left with one of them at the end.
SLOW = ("attention", "convolution", "weight_grad", "gemm", "recurrent")
MOST = 16  # processes: each has a context on the GPU


def jobs() -> list[tuple[str, str]]:
    """The (file, kernel) pairs."""
    assert cuda.__all__
    files = sorted(launch.FILES, key=lambda file: (not file.startswith(SLOW), file))
    return [(file, name) for file in files for name in launch.FILES[file].names]


def compile_one(job: tuple[str, str]) -> str | None:
    """None, or what is wrong with the kernel."""
    file, name = job
    try:
        launch.compiled(cuda_array_module(), launch.FILES[file], name, launch.options())
    except DeviceError as error:
        return str(error)
    return None


def main() -> int:
    start, todo = time.perf_counter(), jobs()
    workers = min(MOST, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        errors = list(pool.map(compile_one, todo))
    for job, error in zip(todo, errors):
        if error is not None:
            tell(name=" ".join(job), error=error)
    tell(name=f"{len(todo)} kernels compiled by {workers} processes", value=time.perf_counter() - start, unit="s")
    return int(any(errors))


if __name__ == "__main__":
    raise SystemExit(main())
