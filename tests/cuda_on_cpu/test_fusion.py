"""Elementwise expressions: kernels of the project's ops, and expressions with all that C++ may get wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.cuda_on_cpu import stand_in
from tinygrad_notes import kernels
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda import fusion
from tinygrad_notes.kernels.cuda.launch import Kernels
from tinygrad_notes.modes import RAW, in_mode
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.study.samples import SAMPLES

RNG = np.random.default_rng(0)
BOUNDS = {"float32": 2e-5, "float64": 1e-12}  # of what is measured against its size, or against 1
Call = tuple[np.ndarray, Callable[..., Any], tuple[Any, ...]]

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5, -3e38, 1e-40], np.float32)
X, Y = (np.ascontiguousarray(a.reshape(-1)) for a in np.meshgrid(SPECIAL, SPECIAL))


@pytest.fixture(autouse=True)
def written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "_versions", {})


def normal(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def noted(found: list[tuple[str, Call]], label: str, *call: Any) -> Any:
    found.append((label, call))  # type: ignore[arg-type]
    return reference.fused(*call)


def calls_of_ops(dtype: Any) -> list[tuple[str, Call]]:
    """What all elementwise ops compute at once, on their samples: forward, and each derivative as backward calls it."""
    found: list[tuple[str, Call]] = []
    for sample in SAMPLES:
        op = REGISTRY.get(sample.name)
        if op is None or not op.elementwise or not op.differentiable or sample.operands[0].size == 0:
            continue
        operands = [
            tn.tensor(a.astype(dtype), requires_grad=True) if a.dtype == np.float64 else a for a in sample.operands
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "fused", functools.partial(noted, found, sample.title))
            y = sample.call(*operands)
        if y.node is None or y.node.op is not op:
            continue
        g = np.asarray(RNG.standard_normal(y.shape), dtype)
        for i, (function, kept) in enumerate(zip(y.node.derivatives, y.node.saved)):
            if kept is not None:
                found.append((f"{sample.title}: derivative {i}", (g, function, kept)))
    return found


class OfOneFile(Kernels):
    """A kernel whose text is compiled with many others."""

    def launch(self, name: str, *arguments: Any, **options: Any) -> None:
        self.file_of_all.launch(name, *arguments, **options)


def kinds_of(call: Call) -> Any:
    x, _, others = call
    return tuple(fusion._kind(operand, x) for operand in (x, *others))


def in_one_file(calls: list[Call]) -> Kernels:
    """The kernels of all calls, in a text that is compiled once."""
    written = [
        fusion.write(call[1], (call[0], *call[2]), kinds_of(call)) for call in calls if None not in kinds_of(call)
    ]
    texts = {kernels.file: kernels.text for kernels in written if kernels is not None}
    names = {name: None for kernels in written if kernels is not None for name in kernels.names}
    return Kernels("fused.cu", names, written="\n".join(texts.values()))


@contextmanager
def compiled_once(calls: list[Call]) -> Iterator[None]:
    """Inside, the kernels of the calls come from one file."""
    whole, write = in_one_file(calls), fusion.write

    def write_one(*arguments: Any) -> Any:
        one = write(*arguments)
        if one is not None:
            one.__class__, one.file_of_all = OfOneFile, whole
        return one

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion, "write", write_one)
        yield


def compare(label: str, call: Call) -> None:
    x, function, others = call
    with np.errstate(all="ignore"):
        right = function(x, *others)
    got = cuda.fused(x, function, others)
    if right is None:
        assert got is None
        return
    assert (got.dtype, got.shape) == (right.dtype, right.shape), label
    bound = BOUNDS[right.dtype.name]
    np.testing.assert_allclose(got, right, rtol=bound, atol=bound, err_msg=label)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_projects_ops(dtype):
    with np.errstate(all="ignore"):
        calls = calls_of_ops(dtype)
    with in_mode(lambda _: RAW), np.errstate(all="ignore"):
        alone = {
            label.split(":")[0].split()[0]: call
            for label, call in calls
            if all(getattr(x, "shape", ()) == call[0].shape for x in call[2])
        }
        few = calls if dtype == np.float32 else [(name, alone[name]) for name in ("tanh", "mish", "softplus", "pow")]
        with compiled_once([call for _, call in few]):
            for label, call in few:
                compare(label, call)
    assert all(name.startswith("fused_") for name in stand_in.launches)
    assert len(set(stand_in.launches)) > (70 if dtype == np.float32 else 3)


def test_every_derivative_of_several_steps_has_a_kernel():
    """All but that of remainder, whose floor_divide rounds in a way of its own."""
    without = set()
    with np.errstate(all="ignore"):
        calls = calls_of_ops(np.float32)
    with in_mode(lambda _: RAW), np.errstate(all="ignore"):
        for label, (g, function, kept) in calls:
            kinds = kinds_of((g, function, kept))
            if function(g, *kept) is None or None in kinds:
                continue
            assert fusion._code(function, []) is not None, f"{label} holds what no kernel is written for"
            try:
                fusion.trace(function, (g, *kept), kinds)
            except fusion.NotElementwise as error:
                without.add(f"{label.split(':')[0].split()[0]}: {error}")
    assert without == {"remainder: floor_divide"}


def as_numbers(condition: Any, x: Any) -> Any:
    return condition.astype(x.dtype)


EXPRESSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "larger and smaller": lambda x, y: as_numbers(x > y, x) + 2.0 * as_numbers(x < y, x),
    "not smaller or larger": lambda x, y: as_numbers(x >= y, x) + 2.0 * as_numbers(x <= y, x),
    "equal": lambda x, y: as_numbers(x == y, x) + 2.0 * as_numbers(x != y, x),
    "kinds of numbers": lambda x, y: as_numbers(np.isnan(x), x) + 2.0 * np.where(np.isinf(x), y, 1.0) * np.isfinite(y),
    "truth": lambda x, y: np.where(np.logical_and(x, y) | ~np.logical_or(x > 0, y), x, y),
    "one of two": lambda x, y: np.where(np.logical_xor(x > 0, y > 0) & (x != 0) ^ (y == y), 1.0, x),
    "larger": lambda x, y: np.maximum(x, y) + np.minimum(x, y),
    "without NaN": lambda x, y: np.fmax(x, y) + np.fmin(x, y),
    "sign": lambda x, y: np.sign(x) * 2.0 + np.copysign(1.0, y),
    "clip": lambda x, y: np.clip(x, -1.0, None) + np.clip(y, -2.0, 1.5),
    "powers": lambda x, y: (x**2 + x**0.5 - x**-1) * y**3,
    "infinite": lambda x, y: np.where(x > y, np.inf, np.where(x == y, np.nan, x)) + np.where(y > 0, -np.inf, y),
    "rounding": lambda x, y: np.rint(x) + np.floor(y) - np.trunc(x) * np.ceil(y),
    "bool": lambda x, y: ((x > 0) * (y > 0)).astype(x.dtype) + x.astype(np.float32, copy=False),
    "numbers": lambda x, y: 0.1 * x + 1e-3 * y - 7 + True,
}  # fmt: skip


def test_numbers_that_are_not_ordinary():
    calls = [(X, function, (Y,)) for function in EXPRESSIONS.values()]
    with compiled_once(calls):
        for label, call in zip(EXPRESSIONS, calls):
            with np.errstate(all="ignore"):
                right = call[1](X, Y)
            np.testing.assert_array_equal(cuda.fused(*call), right, err_msg=label)
    assert len(stand_in.launches) == len(calls)


def slope(g: Any, y: Any, factor: Any = 1.0) -> Any:
    return g - g * y * y * factor


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 4), (7, 333), (2, 1024)])
def test_shapes(order, shape):
    g, y = normal(*shape), normal(*shape)
    kept = g.copy()
    twice = [cuda.fused(g, slope_of_two, (y,)) for _ in range(2)]
    np.testing.assert_array_equal(twice[0], twice[1])
    np.testing.assert_array_equal(g, kept)
    np.testing.assert_allclose(twice[0], slope_of_two(g, y), rtol=1e-6, atol=1e-6)
    assert len(stand_in.launches) == 2


def slope_of_two(g: Any, y: Any) -> Any:
    return g - g * y * y


def test_layouts():
    for arrange in (
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1],
        lambda x: np.asfortranarray(x),
        lambda x: x[:, 1:],
        lambda x: x.T,
    ):
        g, y = arrange(normal(6, 9)), arrange(normal(6, 9))
        got = cuda.fused(g, slope_of_two, (y,))
        np.testing.assert_allclose(got, slope_of_two(g, y), rtol=1e-6, atol=1e-6)
    fortran = np.asfortranarray(normal(6, 9))
    assert cuda.fused(fortran, slope_of_two, (fortran,)).flags.f_contiguous  # and nothing was copied
    mixed = cuda.fused(fortran, slope_of_two, (normal(6, 9),))
    assert mixed.shape == (6, 9)
    assert len(stand_in.launches) == 7


def test_one_element_for_all_and_masks():
    x, mask = normal(3, 50), RNG.random((3, 50)) < 0.5
    weigh = lambda x, mask, factor, number, nothing: np.where(mask, x * factor, number) * 2.0  # noqa: E731
    for factor in (np.array(3, np.float32), np.full((1, 1), 3, np.float32)):
        got = cuda.fused(x, weigh, (mask, factor, -0.5, None))
        np.testing.assert_array_equal(got, weigh(x, mask, factor, -0.5, None))
    single = cuda.fused(x, weigh, (np.True_.reshape(1, 1), np.full(1, 3, np.float32), -0.5, None))
    np.testing.assert_array_equal(single, x * 6)
    assert len(stand_in.launches) == 3


def test_what_goes_step_by_step():
    x, row, wide = normal(4, 6), normal(6), normal(4, 6).astype(np.float64)
    held = normal(4, 6)
    steps = [
        (x, lambda x, row: x * row * 2.0, (row,)),  # of another shape
        (x, lambda x, wide: x * wide * 2.0, (wide,)),  # of another type
        (x[:0], slope_of_two, (x[:0],)),
        (wide.astype(np.int64), lambda x: x * x * 2, ()),
        (x, lambda x: x * 2.0, ()),  # one step
        (x, lambda x: (x * 2.0 + 1.0).sum(), ()),
        (x, lambda x: x.reshape(-1) * 2.0 + 1.0, ()),
        (x, lambda x: np.cumsum(x * 2.0 + 1.0, axis=0), ()),
        (x, lambda x: np.floor_divide(x, 0.5) * 2.0, ()),
        (x, lambda x: x * held + 1.0, ()),  # holds an array
        (x, lambda x: (x > 0) | (x < -1), ()),  # bool
        (x, slope, (x,)),  # has a default
        (x, np.square, ()),
    ]
    for x, function, others in steps:
        np.testing.assert_array_equal(cuda.fused(x, function, others), function(x, *others))
    assert not stand_in.launches


def test_what_is_wrong_is_said_as_without_kernels():
    with pytest.raises(TypeError, match="numpy boolean subtract"):
        cuda.fused(normal(3), lambda x: (x > 0) - (x < 0), ())
    with pytest.raises(ValueError, match="broadcast"):
        cuda.fused(normal(3), lambda x, y: x + y * 2.0, (normal(4),))


def versions() -> int:
    return sum(map(len, fusion._versions.values()))


def scaled(factor: float, inner: Callable[[Any], Any] = lambda x: x) -> Callable[[Any], Any]:
    return lambda x: inner(x) * factor + 1.0


def test_one_kernel_for_one_expression():
    x = normal(8)
    for factor in (2.0, 2.0, 3.0, 2, float("nan"), float("nan"), 0.0, -0.0):
        function = scaled(factor)
        got, right = cuda.fused(x, function, ()), function(x)
        np.testing.assert_array_equal(got, right)
    assert versions() == 6
    for power in (2, 3):  # what a function holds in a default is not seen
        function = scaled(2.0, lambda x, power=power: x**power)
        np.testing.assert_array_equal(cuda.fused(x, function, ()), function(x))
    assert versions() == 6


def test_signs_of_zero():
    x = np.float32([-1, 1])
    for zero in (0.0, -0.0):
        function = lambda x: np.where(x > 0, x, x * x * zero)  # noqa: B023, E731
        np.testing.assert_array_equal(np.signbit(cuda.fused(x, function, ())), np.signbit(function(x)))
        times = lambda x, y: x * x * y  # noqa: E731
        np.testing.assert_array_equal(np.signbit(cuda.fused(x, times, (zero,))), np.signbit(times(x, zero)))


def test_a_number_that_changes_stops_nothing_else():
    x = normal(8)
    for i in range(200):
        np.testing.assert_array_equal(cuda.fused(x, lambda x, y: x * y, (0.1 * i,)), x * np.float32(0.1 * i))
    assert versions() == fusion.MOST
    assert not stand_in.launches
    cuda.fused(x, slope_of_two, (x,))
    assert len(stand_in.launches) == 1


FACTOR: Any = 2.0
helper: Any = lambda x: x * x  # noqa: E731


def test_globals_that_change(monkeypatch):
    x = normal(8)
    expressions = (lambda x: x * FACTOR + 1.0, lambda x: helper(x) + 1.0)
    for name, value in (("FACTOR", 2.0), ("FACTOR", 3.0), ("helper", lambda x: x * FACTOR * x), ("FACTOR", 5.0)):
        monkeypatch.setitem(globals(), name, value)
        for function in expressions:
            np.testing.assert_array_equal(cuda.fused(x, function, ()), function(x))
    launched = len(stand_in.launches)
    assert launched == 8
    for held in ([2.0], np.float32(2), {"a": 1}):  # what may change in place, or is no plain number
        monkeypatch.setitem(globals(), "FACTOR", held)
        function = lambda x: x * (FACTOR[0] if type(FACTOR) is list else 2.0) + 1.0  # noqa: E731
        np.testing.assert_array_equal(cuda.fused(x, function, ()), function(x))
    assert len(stand_in.launches) == launched


def test_equal_code_in_two_places():
    x = normal(8)
    for factor in (2.0, 3.0):
        scope = {"factor": factor}
        exec("function = lambda x: x * factor + 1.0", scope)
        np.testing.assert_array_equal(cuda.fused(x, scope["function"], ()), x * np.float32(factor) + 1)


def test_functions_that_hold_themselves_or_nothing():
    def again(x: Any, depth: int) -> Any:
        return x * 2.0 + 1.0 if depth == 0 else again(x, depth - 1)

    def unset(x: Any) -> Any:
        return x * 2.0 + (later if x is None else 1.0)

    x = normal(8)
    for function, others in ((again, (2,)), (unset, ())):
        np.testing.assert_array_equal(cuda.fused(x, function, others), function(x, *others))
    later = 0.0
    assert later == 0 and not stand_in.launches  # noqa: PT018


def test_one_number_seen_from_all_places():
    """The gradient of a sum is not written out."""
    y = normal(5, 7)
    g = np.broadcast_to(np.float32(0.5), (5, 7))
    for call in ((g, slope_of_two, (y,)), (y, slope_of_two, (g,)), (g, slope_of_two, (g,))):
        np.testing.assert_allclose(cuda.fused(*call), slope_of_two(call[0], *call[2]), rtol=1e-6)
    assert len(stand_in.launches) == 3


def test_types_are_numpys():
    """What NumPy would compute in float64, or in bool, goes step by step."""
    x = np.float32([-1, 1, 2])
    for function in (
        lambda x: x * 2.0 ** (x > 0),
        lambda x: x * np.where(x > 0, x > 1, 0.5),
        lambda x: np.where(x > 0, x, x * np.float64(0.1)) * 2.0,
        lambda x: x ** np.float64(3) * 2.0,
        lambda x: np.where(x > np.float64(0.1), x, x * 2.0),
        lambda x: x * np.sqrt(2.0) + 1.0,
        lambda x: np.where(x > 0, x, np.int64(3)) + 1.0,
        lambda x: kernels.exp(x > 0) * x,
    ):
        got, right = cuda.fused(x, function, ()), function(x)
        assert got.dtype == right.dtype
        np.testing.assert_array_equal(got, right)
    assert not [name for name in stand_in.launches if name.startswith("fused")]
    half = cuda.fused(x, lambda x: x * np.float32(0.5) + np.True_, ())
    np.testing.assert_array_equal(half, x * np.float32(0.5) + 1)
    assert len(stand_in.launches) == 1


@pytest.mark.parametrize(
    ("replace", "by"),
    [
        ("{aligned}aligned_16(out)", "true"),
        ("store_some(out + i, result, n - i, aligned)", "store_pack<PACK<T>>(out + i, result)"),
        ("blockIdx.x) * blockDim.x", "blockIdx.x) * (blockDim.x + 1)"),
    ],
)
def test_a_fault_is_caught(replace, by, monkeypatch):
    assert fusion.TEMPLATE.count(replace) == 1
    monkeypatch.setattr(fusion, "TEMPLATE", fusion.TEMPLATE.replace(replace, by))
    g, y = normal(1500)[1:], normal(1499)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(cuda.fused(g, slope_of_two, (y,)), slope_of_two(g, y), rtol=1e-6, atol=1e-6)
