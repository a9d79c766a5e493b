"""Lines of :mod:`benchmarks.gpu_parts.lines` beside PyTorch: ``python -m benchmarks.gpu_parts.kernels product``.

PyTorch computes in the same precision, with cudnn.benchmark; of its two layouts the faster counts. The results are
compared before anything is timed. Where PyTorch is not installed ours alone is timed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import tinygrad_notes as tn
from benchmarks.cases.case import CHANNELS_LAST, NORMAL, OpCase, Pass, StepCase
from benchmarks.gpu_parts.events import Call, Clock, in_turns, medians, ratio, tell
from benchmarks.gpu_parts.lines import LINES, Line
from benchmarks.measure import compared, our_call, their_call
from benchmarks.timing import torch_if_installed
from tinygrad_notes.tensor import cuda_array_module

SETS = 24  # of operands at most; together they have three times the size of the cache
EQUAL = {
    "highest": 1e-4,
    "high": 5e-3,
    "medium": 5e-2,
}  # largest difference of ours from theirs, over the largest value
OVER = "ours / torch"
Calls = dict[str, list[Call]]


def measure(line: Line, one: Pass, clock: Clock, cache: int) -> dict[str, Any]:
    """The record of one pass."""
    with clock.on(), precision(line, clock):
        make = of_step if isinstance(line.case, StepCase) else of_op
        calls, errors, count = make(line, one, clock, cache)
        sides = {name: clock.ours(c) if name == "ours" else clock.pytorch(c) for name, c in calls.items()}
        times = in_turns(sides | {"ours again": sides["ours"]}, clock.microseconds)
    found = {"ours / ours again": ratio(times, "ours", "ours again")}
    theirs = [name for name in calls if name != "ours"]
    if theirs:
        beside = min(theirs, key=lambda name: medians(times)[name])
        found[OVER] = ratio(times, "ours", beside)
    return {
        "precision": line.precision, "times": medians(times), "how": {name: side.how for name, side in sides.items()},
        "ratios": found, "targets": {OVER: line.targets[one.name]} if one.name in line.targets else {},
        "calls": sides["ours"].calls, "sets": count, "error_ours": errors[0], "error_theirs": errors[1],
        "flops": one.flops, "bytes": one.bytes,
    }  # fmt: skip


@contextmanager
def precision(line: Line, clock: Clock) -> Iterator[None]:
    """Both libraries compute as the line says."""
    torch = clock.torch
    with tn.precision(line.precision):
        if torch is None:
            yield
            return
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = line.precision == "high"
        shorter = line.precision == "medium" and not line.theirs_short
        with torch.autocast(clock.where, torch.bfloat16, enabled=shorter, cache_enabled=False):
            yield


def of_op(line: Line, one: Pass, clock: Clock, cache: int) -> tuple[Calls, tuple[float | None, float | None], int]:
    """The calls of both sides, a list for each layout; the errors of their results; the sets of operands."""
    case: Any = line.case
    assert isinstance(case, OpCase)
    torch, rng = clock.torch, np.random.default_rng(11)
    arrays = {name: operand.draw(rng) for name, operand in case.operands.items()}
    upstream = None
    if one.gradients:
        with tn.no_grad():
            shape = case.ours(**{name: tn.Tensor(x, device="cuda") for name, x in arrays.items()}).shape
        upstream = rng.standard_normal(shape, np.float32)
    count = max(2, min(SETS, math.ceil(3 * cache / max(one.bytes, 1))))
    calls = {"ours": [our_call(case, one, arrays, upstream, case.ours, "cuda") for _ in range(count)]}
    found = [fetched(x) for x in calls["ours"][0]()]
    if case.check is not None:
        case.check(arrays["x"], found, upstream)
    if torch is None:
        return calls, (None, None), count
    dtype = torch.bfloat16 if line.theirs_short else None
    for layout in (NORMAL, CHANNELS_LAST) if case.channels_last else (NORMAL,):
        more = upstream, layout, dtype, clock.where
        calls[f"torch {layout}"] = [their_call(case, one, torch, arrays, *more) for _ in range(count)]
    if case.check is not None:
        return calls, (None, None), count
    torch.backends.cudnn.benchmark = False  # no search for the fastest way in float64
    exact = their_call(case, one, torch, arrays, upstream, NORMAL, torch.float64, clock.where)()
    torch.backends.cudnn.benchmark = True
    beside = [fetched(x.float()) for x in calls[f"torch {NORMAL}"][0]()]
    return calls, compared(found, beside, [fetched(x) for x in exact], EQUAL[line.precision]), count


def of_step(line: Line, one: Pass, clock: Clock, cache: int) -> tuple[Calls, tuple[float | None, float | None], int]:
    """The same of a step that changes its operands, of which there is one set: they are larger than the cache."""
    case: Any = line.case
    calls: Calls = {}
    values = {}
    for library in ("tn", "torch", "torch64") if clock.torch is not None else ("tn",):
        step, changed = case.build(clock.torch, library, "cuda" if library == "tn" else clock.where)
        for _ in range(3):
            step()
        values[library] = changed()
        if library != "torch64":
            calls["ours" if library == "tn" else "torch"] = [step]
    errors: Any = (None, None)
    if clock.torch is not None:
        errors = compared(values["tn"], values["torch"], values["torch64"], EQUAL[line.precision])
    return calls, errors, 1


def fetched(x: Any) -> np.ndarray:
    """A result of either library as NumPy's array."""
    return np.asarray(x.detach().to("cpu").numpy())


def main() -> int:
    chosen, cupy, torch = sys.argv[1], cuda_array_module(), torch_if_installed()
    if torch is not None:
        torch.backends.cudnn.benchmark = True
    clock = Clock(cupy, torch)
    cache = int(cupy.cuda.runtime.getDeviceProperties(0)["l2CacheSize"])
    failed = False
    for line in LINES[chosen]():
        for one in line.case.passes:
            name = f"{line.name}, {one.name}"
            try:
                tell(name=name, **measure(line, one, clock, cache))
            except Exception as error:  # the other lines are still worth measuring
                failed = True
                tell(name=name, error=f"{type(error).__name__}: {error}"[:300])
            cupy.get_default_memory_pool().free_all_blocks()
            if torch is not None:
                torch.cuda.empty_cache()
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
