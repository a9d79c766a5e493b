"""Initialisers: fill a Tensor in place, off the tape, with numbers from the package's generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.generator import generator as package_generator
from tinygrad_notes.ops.arguments import number
from tinygrad_notes.tensor import Tensor, as_dtype, float32, to_array, to_device, wrap
from tinygrad_notes.writes import mark_written

Generator = np.random.Generator


@named
def Parameter(data: Any, requires_grad: bool = True) -> Tensor:
    """A Tensor with a copy of ``data`` that requires a gradient: what a Module takes for a parameter."""
    result = wrap(to_array(data, copy=True))
    return result.requires_grad_() if requires_grad else result


def empty_parameter(shape: Sequence[int], device: str | None = None, dtype: Any = None) -> Tensor:
    """A parameter whose values an initialiser has yet to write."""
    array = np.empty(tuple(shape), float32 if dtype is None else as_dtype(dtype))
    return wrap(to_device(array, device)).requires_grad_()


def _check(tensor: Tensor, name: str) -> None:
    if type(tensor) is not Tensor:
        raise DTypeError(f"{name}: tensor is {type(tensor).__name__}, expected a Tensor")
    if tensor.dtype.kind != "f":
        raise DTypeError(f"{name}: tensor is {tensor.dtype}, expected a floating dtype")


def _write(tensor: Tensor, values: Any) -> Tensor:
    tensor.data[...] = to_device(values, tensor.device) if isinstance(values, np.ndarray) else values
    mark_written(tensor.data)
    return tensor


def _source(generator: Generator | None) -> Generator:
    if generator is not None and not isinstance(generator, Generator):
        raise DTypeError(f"generator is {generator!r}, expected a numpy.random.Generator or None")
    return package_generator() if generator is None else generator


def _standard(draw: str, tensor: Tensor, generator: Generator | None) -> np.ndarray:
    """Standard random numbers of the Tensor's shape and dtype; without axes they are still an array."""
    source = _source(generator)
    return np.asarray(getattr(source, draw)(tensor.shape, dtype=tensor.dtype.type))


@named
def copy_(tensor: Tensor, values: Any) -> Tensor:
    """The values of an array or a Tensor of the same shape."""
    if type(tensor) is not Tensor:
        raise DTypeError(f"copy_: tensor is {type(tensor).__name__}, expected a Tensor")
    array = to_array(values)
    if array.shape != tensor.shape:
        raise ShapeError(f"copy_: values have shape {tuple(array.shape)}, the Tensor {tensor.shape}")
    if array.dtype.kind == "f" and tensor.dtype.kind != "f":
        raise DTypeError(f"copy_: values are {array.dtype}, the Tensor {tensor.dtype}")
    return _write(tensor, to_device(array, tensor.device))


@named
def constant_(tensor: Tensor, val: float) -> Tensor:
    """The number ``val`` everywhere."""
    _check(tensor, "constant_")
    return _write(tensor, number(val, "constant_: val"))


@named
def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


@named
def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


@named
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform on [a, b)."""
    _check(tensor, "uniform_")
    a, b = number(a, "uniform_: a"), number(b, "uniform_: b")
    if not a <= b:
        raise ShapeError(f"uniform_: a is {a}, b is {b}, expected a <= b")
    values = _standard("random", tensor, generator)
    values *= b - a
    values += a
    return _write(tensor, values)


@named
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with the given mean and standard deviation."""
    _check(tensor, "normal_")
    mean, std = number(mean, "normal_: mean"), number(std, "normal_: std")
    if not std >= 0:
        raise ShapeError(f"normal_: std is {std}, expected at least 0")
    values = _standard("standard_normal", tensor, generator)
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
    """
    _check(tensor, "trunc_normal_")
    if not (a < b and std > 0):
        raise ShapeError(f"trunc_normal_: a is {a}, b is {b}, std is {std}, expected a < b and std > 0")
    low, high = (a - mean) / std, (b - mean) / std
    source = _source(generator)
    often = math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)) > 0.2
    nearest = min(max(0.0, low), high)  # where the density is highest
    values = np.empty(tensor.size)
    left = np.arange(tensor.size)
    while left.size:
        if often:
            drawn = source.standard_normal(left.size)
            accepted = (drawn >= low) & (drawn <= high)
        else:
            drawn = source.uniform(low, high, left.size)
            accepted = source.random(left.size) < np.exp((nearest * nearest - drawn * drawn) / 2)
        values[left[accepted]] = drawn[accepted]
        left = left[~accepted]
    # rounding to float32 must not leave the bounds
    return _write(tensor, np.clip(values * std + mean, a, b).reshape(tensor.shape))


@named
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps a signal's spread through a nonlinearity: √2 for relu, 5/3 for tanh, 1 for linear ones.

    ``param`` is the negative slope of leaky_relu (0.01).
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
    """Inputs that reach one output, and outputs that one input reaches: of a weight (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ShapeError(f"fans: the Tensor has shape {tensor.shape}, expected at least two axes (out, in)")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


@named
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform on ±gain √(6 / (fan in + fan out)) (Glorot and Bengio 2010)."""
    bound = math.sqrt(3.0) * _xavier_spread(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


@named
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain √(2 / (fan in + fan out)) (Glorot and Bengio 2010)."""
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
    """Uniform on ±gain √(3 / fan) (He et al. 2015, arXiv:1502.01852); ``a`` is the negative slope of leaky_relu."""
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
    """Normal with standard deviation gain / √fan (He et al. 2015, arXiv:1502.01852)."""
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
    """
    _check(tensor, "orthogonal_")
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: the Tensor has shape {tensor.shape}, expected at least two axes")
    if tensor.size == 0:
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    source = _source(generator)
    q, r = np.linalg.qr(source.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return _write(tensor, (gain * (q if rows >= columns else q.T)).reshape(tensor.shape))
