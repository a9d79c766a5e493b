"""A whole training step: ours eager, captured and on the CPU, PyTorch's eager and as a graph.

``python -m benchmarks.gpu_parts.steps ResNet``; losses of the first step are found equal. Time is the clock's on the
wall, because it is Python that takes most of an eager step. With ``compile`` for a network, all of them make one step
on the CPU, which compiles its kernels; Numba keeps them on the disk.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import tinygrad_notes as tn
from benchmarks import training
from benchmarks.gpu_parts import targets
from benchmarks.gpu_parts.events import Clock, Side, in_turns, medians, ratio, tell
from benchmarks.timing import torch_if_installed
from tinygrad_notes.tensor import cuda_array_module

EQUAL = 1e-4
BLOCK = 20000.0  # microseconds
OURS, CAPTURED, THEIRS, GRAPH = "ours eager", "ours captured", "torch eager", "torch graph"
RATIOS = {
    targets.OVER_EAGER: (CAPTURED, OURS),
    targets.OVER_GRAPH: (CAPTURED, GRAPH),
    "eager / torch eager": (OURS, THEIRS),
}
BOUND = ("LeNet", "Transformer")  # the networks that have targets


def microseconds(synchronize: Callable[[], None]) -> Callable[[Callable[[], Any], int], float]:
    """How long a call takes until the GPU has done it, of ``count`` in a row."""

    def measured(call: Callable[[], Any], count: int) -> float:
        synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        synchronize()
        return (time.perf_counter() - start) * 1e6 / count

    return measured


def on_the_gpu(case: Any, clock: Clock) -> tuple[dict[str, Side], dict[str, float]]:
    """The sides that can be measured, and the loss of each in the first step."""
    sides, losses = {}, {}
    for name, library in ((OURS, "tn"), (CAPTURED, "tn"), (THEIRS, "torch"), (GRAPH, "torch")):
        if library == "torch" and clock.torch is None:
            continue
        try:
            step, _ = case.build(clock.torch, library, "cuda" if library == "tn" else clock.where)
            losses[name] = float(step().item())
            if name == CAPTURED:
                call = tn.capture(step)
                for _ in range(4):
                    call()
                sides[name] = Side(call, 1, "graph")
            else:
                sides[name] = clock.pytorch([step], fill=False) if name == GRAPH else Side(step, 1, "eager")
        except Exception as error:
            tell(name=f"{case.name}, {name}", error=f"{type(error).__name__}: {error}"[:300])
    return sides, losses


def main() -> int:
    if sys.argv[1] == "compile":
        for each in training.cases():
            each.build(None, "tn", "cpu")[0]()
        return 0
    cupy, torch = cuda_array_module(), torch_if_installed()
    if torch is not None:
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    case: Any = next(case for case in training.cases() if case.name.startswith(sys.argv[1]))
    clock = Clock(cupy, torch)
    sides, losses = on_the_gpu(case, clock)
    wall = microseconds(cupy.cuda.Device().synchronize)
    times = in_turns(sides, wall, block=BLOCK)
    on_cpu = case.build(None, "tn", "cpu")[0]
    record = {
        "name": case.name,
        "times": medians(times),
        "how": {name: side.how for name, side in sides.items()},
        "ratios": {name: ratio(times, *two) for name, two in RATIOS.items() if sides.keys() >= set(two)},
        "targets": {name: name for name in RATIOS if name in targets.TARGETS and case.name.startswith(BOUND)},
    }
    tell(**record)  # now: the CPU may take long
    losses["ours on the CPU"] = float(on_cpu().item())
    spread = max(losses.values()) - min(losses.values())
    if spread > EQUAL * max(map(abs, losses.values())):
        tell(name=case.name, error=f"the losses of the first step differ: {losses}")
        return 1
    on_cpu()
    tell(name=f"{case.name}, on the CPU", value=statistics.median(wall(on_cpu, 1) for _ in range(3)) / 1e3, unit="ms")
    return int(len(losses) - 1 > len(sides))


if __name__ == "__main__":
    raise SystemExit(main())
