"""Attention's kernels on the stand-in: against the reference in float64, in every order, and with faults planted."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import faulty, right_in_every_order
from tinygrad_notes.kernels import cuda, precision, reference
from tinygrad_notes.kernels.cuda.attention import BACKWARD, FORWARD

RNG = np.random.default_rng(0)
MASK = RNG.random((2, 1, 40, 33)) < 0.5
MASK[1, 0, 7] = False  # a query that may attend to nothing
ADDED = RNG.standard_normal((2, 1, 33)).astype(np.float32)
ADDED[1, 0, 2] = -np.inf


@pytest.fixture
def shuffled():
    """One order of threads, for what waits where other tests wait in all three."""
    stand_in.settings["order"] = "shuffled"


def sample(batch=1, heads=2, key_heads=1, queries=40, keys=33, size=8, value_size=4, dtype=np.float32) -> list[Any]:
    """q, k, v, and g, the gradient of the result."""
    shapes = [(heads, queries), (key_heads, keys), (key_heads, keys), (heads, queries)]
    widths = size, size, value_size, value_size
    return [RNG.standard_normal((batch, *shape, width)).astype(dtype) for shape, width in zip(shapes, widths)]


def wide(values: Any) -> list[Any]:
    return [x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in values]


def bfloat16(x: Any) -> Any:
    """float32 rounded to bfloat16."""
    bits = x.view(np.uint32)
    return (bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000).view(np.float32)


def run(backend: Any, operands: Any, *rest: Any, mask_grad: bool = False) -> list[Any]:
    """out, logsumexp, dq, dk, dv and dmask."""
    q, k, v, g = operands
    rest = (*rest, *(None, False, 0.3, 0.0, 5)[len(rest) :])
    out, logsumexp = backend.attention(q, k, v, *rest)
    return [out, logsumexp, *backend.attention_grad(g, q, k, v, out, logsumexp, *rest, mask_grad)]


def error(got: Any, wanted: Any) -> float:
    """The largest difference, as a part of the largest value; NaN, inf and None must stand at the same places."""
    if wanted is None or wanted.size == 0:
        assert (got is None) == (wanted is None)
        return 0.0
    assert got.shape == wanted.shape
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(got[~finite], wanted[~finite].astype(got.dtype))
    difference = np.max(np.abs(got[finite] - wanted[finite]), initial=0)
    return float(difference / np.max(np.abs(wanted[finite]), initial=0.3))  # 0.3: gradients may cancel to 0


def assert_exact(operands: Any, *rest: Any, mask_grad: bool = False, bound: float = 2e-6) -> None:
    with np.errstate(all="ignore"):
        wanted = run(reference, wide(operands), *wide(rest), mask_grad=mask_grad)
        for got, exact in zip(run(cuda, operands, *rest, mask_grad=mask_grad), wanted, strict=True):
            assert error(got, exact) <= bound


CASES: dict[str, tuple[dict[str, int], tuple[Any, ...]]] = {
    "one element": ({"heads": 1, "queries": 1, "keys": 1, "size": 1, "value_size": 1}, ()),
    "sizes that fill no pack": ({"queries": 70, "keys": 67, "size": 5, "value_size": 9}, ()),
    "64 elements": ({"key_heads": 2, "queries": 65, "keys": 70, "size": 64, "value_size": 64}, (None, True, 0.2)),
    "128 elements": ({"heads": 1, "queries": 65, "keys": 36, "size": 100, "value_size": 128}, (None, True, 0.1, 0.3)),
    "more queries than keys": ({"queries": 66, "keys": 3}, (None, True)),
    "a mask of bool": ({"batch": 2}, (MASK, False, 0.3, 0.4)),
    "an added mask": ({"heads": 4, "key_heads": 2}, (ADDED.repeat(2, 0), True, 0.3, 0.4)),
    "everything dropped": ({"queries": 5, "keys": 6}, (None, False, 0.3, 1.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_is_as_exact_as_float32(order, case):
    sizes, rest = CASES[case]
    assert_exact(sample(**sizes), *rest)
    names = {"attention_tiles", "attention_grad_queries", "attention_grad_keys"}
    assert {name.partition("<")[0] for name in stand_in.launches} - {"attention_prepare"} == names


@pytest.mark.parametrize(("size", "dtype"), [(130, np.float32), (5, np.float64), (270, np.float64)])
def test_row_by_row(shuffled, size, dtype):
    bound = 1e-6 if dtype == np.float32 else 1e-14
    operands = sample(2, 2, 1, 35, 33, size, 3, dtype)
    assert_exact(operands, MASK[:, :, :35], True, 0.2, 0.3, bound=bound)
    assert_exact([x[:, :, :5] for x in operands], ADDED.astype(dtype)[..., :5], mask_grad=True, bound=bound)
    assert not any("tiles" in name for name in stand_in.launches)


@pytest.mark.parametrize("shape", [(2, 2, 9, 7), (2, 1, 7), (7,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_of_an_added_mask(order, shape, dtype):
    mask = RNG.standard_normal(shape).astype(dtype)
    assert_exact(sample(2, 2, 1, 9, 7, dtype=dtype), mask, True, 0.4, 0.3, mask_grad=True)


def test_gradient_of_one_number_is_nothing():
    operands = sample(1, 2, 1, 9, 7)
    for shape in ((), (1, 1)):
        *_, dmask = run(cuda, operands, np.ones(shape, np.float32), mask_grad=True)
        assert dmask.shape == shape
        assert abs(dmask).max() < 1e-5  # a common number changes nothing: terms of size 1 cancel


def test_mask_of_another_float():
    mask = RNG.standard_normal((9, 7))
    operands = sample(queries=9, keys=7)
    got, wanted = (run(cuda, operands, given, mask_grad=True) for given in (mask, mask.astype(np.float32)))
    assert got[-1].dtype == np.float64
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [0.0, -1e9, -np.inf])
def test_rows_that_attend_to_nothing_or_to_all_alike(order, value):
    """-1e9 hides all that float32 knows of a score, and is what logsumexp is rounded to: rows still sum to 1."""
    operands, mask = sample(queries=9, keys=7), np.full((9, 7), value, np.float32)
    masks = [mask, np.zeros((9, 7), bool)] if value == -np.inf else [mask]
    for given in masks:
        wanted = run(reference, operands, given, mask_grad=given.dtype != bool)
        for x, y in zip(run(cuda, operands, given, mask_grad=given.dtype != bool), wanted, strict=True):
            assert error(x, y) <= 2e-6


def test_large_scores():
    """Scores of some 60: an error of logsumexp of half its last digit would be one of 2e-6 in every probability."""
    operands = sample(1, 1, 1, 20, 30, 16, 8)
    operands[0][:] = np.round(operands[0] * 8) / 2  # so that scores are exact, and all that is left is the softmax
    operands[1][:] = np.round(operands[1] * 8) / 8
    assert_exact(operands, None, False, 1.0)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("place", range(4))
def test_what_is_not_finite(shuffled, value, place):
    operands = sample(1, 1, 1, 36, 40, 8, 8)
    operands[place][0, 0, 20, 3] = value
    assert_exact(operands)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(("choice", "bound"), [("highest", 2e-6), ("high", 3e-3), ("medium", 2e-2)])
def test_what_causal_hides_counts_where_it_is_not_finite(shuffled, value, place, choice, bound):
    """A tile that is all hidden may then not be left out: 0 times what is not finite is NaN, as in the reference."""
    length = 140 if choice == "medium" else 70
    operands = [bfloat16(x) for x in sample(1, 1, 1, length, length + 10, 8, 8)]
    row = 5 if place in (0, 3) else length - 2  # a query that the last keys do not see, or a key hidden from the first
    operands[place][0, 0, row, 3] = value
    with precision(choice):
        assert_exact(operands, None, True, bound=bound)
    assert any("float, 2" in name for name in stand_in.launches) == (choice == "highest")


def test_a_hidden_query_that_attends_to_nothing_and_is_not_finite(shuffled):
    operands = sample(1, 2, 1, 70, 80, 8, 8)
    operands[0][0, 1, 5], operands[1][0, 0, :6] = -np.inf, 1  # all that it sees has the score -inf
    assert_exact(operands, None, True)


def test_strides_do_not_matter_inputs_stay_and_bits_repeat():
    packed = sample(2, 2, 1, 20, 18, 6, 5)
    mask = RNG.standard_normal((18, 20, 1, 2)).astype(np.float32).T  # not in C order
    strided = [np.repeat(x, 2, axis=3)[..., ::2].swapaxes(1, 2).copy().swapaxes(1, 2) for x in packed]
    for x in strided:
        x.flags.writeable = False
    wanted = run(cuda, packed, np.ascontiguousarray(mask), True, 0.5, 0.3, mask_grad=True)
    for again in (packed, strided):
        for x, y in zip(run(cuda, again, mask, True, 0.5, 0.3, mask_grad=True), wanted, strict=True):
            np.testing.assert_array_equal(x, y)
    shifted = [np.empty(x.size + 1, x.dtype)[1:].reshape(x.shape) for x in packed]  # begin at no multiple of 16 bytes
    for x, y in zip(shifted, packed, strict=True):
        x[...] = y
    for x, y in zip(run(cuda, shifted, mask, True, 0.5, 0.3, mask_grad=True), wanted, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", ["batch", "heads", "queries", "keys", "size", "value_size"])
def test_empty(name):
    sizes = {name: 0, "queries": 5, "keys": 6} | {name: 0}
    operands = sample(**sizes)
    wanted = run(reference, operands, np.ones((operands[0].shape[2], operands[1].shape[2]), np.float32), mask_grad=True)
    got = run(cuda, operands, np.ones((operands[0].shape[2], operands[1].shape[2]), np.float32), mask_grad=True)
    for x, y in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(x, y)
    assert not stand_in.launches


# ---------------------------------------------------------------------- less exact


@pytest.mark.parametrize("size", [40, 72])
def test_high_precision_takes_one_product(shuffled, size):
    operands = sample(1, 1, 1, 40, 35, size, size)
    wanted = run(reference, wide(operands), None, True, 0.1)
    with precision("high"):
        got = run(cuda, operands, None, True, 0.1)
    assert sum("float, 1," in name for name in stand_in.launches) == 3
    assert all(1e-5 < error(x, y) < 2e-3 for i, (x, y) in enumerate(zip(got[:5], wanted[:5], strict=True)) if i != 1)


@pytest.mark.parametrize("size", [40, 128, 12])
def test_16_bits(shuffled, size):
    """A head of 12 is no whole number of packs and goes row by row."""
    operands = [x.astype(np.float16) for x in sample(1, 2, 1, 130, 40, size, size)]
    mask = RNG.standard_normal((2, 1, 40)).astype(np.float32)
    wanted = run(reference, wide(operands), mask, True, 0.1, 0.2, mask_grad=True)
    got = run(cuda, operands, mask, True, 0.1, 0.2, mask_grad=True)
    assert [x.dtype for x in got] == [np.float16, np.float32, *[np.float16] * 3, np.float32]
    assert all(error(x, y) < 2e-3 for x, y in zip(got, wanted, strict=True))
    assert any("_rows<Half" in name for name in stand_in.launches) == (size == 12)


@pytest.mark.parametrize(("size", "shift"), [(40, 0), (128, 1), (64, 1)])
def test_medium_precision_rounds_to_bfloat16(shuffled, size, shift):
    """The results of operands that were rounded, in float32; where the operands begin does not matter."""
    operands = sample(1, 2, 1, 130, 40, size, size)
    mask = RNG.standard_normal((2, 1, 40)).astype(np.float32)
    wanted = run(reference, wide(map(bfloat16, operands)), mask, True, 0.1, 0.2, mask_grad=True)
    for i, x in enumerate(operands):
        operands[i] = np.empty(x.size + shift, x.dtype)[shift:].reshape(x.shape)
        operands[i][...] = x
    with precision("medium"):
        got = run(cuda, operands, mask, True, 0.1, 0.2, mask_grad=True)
    assert {x.dtype for x in got} == {np.dtype(np.float32)}
    assert all(error(x, y) < 8e-3 for x, y in zip(got, wanted, strict=True))
    assert error(got[1], wanted[1]) < 1e-6
    assert all("BFloat16" in name for name in stand_in.launches)
    assert stand_in.launches[0] == stand_in.launches[2] == "attention_prepare<float, BFloat16>"


def test_medium_precision_where_rows_are_no_packs_takes_tf32(shuffled):
    with precision("medium"):
        run(cuda, sample(1, 1, 1, 5, 6, 12, 12))
    assert not any("BFloat16" in name for name in stand_in.launches)


# ---------------------------------------------------------------------- faults

BARRIER = "        __syncthreads();  // the tile has come, and nobody reads the one before it any more\n"
WAIT, WAIT_LESS = "        copy_async_wait<0>();\n", "        copy_async_wait<1>();\n"
KEYS = "        if (first_key + COUNT < end) load(first_key + COUNT, buffer ^ 1);"
TURNS = "        if (next_head < last_head) load(next_head, next_query, buffer ^ 1);"
RESULTS = {"attention_tiles": (4, 5), "attention_grad_queries": (8, 9, 10), "attention_grad_keys": (8, 9)}


def _launch_and_note(launch: Any, calls: list[tuple[Any, ...]], *given: Any, **more: Any) -> None:
    launch(*given, **more)
    calls.append(given)


@functools.cache
def launched() -> dict[str, tuple[Any, ...]]:
    """By the name of each tiled kernel, the arguments with which a call of the functions launched it."""
    with precision("high"), pytest.MonkeyPatch.context() as patch:
        calls: list[tuple[Any, ...]] = []
        for kernels in (FORWARD, BACKWARD):
            patch.setattr(kernels, "launch", functools.partial(_launch_and_note, kernels.launch, calls))
        run(cuda, sample(1, 2, 1, 90, 75, 8, 8), None, True)
    return {call[0].partition("<")[0]: call for call in calls}


def is_right(kernel: str) -> bool:
    """Whether the kernel still writes in every order what it wrote without a fault. The results are its ``RESULTS``."""
    name, grid, block, arguments, shared = launched()[kernel]
    wanted = [arguments[i] for i in RESULTS[kernel]]
    replayed = list(arguments)

    def same() -> bool:
        for i in RESULTS[kernel]:
            replayed[i] = np.full_like(arguments[i], np.nan)
        (FORWARD if kernel == "attention_tiles" else BACKWARD).launch(name, grid, block, tuple(replayed), shared)
        return all(np.array_equal(replayed[i], x) for i, x in zip(RESULTS[kernel], wanted))

    return right_in_every_order(same)


@pytest.mark.parametrize(
    ("kernel", "file", "replace", "by"),
    [
        ("attention_tiles", "attention.cu", BARRIER, ""),
        ("attention_tiles", "attention.cu", f"{WAIT}{BARRIER}", f"{WAIT_LESS}{BARRIER}"),
        ("attention_tiles", "attention.cu", KEYS, KEYS.replace("buffer ^ 1", "buffer")),
        ("attention_tiles", "attention.cu", "[j][i] *= rescale;", "[j][i] *= which ? 1.0f : rescale;"),
        ("attention_tiles", "attention_tiles.cuh", "row + i % 2 * ROW<T, SIZE>", "row + i / 2 * ROW<T, SIZE>"),
        ("attention_tiles", "attention_tiles.cuh", "key + count > query + 1)", "key + count > query + count)"),
        ("attention_grad_queries", "attention_grad.cu", f"{BARRIER}{KEYS}", KEYS),
        ("attention_grad_queries", "attention_grad.cu", f"{WAIT}{BARRIER}{KEYS}", f"{WAIT_LESS}{BARRIER}{KEYS}"),
        ("attention_grad_queries", "attention_grad.cu", KEYS, KEYS.replace("+ COUNT <", "+ 2 * COUNT <")),
        ("attention_grad_keys", "attention_grad.cu", f"{BARRIER}{TURNS}", TURNS),
        ("attention_grad_keys", "attention_grad.cu", f"{WAIT}{BARRIER}{TURNS}", f"{WAIT_LESS}{BARRIER}{TURNS}"),
        ("attention_grad_keys", "attention_grad.cu", "inverse[first + query];", "inverse[first_query];"),
    ],
)
def test_a_fault_is_caught(kernel, file, replace, by):
    assert is_right(kernel)
    with faulty(file, replace, by):
        assert not is_right(kernel)


@pytest.mark.parametrize(
    ("place", "row", "file", "replace", "by"),
    [
        (2, 68, "attention.cu", "end = last_that_counts(", "end = first_query + OWN_ROWS + 0 * last_that_counts("),
        (1, 68, "attention_grad.cu", "end = last_that_counts(", "end = first_query + OWN_ROWS + 0 * last_that_counts("),
        (0, 5, "attention_grad.cu", "begin = min(begin, first", "begin = max(begin, first"),
    ],
)
def test_leaving_out_a_hidden_tile_that_is_not_finite_is_caught(shuffled, place, row, file, replace, by):
    operands = sample(1, 1, 1, 70, 80, 8, 8)
    operands[place][0, 0, row, 3] = np.nan
    with faulty(file, replace, by), precision("high"), pytest.raises(AssertionError):
        assert_exact(operands, None, True, bound=3e-3)
