"""What went wrong, in the caller's words: which op, which arguments, what came. Success is never looked at."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from tinygrad_notes.errors import (
    WITHOUT_MEMORY,
    DataError,
    DeviceError,
    DTypeError,
    GradientError,
    OutOfMemoryError,
    ShapeError,
)
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.tensor import Tensor, has_memory

P = ParamSpec("P")
R = TypeVar("R")

OURS = (ShapeError, DTypeError, DeviceError, GradientError, DataError)
# What Python, NumPy and CuPy raise for arguments they cannot use, and what it is called here.
KINDS: dict[type[Exception], type[Exception]] = {
    IndexError: IndexError,
    ValueError: ShapeError,
    TypeError: DTypeError,
    AttributeError: DTypeError,
    OverflowError: DTypeError,
    ZeroDivisionError: ShapeError,
    MemoryError: OutOfMemoryError,
}
ERRORS = tuple(KINDS)
FAILURES: tuple[type[Exception], ...] = ERRORS + OURS


def explain(name: str, error: Exception, arguments: Mapping[str, Any]) -> Exception:
    """The error to raise for ``name``, called with ``arguments``: it begins with the name and says what came.

    >>> from tinygrad_notes.explain import explain
    >>> explain("add", ValueError("operands could not be broadcast together"), {"a": np.ones(3)})
    ShapeError('add: operands could not be broadcast together (a [3] float64)')
    """
    if isinstance(error, OURS):
        if str(error).startswith((f"{name}:", f"{name}_")):
            return error
        # an op for every number of axes, such as conv, speaks in the name of the function that was called, conv2d
        return type(error)(f"{name}: {str(error).removeprefix(f'{name[:-2]}: ')}")
    given = {key: value.data if type(value) is Tensor else value for key, value in arguments.items()}
    text = ", ".join(f"{key} {describe(value)}" for key, value in given.items())
    if isinstance(error, MemoryError):
        return out_of_memory(name, error, text)
    devices = sorted(_devices(list(given.values())))
    if len(devices) > 1 and not isinstance(error, IndexError):  # which is about indices: they may come from the host
        ways = " or ".join(f".to({device!r})" for device in devices)
        return DeviceError(f"{name}: operands are on different devices ({text}); move one with {ways}")
    if "read-only" in str(error) and any(type(value) in DEVICES and not has_memory(value) for value in given.values()):
        return DeviceError(f"{name}: an operand {WITHOUT_MEMORY} ({text})")
    # NumPy's AxisError is an IndexError and a ValueError: a wrong axis is a matter of shapes
    kind = IndexError if type(error) is IndexError else next(
        ours for theirs, ours in KINDS.items() if theirs is not IndexError and isinstance(error, theirs)
    )  # fmt: skip
    message = str(error).strip().removeprefix(f"{name}: ")
    # NumPy: "ufunc ... did not contain a loop with signature matching types ...", and CuPy's words for it
    if message.startswith(("ufunc ", "Wrong type (")):
        message = "it does not take operands of these types"
    return kind(f"{name}: {message} ({text})" if text else f"{name}: {message}")


def _devices(values: list[Any] | tuple[Any, ...]) -> set[str]:
    found = {DEVICES[type(value)] for value in values if type(value) in DEVICES}
    return found.union(*(_devices(value) for value in values if isinstance(value, list | tuple)))


def describe_gradient(value: Any) -> str:
    """What stands where a gradient should: its type, and shape and dtype of an array or Tensor.

    >>> from tinygrad_notes.explain import describe_gradient
    >>> describe_gradient(tn.zeros((2, 3))), describe_gradient(5.0)
    ('Tensor (2, 3) float32', '5.0')
    """
    return f"{type(value).__name__} {tuple(value.shape)} {value.dtype}" if hasattr(value, "shape") else repr(value)


def check_device(what: str, array: Any, like: Any, advice: str = "") -> None:
    """DeviceError unless ``array`` (no number, no scalar of NumPy) is where the array ``like`` of a Tensor is.

    >>> from tinygrad_notes.explain import check_device
    >>> check_device("backward: the gradient", np.ones(3), np.zeros(3))
    """
    if type(array) is not type(like) and type(array) in DEVICES:
        here, there = DEVICES[type(array)], DEVICES[type(like)]
        raise DeviceError(f"{what} is on {here}, the Tensor on {there}; {advice or f'move it with .to({there!r})'}")


def out_of_memory(name: str, error: MemoryError, given: str = "") -> OutOfMemoryError:
    """The error for ``name``, which found no memory: NumPy and CuPy say how many bytes they asked for.

    What ``name`` had made before it failed is freed: the traceback of ``error`` would keep it alive.

    >>> from tinygrad_notes.explain import out_of_memory
    >>> out_of_memory("exp", MemoryError("Unable to allocate 2.00 TiB"), "x [1] float32")
    OutOfMemoryError('exp: Unable to allocate 2.00 TiB (x [1] float32)')
    """
    release(error)
    message = str(error).strip().rstrip(".").removeprefix(f"{name}: ") or "there is no memory left"
    if type(error).__module__.startswith("cupy"):
        message += "; tn.cuda.memory_summary() says who holds it"
    return OutOfMemoryError(f"{name}: {message}" + (f" ({given})" if given else ""))


def release(error: BaseException) -> None:
    """Free what the frames of a traceback hold, of those that no longer run, and the traceback.

    >>> from tinygrad_notes.explain import release
    >>> error = MemoryError()
    >>> release(error)
    >>> error.__traceback__ is None
    True
    """
    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = None
    for earlier in (error.__cause__, error.__context__):
        if earlier is not None and earlier.__traceback__ is not None:
            release(earlier)


class Releasing:
    """Where a block ends for want of memory, what it had made is freed: :func:`release`.

    >>> from tinygrad_notes.explain import Releasing
    >>> with Releasing():
    ...     total = 1 + 1
    """

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, where: Any) -> None:
        if isinstance(error, OutOfMemoryError):
            release(error)


def describe(value: Any) -> str:
    """A value in an error message: shape and dtype of an array, else its beginning.

    >>> from tinygrad_notes.explain import describe
    >>> describe(tn.zeros((2, 3))), describe([1, 2])
    ('[2, 3] float32', '[1, 2]')
    """
    if type(value) is Tensor:
        value = value.data
    if type(value) in DEVICES:
        device = DEVICES[type(value)]
        return f"{list(value.shape)} {value.dtype}" + ("" if device == "cpu" else f" on {device}")
    if isinstance(value, list | tuple) and any(type(v) is Tensor or type(v) in DEVICES for v in value):
        return "[" + ", ".join(map(describe, value)) + "]"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def named(function: Callable[P, R]) -> Callable[P, R]:
    """A public function that is no op itself: what fails in it is told in its own name, as the ops do.

    >>> from tinygrad_notes.explain import named
    >>> @named
    ... def half(a):
    ...     return a.reshape(2, -1)
    >>> half(np.ones(3))
    Traceback (most recent call last):
        ...
    tinygrad_notes.errors.ShapeError: half: cannot reshape array of size 3 into shape ...
    """
    name = function.__name__

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except FAILURES as error:
            better = explain(name, error, _bound(function, arguments, options))
            if better is error:
                raise
            raise better from error

    return call


def _bound(function: Callable[..., Any], arguments: Any, options: Any) -> dict[str, Any]:
    try:
        return dict(inspect.signature(function).bind(*arguments, **options).arguments)
    except TypeError:  # a missing or unknown argument, which Python's own message names
        return {}
