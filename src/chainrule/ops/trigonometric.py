"""Trigonometric and hyperbolic functions and their inverses, of class T. Angles are in radians.

The reference computes in float64 and rounds once to the array's own float type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ops.arithmetic import square
from chainrule.ops.basic import scalar_like
from chainrule.ops.elementwise import Binary, Unary, add, div, in_double, mul, neg, pair_in_double, sub, sum_to
from chainrule.ops.transcendental import sqrt


def _one_plus_square(x: Value) -> Value:
    return add(scalar_like(1.0, x), square(x))


def _one_minus_square(x: Value) -> Value:
    """(1 - x)(1 + x): near 1 it loses nothing, where 1 - x*x would."""
    one = scalar_like(1.0, x)
    return mul(sub(one, x), add(one, x))


class Sin(Unary):
    """The sine. NaN at the infinities, -0 for -0. Source: ONNX Sin-22."""

    name: ClassVar[str] = "sin"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.sin, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], cos(inputs[0])),)


class Cos(Unary):
    """The cosine. NaN at the infinities. Source: ONNX Cos-22."""

    name: ClassVar[str] = "cos"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.cos, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (neg(mul(grads[0], sin(inputs[0]))),)


class Tan(Unary):
    """The tangent. NaN at the infinities, -0 for -0. Source: ONNX Tan-22."""

    name: ClassVar[str] = "tan"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.tan, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], _one_plus_square(output)),)


class ASin(Unary):
    """The angle in [-pi/2, pi/2] with sine x. NaN beyond -1 and 1, where the gradient is inf. Source: ONNX Asin-22."""

    name: ClassVar[str] = "asin"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.arcsin, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], sqrt(_one_minus_square(inputs[0]))),)


class ACos(Unary):
    """The angle in [0, pi] with cosine x. NaN beyond -1 and 1, where the gradient is -inf. Source: ONNX Acos-22."""

    name: ClassVar[str] = "acos"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.arccos, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (neg(div(grads[0], sqrt(_one_minus_square(inputs[0])))),)


class ATan(Unary):
    """The angle in [-pi/2, pi/2] with tangent x. -0 for -0. Source: ONNX Atan-22."""

    name: ClassVar[str] = "atan"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.arctan, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], _one_plus_square(inputs[0])),)


class ATan2(Binary):
    """The angle in [-pi, pi] of the point (x, y), given as a = y and b = x; signed zeros as C99 says.

    The gradients are b/(a^2 + b^2) and -a/(a^2 + b^2), NaN at the origin. Source: numpy.arctan2; C99 atan2.
    """

    name: ClassVar[str] = "atan2"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return pair_in_double(np.arctan2, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        share = div(grads[0], add(square(a), square(b)))
        return (sum_to(mul(share, b), a.shape), sum_to(neg(mul(share, a)), b.shape))


class SinH(Unary):
    """The hyperbolic sine. -0 for -0. Source: ONNX Sinh-22."""

    name: ClassVar[str] = "sinh"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.sinh, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], cosh(inputs[0])),)


class CosH(Unary):
    """The hyperbolic cosine. Source: ONNX Cosh-22."""

    name: ClassVar[str] = "cosh"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.cosh, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], sinh(inputs[0])),)


class ASinH(Unary):
    """The inverse of sinh. -0 for -0. Source: ONNX Asinh-22."""

    name: ClassVar[str] = "asinh"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.arcsinh, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], sqrt(_one_plus_square(inputs[0]))),)


class ACosH(Unary):
    """The inverse of cosh, >= 0. NaN below 1; the gradient at 1 is inf. Source: ONNX Acosh-22."""

    name: ClassVar[str] = "acosh"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.arccosh, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], sqrt(neg(_one_minus_square(inputs[0])))),)


class ATanH(Unary):
    """The inverse of tanh. -inf and inf at -1 and 1, NaN beyond, -0 for -0. Source: ONNX Atanh-22."""

    name: ClassVar[str] = "atanh"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.arctanh, arrays[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], _one_minus_square(inputs[0])),)


def sin(x: Value) -> Value:
    """The sine of x radians."""
    return build(Sin(), x)


def cos(x: Value) -> Value:
    """The cosine of x radians."""
    return build(Cos(), x)


def tan(x: Value) -> Value:
    """The tangent of x radians."""
    return build(Tan(), x)


def asin(x: Value) -> Value:
    """The angle with sine x."""
    return build(ASin(), x)


def acos(x: Value) -> Value:
    """The angle with cosine x."""
    return build(ACos(), x)


def atan(x: Value) -> Value:
    """The angle with tangent x."""
    return build(ATan(), x)


def atan2(a: Value, b: Value) -> Value:
    """The angle of the point (b, a)."""
    return build(ATan2(), a, b)


def sinh(x: Value) -> Value:
    """The hyperbolic sine."""
    return build(SinH(), x)


def cosh(x: Value) -> Value:
    """The hyperbolic cosine."""
    return build(CosH(), x)


def asinh(x: Value) -> Value:
    """The inverse of sinh."""
    return build(ASinH(), x)


def acosh(x: Value) -> Value:
    """The inverse of cosh."""
    return build(ACosH(), x)


def atanh(x: Value) -> Value:
    """The inverse of tanh."""
    return build(ATanH(), x)


OPS: tuple[type[Op], ...] = (Sin, Cos, Tan, ASin, ACos, ATan, ATan2, SinH, CosH, ASinH, ACosH, ATanH)
