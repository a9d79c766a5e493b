"""Tensors of random numbers, from the package's generator on the host: every device gets the same ones.

``generator`` is a ``numpy.random.Generator``, or None for the package's own (see manual_seed). No gradient flows into
what is drawn, nor to the parameters of a distribution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import describe, named
from tinygrad_notes.generator import generator as package_generator
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.ops.creation import _array, _dtype, _made, _shape
from tinygrad_notes.ops.indexing import getitem
from tinygrad_notes.ops.shape import operand
from tinygrad_notes.tensor import Tensor, as_dtype, float32, int64, to_array, to_numpy, wrap

Generator = np.random.Generator


def source(generator: Generator | None) -> Generator:
    """The given generator, or the package's own."""
    if generator is not None and not isinstance(generator, Generator):
        raise DTypeError(f"generator is {generator!r}, expected a numpy.random.Generator or None")
    return package_generator() if generator is None else generator


def standard(draw: str, shape: tuple[int, ...], dtype: Any, generator: Generator | None) -> np.ndarray:
    """Standard random numbers: ``draw`` is "random" or "standard_normal". Without axes they are still an array."""
    return np.asarray(getattr(source(generator), draw)(shape, dtype=_floating(dtype).type))


def _floating(dtype: Any) -> np.dtype:
    result = _dtype(dtype)
    if result.kind != "f":
        raise DTypeError(f"dtype is {result}, expected a floating dtype")
    return result


def _of_parameters(shape: Any, dtype: Any, name: str, **given: Any) -> tuple[tuple[int, ...], np.dtype, list[Any]]:
    """Shape, dtype and parameters on the host: what is not given follows from the parameters."""
    arrays = {key: to_numpy(to_array(value)) for key, value in given.items()}
    dtypes = [a.dtype for a, value in zip(arrays.values(), given.values()) if not isinstance(value, int | float)]
    if dtype is None and any(d.kind == "f" for d in dtypes):
        dtype = np.result_type(*(d for d in dtypes if d.kind == "f"))
    together = np.broadcast_shapes(*(a.shape for a in arrays.values()))
    sizes = together if shape is None else _shape(shape, name)
    if np.broadcast_shapes(sizes, together) != sizes:
        text = ", ".join(f"{key} {describe(value)}" for key, value in arrays.items())
        raise ShapeError(f"shape is {sizes}, which {text} do not broadcast to")
    wanted = _floating(dtype)
    exact = [np.asarray(v, np.float64) if isinstance(v, int | float) else arrays[key] for key, v in given.items()]
    return sizes, wanted, exact


# ---------------------------------------------------------------------- of a shape


@named
def rand(
    shape: Any = (),
    dtype: Any = float32,
    device: str | None = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers of ``shape``, uniform on [0, 1).

    >>> tn.rand((2, 3), generator=np.random.default_rng(0)).shape
    (2, 3)
    """
    return _made(standard("random", _shape(shape, "rand"), dtype, generator), device, requires_grad)


@named
def randn(
    shape: Any = (),
    dtype: Any = float32,
    device: str | None = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers of ``shape``, standard normal: mean 0, standard deviation 1.

    >>> tn.randn((2, 3), generator=np.random.default_rng(0)).shape
    (2, 3)
    """
    return _made(standard("standard_normal", _shape(shape, "randn"), dtype, generator), device, requires_grad)


@named
def randint(
    low: int,
    high: int | None = None,
    shape: Any = (),
    dtype: Any = int64,
    device: str | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Integers of ``shape``, each of ``low`` ... ``high`` - 1 equally likely; ``randint(n)`` is from 0 to n - 1.

    A ``high`` not above ``low``, or bounds outside ``dtype``, raise ShapeError and DTypeError.

    >>> int(tn.randint(7, 8))
    7
    """
    sizes = _shape(shape, "randint")
    return _made(_integers(low, high, sizes, dtype, generator), device, False)


def _integers(low: Any, high: Any, shape: tuple[int, ...], dtype: Any, generator: Generator | None) -> np.ndarray:
    low, high = (0, low) if high is None else (low, high)
    low, high = count(low, "low", -(2**63)), count(high, "high", -(2**63))
    wanted = as_dtype(dtype)
    if high <= low:
        raise ShapeError(f"low is {low}, high {high}, expected low < high")
    if wanted.kind == "f":
        return np.asarray(source(generator).integers(low, high, shape)).astype(wanted)
    limits = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    if low < limits[0] or high - 1 > limits[1]:
        raise DTypeError(f"low is {low}, high {high}, but {wanted} has {limits[0]} to {limits[1]}")
    return np.asarray(source(generator).integers(low, high, shape), dtype=wanted)


@named
def uniform(
    low: Any = 0.0,
    high: Any = 1.0,
    shape: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers uniform on [low, high), which are numbers or arrays that broadcast to ``shape`` (None: to each other).

    >>> tn.uniform(2.0, 2.0, 3).tolist()
    [2.0, 2.0, 2.0]
    """
    sizes, wanted, (lows, highs) = _of_parameters(shape, dtype, "uniform", low=low, high=high)
    if not bool((lows <= highs).all()) or not bool(np.isfinite(highs - lows).all()):
        raise ShapeError(f"low is {describe(low)}, high {describe(high)}, expected finite numbers, low <= high")
    values = np.asarray(standard("random", sizes, wanted, generator) * (highs - lows) + lows, wanted)
    # rounding must not reach high
    return _made(np.asarray(np.minimum(values, _below(highs, lows, wanted))), device, requires_grad)


def _below(high: Any, low: Any, dtype: np.dtype) -> Any:
    """The largest number of ``dtype`` below ``high``, or ``low`` where there is none above it."""
    top = high.astype(dtype)
    top = np.where(top < high, top, np.nextafter(top, dtype.type(-np.inf)))
    return np.maximum(top, low.astype(dtype))


@named
def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    shape: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Normal numbers of ``mean`` and ``std``, numbers or arrays that broadcast to ``shape`` (None: to each other).

    >>> tn.normal(np.array([1.0, 5.0]), 0.0).tolist()
    [1.0, 5.0]
    """
    sizes, wanted, (means, spreads) = _of_parameters(shape, dtype, "normal", mean=mean, std=std)
    if not bool((spreads >= 0).all()):
        raise ShapeError(f"std is {describe(std)}, expected at least 0")
    values = standard("standard_normal", sizes, wanted, generator) * spreads + means
    return _made(np.asarray(values, wanted), device, requires_grad)


@named
def bernoulli(
    p: Any,
    shape: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """1 with probability ``p``, else 0. ``p`` is a number, or an array that broadcasts to ``shape`` (None: its own).

    The dtype is that of a floating ``p``, else float32, unless told otherwise. A ``p`` that is not a probability
    raises ShapeError.

    >>> tn.bernoulli(np.array([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    chances = to_numpy(to_array(p))
    if not bool(((chances >= 0) & (chances <= 1)).all()):
        raise ShapeError(f"p is {describe(p)}, expected numbers from 0 to 1")
    wanted = None if dtype is None else as_dtype(dtype)
    sizes, natural, (chances,) = _of_parameters(shape, None, "bernoulli", p=p)
    drawn = np.asarray(source(generator).random(sizes)) < chances
    target = device if device is not None or type(p) is not Tensor else p.device
    return _made(np.asarray(drawn, natural if wanted is None else wanted), target, requires_grad)


# ---------------------------------------------------------------------- choices


@named
def multinomial(p: Any, num_samples: int, replacement: bool = False, generator: Generator | None = None) -> Tensor:
    """``num_samples`` indices, int64, drawn by the weights in each row of ``p`` (n,) or (rows, n).

    Weights are at least 0 and need not sum to 1; what weighs 0 is never drawn. Without ``replacement`` each index once:
    what is drawn next is by the weights that are left (the race of exponential times, Efraimidis and Spirakis 2006).
    Too few weights above 0 raise ShapeError.

    >>> tn.multinomial(np.array([0.0, 3.0, 0.0]), 2, replacement=True).tolist()
    [1, 1]
    """
    weights = to_numpy(to_array(p)).astype(np.float64)
    size = count(num_samples, "num_samples", 0)
    if weights.ndim not in (1, 2):
        raise ShapeError(f"p has shape {weights.shape}, expected (n,) or (rows, n)")
    if not bool(np.isfinite(weights).all()) or not bool((weights >= 0).all()):
        raise ShapeError("p has weights that are not finite numbers of at least 0")
    fewest = int(np.count_nonzero(weights, -1).min(initial=weights.shape[-1]))
    if fewest < (min(size, 1) if replacement else size):
        raise ShapeError(f"num_samples is {size}, but a row of p has {fewest} weights above 0")
    rows = np.atleast_2d(weights)
    if replacement:
        found = _with_replacement(rows, size, source(generator))
    else:
        with np.errstate(divide="ignore", invalid="ignore"):  # by logarithms, which no weight above 0 overflows
            times = np.log(source(generator).standard_exponential(rows.shape)) - np.log(rows)
        found = np.argsort(np.where(rows > 0, times, np.inf), -1, kind="stable")[:, :size]
    value = found.reshape(*weights.shape[:-1], size).astype(np.int64)
    return _made(value, p.device if type(p) is Tensor else None, False)


def _with_replacement(rows: np.ndarray, size: int, random: Generator) -> np.ndarray:
    found = np.zeros((len(rows), size), np.int64)
    if not found.size:
        return found
    sums = np.cumsum(rows / rows.max(-1, keepdims=True), -1)  # weights near the largest float have no sum
    last = rows.shape[-1] - 1 - np.argmax(rows[:, ::-1] > 0, -1)  # rounding must not lead beyond it
    for i, (total, drawn) in enumerate(zip(sums, random.random(found.shape))):
        found[i] = np.minimum(np.searchsorted(total, drawn * total[-1], side="right"), last[i])
    return found


@named
def permutation(x: Any, device: str | None = None, generator: Generator | None = None) -> Tensor:
    """0 ... x - 1 in a random order, int64; or the slices of an array or Tensor along its first axis in one.

    Gradients flow to the Tensor's slices.

    >>> sorted(tn.permutation(4).tolist())
    [0, 1, 2, 3]
    """
    if isinstance(x, int | np.integer) and not isinstance(x, bool):
        return _made(source(generator).permutation(count(x, "x", 0)), device, False)
    x = operand(x)
    if not len(x.shape):
        raise ShapeError("x has no axes, expected an integer or at least one axis")
    return getitem(x, source(generator).permutation(x.shape[0]))


# ---------------------------------------------------------------------- like another


def _like(x: Any, values: np.ndarray, requires_grad: bool) -> Tensor:
    """``values`` on the device of ``x``."""
    result = wrap(np.asarray(values, like=_array(x)))
    return result.requires_grad_() if requires_grad else result


@named
def rand_like(x: Any, dtype: Any = None, requires_grad: bool = False, generator: Generator | None = None) -> Tensor:
    """Numbers uniform on [0, 1), with the shape, dtype and device of ``x``.

    >>> tn.rand_like(np.zeros((2, 3))).shape
    (2, 3)
    """
    array = _array(x)
    return _like(x, standard("random", array.shape, dtype or array.dtype, generator), requires_grad)


@named
def randn_like(x: Any, dtype: Any = None, requires_grad: bool = False, generator: Generator | None = None) -> Tensor:
    """Standard normal numbers, with the shape, dtype and device of ``x``.

    >>> tn.randn_like(np.zeros((2, 3))).dtype
    dtype('float64')
    """
    array = _array(x)
    return _like(x, standard("standard_normal", array.shape, dtype or array.dtype, generator), requires_grad)


@named
def randint_like(
    x: Any, low: int, high: int | None = None, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Integers from ``low`` to ``high`` - 1 (:func:`randint`), with the shape, dtype and device of ``x``.

    >>> tn.randint_like(np.zeros(3), 2, 3).tolist()
    [2.0, 2.0, 2.0]
    """
    array = _array(x)
    return _like(x, _integers(low, high, array.shape, dtype or array.dtype, generator), False)
