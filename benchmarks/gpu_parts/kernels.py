"""The cases of ``bench ops`` of one family on the GPU, beside PyTorch: ``python -m benchmarks.gpu_parts.kernels conv``.

PyTorch computes in float32 as ours does (no TF32), with cudnn.benchmark; of its two layouts the faster counts. Several
sets of operands take turns, together larger than the cache. The results are compared before anything is timed.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from benchmarks import cases
from benchmarks.cases.case import CHANNELS_LAST, NORMAL, OpCase, Pass
from benchmarks.gpu_parts.events import Clock, in_turns, summary, taking_turns, tell
from benchmarks.measure import compared, our_call, their_call
from benchmarks.timing import require_torch
from tinygrad_notes.tensor import cuda_array_module

SETS = 6  # of operands at most


def measure(case: OpCase, one: Pass, clock: Clock, cache: int) -> dict[str, Any]:
    """A record of one pass."""
    torch, rng = clock.torch, np.random.default_rng(11)
    count = max(2, min(SETS, math.ceil(3 * cache / max(one.bytes, 1))))
    sets = [{name: operand.draw(rng) for name, operand in case.operands.items()} for _ in range(count)]
    upstream = None
    if one.gradients:
        with torch.no_grad():
            first = {name: torch.tensor(x, device="cuda") for name, x in sets[0].items()}
            upstream = rng.standard_normal(tuple(case.theirs(torch, **first).shape)).astype(np.float32)
    layouts = (NORMAL, CHANNELS_LAST) if case.channels_last else (NORMAL,)
    with clock.stream, torch.cuda.stream(clock.theirs):
        ours = [our_call(case, one, arrays, upstream, case.ours, "cuda") for arrays in sets]
        theirs = {
            layout: [their_call(case, one, torch, arrays, upstream, layout, None, "cuda") for arrays in sets]
            for layout in layouts
        }
        exact = their_call(case, one, torch, sets[0], upstream, NORMAL, torch.float64, "cuda")()
        found = [x.detach().to("cpu").numpy() for x in ours[0]()]
        errors: tuple[float | None, float | None] = (None, None)
        if case.check is None:
            beside = [x.contiguous().cpu().numpy() for x in theirs[NORMAL][0]()]
            errors = compared(found, beside, [x.contiguous().cpu().numpy() for x in exact])
        else:
            case.check(sets[0]["x"], found, upstream)
        del exact
    sides, how = {}, {}
    for name, calls in (("ours", ours), *((f"torch {layout}", theirs[layout]) for layout in layouts)):
        make = clock.graph_of_ours if name == "ours" else clock.graph_of_theirs
        graphs = [make(call) for call in calls]
        sides[name], how[name] = taking_turns([graph for graph, _ in graphs]), graphs[0][1]
    with clock.stream, torch.cuda.stream(clock.theirs):
        times = in_turns(sides, clock.microseconds)
    result = summary(times, "ours", [name for name in sides if name != "ours"])
    seconds = result["times"]["ours"] / 1e6
    return result | {
        "how": how, "sets": count, "error_ours": errors[0], "error_theirs": errors[1],
        "tflops": one.flops / seconds / 1e12, "gbytes": one.bytes / seconds / 1e9,
    }  # fmt: skip


def main() -> int:
    family, cupy, torch = sys.argv[1], cuda_array_module(), require_torch()
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    clock = Clock(cupy, torch)
    cache = int(cupy.cuda.runtime.getDeviceProperties(0)["l2CacheSize"])
    failed = False
    for case in cases.every():
        if case.family != family or not isinstance(case, OpCase):
            continue
        for one in case.passes:
            name = f"{case.name}, {one.name}"
            try:
                tell(name=name, **measure(case, one, clock, cache))
            except Exception as error:  # the other cases are still worth measuring
                failed = True
                tell(name=name, error=f"{type(error).__name__}: {error}"[:300])
            cupy.get_default_memory_pool().free_all_blocks()
            torch.cuda.empty_cache()
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
