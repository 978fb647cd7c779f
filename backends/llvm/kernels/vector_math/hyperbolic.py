"""Hyperbolic functions: tanh, sinh, cosh, asinh, acosh, atanh. At most 2 ULP; odd functions keep -0 and subnormals.

Away from 0, sinh and cosh come from e^|x|/2, the inverse functions from logarithms of sums of two.
"""

from __future__ import annotations

from chainrule.backends.llvm.kernels.vector_math import coefficients as table
from chainrule.backends.llvm.kernels.vector_math.exp import exp_tail, expm1_reduced
from chainrule.backends.llvm.kernels.vector_math.floats import (
    INFINITY,
    LN_2,
    LOG2_E,
    NAN,
    form_of,
    polynomial,
    rounded,
    two_product,
    two_sum,
    two_to,
)
from chainrule.backends.llvm.kernels.vector_math.log import log_tail, parts_of
from chainrule.backends.loops import Builder, Value


def tanh(k: Builder, x: Value) -> Value:
    """The hyperbolic tangent. -1 and 1 at the infinities, NaN at NaN, -0 at -0.

    With 2|x| = n*ln(2) + 2r, n rounded down (nearly), s = 2^n and t = tanh(r): tanh|x| = a / (a + 2 - 2t), where
    a = (s-1) + (s+1)*t. One division, no exp; both terms of a are positive, and an error of a nearly cancels where a is
    large.
    """
    form = form_of(x)
    bound = 9.125 if form.fraction == 23 else 19.25
    y = k.min(k.const(bound, x.dtype, x.lanes), k.abs(x))
    n, bits = rounded(k, k.fma(y, 2 * LOG2_E, -0.499), form.bias)
    if form.fraction == 23:
        # n <= 26 here, and where n*ln(2) is rounded tanh is flat: one part is enough.
        r = k.fma(n, -0.5 * LN_2, y)
    else:
        r = k.fma(n, -0.5 * form.ln2_low, k.fma(n, -0.5 * form.ln2_high, y))
    square = k.mul(r, r)
    t = k.fma(k.mul(square, r), polynomial(k, square, table.TANH_32 if form.fraction == 23 else table.TANH_64), r)
    s = two_to(k, bits, form)
    top = k.fma(k.add(s, 1.0), t, k.sub(s, 1.0))
    return k.copysign(k.div(top, k.add(top, k.fma(t, -2.0, 2.0))), x)


def odd_series(x: Value, single: tuple[float, ...], double: tuple[float, ...]) -> tuple[float, ...]:
    """The table for the type of x."""
    return single if form_of(x).fraction == 23 else double


def exp_halved(k: Builder, x: Value) -> Value:
    """e^x / 2 for x >= 0, without overflow before the result's own."""
    form = form_of(x)
    y = k.min(k.const(form.largest_exp + 2, x.dtype, x.lanes), x)
    n, _ = rounded(k, y, 0, LOG2_E)
    r = k.fma(n, -form.ln2_low, k.fma(n, -form.ln2_high, y))
    p = expm1_reduced(k, r, exp_tail(form))
    return k.scale(k.fma(p, 0.5, 0.5), n)


def cosh(k: Builder, x: Value) -> Value:
    """The hyperbolic cosine; inf at both infinities."""
    e = exp_halved(k, k.abs(x))
    return k.add(e, k.div(0.25, e))


def sinh(k: Builder, x: Value) -> Value:
    """The hyperbolic sine: its odd series up to |x| = 1.2, e^|x|/2 - e^-|x|/2 beyond."""
    a = k.abs(x)
    square = k.mul(x, x)
    near = k.fma(k.mul(a, square), polynomial(k, square, odd_series(x, table.SINH_32, table.SINH_64)), a)
    e = exp_halved(k, a)
    far = k.sub(e, k.div(0.25, e))
    return k.copysign(k.select(k.cmp("lt", a, 1.2), near, far), x)


def log_of_sum(k: Builder, high: Value, low: Value) -> Value:
    """ln(high + low) for a sum with |low| far below high > 0."""
    form = form_of(high)
    parts = parts_of(k, high)
    tail = log_tail(k, parts.f, k.fma(parts.exponent, form.ln2_low, k.div(low, high)))
    return k.fma(parts.exponent, form.ln2_high, k.add(parts.f, tail))


def asinh(k: Builder, x: Value) -> Value:
    """The inverse hyperbolic sine: its odd series up to |x| = 0.3, ln(|x| + sqrt(x^2 + 1)) beyond."""
    a = k.abs(x)
    square = k.mul(x, x)
    near = k.fma(k.mul(a, square), polynomial(k, square, odd_series(x, table.ASINH_32, table.ASINH_64)), a)
    huge = k.cmp("gt", a, 2.0**28)
    squared, squared_low = two_product(k, a, a)
    total, total_low = two_sum(k, k.const(1.0, x.dtype, x.lanes), squared)
    root, lost = root_of_sum(k, total, k.add(total_low, squared_low))
    high, low = two_sum(k, a, root)
    low = k.add(low, lost)
    high, low = k.select(huge, a, high), k.select(huge, k.const(0.0, x.dtype, x.lanes), low)
    middle = log_of_sum(k, high, low)
    far = k.select(huge, k.add(middle, LN_2), middle)
    far = k.select(k.cmp("lt", a, INFINITY), far, a)
    return k.copysign(k.select(k.cmp("lt", a, 0.3), near, far), x)


def root_of_sum(k: Builder, high: Value, low: Value) -> tuple[Value, Value]:
    """sqrt(high + low) and its rounding error, |low| far below high >= 0; 0, 0 at 0."""
    root = k.sqrt(high)
    back, error = two_product(k, root, root)
    left = k.add(k.sub(k.sub(high, back), error), low)
    return root, k.select(k.cmp("gt", root, 0.0), k.div(left, k.add(root, root)), 0.0)


def acosh(k: Builder, x: Value) -> Value:
    """The inverse hyperbolic cosine; NaN below 1, 0 at 1, inf at inf. ln(1 + (t + sqrt(t*(t + 2)))) with t = x - 1."""
    huge = k.cmp("gt", x, 2.0**28)
    zero, one = k.const(0.0, x.dtype, x.lanes), k.const(1.0, x.dtype, x.lanes)
    t = k.sub(x, 1.0)
    above, above_low = two_sum(k, k.const(2.0, x.dtype, x.lanes), t)
    square, square_low = two_product(k, t, above)
    root, lost = root_of_sum(k, square, k.fma(t, above_low, square_low))
    grown, error = two_sum(k, t, root)
    high, low = two_sum(k, one, grown)
    low = k.add(low, k.add(error, lost))
    high, low = k.select(huge, x, high), k.select(huge, zero, low)
    y = log_of_sum(k, high, low)
    y = k.select(huge, k.add(y, LN_2), y)
    y = k.select(k.cmp("lt", x, INFINITY), y, x)
    return k.select(k.cmp("lt", x, 1.0), k.const(NAN, x.dtype, x.lanes), y)


def atanh(k: Builder, x: Value) -> Value:
    """The inverse hyperbolic tangent; -inf and inf at -1 and 1, NaN beyond. Its odd series up to |x| = 0.3."""
    a = k.abs(x)
    square = k.mul(x, x)
    near = k.fma(k.mul(a, square), polynomial(k, square, odd_series(x, table.ATANH_32, table.ATANH_64)), a)
    above, lost = two_sum(k, k.const(1.0, x.dtype, x.lanes), a)
    below = k.sub(1.0, a)
    gone = k.sub(k.sub(1.0, below), a)
    ratio = k.div(above, below)
    # (1+a)/(1-a) = ratio + left/below: the quotient's remainder, and what rounding took from 1+a and 1-a.
    product, error = two_product(k, ratio, below)
    left = k.add(k.sub(k.sub(above, product), error), k.sub(lost, k.mul(ratio, gone)))
    far = k.mul(log_of_sum(k, ratio, k.div(left, below)), 0.5)
    outside = k.select(k.cmp("eq", a, 1.0), k.const(INFINITY, x.dtype, x.lanes), NAN)
    far = k.select(k.cmp("lt", a, 1.0), far, outside)
    return k.copysign(k.select(k.cmp("lt", a, 0.3), near, far), x)
