"""One pass of one case: ours and theirs on the same operands, found equal, then timed in turns."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_notes as tn
from benchmarks.backends import CompileTime
from benchmarks.cases.case import CHANNELS_LAST, NORMAL, OpCase, Pass, StepCase
from benchmarks.timing import Case, case_of, in_turns

Call = Callable[[], Any]

EQUAL = 1e-4  # largest difference of ours from theirs, over the largest value; more is a wrong result
ACCURATE = 5e-7  # an error against float64 that is always good enough; else twice theirs
SETTLE = 0.015  # seconds after which the other library's threads sleep
BLOCK = 0.02  # seconds that a block of calls lasts at least


@dataclass
class Measured(Case):
    """A case of :mod:`benchmarks.timing` with what else is known of it; the name is that of case and pass.

    ``errors`` against float64, the largest difference over the largest value. ``first_call`` and ``compiling`` in
    seconds, ``flops`` and ``bytes`` of one call. ``rounds`` is less than asked for where calls are very slow.
    """

    case: str = ""
    family: str = ""
    step: str = ""
    layout: str = NORMAL
    rounds: int = 0
    calls: tuple[int, ...] = ()
    flops: float = 0.0
    bytes: float = 0.0
    error_ours: float | None = None
    error_theirs: float | None = None
    first_call: float = 0.0
    compiling: float = 0.0

    @property
    def accurate(self) -> bool:
        """As near to float64 as theirs, within a factor of 2."""
        if self.error_ours is None or self.error_theirs is None:
            return True
        return self.error_ours <= max(2 * self.error_theirs, ACCURATE)


@dataclass(frozen=True)
class Settings:
    """``seconds``: how long a pass may take; slower ones get fewer rounds, at least 3. ``layouts``: of PyTorch."""

    rounds: int = 15
    seconds: float = 40.0
    settle: float = SETTLE
    block: float = BLOCK
    layouts: bool = True


@dataclass
class Prepared:
    """``ours``, and ``theirs`` by layout, ready to be called; the errors, None where there is nothing to compare."""

    ours: Call
    theirs: dict[str, Call]
    errors: tuple[float | None, float | None]
    first_call: float
    compiling: float


def measure(case: OpCase | StepCase, one: Pass, torch: Any, settings: Settings) -> list[Measured]:
    """A result for each layout, and, without a target, one for every other way of ours to the value."""
    if isinstance(case, StepCase):
        return timed(case, one, one.name, prepared_step(case, torch), settings, one.targets)
    theirs = prepared_theirs(case, one, torch, settings)
    found = timed(case, one, one.name, prepared_ours(case, one, theirs, case.ours), settings, one.targets)
    for name, function in case.beside.items() if one.name == "forward" else ():
        ready = prepared_ours(case, one, theirs, function)
        ready.theirs = {NORMAL: ready.theirs[NORMAL]}
        found += timed(case, one, name, ready, settings, {})
    return found


def timed(
    case: OpCase | StepCase, one: Pass, name: str, ready: Prepared, settings: Settings, targets: dict[str, float]
) -> list[Measured]:
    """The blocks in turns: ours, then theirs in each layout."""
    functions = [ready.ours, *ready.theirs.values()]
    lasts = [duration(function) for function in functions]
    calls = [max(1, min(1000, math.ceil(settings.block / last))) for last in lasts]
    a_round = sum(max(last, settings.settle) + count * last for last, count in zip(lasts, calls))
    rounds = max(min(3, settings.rounds), min(settings.rounds, int(settings.seconds / a_round)))
    ours, *others = in_turns(functions, calls, rounds, settings.settle)
    found = []
    for i, (layout, theirs) in enumerate(zip(ready.theirs, others)):
        basis = case_of(f"{case.name}, {name}", ours, theirs, targets.get(layout), threads=2)
        found.append(
            Measured(
                **vars(basis), case=case.name, family=case.family, step=name, layout=layout, rounds=rounds,
                calls=(calls[0], calls[i + 1]), flops=one.flops, bytes=one.bytes, error_ours=ready.errors[0],
                error_theirs=ready.errors[1], first_call=ready.first_call, compiling=ready.compiling,
            )
        )  # fmt: skip
    return found


def duration(function: Call) -> float:
    """Seconds of one call, the second best of a few: enough to choose how many make a block."""
    times: list[float] = []
    while len(times) < 2 or (sum(times) < 0.05 and len(times) < 20):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return sorted(times)[min(1, len(times) - 2)]


def taking_turns(functions: Sequence[Call]) -> Call:
    """Each call is the next of the functions: of those whose weights are not the ones of the call before."""
    if len(functions) == 1:
        return functions[0]
    turns = itertools.cycle(functions)
    return lambda: next(turns)()


# ---------------------------------------------------------------------- a public op


@dataclass
class Theirs:
    """What ours is compared with: the sets of operands, PyTorch's calls and results by layout, the exact results."""

    sets: list[dict[str, np.ndarray]]
    upstream: np.ndarray | None
    calls: dict[str, Call]
    results: dict[str, list[np.ndarray]]
    exact: list[np.ndarray] | None


def prepared_theirs(case: OpCase, one: Pass, torch: Any, settings: Settings) -> Theirs:
    """Draws the operands, two sets where some change, and computes PyTorch's results, also in float64."""
    rng = np.random.default_rng(11)
    first = {name: operand.draw(rng) for name, operand in case.operands.items()}
    sets = [first]
    if any(operand.changes for operand in case.operands.values()):
        sets.append({n: operand.draw(rng) if operand.changes else first[n] for n, operand in case.operands.items()})
    upstream = None
    if one.gradients:
        with torch.no_grad():
            shape = tuple(case.theirs(torch, **in_torch(torch, first)).shape)
        upstream = np.asarray(rng.standard_normal(shape, np.float32))
    calls, results = {}, {}
    for layout in (NORMAL, CHANNELS_LAST) if case.channels_last and settings.layouts else (NORMAL,):
        functions = [their_call(case, one, torch, arrays, upstream, layout) for arrays in sets]
        calls[layout] = taking_turns(functions)
        results[layout] = [x.contiguous().numpy() for x in functions[0]()]
    exact = None
    if case.check is None:
        exact = [x.numpy() for x in their_call(case, one, torch, first, upstream, NORMAL, torch.float64)()]
    return Theirs(sets, upstream, calls, results, exact)


def prepared_ours(case: OpCase, one: Pass, theirs: Theirs, function: Callable[..., Any]) -> Prepared:
    """Makes our calls and compares the first one's result."""
    compiled = CompileTime()
    before, start = compiled.seconds(), time.perf_counter()
    calls = [our_call(case, one, arrays, theirs.upstream, function) for arrays in theirs.sets]
    found = [x.detach().numpy() if isinstance(x, tn.Tensor) else x for x in calls[0]()]
    first_call, compiling = time.perf_counter() - start, compiled.seconds() - before
    errors: tuple[float | None, float | None] = (None, None)
    if theirs.exact is not None:
        errors = compared(found, theirs.results[NORMAL], theirs.exact)
        for layout in theirs.results:
            compared(found, theirs.results[layout], theirs.exact)
    elif case.check is not None:
        case.check(theirs.sets[0]["x"], found, theirs.upstream)
    return Prepared(taking_turns(calls), theirs.calls, errors, first_call, compiling)


def our_call(
    case: OpCase, one: Pass, arrays: dict[str, np.ndarray], upstream: Any, function: Any, device: str = "cpu"
) -> Call:
    """The forward or backward pass of ours, as a call that returns a list."""
    wanted = graded(case, one)
    tensors = {name: tn.Tensor(x, device=device, requires_grad=name in wanted) for name, x in arrays.items()}
    if not one.gradients:
        if case.recorded:
            return lambda: [function(**tensors)]

        def forward() -> list[Any]:
            with tn.no_grad():
                return [function(**tensors)]

        return forward
    value, leaves, g = (
        function(**tensors),
        [tensors[name] for name in one.gradients],
        tn.Tensor(upstream, device=device),
    )
    return lambda: tn.grad(value, leaves, g, retain_graph=True)  # type: ignore[no-any-return]


def their_call(
    case: OpCase, one: Pass, torch: Any, arrays: dict[str, np.ndarray], upstream: Any, layout: str, dtype: Any = None,
    device: str = "cpu",
) -> Call:  # fmt: skip
    """The same of PyTorch's."""
    tensors = in_torch(torch, arrays, layout, dtype, device)
    for name in graded(case, one):
        tensors[name].requires_grad_()
    if not one.gradients:
        if case.recorded:
            return lambda: [case.theirs(torch, **tensors).detach()]

        def forward() -> list[Any]:
            with torch.no_grad():
                return [case.theirs(torch, **tensors)]

        return forward
    value, leaves = case.theirs(torch, **tensors), [tensors[name] for name in one.gradients]
    g = in_torch(torch, {"g": upstream}, layout, dtype, device)["g"].to(value.dtype)
    return lambda: torch.autograd.grad(value, leaves, g, retain_graph=True)


def graded(case: OpCase, one: Pass) -> tuple[str, ...]:
    """The operands that require a gradient: those of the pass, or all floating ones where the value is on the tape."""
    if case.recorded:
        return tuple(name for name, operand in case.operands.items() if operand.below is None)
    return one.gradients


def in_torch(
    torch: Any, arrays: dict[str, np.ndarray], layout: str = NORMAL, dtype: Any = None, device: str = "cpu"
) -> dict[str, Any]:
    """Copies, in PyTorch; of the floating ones in ``dtype``, and of images and their weights in the layout."""
    tensors = {}
    for name, array in arrays.items():
        tensor = torch.tensor(array, device=device)
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        if layout == CHANNELS_LAST and tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        tensors[name] = tensor
    return tensors


def compared(
    ours: list[np.ndarray], theirs: list[np.ndarray], exact: list[np.ndarray], equal: float = EQUAL
) -> tuple[float, float]:
    """The errors of both, max |Δ| / max |exact|. AssertionError when they differ by more than float32 explains."""
    assert len(ours) == len(theirs) == len(exact), f"{len(ours)} results of ours, {len(theirs)} of theirs"
    worst = [0.0, 0.0]
    for a, b, reference in zip(ours, theirs, exact):
        assert a.shape == b.shape, f"ours has shape {a.shape}, theirs {b.shape}"
        assert a.dtype == b.dtype, f"ours is {a.dtype}, theirs {b.dtype}"
        scale = float(np.max(np.abs(reference), initial=0.0)) or 1.0
        difference = float(np.max(np.abs(a - b), initial=0.0)) / scale
        assert difference <= equal, f"ours differs from theirs by {difference:.1e} of the largest value"
        for i, x in enumerate((a, b)):
            worst[i] = max(worst[i], float(np.max(np.abs(x - reference), initial=0.0)) / scale)
    return worst[0], worst[1]


# ---------------------------------------------------------------------- a step that changes its arguments


def prepared_step(case: StepCase, torch: Any) -> Prepared:
    """Three steps of each from the same start are compared."""
    compiled = CompileTime()
    steps, changed = {}, {}
    first_call = compiling = 0.0
    for library in ("tn", "torch", "torch64"):
        step, values = case.build(torch, library)
        for i in range(3):
            before, start = compiled.seconds(), time.perf_counter()
            step()
            if library == "tn" and i == 0:
                first_call, compiling = time.perf_counter() - start, compiled.seconds() - before
        steps[library], changed[library] = step, values()
    errors = compared(changed["tn"], changed["torch"], changed["torch64"])
    return Prepared(steps["tn"], {NORMAL: steps["torch"]}, errors, first_call, compiling)
