"""Reading and writing by index, gather, scatter, embedding, and moving elements, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])

# Indices without negative steps, which torch does not have.
READS = {
    "one": 1,
    "from the end": (-1, -2),
    "slices": (slice(1, 3), slice(None, None, 2)),
    "ellipsis": (..., slice(1, None)),
    "new axes": (None, 2, ..., None),
    "empty": slice(3, 3),
    "integers": np.array([2, 0, 3]),
    "repeated": np.array([1, 1, 0, -1]),
    "two axes of integers": np.array([[0, 3], [1, 1]]),
    "pairs": (np.array([0, 3, 0]), np.array([1, 2, 1])),
    "broadcast pairs": (np.array([[0], [3]]), np.array([1, 2, 1])),
    "beside a slice": (slice(1, 3), np.array([2, 2, 0])),
    "apart": (np.array([0, 3, 3]), slice(None), np.array([1, 2, 2])),
    "mask of rows": np.array([True, False, True, True]),
    "mask of two axes": np.arange(12).reshape(4, 3) % 5 < 2,
    "mask of all": np.arange(60).reshape(4, 3, 5) % 3 == 0,
    "no integers": np.zeros(0, np.int64),
}
REPEATED = ("repeated", "two axes of integers", "pairs", "apart", "broadcast pairs", "beside a slice")


def theirs(index):
    """The index with torch's tensors."""
    if isinstance(index, tuple):
        return tuple(map(theirs, index))
    return torch.from_numpy(index) if isinstance(index, np.ndarray) else index


def numbers(*shape):
    return np.random.default_rng(21).standard_normal(shape)


@DTYPES
@pytest.mark.parametrize("name", READS)
def test_read(parity, dtype, name):
    index = READS[name]
    parity.check(
        lambda x: x[index] * x[index], lambda x: x[theirs(index)] * x[theirs(index)], numbers(4, 3, 5), dtype=dtype
    )


@DTYPES
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "broadcast"])
@pytest.mark.parametrize("name", [n for n in READS if n not in REPEATED])
def test_write(parity, dtype, name, whole):
    x = numbers(4, 3, 5)
    v = numbers(*x[READS[name]].shape) if whole else numbers(1)

    def write(a, b, index):
        y = a * 1.0
        y[index] = b
        return y * y

    parity.check(
        lambda a, b: write(a, b, READS[name]), lambda a, b: write(a, b, theirs(READS[name])), x, v, dtype=dtype
    )


@DTYPES
def test_writes_in_sequence(parity, dtype):
    def program(x, v):
        y = x * 2.0
        y += v
        y[1] = y[0] * 3.0
        y[:, 1] -= v[0]
        y *= 0.5
        y[y > 1.0] = 1.0
        z = y[2:]
        return y.sum(), z * z

    parity.check(program, program, numbers(4, 3), numbers(3), dtype=dtype)


@DTYPES
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_along_axis(parity, dtype, axis):
    rng = np.random.default_rng(22)
    shape = [4, 3, 5]
    shape[axis] = 6
    index = rng.integers(0, [4, 3, 5][axis], shape)
    parity.check(
        lambda x: tn.take_along_axis(x, index, axis),
        lambda x: torch.take_along_dim(x, torch.from_numpy(index), axis),
        numbers(4, 3, 5),
        dtype=dtype,
    )


@DTYPES
@pytest.mark.parametrize("shape", [(5,), (2, 3), (0,), ()])
@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding(parity, dtype, shape, padding_idx):
    index = np.random.default_rng(23).integers(0, 6, shape)
    parity.check(
        lambda w: tn.embedding(index, w, padding_idx),
        lambda w: F.embedding(torch.as_tensor(index), w, padding_idx),
        numbers(6, 4),
        dtype=dtype,
    )


@DTYPES
def test_scatter_add(parity, dtype):
    index = np.array([0, 2, 2, 0, 3])
    parity.check(
        lambda v: tn.scatter_add(v, index, (4, 3)),
        lambda v: torch.zeros(4, 3, dtype=v.dtype).index_add(0, torch.from_numpy(index), v),
        numbers(5, 3),
        dtype=dtype,
    )


@pytest.mark.parametrize("classes", [None, 7])
def test_one_hot(parity, classes):
    index = np.array([[0, 4], [2, 2]])
    wanted = F.one_hot(torch.from_numpy(index), -1 if classes is None else classes)
    parity.compare(tn.one_hot(index, classes), wanted.float())


MOVES = {
    "reshape": (lambda x: tn.reshape(x, (6, -1)), lambda x: x.reshape(6, -1)),
    "flatten": (lambda x: tn.flatten(x, 1), lambda x: x.flatten(1)),
    "permute_dims": (lambda x: tn.permute_dims(x, (2, 0, 1)), lambda x: x.permute(2, 0, 1)),
    "swapaxes": (lambda x: tn.swapaxes(x, 0, -1), lambda x: x.swapaxes(0, -1)),
    "matrix_transpose": (tn.matrix_transpose, lambda x: x.mT),
    "moveaxis": (lambda x: tn.moveaxis(x, 0, 2), lambda x: x.moveaxis(0, 2)),
    "expand_dims": (lambda x: tn.expand_dims(x, 1), lambda x: x.unsqueeze(1)),
    "squeeze": (lambda x: tn.squeeze(x[:, :1], 1), lambda x: x[:, :1].squeeze(1)),
    "broadcast_to": (lambda x: tn.broadcast_to(x, (2, 2, 3, 4)), lambda x: torch.broadcast_to(x, (2, 2, 3, 4))),
    "flip": (lambda x: tn.flip(x, (0, 2)), lambda x: x.flip((0, 2))),
    "roll": (lambda x: tn.roll(x, (1, -2), (0, 2)), lambda x: x.roll((1, -2), (0, 2))),
    "roll flat": (lambda x: tn.roll(x, 5), lambda x: x.roll(5)),
    "split": (lambda x: tn.split(x, (1, 3), 2), lambda x: torch.tensor_split(x, (1, 3), 2)),
    "unstack": (lambda x: tn.unstack(x, 1), lambda x: x.unbind(1)),
    "stack": (lambda x: tn.stack([x, x * x], 1), lambda x: torch.stack([x, x * x], 1)),
    "concat": (lambda x: tn.concat([x, x[:, :1] * 2.0], 1), lambda x: torch.cat([x, x[:, :1] * 2.0], 1)),
}


@DTYPES
@pytest.mark.parametrize(
    ("mode", "torch_mode"),
    [("constant", "constant"), ("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")],
)
def test_pad(parity, dtype, mode, torch_mode):
    """torch names the last axis first."""
    parity.check(
        lambda x: tn.pad(x, ((0, 0), (0, 0), (1, 2), (3, 0)), mode),
        lambda x: F.pad(x, (3, 0, 1, 2), torch_mode),
        numbers(1, 2, 3, 4),
        dtype=dtype,
    )


@DTYPES
@pytest.mark.parametrize("name", MOVES)
def test_move(parity, dtype, name):
    parity.check(*MOVES[name], numbers(2, 3, 4), dtype=dtype)
