"""Convolution as a matrix product

What the note says. A convolution is turned into a product of matrices (卷积换成矩阵乘法), because products are what
hardware is fast at; a TPU's systolic array does nothing else. Put the other way round: convolution is Y = VX, a full
matrix product whose matrix V has many zeros and repeats few weights.

The formula. Along each axis an input of n pixels, padding p, window k and stride s leave

    o = ⌊(n + 2p - k) / s⌋ + 1

places. Two matrices do the same work:

    Y = V vec(X)               V of (D·o·o) × (C·n·n): every row is the window's weights at one place, zeros elsewhere
    Y = W im2col(X)            W of D × (C·k·k), im2col(X) of (C·k·k) × (o·o): every column is one window's pixels

V shows what a convolution is: an affine layer whose rows share their weights. im2col is how it is computed: V is
almost empty, while W and the columns are full, at the price of writing every pixel down up to k·k times. The
derivatives are two more products, with G the gradient of Y:

    dW = G im2col(X)ᵀ,         dX = Vᵀ G = col2im(Wᵀ G)

where col2im, the transpose of im2col, adds each column up where its pixels were read. Vᵀ is transposed convolution.

Where the paper differs. Chellapilla, Puri & Simard (2006) "unroll" the convolutions of a document reader in this way
for a GPU. What the fields of learning call convolution does not turn the window around, and is cross-correlation in
mathematics.

How it is shown here. The definition, six nested loops, is compared with im2col and a product, and with V; then their
derivatives, and the compiled kernels with the plain ones in float32. (How near a GPU's kernels come to the plain ones
can be compared only where there is a GPU, so it is no fact of this page.) The demonstration counts the zeros of V for a
first layer on a real digit, draws V and the columns, and takes the time of the loops, of V, of im2col and a product,
and of the engine's own convolution. Which is fastest depends on the machine, so there is no bar.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.data import digits
from tinygrad_notes.notes.cnn._layers import windows
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_picture


def conv_loops(x: np.ndarray, w: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """The definition: x (N, C, H, W), w (D, C, k, k); a sum for every image, output channel and place."""
    n, _, height, width = x.shape
    d, _, k, _ = w.shape
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    y = np.zeros((n, d, windows(height, k, stride, padding), windows(width, k, stride, padding)), x.dtype)
    for image, channel, i, j in itertools.product(*map(range, y.shape)):
        window = x[image, :, i * stride : i * stride + k, j * stride : j * stride + k]
        y[image, channel, i, j] = (window * w[channel]).sum()
    return y


def conv_by_columns(x: tn.Tensor, w: tn.Tensor, stride: int = 1, padding: int = 0) -> tn.Tensor:
    """One product: W of (D, C·k·k) with the windows of every image, (N, C·k·k, places)."""
    n, _, height, width = x.shape
    d, _, k, _ = w.shape
    columns = tn.im2col(x, k, stride=stride, padding=padding)
    y = tn.reshape(w, (d, -1)) @ columns  # (N, D, places)
    return tn.reshape(y, (n, d, windows(height, k, stride, padding), windows(width, k, stride, padding)))


def conv_matrix(w: np.ndarray, height: int, width: int, stride: int = 1, padding: int = 0) -> np.ndarray:
    """V of (D·places, C·H·W), written down window by window."""
    d, c, k, _ = w.shape
    rows, columns = windows(height, k, stride, padding), windows(width, k, stride, padding)
    v = np.zeros((d, rows, columns, c, height + 2 * padding, width + 2 * padding), w.dtype)
    for i, j in itertools.product(range(rows), range(columns)):
        v[:, i, j, :, i * stride : i * stride + k, j * stride : j * stride + k] = w
    v = v[..., padding : padding + height, padding : padding + width]  # what lies in the border is multiplied by 0
    return v.reshape(d * rows * columns, c * height * width)


# ---------------------------------------------------------------------- what must agree

CASES = ((1, 0), (1, 1), (2, 1), (3, 2))  # stride, padding


def _arrays(stride: int = 1, padding: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, weights, and a gradient of the value's shape."""
    random = np.random.default_rng(0)
    x, w = random.standard_normal((2, 3, 8, 7)), random.standard_normal((4, 3, 3, 3))
    return x, w, random.standard_normal(conv_loops(x, w, stride, padding).shape)


def _worst(difference: Callable[[int, int], np.ndarray]) -> float:
    return max(float(np.abs(difference(*case)).max()) for case in CASES)


def _columns_against_loops(stride: int, padding: int) -> np.ndarray:
    x, w, _ = _arrays(stride, padding)
    return conv_by_columns(tn.asarray(x), tn.asarray(w), stride, padding).numpy() - conv_loops(x, w, stride, padding)


def _matrix_against_loops(stride: int, padding: int) -> np.ndarray:
    x, w, g = _arrays(stride, padding)
    y = conv_matrix(w, x.shape[2], x.shape[3], stride, padding) @ x.reshape(2, -1).T
    return y.T.reshape(g.shape) - conv_loops(x, w, stride, padding)


def _engine_against_loops(stride: int, padding: int) -> np.ndarray:
    x, w, _ = _arrays(stride, padding)
    return tn.conv2d(x, w, stride=stride, padding=padding).numpy() - conv_loops(x, w, stride, padding)


def _gradients(stride: int, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the engine's own convolution."""
    x, w, g = _arrays(stride, padding)
    _, pull = tn.vjp(lambda x, w: tn.conv2d(x, w, stride=stride, padding=padding), tn.asarray(x), tn.asarray(w))
    return tuple(gradient.numpy() for gradient in pull(tn.asarray(g)))  # type: ignore[return-value]


def _input_gradient(stride: int, padding: int) -> np.ndarray:
    """col2im(Wᵀ G)."""
    x, w, g = _arrays(stride, padding)
    columns = w.reshape(4, -1).T @ g.reshape(2, 4, -1)
    dx = tn.col2im(columns, x.shape[2:], 3, stride=stride, padding=padding)
    return dx.numpy() - _gradients(stride, padding)[0]


def _matrix_gradient(stride: int, padding: int) -> np.ndarray:
    """Vᵀ G."""
    x, w, g = _arrays(stride, padding)
    v = conv_matrix(w, x.shape[2], x.shape[3], stride, padding)
    return (g.reshape(2, -1) @ v).reshape(x.shape) - _gradients(stride, padding)[0]


def _weight_gradient(stride: int, padding: int) -> np.ndarray:
    """G im2col(X)ᵀ, added over the images."""
    x, w, g = _arrays(stride, padding)
    columns = tn.im2col(x, 3, stride=stride, padding=padding).numpy()
    dw = (g.reshape(2, 4, -1) @ columns.swapaxes(1, 2)).sum(0)
    return dw.reshape(w.shape) - _gradients(stride, padding)[1]


def _kernels_error() -> float:
    """Compiled kernels in float32 against the reference's, relative to the largest number."""
    x, w, _ = (array.astype(np.float32) for array in _arrays())
    with tn.use_kernels("reference"):
        expected = tn.conv2d(x, w, padding=1).numpy()
    return float(np.abs(tn.conv2d(x, w, padding=1).numpy() - expected).max() / np.abs(expected).max())


def _size_formula() -> list[int]:
    """The places that the engine finds along 4 axes: the book's first layers and two whose last pixels go unseen."""
    cases = ((224, 11, 4, 1), (28, 5, 1, 2), (8, 3, 3, 0), (10, 4, 4, 0))
    return [tn.conv2d(tn.zeros((1, 1, n, n)), tn.zeros((1, 1, k, k)), None, s, p).shape[3] for n, k, s, p in cases]


def _hand_example() -> list[list[float]]:
    return tn.conv2d(np.arange(9.0).reshape(1, 1, 3, 3), np.arange(4.0).reshape(1, 1, 2, 2)).numpy()[0, 0].tolist()


# ---------------------------------------------------------------------- what it costs


def demo(run: Run) -> Outcome:
    """Both matrices of a first layer, on real digits, and the time that each way takes."""
    tn.manual_seed(run.seed)
    images = digits(size=16, seed=run.seed).train.tensors[0][:8]
    w = tn.randn((8, 1, 3, 3))
    x_array, w_array = images.numpy(), w.numpy()
    v = conv_matrix(w_array, 16, 16)
    columns = tn.im2col(images, 3)
    ways: dict[str, Callable[[], Any]] = {
        "loops": lambda: conv_loops(x_array, w_array),
        "matrix_v": lambda: x_array.reshape(8, -1) @ v.T,
        "im2col_and_product": lambda: conv_by_columns(images, w),
        "conv2d": lambda: tn.conv2d(images, w),
    }
    metrics = {f"milliseconds_of_{name}": 1e3 * _seconds(way) for name, way in ways.items()}
    metrics["part_of_v_that_is_zero"] = float((v == 0).mean())
    metrics["numbers_in_columns_for_each_pixel"] = columns.size / images.size
    picture = save_picture(
        run.folder / "matrices.png",
        "A convolution of a digit by a 3×3 window, as two matrix products",
        lambda figure: _draw(figure, x_array[0, 0], w_array[:1]),
        (12, 7),
    )
    return Outcome(metrics, [picture])


def _seconds(way: Callable[[], Any], rounds: int = 5) -> float:
    """The least of several rounds, the first of which compiles and is not counted."""
    way()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        way()
        found.append(time.perf_counter() - began)
    return min(found)


def _draw(figure: Any, image: np.ndarray, w: np.ndarray) -> None:
    small = image[::2, ::2]  # 8×8, so that the columns of V can be told apart
    shown = {
        "X, 8×8 pixels": small,
        "W, 3×3 weights": w[0, 0],
        "Y, 6×6": conv_loops(small[None, None], w)[0, 0],
        "V, 36 × 64: every row is W at one place": conv_matrix(w, 8, 8),
        "W as a row, 1 × 9": w.reshape(1, 9),
        "im2col(X), 9 × 36: every column is a window": tn.im2col(small[None, None], 3).numpy()[0],
    }
    grid = figure.subplots(2, 3, height_ratios=(1, 1.3)).ravel()
    for axes, (name, values) in zip(grid, shown.items()):
        limit = np.abs(values).max()
        axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.set(xticks=[], yticks=[])


def _checks() -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
    x, w, _ = _arrays()
    return [(lambda x, w: conv_by_columns(x, w, stride=2, padding=1), (x, w))]


NOTE = Note(
    slug="conv2d-im2col",
    family="cnn",
    title="Convolution as a matrix product",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 6.2 to 6.4",
    paper="Chellapilla, Puri & Simard 2006, High performance convolutional neural networks for document processing",
    text=__doc__,
    demo=demo,
    no_bar="the ways compute the same; how fast each is depends on the machine",
    facts=[
        Fact(
            "a 2×2 window on 3×3 numbers",
            [[19.0, 25.0], [37.0, 43.0]],
            _hand_example,
            "Dive into Deep Learning, 6.2",
        ),
        Fact("places by the formula, rounded down", [54, 28, 2, 2], _size_formula, "⌊(n + 2p - k) / s⌋ + 1"),
    ],
    identities=[
        Identity("im2col and a product are the six loops", lambda: _worst(_columns_against_loops), at_most=1e-12),
        Identity("the matrix V is the six loops", lambda: _worst(_matrix_against_loops), at_most=1e-12),
        Identity("the engine's convolution is the six loops", lambda: _worst(_engine_against_loops), at_most=1e-12),
        Identity("dX = col2im(Wᵀ G)", lambda: _worst(_input_gradient), at_most=1e-12),
        Identity("dX = Vᵀ G", lambda: _worst(_matrix_gradient), at_most=1e-12),
        Identity("dW = G im2col(X)ᵀ", lambda: _worst(_weight_gradient), at_most=1e-12),
        Identity("compiled kernels in float32 are those of the reference", _kernels_error, at_most=1e-5),
    ],
    checks=_checks,
)
