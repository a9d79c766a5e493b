"""A whole training step: ours eager, captured and on the CPU, PyTorch's eager and as a graph.

``python -m benchmarks.gpu_parts.steps ResNet``; losses of the first step are found equal. Time is the clock's on the
wall, because it is Python that takes most of an eager step.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_notes as tn
from benchmarks import training
from benchmarks.gpu_parts.events import Clock, in_turns, summary, tell
from benchmarks.timing import require_torch
from tinygrad_notes.tensor import cuda_array_module

EQUAL = 1e-4


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


def main() -> int:
    cupy, torch = cuda_array_module(), require_torch()
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    case: Any = next(case for case in training.cases() if case.name.startswith(sys.argv[1]))
    clock = Clock(cupy, torch)
    sides, how, losses = {}, {}, {}
    for name, library, device in (
        ("ours eager", "tn", "cuda"), ("ours captured", "tn", "cuda"), ("ours on the CPU", "tn", "cpu"),
        ("torch eager", "torch", "cuda"), ("torch graph", "torch", "cuda"),
    ):  # fmt: skip
        try:
            step, _ = case.build(torch, library, device)
            sides[name], how[name] = step, "eager"
            losses[name] = float(step().item())
            if name == "ours captured":
                sides[name], how[name] = tn.capture(step), "graph"
                for _ in range(4):
                    sides[name]()
            elif name == "torch graph":
                sides[name], how[name] = clock.graph_of_theirs(step)
        except Exception as error:
            sides.pop(name, None)
            tell(name=f"{case.name}, {name}", error=f"{type(error).__name__}: {error}"[:300])
    spread = max(losses.values()) - min(losses.values())
    if spread > EQUAL * max(map(abs, losses.values())):
        tell(name=case.name, error=f"the losses of the first step differ: {losses}")
        return 1
    cpu = sides.pop("ours on the CPU", None)
    ours = next(name for name in ("ours captured", "ours eager") if name in sides)
    times = in_turns(sides, microseconds(torch.cuda.synchronize))
    result = summary(times, ours, ["torch eager", "torch graph"])
    if cpu is not None:
        result["times"]["ours on the CPU"] = float(np.median([microseconds(lambda: None)(cpu, 1) for _ in range(3)]))
        how["ours on the CPU"] = "eager"
    tell(name=case.name, **result, how=how, losses=losses)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
