"""Arithmetic, elementwise: + - * / // % **, signs, squares and roots; dtypes and copies. Operands broadcast.

Inside an op the operands are bare arrays or numbers. A derivative receives the value's gradient ``g`` and, by name,
what it keeps: ``y`` the value, or operands. It is written with operators and ops, which work on arrays (first order)
and on Tensors (higher orders) alike.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.errors import DTypeError
from tinygrad_notes.explain import named
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.exponential import log
from tinygrad_notes.ops.shape import operand
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_dtype, float32, int64, to_device, wrap


@op(elementwise=True)
def add(a: Array, b: Array):
    """a + b. d(a + b) = da + db.

    >>> tn.add([[1.0], [2.0]], [10.0, 20.0])
    Tensor([[11., 21.],
            [12., 22.]])
    """
    return np.add(a, b), lambda g: g, lambda g: g


@op(elementwise=True)
def subtract(a: Array, b: Array):
    """a - b. d(a - b) = da - db. Booleans have no minus (DTypeError).

    >>> tn.subtract([3, 4], 1)
    Tensor([2, 3])
    >>> x = tn.tensor([3.0, 4.0], requires_grad=True)
    >>> (1.0 - x).sum().backward()
    >>> x.grad
    Tensor([-1., -1.])
    """
    return np.subtract(a, b), lambda g: g, lambda g: -g


@op(elementwise=True)
def multiply(a: Array, b: Array):
    """ab. d(ab) = b da + a db.

    >>> a, b = tn.tensor([2.0, 3.0], requires_grad=True), tn.tensor([5.0, 7.0])
    >>> tn.multiply(a, b)
    Tensor([10., 21.], op=multiply)
    >>> tn.grad(a * b, a, np.ones(2))
    Tensor([5., 7.])
    """
    return np.multiply(a, b), lambda g, b: g * b, lambda g, a: g * a


@op(elementwise=True)
def divide(a: Array, b: Array):
    """a / b. d(a/b) = da/b - (a/b) db/b. Integers divide to float32.

    >>> tn.divide([1, 2], 4)
    Tensor([0.25, 0.5 ])
    >>> tn.value_and_grad(lambda b: 1.0 / b)(2.0)
    (Tensor(0.5), Tensor(-0.25))
    """
    return np.true_divide(a, b), lambda g, b: g / b, lambda g, b, y: -g * y / b


@op(elementwise=True)
def remainder(a: Array, b: Array):
    """a - b floor(a / b), with the sign of b. Derivatives 1 and -floor(a / b), where it does not jump.

    >>> tn.remainder([-3, 3], 2), tn.remainder(3, -2)
    (Tensor([1, 1]), Tensor(-1))
    """
    return _counted(np.remainder(a, b)), lambda g: g, lambda g, a, b: -g * floor_divide(a, b)


@op(elementwise=True)
def floor_divide(a: Array, b: Array):
    """floor(a / b). A step function: no gradient flows.

    >>> tn.floor_divide([-3.0, 3.0], 2.0)
    Tensor([-2.,  1.])
    """
    return _counted(np.floor_divide(a, b))


def _counted(value):
    """Booleans make int8 in NumPy, which is no dtype of ours; here they count as int64."""
    return value.astype(int64) if value.dtype.char == "b" else value


@op(elementwise=True)
def negative(a: Array):
    """-a. d(-a) = -da. Booleans have no minus (DTypeError).

    >>> tn.negative([1, -2])
    Tensor([-1,  2])
    """
    return np.negative(a), lambda g: -g


@op(elementwise=True, floating=True)
def reciprocal(a: Array):
    """1 / a. d(1/a) = -1/a². Integers become float32.

    >>> tn.reciprocal([2, 4])
    Tensor([0.5 , 0.25])
    """
    return np.reciprocal(a), lambda g, y: -g * y * y


@op(elementwise=True)
def positive(a: Array):
    """A copy of a. d(+a) = da.

    >>> x = tn.tensor([1.0, -2.0])
    >>> y = tn.positive(x)
    >>> y[0] = 5.0
    >>> x
    Tensor([ 1., -2.])
    """
    return np.positive(a), lambda g: g


@op(elementwise=True)
def pow(a: Array, b: Array):
    """a ** b. d(aᵇ) = b aᵇ⁻¹ da + aᵇ log(a) db.

    Where b = 0 the derivative for a is 0, at a = 0 too; the derivative for b is 0 where a <= 0 (there aᵇ is 0, or has
    no real neighbour). An integer to a negative integer power raises DTypeError.

    >>> tn.pow([1, 2, 3], 2)
    Tensor([1, 4, 9])
    >>> tn.value_and_grad(lambda a: a**3)(2.0)
    (Tensor(8.), Tensor(12.))
    >>> tn.pow(2, -1)
    Traceback (most recent call last):
        ...
    tinygrad_notes.errors.DTypeError: pow: an integer to a negative integer power is not an integer; make...
    """
    if isinstance(b, int | float) and not isinstance(a, int | float):  # the usual case: a fixed exponent
        _refuse_reciprocal(a.dtype.kind, isinstance(b, int) and b < 0)
        return (
            a**b if a.dtype.kind != "b" else _counted(a**b),
            lambda g, a, b: g * (b * a ** (b - 1)) if b else g * 0.0,
            lambda g, a, y: g * y * _log_of_base(a),
        )
    if isinstance(a, int) and isinstance(b, int):
        _refuse_reciprocal("i", b < 0)
    elif not isinstance(b, int | float) and b.dtype.kind in "iu":
        _refuse_reciprocal(
            "i" if isinstance(a, int) else "f" if isinstance(a, float) else a.dtype.kind, bool(np.any(b < 0))
        )
    return (
        _counted(np.power(a, b)),
        lambda g, a, b: g * b * where(b == 0, 1.0, a) ** (b - 1),
        lambda g, a, y: g * y * _log_of_base(a),
    )


def _log_of_base(a):
    if isinstance(a, int | float):
        return math.log(a) if a > 0 else 0.0
    return log(where(a > 0, a, 1.0))


def _refuse_reciprocal(kind: str, negative: bool) -> None:
    if negative and kind in "iub":
        raise DTypeError("an integer to a negative integer power is not an integer; make one operand floating")


@op(elementwise=True)
def abs(a: Array):
    """|a|. d|a| = sign(a), 0 at 0.

    >>> tn.abs([-1.5, 0.0, 2.0])
    Tensor([1.5, 0. , 2. ])
    >>> tn.value_and_grad(lambda a: tn.abs(a).sum())([-1.5, 0.0, 2.0])[1]
    Tensor([-1.,  0.,  1.])
    """
    return np.abs(a), lambda g, a: g * sign(a)


@op(elementwise=True)
def sign(a: Array):
    """-1, 0 or 1. A step function: no gradient flows.

    >>> tn.sign([-1.5, 0.0, 2.0])
    Tensor([-1.,  0.,  1.])
    """
    return np.sign(a)


@op(elementwise=True)
def square(a: Array):
    """a². d(a²) = 2a.

    >>> tn.value_and_grad(tn.square)(3.0)
    (Tensor(9.), Tensor(6.))
    """
    return _counted(np.square(a)), lambda g, a: g * (2.0 * a)


@op(elementwise=True, floating=True)
def sqrt(a: Array):
    """√a. d√a = 1 / (2√a), inf at 0.

    >>> tn.value_and_grad(tn.sqrt)(4.0)
    (Tensor(2.), Tensor(0.25))
    """
    return np.sqrt(a), lambda g, y: g * 0.5 / y


# ---------------------------------------------------------------------- dtype and copies


@op
def astype_(a: Array, dtype):
    before = a.dtype
    return a.astype(dtype), lambda g: astype_(g, before)


@named
def astype(a, dtype):
    """a in another dtype, always a copy. The gradient goes back in a's dtype; none flows through integers.

    >>> tn.astype([0.5, -1.5], tn.int64)
    Tensor([ 0, -1])
    >>> x = tn.tensor([1.0, 2.0], requires_grad=True)
    >>> (tn.astype(x, tn.float64) ** 2).sum().backward()
    >>> x.grad.dtype
    dtype('float32')
    """
    dtype = as_dtype(dtype)
    if dtype.kind != "f" and type(a) is Tensor:
        return wrap(a.data.astype(dtype))
    return astype_(a, dtype)


@op
def transfer(a: Array, device):
    """a on ``device``, always a copy; the gradient goes back to where a is."""
    a = np.asarray(a) if isinstance(a, np.generic) else a
    before = DEVICES[type(a)]
    return a.copy() if device == before else to_device(a, device), lambda g: transfer(g, before)


def floating_operand(a):
    """The :func:`operand` of a function that is no op itself, integers as float32."""
    a = operand(a)
    return a if a.dtype.kind == "f" else astype(a, float32)


@op
def clone(a: Array):
    """A copy with memory of its own, on the tape: the gradient flows to ``a``.

    >>> x = tn.tensor([1.0, 2.0], requires_grad=True)
    >>> y = tn.clone(x)
    >>> y[0] = 5.0
    >>> y.sum().backward()
    >>> x, x.grad
    (Tensor([1., 2.], requires_grad=True), Tensor([0., 1.]))
    """
    return a.copy(), lambda g: g
