"""exp, tanh, sigmoid, erf and GELU's slope on vectors: polynomials for float32, for float64 the C library lane by lane.

The quotients of polynomials were fitted by weighted least squares to the smallest largest relative error; with float32
arithmetic they are within 4.5e-7 of the function, exp within 2e-7. NaN stays NaN.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from tinygrad_notes.kernels.cpu.isa.vector import INT32, Lanes

EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)  # Cephes
LN2_HIGH, LN2_LOW = (
    0.693359375,
    -2.12194440e-4,
)  # their sum is ln 2; n times the first is exact
NEAREST = 12582912.0  # 1.5 2**23: what is added to it is rounded to a whole number, which stands in its lowest bits
TANH = (
    (0.9999999790761293, 0.1337972057695696, 0.0034940375225305633, 2.0583524565945602e-05, 1.3319123109978293e-08),
    (1.0, 0.467130358340286, 0.025871084883309158, 0.00032830974377489567, 7.762042186672258e-07),
)
TANH_ONE = 9.02  # from here on tanh is 1 in float32
ERF = (
    (1.128379146181707, 0.1904056113019566, 0.05274861145238349, 0.0037655800024456046, 0.0002848818787533833,
     2.0500941078638313e-06),
    (1.0, 0.5020753207378804, 0.11410875923208554, 0.014969143482363736, 0.0011625264655296431,
     3.809174041924379e-05),
)  # fmt: skip
ERF_ONE = 3.92
GELU_SLOPE = (
    (1.595769062334844, -0.0447428650373241, 0.02771469389281609, 0.0004054560089236677, 6.818380749134603e-05,
     1.8450412400126418e-06, 3.4092525984355395e-08),
    (1.0, 0.3052945290429548, 0.044133526719058076, 0.0039714989562710575, 0.000245323311102391,
     1.0307690813296434e-05, 3.3897580111830117e-07, 1.3147645777991012e-09),
)  # fmt: skip
GELU_SLOPE_ONE = 6.0
GELU_END = 40.0  # beyond, Φ is 0 or 1 in float64


def polynomial(v: Lanes, coefficients: tuple[float, ...], x: Any) -> Any:
    """Σ coefficients[i] x**i."""
    value = v.constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = v.multiply_add(value, x, v.constant(coefficient))
    return value


def exp(v: Lanes, x: Any) -> Any:
    """exp(x) = 2**n exp(r) with n = x / ln 2, rounded, and |r| ≤ ln 2 / 2. Denormal results and inf come out."""
    if v.itemsize == 8:
        return v.each("exp", x)
    b = v.builder
    x = v.at_most(v.constant(89.0), v.at_least(v.constant(-104.0), x))  # beyond, the result is inf or 0
    shifted = v.multiply_add(x, v.constant(1 / math.log(2)), v.constant(NEAREST))
    n = b.fsub(shifted, v.constant(NEAREST))
    r = v.multiply_add(n, v.constant(-LN2_HIGH), x)
    r = v.multiply_add(n, v.constant(-LN2_LOW), r)
    value = b.fadd(v.multiply_add(polynomial(v, EXP[::-1], r), b.fmul(r, r), r), v.constant(1.0))
    integers = ir.VectorType(INT32, v.count)

    def constant(number: int) -> Any:
        return ir.Constant(integers, [number] * v.count)

    def power(exponent: Any) -> Any:  # 2**exponent
        return b.bitcast(b.shl(b.add(exponent, constant(127)), constant(23)), v.type)

    whole = b.sub(b.bitcast(shifted, integers), constant(0x4B400000))  # of NEAREST
    half = b.ashr(whole, constant(1))  # in two steps, because 2**n alone may be too large or too small for float32
    return b.fmul(b.fmul(value, power(half)), power(b.sub(whole, half)))


def _quotient(
    v: Lanes, x: Any, fit: tuple[tuple[float, ...], tuple[float, ...]], one: float, bounded: bool = True
) -> Any:
    """x P(x²) / Q(x²), an odd function that is ±1 from ±``one`` on, and never more if ``bounded``."""
    b = v.builder
    x = v.at_most(v.constant(one), v.at_least(v.constant(-one), x))
    square = b.fmul(x, x)
    value = b.fdiv(b.fmul(x, polynomial(v, fit[0], square)), polynomial(v, fit[1], square))
    if bounded:
        value = v.at_most(v.constant(1.0), v.at_least(v.constant(-1.0), value))
    beyond = b.fcmp_ordered(">=", v.call("llvm.fabs", x), v.constant(one))
    return b.select(beyond, v.call("llvm.copysign", v.constant(1.0), x), value)


def tanh(v: Lanes, x: Any) -> Any:
    """tanh(x), odd."""
    return v.each("tanh", x) if v.itemsize == 8 else _quotient(v, x, TANH, TANH_ONE)


def erf(v: Lanes, x: Any) -> Any:
    """The error function, odd."""
    return v.each("erf", x) if v.itemsize == 8 else _quotient(v, x, ERF, ERF_ONE)


def gelu_slope(v: Lanes, x: Any) -> Any:
    """Φ(x) + x Φ'(x), the derivative of x Φ(x); Φ is the normal distribution's. Less 1/2 it is odd, and one fit."""
    b = v.builder
    if v.itemsize == 4:
        return v.multiply_add(_quotient(v, x, GELU_SLOPE, GELU_SLOPE_ONE, False), v.constant(0.5), v.constant(0.5))
    x = v.at_most(v.constant(GELU_END), v.at_least(v.constant(-GELU_END), x))
    twice = b.fadd(v.constant(1.0), erf(v, b.fmul(x, v.constant(math.sqrt(0.5)))))
    density = b.fmul(exp(v, b.fmul(b.fmul(x, x), v.constant(-0.5))), v.constant(1 / math.sqrt(2 * math.pi)))
    return v.multiply_add(twice, v.constant(0.5), b.fmul(x, density))


def sigmoid(v: Lanes, x: Any) -> Any:
    """1 / (1 + exp(-x)), by e = exp(-|x|), which cannot overflow: 1 / (1 + e), or e / (1 + e) where x is negative."""
    b = v.builder
    e = exp(v, b.fneg(v.call("llvm.fabs", x)))
    one = v.constant(1.0)
    return b.fdiv(b.select(b.fcmp_ordered("<", x, v.constant(0.0)), e, one), b.fadd(one, e))
