"""Elementwise functions of tensors, with numpy's names.

x, y: tensors, parameters, numpy arrays or numbers; they broadcast, and meet in one element type (frontend/promotion).
Functions on real numbers take integers as f32. The exact meaning of each, NaN and edges included, stands at its op.
"""

from __future__ import annotations

from collections.abc import Callable

from chainrule.frontend.places import located
from chainrule.frontend.tensor import (
    Operand,
    Tensor,
    both,
    differing,
    divided,
    either,
    float_value_of,
    value_of,
    values_of,
    wrap,
)
from chainrule.ir.graph import Value
from chainrule.ir.types import as_dtype, bool_
from chainrule.ops import arithmetic, compare, transcendental, trigonometric
from chainrule.ops import elementwise as basic


def _of_one(what: str, builder: Callable[[Value], Value], x: Operand) -> Tensor:
    return wrap(builder(value_of(x, what)))


def _of_real(what: str, builder: Callable[[Value], Value], x: Operand) -> Tensor:
    return wrap(builder(float_value_of(x, what)))


def _of_two(what: str, builder: Callable[[Value, Value], Value], x: Operand, y: Operand) -> Tensor:
    with located():
        a, b = values_of(what, x, y)
        return wrap(builder(a, b))


def add(x: Operand, y: Operand) -> Tensor:
    """x + y."""
    return _of_two("add", basic.add, x, y)


def subtract(x: Operand, y: Operand) -> Tensor:
    """x - y."""
    return _of_two("sub", basic.sub, x, y)


def multiply(x: Operand, y: Operand) -> Tensor:
    """x * y."""
    return _of_two("mul", basic.mul, x, y)


def divide(x: Operand, y: Operand) -> Tensor:
    """x / y; integers are divided in f32."""
    return _of_two("div", divided, x, y)


def floor_divide(x: Operand, y: Operand) -> Tensor:
    """The largest whole number not above x / y; for integers total: x // 0 is -1."""
    return _of_two("floor_divide", arithmetic.floor_divide, x, y)


def remainder(x: Operand, y: Operand) -> Tensor:
    """What floor_divide leaves of x, with the sign of y; for integers x % 0 is x."""
    return _of_two("remainder", arithmetic.remainder, x, y)


def fmod(x: Operand, y: Operand) -> Tensor:
    """What truncated division leaves of x, with the sign of x."""
    return _of_two("fmod", arithmetic.fmod, x, y)


def power(x: Operand, y: Operand) -> Tensor:
    """x to the power y."""
    return _of_two("pow", transcendental.pow, x, y)


def maximum(x: Operand, y: Operand) -> Tensor:
    """The larger of x and y; NaN where either is NaN."""
    return _of_two("maximum", basic.maximum, x, y)


def minimum(x: Operand, y: Operand) -> Tensor:
    """The smaller of x and y; NaN where either is NaN."""
    return _of_two("minimum", basic.minimum, x, y)


def arctan2(y: Operand, x: Operand) -> Tensor:
    """The angle of the point (x, y) in radians, in [-pi, pi]."""
    return _of_two("arctan2", trigonometric.atan2, y, x)


def equal(x: Operand, y: Operand) -> Tensor:
    """x == y, as bools."""
    return _of_two("eq", compare.eq, x, y)


def not_equal(x: Operand, y: Operand) -> Tensor:
    """x != y, as bools."""
    return _of_two("ne", compare.ne, x, y)


def less(x: Operand, y: Operand) -> Tensor:
    """x < y, as bools."""
    return _of_two("lt", compare.lt, x, y)


def less_equal(x: Operand, y: Operand) -> Tensor:
    """x <= y, as bools."""
    return _of_two("le", compare.le, x, y)


def greater(x: Operand, y: Operand) -> Tensor:
    """x > y, as bools."""
    return _of_two("gt", compare.gt, x, y)


def greater_equal(x: Operand, y: Operand) -> Tensor:
    """x >= y, as bools."""
    return _of_two("ge", compare.ge, x, y)


def logical_and(x: Operand, y: Operand) -> Tensor:
    """True where both are not zero."""
    return _of_two("logical_and", lambda a, b: compare.logical_and(_as_bool(a), _as_bool(b)), x, y)


def logical_or(x: Operand, y: Operand) -> Tensor:
    """True where one is not zero."""
    return _of_two("logical_or", lambda a, b: compare.logical_or(_as_bool(a), _as_bool(b)), x, y)


def logical_xor(x: Operand, y: Operand) -> Tensor:
    """True where exactly one is not zero."""
    return _of_two("logical_xor", lambda a, b: compare.logical_xor(_as_bool(a), _as_bool(b)), x, y)


def logical_not(x: Operand) -> Tensor:
    """True where x is zero."""
    return _of_one("logical_not", lambda a: compare.logical_not(_as_bool(a)), x)


def bitwise_and(x: Operand, y: Operand) -> Tensor:
    """x & y for integers and bools."""
    return _of_two("bitwise_and", both, x, y)


def bitwise_or(x: Operand, y: Operand) -> Tensor:
    """x | y for integers and bools."""
    return _of_two("bitwise_or", either, x, y)


def bitwise_xor(x: Operand, y: Operand) -> Tensor:
    """x ^ y for integers and bools."""
    return _of_two("bitwise_xor", differing, x, y)


def _as_bool(x: Value) -> Value:
    return basic.cast(x, bool_)


def where(condition: Operand, x: Operand, y: Operand) -> Tensor:
    """x where the condition is true (not zero), else y; the three broadcast."""
    with located():
        chosen = _as_bool(value_of(condition, "where"))
        a, b = values_of("where", x, y)
        return wrap(basic.where(chosen, a, b))


def clip(x: Operand, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """x held between two numbers or tensors that broadcast with it; None is no bound. max wins where min is above it.

    The gradient goes to x where x is inside or at a bound, as in PyTorch, else to the bound. NaN in any stays.
    """
    low = float(min) if isinstance(min, float | int) else None
    high = float(max) if isinstance(max, float | int) else None
    y = wrap(arithmetic.clip(value_of(x, "clip"), low, high)) if (low, high) != (None, None) else x
    if min is not None and low is None:
        y = where(less(y, min) | isnan(min), min, y)
    if max is not None and high is None:
        y = where(greater(y, max) | isnan(max), max, y)
    return wrap(value_of(y, "clip"))


def astype(x: Operand, dtype: object) -> Tensor:
    """The elements converted to another element type."""
    with located():
        return wrap(basic.cast(value_of(x, "astype"), as_dtype(dtype)))


def negative(x: Operand) -> Tensor:
    """-x."""
    return _of_one("neg", basic.neg, x)


def abs(x: Operand) -> Tensor:
    """The absolute value."""
    return _of_one("abs", basic.abs, x)


def sign(x: Operand) -> Tensor:
    """-1, 0 or 1 as x is below, at or above 0."""
    return _of_one("sign", arithmetic.sign, x)


def square(x: Operand) -> Tensor:
    """x * x."""
    return _of_one("square", arithmetic.square, x)


def reciprocal(x: Operand) -> Tensor:
    """1 / x."""
    return _of_real("reciprocal", arithmetic.reciprocal, x)


def floor(x: Operand) -> Tensor:
    """The largest whole number not above x."""
    return _of_real("floor", arithmetic.floor, x)


def ceil(x: Operand) -> Tensor:
    """The smallest whole number not below x."""
    return _of_real("ceil", arithmetic.ceil, x)


def round(x: Operand) -> Tensor:
    """The nearest whole number, the even one at halves."""
    return _of_real("round", arithmetic.round, x)


def trunc(x: Operand) -> Tensor:
    """The whole number next to x towards 0."""
    return _of_real("trunc", arithmetic.trunc, x)


def isnan(x: Operand) -> Tensor:
    """True where x is NaN."""
    return _of_real("isnan", arithmetic.isnan, x)


def isinf(x: Operand) -> Tensor:
    """True where x is an infinity."""
    return _of_real("isinf", arithmetic.isinf, x)


def isfinite(x: Operand) -> Tensor:
    """True where x is neither NaN nor an infinity."""
    return _of_real("isfinite", arithmetic.isfinite, x)


def exp(x: Operand) -> Tensor:
    """e to the power x."""
    return _of_real("exp", transcendental.exp, x)


def exp2(x: Operand) -> Tensor:
    """2 to the power x."""
    return _of_real("exp2", transcendental.exp2, x)


def expm1(x: Operand) -> Tensor:
    """e^x - 1, exact near 0."""
    return _of_real("expm1", transcendental.expm1, x)


def log(x: Operand) -> Tensor:
    """The natural logarithm; NaN below 0, -inf at 0."""
    return _of_real("log", transcendental.log, x)


def log2(x: Operand) -> Tensor:
    """The logarithm to base 2."""
    return _of_real("log2", transcendental.log2, x)


def log10(x: Operand) -> Tensor:
    """The logarithm to base 10."""
    return _of_real("log10", transcendental.log10, x)


def log1p(x: Operand) -> Tensor:
    """log(1 + x), exact near 0."""
    return _of_real("log1p", transcendental.log1p, x)


def sqrt(x: Operand) -> Tensor:
    """The square root; NaN below 0."""
    return _of_real("sqrt", transcendental.sqrt, x)


def rsqrt(x: Operand) -> Tensor:
    """1 / sqrt(x)."""
    return _of_real("rsqrt", transcendental.rsqrt, x)


def cbrt(x: Operand) -> Tensor:
    """The real cube root."""
    return _of_real("cbrt", transcendental.cbrt, x)


def erf(x: Operand) -> Tensor:
    """The error function."""
    return _of_real("erf", transcendental.erf, x)


def erfc(x: Operand) -> Tensor:
    """1 - erf(x), exact for large x."""
    return _of_real("erfc", transcendental.erfc, x)


def sin(x: Operand) -> Tensor:
    """The sine of x in radians."""
    return _of_real("sin", trigonometric.sin, x)


def cos(x: Operand) -> Tensor:
    """The cosine of x in radians."""
    return _of_real("cos", trigonometric.cos, x)


def tan(x: Operand) -> Tensor:
    """The tangent of x in radians."""
    return _of_real("tan", trigonometric.tan, x)


def arcsin(x: Operand) -> Tensor:
    """The angle in [-pi/2, pi/2] whose sine is x."""
    return _of_real("arcsin", trigonometric.asin, x)


def arccos(x: Operand) -> Tensor:
    """The angle in [0, pi] whose cosine is x."""
    return _of_real("arccos", trigonometric.acos, x)


def arctan(x: Operand) -> Tensor:
    """The angle in [-pi/2, pi/2] whose tangent is x."""
    return _of_real("arctan", trigonometric.atan, x)


def sinh(x: Operand) -> Tensor:
    """The hyperbolic sine."""
    return _of_real("sinh", trigonometric.sinh, x)


def cosh(x: Operand) -> Tensor:
    """The hyperbolic cosine."""
    return _of_real("cosh", trigonometric.cosh, x)


def tanh(x: Operand) -> Tensor:
    """The hyperbolic tangent."""
    return _of_real("tanh", transcendental.tanh, x)


def arcsinh(x: Operand) -> Tensor:
    """The inverse of sinh."""
    return _of_real("arcsinh", trigonometric.asinh, x)


def arccosh(x: Operand) -> Tensor:
    """The inverse of cosh, for x >= 1."""
    return _of_real("arccosh", trigonometric.acosh, x)


def arctanh(x: Operand) -> Tensor:
    """The inverse of tanh, for x in [-1, 1]."""
    return _of_real("arctanh", trigonometric.atanh, x)
