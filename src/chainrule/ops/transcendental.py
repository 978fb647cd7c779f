"""Functions of class T: exponentials, logarithms, roots, powers, the sigmoid and the error function.

The reference computes in float64 and rounds once to the array's own float type.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ops.arithmetic import square
from chainrule.ops.basic import scalar_like, zeros_like
from chainrule.ops.compare import eq, ge, logical_and
from chainrule.ops.elementwise import (
    Binary,
    Unary,
    add,
    div,
    in_double,
    mul,
    neg,
    pair_in_double,
    quiet,
    sub,
    sum_to,
    where,
)


class Exp(Unary):
    """e^x. 0 for -inf, inf beyond the type's range. Source: ONNX Exp-13."""

    name: ClassVar[str] = "exp"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.exp, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], output),)


class Exp2(Unary):
    """2^x. 0 for -inf, exact for whole x. Source: numpy.exp2."""

    name: ClassVar[str] = "exp2"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.exp2, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], mul(output, scalar_like(math.log(2.0), output))),)


class ExpM1(Unary):
    """e^x - 1, exact to the last places near 0; -0 for -0. Source: numpy.expm1."""

    name: ClassVar[str] = "expm1"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.expm1, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], add(output, scalar_like(1.0, output))),)


class Log(Unary):
    """The natural logarithm. -inf for 0, NaN below 0. Source: ONNX Log-13."""

    name: ClassVar[str] = "log"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.log, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], inputs[0]),)


class Log2(Unary):
    """The logarithm to base 2. -inf for 0, NaN below 0. Source: numpy.log2."""

    name: ClassVar[str] = "log2"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.log2, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], mul(inputs[0], scalar_like(math.log(2.0), output))),)


class Log10(Unary):
    """The logarithm to base 10. -inf for 0, NaN below 0. Source: numpy.log10."""

    name: ClassVar[str] = "log10"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.log10, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], mul(inputs[0], scalar_like(math.log(10.0), output))),)


class Log1P(Unary):
    """log(1 + x), exact to the last places near 0. -inf for -1, NaN below. Source: numpy.log1p."""

    name: ClassVar[str] = "log1p"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.log1p, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], add(inputs[0], scalar_like(1.0, output))),)


class Sqrt(Unary):
    """The square root, correctly rounded. NaN below 0, -0 for -0; the gradient at 0 is inf. Source: ONNX Sqrt-13."""

    name: ClassVar[str] = "sqrt"
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.sqrt, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(mul(grads[0], scalar_like(0.5, output)), output),)


class Rsqrt(Unary):
    """1 / sqrt(x). inf for 0, -inf for -0, NaN below 0. Source: ONNX Reciprocal(Sqrt-13)."""

    name: ClassVar[str] = "rsqrt"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: 1.0 / np.sqrt(x), arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        cube = mul(mul(output, output), output)
        return (mul(grads[0], mul(scalar_like(-0.5, output), cube)),)


class Cbrt(Unary):
    """The real cube root, of negative numbers too; -0 for -0. The gradient at 0 is inf. Source: numpy.cbrt."""

    name: ClassVar[str] = "cbrt"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.cbrt, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], mul(scalar_like(3.0, output), square(output))),)


class Pow(Binary):
    """a to the power b. Floats: NaN for a negative a with a fraction in b; x^0 = 1 and 1^y = 1 even for NaN.

    Integers: by repeated multiplication, wrapping; a negative b gives 1 for a = 1, 1 or -1 for a = -1, else 0.
    The gradient of a is 0 where b = 0; that of b is 0 where a = 0 and b >= 0, and NaN where a < 0.
    Source: ONNX Pow-15 with one element type; C99 pow.
    """

    name: ClassVar[str] = "pow"
    kinds: ClassVar[str] = "fiu"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        return _integer_power(a, b) if a.dtype.kind in "iu" else pair_in_double(np.power, a, b)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        (g,) = grads
        # What is not taken is kept finite: in its own derivative 0 times infinity would be NaN.
        zero, constant = zeros_like(output), eq(b, zeros_like(b))
        exponent = where(constant, scalar_like(1.0, b), b)
        to_a = where(constant, zero, mul(g, mul(exponent, pow(a, sub(exponent, scalar_like(1.0, b))))))
        flat = logical_and(eq(a, zeros_like(a)), ge(b, zeros_like(b)))
        to_b = where(flat, zero, mul(g, mul(output, log(where(flat, scalar_like(1.0, a), a)))))
        return (sum_to(to_a, a.shape), sum_to(to_b, b.shape))


def _integer_power(a: Array, b: Array) -> Array:
    a, b = np.broadcast_arrays(a, b)
    result, factor = np.ones_like(a), a.copy()
    left = np.where(b < 0, np.zeros_like(b), b).astype(np.uint64)
    with np.errstate(all="ignore"):
        while np.any(left):
            result = np.where(left & np.uint64(1), result * factor, result)
            factor = factor * factor
            left = left >> np.uint64(1)
        if a.dtype.kind == "u":
            return result
        sign = np.where((a == -1) & (b % 2 != 0), -1, 1)
        return np.where(b < 0, np.where(np.abs(a) == 1, sign, 0), result).astype(a.dtype)


class Tanh(Unary):
    """The hyperbolic tangent. -1 and 1 at the infinities, -0 for -0. Source: ONNX Tanh-13."""

    name: ClassVar[str] = "tanh"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.tanh, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], sub(scalar_like(1.0, output), mul(output, output))),)


class Sigmoid(Unary):
    """1 / (1 + e^-x). 0 and 1 at the infinities. Source: ONNX Sigmoid-13."""

    name: ClassVar[str] = "sigmoid"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(logistic, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], mul(output, sub(scalar_like(1.0, output), output))),)


def logistic(x: Array) -> Array:
    """1 / (1 + e^-x) of float64, without overflow on either side."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


class Erf(Unary):
    """The error function 2/sqrt(pi) * integral of e^(-t^2) from 0 to x. -0 for -0. Source: ONNX Erf-13."""

    name: ClassVar[str] = "erf"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(error_function, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], _erf_slope(inputs[0])),)


class Erfc(Unary):
    """1 - erf(x), exact to the last places where that is small. Source: C99 erfc."""

    name: ClassVar[str] = "erfc"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(complementary_error_function, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (neg(mul(grads[0], _erf_slope(inputs[0]))),)


def _erf_slope(x: Value) -> Value:
    return mul(scalar_like(2.0 / math.sqrt(math.pi), x), exp(neg(square(x))))


def error_function(x: Array) -> Array:
    """erf of each element, in float64. numpy has none: the C library's is called element by element."""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x)).astype(np.float64)


def complementary_error_function(x: Array) -> Array:
    """erfc of each element, in float64."""
    return np.asarray(np.frompyfunc(math.erfc, 1, 1)(x)).astype(np.float64)


def exp(x: Value) -> Value:
    """e^x."""
    return build(Exp(), x)


def exp2(x: Value) -> Value:
    """2^x."""
    return build(Exp2(), x)


def expm1(x: Value) -> Value:
    """e^x - 1, exact near 0."""
    return build(ExpM1(), x)


def log(x: Value) -> Value:
    """The natural logarithm."""
    return build(Log(), x)


def log2(x: Value) -> Value:
    """The logarithm to base 2."""
    return build(Log2(), x)


def log10(x: Value) -> Value:
    """The logarithm to base 10."""
    return build(Log10(), x)


def log1p(x: Value) -> Value:
    """log(1 + x), exact near 0."""
    return build(Log1P(), x)


def sqrt(x: Value) -> Value:
    """The square root."""
    return build(Sqrt(), x)


def rsqrt(x: Value) -> Value:
    """1 / sqrt(x)."""
    return build(Rsqrt(), x)


def cbrt(x: Value) -> Value:
    """The real cube root."""
    return build(Cbrt(), x)


def pow(a: Value, b: Value) -> Value:
    """a to the power b."""
    return build(Pow(), a, b)


def tanh(x: Value) -> Value:
    """The hyperbolic tangent."""
    return build(Tanh(), x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x)."""
    return build(Sigmoid(), x)


def erf(x: Value) -> Value:
    """The error function."""
    return build(Erf(), x)


def erfc(x: Value) -> Value:
    """1 - erf(x)."""
    return build(Erfc(), x)


OPS: tuple[type[Op], ...] = (
    Exp,
    Exp2,
    ExpM1,
    Log,
    Log2,
    Log10,
    Log1P,
    Sqrt,
    Rsqrt,
    Cbrt,
    Pow,
    Tanh,
    Sigmoid,
    Erf,
    Erfc,
)
