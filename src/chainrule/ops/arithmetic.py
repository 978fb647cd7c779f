"""More arithmetic: sign, squares, quotients and remainders, rounding, bounds, and tests for NaN and infinity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, bool_
from chainrule.ops.basic import scalar_like, zeros_like
from chainrule.ops.compare import ge, le, logical_and
from chainrule.ops.elementwise import (
    Binary,
    Unary,
    div,
    floored_quotient,
    mul,
    neg,
    quiet,
    sum_to,
    truncated_quotient,
    where,
)


class Sign(Unary):
    """-1, 0 or 1 as x is below, at or above 0; NaN for NaN, 0 for -0. Source: ONNX Sign-13."""

    name: ClassVar[str] = "sign"
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        signs = np.asarray((x > 0).astype(np.int8) - (x < 0).astype(np.int8)).astype(x.dtype)
        return np.where(x != x, x, signs)


class Reciprocal(Unary):
    """1 / x; inf for 0, -inf for -0. Source: ONNX Reciprocal-13."""

    name: ClassVar[str] = "reciprocal"
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        return quiet(np.divide, np.ones((), x.dtype), x)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (neg(mul(grads[0], square(output))),)


class Square(Unary):
    """x * x. Integers wrap. Source: numpy.square; ONNX Mul-14 of x with itself."""

    name: ClassVar[str] = "square"
    kinds: ClassVar[str] = "fiu"
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        return quiet(np.multiply, x, x)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        return (mul(grads[0], mul(scalar_like(2.0, x), x)),)


class FloorDivide(Binary):
    """The largest whole number not above a / b. Integers: x//0 = -1 (all bits set), INT_MIN//-1 = INT_MIN.

    Floats: (a - remainder(a, b)) / b made whole, so that a = b * floor_divide(a, b) + remainder(a, b) within rounding;
    a/0 is inf or NaN as division says. No gradient passes. Source: numpy.floor_divide, made total for integers.
    """

    name: ClassVar[str] = "floor_divide"
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        if a.dtype.kind in "iu":
            return floored_quotient(a, b)
        wide = np.float32 if a.dtype.itemsize == 2 else a.dtype
        with np.errstate(all="ignore"):
            return np.floor_divide(a.astype(wide), b.astype(wide)).astype(a.dtype)


class Remainder(Binary):
    """a - b * floor(a / b), with the sign of b. Integers: x % 0 = x, INT_MIN % -1 = 0. Floats: NaN for b = 0, a = inf.

    A float result of 0 has the sign of b. The gradient is 1 for a and -floor_divide(a, b) for b.
    Source: ONNX Mod-13 (fmod=0); numpy.remainder.
    """

    name: ClassVar[str] = "remainder"
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        with np.errstate(all="ignore"):
            if a.dtype.kind in "iu":
                return np.where(b == 0, a, quiet(np.subtract, a, floored_quotient(a, b) * b))
            wide = np.float32 if a.dtype.itemsize == 2 else a.dtype
            return np.remainder(a.astype(wide), b.astype(wide)).astype(a.dtype)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        (g,) = grads
        return (sum_to(g, a.shape), sum_to(neg(mul(g, floor_divide(a, b))), b.shape))


class FMod(Binary):
    """a - b * trunc(a / b), with the sign of a: C's fmod and %. Integers: x % 0 = x, INT_MIN % -1 = 0.

    Floats: exact; NaN for b = 0 or a = inf. The gradient is 1 for a and -trunc(a / b) for b.
    Source: ONNX Mod-13 (fmod=1); numpy.fmod.
    """

    name: ClassVar[str] = "fmod"
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        with np.errstate(all="ignore"):
            if a.dtype.kind in "iu":
                return np.where(b == 0, a, quiet(np.subtract, a, truncated_quotient(a, b) * b))
            wide = np.float32 if a.dtype.itemsize == 2 else a.dtype
            return np.fmod(a.astype(wide), b.astype(wide)).astype(a.dtype)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        (g,) = grads
        return (sum_to(g, a.shape), sum_to(neg(mul(g, trunc(div(a, b)))), b.shape))


@dataclass(frozen=True)
class Clip(Unary):
    """x bounded: low where x < low, high where x > high; NaN stays. x: numbers -> the same.

    low, high: bounds in x's units, -inf and inf for none; rounded to x's element type, for integers inwards to whole
    numbers of the type. high wins where low > high. The gradient passes at the bounds too, as in PyTorch.
    Raises ArgumentError for a bound that is NaN. Source: ONNX Clip-13.
    """

    name: ClassVar[str] = "clip"
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "vjp"
    low: float = -np.inf
    high: float = np.inf

    def infer(self, *types: TensorType) -> TensorType:
        if self.low != self.low or self.high != self.high:
            raise ArgumentError("a bound is NaN", help="a bound is a number; leave one out for no bound")
        return Unary.infer(self, *types)

    def bounds(self, dtype: np.dtype) -> tuple[Array, Array]:
        """low and high in an element type."""
        if dtype.kind not in "iu":
            return np.asarray(self.low).astype(dtype), np.asarray(self.high).astype(dtype)
        limits = np.iinfo(dtype)
        low = limits.min if self.low <= limits.min else limits.max if self.low >= limits.max else int(np.ceil(self.low))
        high = limits.max if self.high >= limits.max else limits.min if self.high <= limits.min else int(self.high // 1)
        return np.asarray(low, dtype), np.asarray(high, dtype)

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        low, high = self.bounds(x.dtype)
        with np.errstate(all="ignore"):
            raised = np.where(x < low, low, x)
            return np.where(raised > high, high, raised)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        inside = logical_and(ge(x, scalar_like(self.low, x)), le(x, scalar_like(self.high, x)))
        return (where(inside, grads[0], zeros_like(x)),)


class Round(Unary):
    """The nearest whole number, the even one at halves: 0.5 -> 0, 1.5 -> 2, -0.5 -> -0. No gradient passes.

    Source: ONNX Round-22; numpy.rint.
    """

    name: ClassVar[str] = "round"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.rint, *arrays)


class Floor(Unary):
    """The largest whole number not above x. No gradient passes. Source: ONNX Floor-13."""

    name: ClassVar[str] = "floor"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.floor, *arrays)


class Ceil(Unary):
    """The smallest whole number not below x; -0 for x in (-1, 0). No gradient passes. Source: ONNX Ceil-13."""

    name: ClassVar[str] = "ceil"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.ceil, *arrays)


class Trunc(Unary):
    """x without its fraction; the sign stays (-0 for x in (-1, 0)). No gradient passes. Source: numpy.trunc."""

    name: ClassVar[str] = "trunc"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.trunc, *arrays)


class FloatTest(Unary):
    """The form of a question about each float. x: floats -> bool. No gradient passes."""

    gradient: ClassVar[str] = "zero"

    def infer(self, *types: TensorType) -> TensorType:
        return Unary.infer(self, *types).with_dtype(bool_)


class IsNaN(FloatTest):
    """x is NaN. Source: ONNX IsNaN-20."""

    name: ClassVar[str] = "isnan"

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(np.isnan(arrays[0]), np.bool_)


class IsInf(FloatTest):
    """x is inf or -inf. Source: ONNX IsInf-20."""

    name: ClassVar[str] = "isinf"

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(np.isinf(arrays[0]), np.bool_)


class IsFinite(FloatTest):
    """x is neither NaN nor infinite. Source: numpy.isfinite."""

    name: ClassVar[str] = "isfinite"

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(np.isfinite(arrays[0]), np.bool_)


def sign(x: Value) -> Value:
    """-1, 0 or 1 as x is below, at or above 0."""
    return build(Sign(), x)


def reciprocal(x: Value) -> Value:
    """1 / x."""
    return build(Reciprocal(), x)


def square(x: Value) -> Value:
    """x * x."""
    return build(Square(), x)


def floor_divide(a: Value, b: Value) -> Value:
    """The largest whole number not above a / b."""
    return build(FloorDivide(), a, b)


def remainder(a: Value, b: Value) -> Value:
    """What floor_divide leaves of a, with the sign of b."""
    return build(Remainder(), a, b)


def fmod(a: Value, b: Value) -> Value:
    """What truncated division leaves of a, with the sign of a."""
    return build(FMod(), a, b)


def clip(x: Value, low: float | None = None, high: float | None = None) -> Value:
    """x between low and high; None is no bound."""
    return build(Clip(-np.inf if low is None else low, np.inf if high is None else high), x)


def round(x: Value) -> Value:
    """The nearest whole number, the even one at halves."""
    return build(Round(), x)


def floor(x: Value) -> Value:
    """The largest whole number not above x."""
    return build(Floor(), x)


def ceil(x: Value) -> Value:
    """The smallest whole number not below x."""
    return build(Ceil(), x)


def trunc(x: Value) -> Value:
    """x without its fraction."""
    return build(Trunc(), x)


def isnan(x: Value) -> Value:
    """x is NaN."""
    return build(IsNaN(), x)


def isinf(x: Value) -> Value:
    """x is inf or -inf."""
    return build(IsInf(), x)


def isfinite(x: Value) -> Value:
    """x is neither NaN nor infinite."""
    return build(IsFinite(), x)


OPS: tuple[type[Op], ...] = (
    Sign,
    Reciprocal,
    Square,
    FloorDivide,
    Remainder,
    FMod,
    Clip,
    Round,
    Floor,
    Ceil,
    Trunc,
    IsNaN,
    IsInf,
    IsFinite,
)
