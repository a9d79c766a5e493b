"""Convolution's CUDA kernels against the reference, in three thread orders, and what becomes of them with a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import faulty, right_in_every_order
from tinygrad_notes import kernels
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda import convolution

BOUND = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 2e-14}
RNG = np.random.default_rng(0)

# images, channels, size, outputs, kernel, stride, padding, dilation, groups
TILED = {
    "image": (2, 5, (9, 7), 37, (3, 2), (1, 1), (1, 1), (1, 1), 1),
    "strided, dilated, groups": (2, 8, (11, 9), 18, (3, 2), (2, 3), (2, 1), (1, 2), 2),
    "pointwise": (2, 36, (4, 6), 10, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "odd pointwise": (3, 20, (3, 5), 16, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "sequence": (3, 4, (17,), 9, (5,), (2,), (2,), (1,), 1),
    "volume": (1, 3, (3, 4, 5), 8, (2, 3, 2), (1, 2, 1), (1, 0, 1), (2, 1, 1), 1),
    "much padding": (1, 4, (2, 2), 8, (2, 2), (3, 3), (4, 4), (1, 1), 1),
}
DIRECT = {
    "few channels": (2, 2, (5, 4), 2, (2, 3), (1, 2), (1, 1), (2, 1), 1),
    "depthwise": (2, 5, (6, 5), 10, (3, 3), (2, 1), (1, 1), (1, 2), 5),
    "long kernel": (1, 2, (40,), 8, (33,), (1,), (3,), (1,), 1),
    "one element": (1, 1, (1, 1), 1, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "volume of groups": (1, 4, (3, 4, 3), 2, (2, 2, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), 2),
}
DEPTHWISE = {
    "small planes": (3, 5, (7, 6), 5, (3, 3), (1, 1), (1, 1), (1, 1), 5),
    "tiles of a plane": (1, 2, (21, 37), 4, (5, 5), (1, 1), (2, 2), (1, 1), 2),
    "strided": (2, 3, (40, 19), 3, (7, 7), (2, 2), (3, 3), (1, 1), 3),
    "more padding than kernel": (1, 2, (3, 4), 2, (3, 3), (1, 1), (4, 3), (1, 1), 2),
    "one channel": (2, 1, (9, 9), 2, (5, 5), (2, 2), (0, 0), (1, 1), 1),
    "one channel, runs": (3, 1, (20, 6), 6, (5, 5), (1, 1), (2, 2), (1, 1), 1),
}
EMPTY = {
    "no images": (0, 8, (5, 5), 9, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "no channels": (1, 0, (5, 5), 9, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "no windows": (2, 4, (2, 5), 9, (3, 3), (1, 1), (0, 0), (1, 1), 1),
    "no outputs": (1, 4, (3, 3), 0, (2, 2), (1, 1), (0, 0), (1, 1), 1),
}


@pytest.fixture
def constants(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets constants of the module; plans are made anew, then and afterwards."""
    plans = convolution._forward_plan, convolution._weight_grad_plan

    def change(**values: Any) -> None:
        for name, value in values.items():
            monkeypatch.setattr(convolution, name, value)
        for plan in plans:
            plan.cache_clear()

    yield change
    for plan in plans:
        plan.cache_clear()


def only(constants: Any, tile: int, grad_tile: int) -> None:
    """Leaves one tile, for any number of products."""
    tiles = {products: all_tiles[tile : tile + 1] for products, all_tiles in convolution.TILES.items()}
    grad_tiles = {
        products: all_tiles[grad_tile : grad_tile + 1] for products, all_tiles in convolution.GRAD_TILES.items()
    }
    constants(TILES=tiles, GRAD_TILES=grad_tiles)


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


def calls(case: Any, dtype: Any = np.float32, extra: int = 0) -> dict[str, tuple[Any, ...]]:
    """Arguments of the three functions; `extra` elements of the transposed one's output, no window reaches."""
    images, channels, size, outputs, kernel, stride, padding, dilation, groups = case
    rest = stride, padding, dilation
    x, weight = normal(images, channels, *size, dtype=dtype), normal(outputs, channels // groups, *kernel, dtype=dtype)
    y = reference.conv(x, weight, None, stride, padding, dilation, groups)
    g, bias = normal(*y.shape, dtype=dtype), normal(outputs, dtype=dtype)
    return {
        "conv": (x, weight, bias, *rest, groups),
        "conv_transpose": (g, weight, normal(channels, dtype=dtype), *rest, groups, tuple(n + extra for n in size)),
        "conv_weight_grad": (x, g, kernel, *rest, groups),
    }


def in_float64(name: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(reference, name)(*(a.astype(float) if isinstance(a, np.ndarray) else a for a in arguments))


def error(name: str, arguments: tuple[Any, ...]) -> float:
    """Of the largest element, the largest difference from float64."""
    got, wanted = getattr(cuda, name)(*arguments), in_float64(name, arguments)
    assert got.shape == wanted.shape
    assert got.dtype == arguments[0].dtype
    if not wanted.size:
        return 0.0
    difference = np.max(np.abs(got - wanted)) / max(np.max(np.abs(wanted)), 1e-30)
    return float("inf") if np.isnan(difference) else float(difference)


def ran(prefix: str) -> bool:
    return any(name.startswith(prefix) for name in stand_in.launches)


@pytest.mark.parametrize("case", TILED.values(), ids=TILED)
def test_on_tensor_cores(case, order):
    for name, arguments in calls(case).items():
        stand_in.launches.clear()
        assert error(name, arguments) <= 1e-6, name
        assert ran("weight_grad_tile" if name == "conv_weight_grad" else "conv_tile"), name


@pytest.mark.parametrize("case", DIRECT.values(), ids=DIRECT)
def test_direct(case, order):
    for dtype in (np.float32, np.float64):
        for name, arguments in calls(case, dtype).items():
            assert error(name, arguments) <= BOUND[np.dtype(dtype)], name
    assert all("_direct<" in name or "reduce" in name for name in stand_in.launches)


@pytest.mark.parametrize("case", DEPTHWISE.values(), ids=DEPTHWISE)
def test_depthwise(case, order):
    for name, arguments in calls(case, extra=1).items():
        assert error(name, arguments) <= 1e-6, name
    assert ran("depthwise_tile")
    assert ran("depthwise_weight_grad")


def test_float64(order):
    for name, arguments in calls(TILED["strided, dilated, groups"], np.float64, extra=1).items():
        assert error(name, arguments) <= 2e-14, name


@pytest.mark.parametrize("case", EMPTY.values(), ids=EMPTY)
def test_empty(case):
    for name, arguments in calls(case).items():
        assert error(name, arguments) == 0.0, name


@pytest.mark.parametrize("tile", range(len(convolution.TILES[3])))
@pytest.mark.parametrize("choice", kernels.PRECISIONS)
def test_every_tile(constants, tile, choice):
    """Sizes beyond one tile and one round of the pipeline. One product of tf32 keeps 11 digits."""
    only(constants, tile, tile % 3)
    rows = convolution.TILES[3][0].rows
    with kernels.precision(choice):
        for kernel in (1, 2):
            case = (1, 68 // kernel**2, (12, 12), rows + 3, (kernel, kernel), (1, 1), (0, 0), (1, 1), 1)
            for name, arguments in calls(case).items():
                least, most = (0, 1e-6) if choice == "highest" else (1e-6, 1e-3)
                assert least < error(name, arguments) <= most, name


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation", "output_size"),
    [
        ((3, 4), (3, 3), (2, 2), (1, 1), (1, 1), (6, 8)),
        ((3, 4), (2, 2), (3, 3), (0, 0), (1, 1), (10, 12)),  # what no window reaches
        ((4, 3), (3, 2), (2, 4), (1, 0), (2, 2), (7, 15)),  # phases without a tap
        ((4, 3), (4, 4), (2, 2), (3, 3), (1, 1), (4, 2)),
        ((3, 4), (3, 5), (4, 3), (0, 2), (6, 2), (23, 15)),
        ((5,), (4,), (6,), (1,), (1,), (3,)),  # fewer outputs than phases
    ],
)
def test_phases_of_a_transposed_convolution(order, size, kernel, stride, padding, dilation, output_size):
    for bias in (None, normal(18)):
        arguments = normal(2, 6, *size), normal(6, 9, *kernel), bias, stride, padding, dilation, 2, output_size
        assert error("conv_transpose", arguments) <= 1e-6
    assert ran("conv_tile")


def test_a_share_of_the_pixels_is_added_in_its_order(constants, order):
    constants(LEAST_STAGES=2)
    arguments = calls((3, 4, (9, 10), 16, (3, 3), (1, 1), (1, 1), (1, 1), 1))["conv_weight_grad"]
    assert error("conv_weight_grad", arguments) <= 1e-6
    assert ran("weight_grad_reduce")


def test_images_are_divided_until_offsets_have_32_bits(constants):
    constants(MOST_ELEMENTS=1000)
    for name, arguments in calls((5, 8, (9, 10), 9, (3, 3), (1, 1), (1, 1), (1, 1), 1)).items():
        stand_in.launches.clear()
        assert error(name, arguments) <= 1e-6, name
        assert sum("_tile" in launch for launch in stand_in.launches) == 5, name


def test_the_same_bits_twice_and_any_strides():
    for name, arguments in calls(TILED["strided, dilated, groups"]).items():
        wanted = getattr(cuda, name)(*arguments)
        bits = wanted.tobytes()
        for strided in (np.asfortranarray, lambda a: np.repeat(a, 2, -1)[..., ::2], lambda a: a[::-1].copy()[::-1]):
            others = tuple(strided(a) if isinstance(a, np.ndarray) else a for a in arguments)
            before = [a.copy() for a in others if isinstance(a, np.ndarray)]
            assert getattr(cuda, name)(*others).tobytes() == bits
            assert all(np.array_equal(a, b) for a, b in zip([a for a in others if isinstance(a, np.ndarray)], before))


def test_views_that_begin_anywhere():
    """Copies of 16 bytes need addresses that are multiples of them."""
    for case in (TILED["pointwise"], TILED["image"]):
        for name, arguments in calls(case).items():
            moved = []
            for a in arguments:
                if isinstance(a, np.ndarray):
                    space = np.empty(a.size + 4, a.dtype)
                    shift = (4 - space.ctypes.data // 4) % 4 + 1
                    space[shift : shift + a.size] = a.reshape(-1)
                    a = space[shift : shift + a.size].reshape(a.shape) if shift < 4 else a
                moved.append(a)
            assert error(name, tuple(moved)) <= 1e-6


def places(x: Any) -> Any:
    """inf and NaN, and 0 for all that is finite."""
    return np.where(np.isfinite(x), 0, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ["strided, dilated, groups", "pointwise", "small planes"])
def test_inf_and_nan_come_out_as_in_the_reference(case, dtype):
    for choice in kernels.PRECISIONS:
        for name, arguments in calls((TILED | DEPTHWISE)[case], dtype, extra=2).items():
            for operand in (0, 1):
                arguments[operand].reshape(-1)[[0, -1]] = np.inf, -np.inf
                arguments[operand].reshape(-1)[arguments[operand].size // 2] = np.nan
                with np.errstate(invalid="ignore"), kernels.precision(choice):
                    got, wanted = getattr(cuda, name)(*arguments), getattr(reference, name)(*arguments)
                np.testing.assert_array_equal(places(got), places(wanted), err_msg=name)
                arguments[operand][...] = normal(*arguments[operand].shape)


def test_the_largest_floats():
    """Rounded to tf32 they are inf."""
    case = (1, 16, (3, 3), 8, (1, 1), (1, 1), (0, 0), (1, 1), 1)
    largest = np.finfo(np.float32).max
    for name in calls(case):
        arguments = calls(case)[name]
        arguments[0].reshape(-1)[5] = largest
        arguments[1][...] *= 0.01
        assert error(name, arguments) <= 1e-6


def test_what_has_no_kernel_is_composed():
    for name, arguments in calls(DIRECT["few channels"]).items():
        swapped = tuple(a.astype(">f4") if isinstance(a, np.ndarray) else a for a in arguments)
        np.testing.assert_array_equal(getattr(cuda, name)(*swapped), getattr(reference, name)(*swapped))
    assert not stand_in.launches


def test_what_a_shape_gets():
    """Large tiles where they fill the multiprocessors, smaller ones where they do not; shares of the pixels, too."""

    def problem(images: int, channels: int, size: int, outputs: int) -> Any:
        shapes = (images, channels, size, size), (images, outputs, size, size)
        return convolution.Problem.of(*shapes, (3, 3), (1, 1), (1, 1), (1, 1), 1, False, False)

    def forward(*sizes: int) -> str:
        return str(convolution._forward_plan(problem(*sizes), "float", 3, True, True)[2].name)

    assert forward(128, 128, 56, 128).startswith("conv_tile<128, 128")
    assert forward(4, 128, 28, 128).startswith("conv_tile<64, 64")
    assert forward(64, 64, 28, 1).startswith("conv_tile<32, 128")
    assert forward(128, 128, 56, 32).startswith("conv_tile<32, 128")
    assert forward(64, 64, 8, 64).startswith("conv_tile<64, 32")
    assert forward(256, 1, 28, 6).startswith("depthwise_tile")
    assert forward(256, 1, 28, 32).startswith("conv_tile<32, 128")
    assert convolution._weight_grad_plan(problem(128, 64, 56, 64), "float", 3, True, True)[1] > 20
    assert convolution._weight_grad_plan(problem(128, 512, 7, 512), "float", 3, True, True)[1] > 1  # 144 tiles
    assert convolution._weight_grad_plan(problem(1, 64, 3, 64), "float", 3, True, True)[1] == 1


# ---------------------------------------------------------------------- faults

SYNC = "        __syncthreads();  // the stage has arrived for all, and all have read what the next copies replace\n"
OF_TILE = [
    (SYNC, ""),
    ("copy_async_wait<STAGES - 2>();", "copy_async_wait<STAGES - 1>();"),
    ("copy(stage + STAGES - 1);", "copy(stage + STAGES);"),
    ("stage + STAGES < stages", "stage + STAGES < stages - 1"),
]
OF_CONV = [
    ("lane % 4 + 4 * e) * LENGTH", "lane % 4 + 3 * e) * LENGTH"),
    ("if (tap >= windows.taps) tap", "if (tap > windows.taps) tap"),
    ("inside && down < rows - weight_row", "inside && down <= rows - weight_row"),
]
OF_WEIGHT_GRAD = [
    ("next[lane] = place, ", ""),
    ("stages = (end - begin + DEPTH - 1) / DEPTH", "stages = (end - begin) / DEPTH"),
    ("i * PASS_G < rows - row_g", "i * PASS_G <= rows - row_g"),
]
OF_BOTH = [
    ("shift += axis.taps;", "shift += axis.taps - 1;"),
    ("mma_tf32(sums[i][j], a_small[i], b_big);", ";"),
    ("axis.tap_first = tap + (axis.taps - 1) * every", "axis.tap_first = (axis.taps - 1) * every"),
]
OF_ITS_HEADER = [
    ("left[1] = both[1], right[0] = both[2]", "left[1] = both[2], right[0] = both[1]"),
    ("on.at[axis] + carry", "on.at[axis]"),
]
OF_DEPTHWISE = [
    ("    copy_async_wait<0>();\n", ""),
    ("    __syncthreads();\n", ""),
    ("column >= 0 && column < x_columns;", "column >= 0 && column <= x_columns;"),
    ("plane < last_plane &&", ""),
    ("seen[i + STRIDE][j]", "seen[i + 1][j]"),
    ("x_column + j < x_columns", "x_column + j <= x_columns"),
    ("min(RUN, y_rows - first_row)", "RUN"),
]


# What is not finite is repaired by other code, which hides that a pipeline read what had not arrived: not here.
NO_REPAIR = "convolution.cuh", "return value - value == 0;", "return true;"
FUNCTIONS = {
    "convolution.cu": ("conv", "conv_transpose"),
    "weight_grad.cu": ("conv_weight_grad",),
    "depthwise.cu": ("conv", "conv_weight_grad"),
}
CASES = {
    "convolution.cu": (2, 19, (7, 6), 35, (3, 2), (2, 1), (1, 1), (1, 1), 1),
    "weight_grad.cu": (3, 11, (11, 12), 9, (3, 2), (1, 1), (1, 1), (1, 1), 1),
    "depthwise.cu": (3, 11, (15, 7), 11, (3, 3), (2, 2), (1, 1), (1, 1), 11),
}


def wrong(file: str) -> bool:
    """Whether any order of threads gives a wrong result, or the stand-in reports a fault."""
    return not right_in_every_order(
        lambda: all(
            error(name, arguments) <= 1e-6 for name, arguments in calls(CASES[file]).items() if name in FUNCTIONS[file]
        )
    )


@pytest.fixture
def small(constants: Any) -> None:
    """One tile for both kernels, and two shares of the pixels."""
    only(constants, 2, 2)
    constants(LEAST_STAGES=1, MULTIPROCESSORS=2)


@pytest.mark.parametrize("file", CASES)
def test_without_a_fault(small, file):
    with faulty(*NO_REPAIR):
        assert not wrong(file)


@pytest.mark.parametrize("file", ["convolution.cu", "weight_grad.cu"])
@pytest.mark.parametrize(("replace", "by"), OF_TILE)
def test_a_fault_of_the_pipeline(small, file, replace, by):
    with faulty(*NO_REPAIR), faulty(file, replace, by):
        assert wrong(file)


@pytest.mark.parametrize(
    ("file", "replace", "by"),
    [
        *(("convolution.cu", *fault) for fault in OF_CONV),
        *(("weight_grad.cu", *fault) for fault in OF_WEIGHT_GRAD),
        *(("depthwise.cu", *fault) for fault in OF_DEPTHWISE),
    ],
)
def test_a_fault(small, file, replace, by):
    with faulty(*NO_REPAIR), faulty(file, replace, by):
        assert wrong(file)


@pytest.mark.parametrize(
    ("file", "replace", "by"),
    [
        *(("convolution.cu", *fault) for fault in OF_BOTH),
        *(("weight_grad.cu", *fault) for fault in OF_ITS_HEADER),
    ],
)
def test_a_fault_of_the_header(small, file, replace, by):
    with faulty("convolution.cuh", replace, by):
        assert wrong(file)
