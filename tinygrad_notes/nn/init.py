"""Initialisers: fill a Tensor in place, off the tape, with numbers from the package's generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_notes.errors import WITHOUT_MEMORY, DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.modes import is_shape_only
from tinygrad_notes.ops.arguments import count, number, probability
from tinygrad_notes.ops.drawing import source, standard
from tinygrad_notes.tensor import (
    Tensor,
    as_dtype,
    float32,
    has_memory,
    to_array,
    to_device,
    to_numpy,
    without_memory,
    wrap,
)
from tinygrad_notes.writes import mark_written

Generator = np.random.Generator


@named
def Parameter(data: Any, requires_grad: bool = True) -> Tensor:
    """A Tensor with a copy of ``data`` that requires a gradient: what a Module takes for a parameter.

    >>> nn.Parameter([1.0, 2.0])
    Tensor([1., 2.], requires_grad=True)
    """
    if is_shape_only() and (array := to_array(data)).dtype.kind == "f":
        result = wrap(without_memory(array.shape, array.dtype))
    else:
        result = wrap(to_array(data, copy=True))
    return result.requires_grad_() if requires_grad else result


def empty_parameter(shape: Sequence[int], device: str | None = None, dtype: Any = None) -> Tensor:
    """A parameter whose values an initialiser has yet to write; under ``shape_only`` one without memory.

    >>> nn.init.empty_parameter((2, 3)).shape
    (2, 3)
    """
    dtype = float32 if dtype is None else as_dtype(dtype)
    if is_shape_only():
        return wrap(without_memory(tuple(shape), dtype)).requires_grad_()
    array = np.empty(tuple(shape), dtype)
    return wrap(to_device(array, device)).requires_grad_()


def _check(tensor: Tensor, name: str) -> None:
    if type(tensor) is not Tensor:
        raise DTypeError(f"{name}: tensor is {type(tensor).__name__}, expected a Tensor")
    if tensor.dtype.kind != "f":
        raise DTypeError(f"{name}: tensor is {tensor.dtype}, expected a floating dtype")
    if tensor.node is not None and not tensor.is_leaf:  # a parametrised weight, say: nobody would see what is written
        raise GradientError(f"{name}: tensor was made by {tensor.node.name}, expected a parameter or a plain Tensor")


def _write(tensor: Tensor, values: Any) -> Tensor:
    if not has_memory(tensor.data):  # made under shape_only: what it starts with does not matter
        return tensor
    tensor.data[...] = to_device(values, tensor.device) if isinstance(values, np.ndarray) else values
    mark_written(tensor.data)
    return tensor


@named
def copy_(tensor: Tensor, values: Any) -> Tensor:
    """The values of an array or a Tensor of the same shape.

    >>> nn.init.copy_(tn.zeros(2), [1, 2]).tolist()
    [1.0, 2.0]
    """
    if type(tensor) is not Tensor:
        raise DTypeError(f"copy_: tensor is {type(tensor).__name__}, expected a Tensor")
    array = to_array(values)
    if array.shape != tensor.shape:
        raise ShapeError(f"copy_: values have shape {tuple(array.shape)}, the Tensor {tensor.shape}")
    if array.dtype.kind == "f" and tensor.dtype.kind != "f":
        raise DTypeError(f"copy_: values are {array.dtype}, the Tensor {tensor.dtype}")
    if not has_memory(tensor.data):
        raise DeviceError(f"copy_: the Tensor {WITHOUT_MEMORY}")
    return _write(tensor, to_device(array, tensor.device))


@named
def constant_(tensor: Tensor, val: float) -> Tensor:
    """The number ``val`` everywhere.

    >>> nn.init.constant_(tn.zeros(2), 0.5).tolist()
    [0.5, 0.5]
    """
    _check(tensor, "constant_")
    return _write(tensor, number(val, "constant_: val"))


@named
def zeros_(tensor: Tensor) -> Tensor:
    """Zeros.

    >>> nn.init.zeros_(tn.ones(2)).tolist()
    [0.0, 0.0]
    """
    return constant_(tensor, 0.0)


@named
def ones_(tensor: Tensor) -> Tensor:
    """Ones.

    >>> nn.init.ones_(tn.zeros(2)).tolist()
    [1.0, 1.0]
    """
    return constant_(tensor, 1.0)


@named
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform on [a, b).

    >>> nn.init.uniform_(tn.zeros(2), 3.0, 3.0).tolist()
    [3.0, 3.0]
    """
    _check(tensor, "uniform_")
    a, b = number(a, "uniform_: a"), number(b, "uniform_: b")
    if not a <= b:
        raise ShapeError(f"uniform_: a is {a}, b is {b}, expected a <= b")
    if not has_memory(tensor.data):
        return tensor
    values = standard("random", tensor.shape, tensor.dtype, generator)
    values *= b - a
    values += a
    return _write(tensor, values)


@named
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with the given mean and standard deviation.

    >>> nn.init.normal_(tn.zeros(2), 3.0, 0.0).tolist()
    [3.0, 3.0]
    """
    _check(tensor, "normal_")
    mean, std = number(mean, "normal_: mean"), number(std, "normal_: std")
    if not std >= 0:
        raise ShapeError(f"normal_: std is {std}, expected at least 0")
    if not has_memory(tensor.data):
        return tensor
    values = standard("standard_normal", tensor.shape, tensor.dtype, generator)
    values *= std
    values += mean
    return _write(tensor, values)


@named
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal, given that the number lies in [a, b]; the bounds are not in units of ``std``.

    By rejection: of normal numbers where the bounds hold at least a tenth of them, else of uniform ones.

    >>> bool((abs(nn.init.trunc_normal_(tn.zeros(100), a=-1.0, b=1.0)) <= 1).all())
    True
    """
    _check(tensor, "trunc_normal_")
    if not (a < b and std > 0):
        raise ShapeError(f"trunc_normal_: a is {a}, b is {b}, std is {std}, expected a < b and std > 0")
    if not has_memory(tensor.data):
        return tensor
    low, high = (a - mean) / std, (b - mean) / std
    random = source(generator)
    often = math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)) > 0.2
    nearest = min(max(0.0, low), high)  # where the density is highest
    values = np.empty(tensor.size)
    left = np.arange(tensor.size)
    while left.size:
        if often:
            drawn = random.standard_normal(left.size)
            accepted = (drawn >= low) & (drawn <= high)
        else:
            drawn = random.uniform(low, high, left.size)
            accepted = random.random(left.size) < np.exp((nearest * nearest - drawn * drawn) / 2)
        values[left[accepted]] = drawn[accepted]
        left = left[~accepted]
    # rounding to float32 must not leave the bounds
    return _write(tensor, np.clip(values * std + mean, a, b).reshape(tensor.shape))


@named
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps a signal's spread through a nonlinearity: √2 for relu, 5/3 for tanh, 1 for linear ones.

    ``param`` is the negative slope of leaky_relu (0.01).

    >>> round(nn.init.calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity in (
        "linear",
        "sigmoid",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
    ):
        return 1.0
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity not in gains:
        raise ShapeError(
            f"calculate_gain: nonlinearity is {nonlinearity!r}, expected linear, sigmoid, tanh, relu, leaky_relu, selu"
        )
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Inputs that reach one output, and outputs that one input reaches: of a weight (out, in, *kernel).

    >>> nn.init.fans(tn.zeros((8, 3, 5, 5)))
    (75, 200)
    """
    if tensor.ndim < 2:
        raise ShapeError(f"fans: the Tensor has shape {tensor.shape}, expected at least two axes (out, in)")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


@named
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform on ±gain √(6 / (fan in + fan out)) (Glorot and Bengio 2010).

    >>> bool((abs(nn.init.xavier_uniform_(tn.zeros((3, 3)))) <= 1).all())
    True
    """
    bound = math.sqrt(3.0) * _xavier_spread(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


@named
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain √(2 / (fan in + fan out)) (Glorot and Bengio 2010).

    >>> nn.init.xavier_normal_(tn.ones((2, 3)), gain=0.0).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return normal_(tensor, 0.0, _xavier_spread(tensor, gain), generator)


def _xavier_spread(tensor: Tensor, gain: float) -> float:
    return number(gain, "gain") * math.sqrt(2.0 / max(sum(fans(tensor)), 1))


@named
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform on ±gain √(3 / fan) (He et al. 2015, arXiv:1502.01852); ``a`` is the negative slope of leaky_relu.

    >>> bool((abs(nn.init.kaiming_uniform_(tn.zeros((3, 6)), nonlinearity="relu")) <= 1).all())
    True
    """
    bound = math.sqrt(3.0) * _kaiming_spread(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


@named
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with standard deviation gain / √fan (He et al. 2015, arXiv:1502.01852).

    >>> nn.init.kaiming_normal_(tn.zeros((3, 6)), mode="fan_out").shape
    (3, 6)
    """
    return normal_(tensor, 0.0, _kaiming_spread(tensor, a, mode, nonlinearity), generator)


def _kaiming_spread(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ShapeError(f"mode is {mode!r}, expected 'fan_in' or 'fan_out'")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


@named
def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """A random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2013, arXiv:1312.6120).

    Axes after the first are taken as one. Uniform over such matrices: the signs of R's diagonal are put into Q.

    >>> abs(nn.init.orthogonal_(tn.zeros((1, 1)), gain=2.0)).tolist()
    [[2.0]]
    """
    _check(tensor, "orthogonal_")
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: the Tensor has shape {tensor.shape}, expected at least two axes")
    if tensor.size == 0 or not has_memory(tensor.data):
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    random = source(generator)
    q, r = np.linalg.qr(random.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return _write(tensor, (gain * (q if rows >= columns else q.T)).reshape(tensor.shape))


@named
def eye_(tensor: Tensor) -> Tensor:
    """The identity: ones on the diagonal of a matrix, zeros elsewhere.

    >>> nn.init.eye_(tn.zeros((2, 3))).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    _check(tensor, "eye_")
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: the Tensor has shape {tensor.shape}, expected (n, m)")
    if not has_memory(tensor.data):
        return tensor
    return _write(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


@named
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The kernel of a convolution that passes its input on: 1 in the middle of window (i, i), zeros elsewhere.

    ``tensor``: (out, in / groups, *kernel) with one to three spatial axes; each of ``groups`` parts of the outputs
    passes on its own inputs, as many as there are.

    >>> nn.init.dirac_(tn.zeros((2, 2, 3)))[:, :, 1].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    _check(tensor, "dirac_")
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError(
            f"dirac_: the Tensor has shape {tensor.shape}, expected (out, in, *kernel), three to five axes"
        )
    if tensor.shape[0] % count(groups, "dirac_: groups"):
        raise ShapeError(f"dirac_: the Tensor has {tensor.shape[0]} outputs, expected a multiple of groups, {groups}")
    if not has_memory(tensor.data):
        return tensor
    values = np.zeros(tensor.shape)
    outputs = tensor.shape[0] // groups
    if 0 not in tensor.shape:
        same = np.arange(min(outputs, tensor.shape[1]))
        middle: tuple[Any, ...] = tuple(n // 2 for n in tensor.shape[2:])
        for group in range(groups):
            values[(group * outputs + same, same, *middle)] = 1
    return _write(tensor, values)


@named
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """A matrix in each of whose columns the part ``sparsity``, rounded up, is 0 and the rest normal (Martens 2010).

    >>> tn.count_nonzero(nn.init.sparse_(tn.zeros((4, 2)), 0.5), 0).tolist()
    [2, 2]
    """
    _check(tensor, "sparse_")
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: the Tensor has shape {tensor.shape}, expected (n, m)")
    if not has_memory(tensor.data):
        return tensor
    zeros = math.ceil(probability(sparsity, "sparse_: sparsity") * tensor.shape[0])
    normal_(tensor, 0.0, std, generator)
    order = np.argsort(source(generator).random(tensor.shape), axis=0)  # a random order of the rows of each column
    values = np.where(order < zeros, 0.0, to_numpy(tensor.data))
    return _write(tensor, values)
