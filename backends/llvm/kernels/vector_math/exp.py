"""Exponentials: exp, exp2, expm1. At most 2 ULP; results underflow gradually and overflow to infinity.

x = n*ln(2) + r with |r| <= ln(2)/2, e^x = 2^n * e^r. The reduction subtracts n*ln(2) in two parts (Cody and Waite), the
first of which is exact. Builder.scale applies 2^n, from 2^-150 to 2^128 without a branch.
"""

from __future__ import annotations

from chainrule.backends.llvm.kernels.vector_math import coefficients as table
from chainrule.backends.llvm.kernels.vector_math.floats import (
    LOG2_E,
    Form,
    clamp,
    fast_two_sum,
    form_of,
    keep_tiny,
    polynomial,
    rounded,
    two_to,
)
from chainrule.backends.loops import Builder, Value


def exp_tail(form: Form) -> tuple[float, ...]:
    """Coefficients of (e^r - 1 - r) / r^2."""
    return table.EXP_32 if form.dtype.bits == 32 else table.EXP_64


def expm1_reduced(k: Builder, r: Value, coefficients: tuple[float, ...]) -> Value:
    """e^r - 1 for |r| <= ln(2)/2."""
    return k.fma(k.mul(r, r), polynomial(k, r, coefficients), r)


def exp(k: Builder, x: Value) -> Value:
    """e^x. 0 at -inf, inf at inf, NaN at NaN."""
    form = form_of(x)
    return _exp_of_clamped(k, clamp(k, x, form.smallest_exp, form.largest_exp))


def exp_of_negative(k: Builder, x: Value) -> Value:
    """e^x for x <= 0 or NaN: exp without a bound above."""
    return _exp_of_clamped(k, k.max(k.const(form_of(x).smallest_exp, x.dtype, x.lanes), x))


def _exp_of_clamped(k: Builder, x: Value) -> Value:
    form = form_of(x)
    n, _ = rounded(k, x, 0, LOG2_E)
    r = k.fma(n, -form.ln2_low, k.fma(n, -form.ln2_high, x))
    return k.scale(k.add(expm1_reduced(k, r, exp_tail(form)), 1.0), n)


def exp2(k: Builder, x: Value) -> Value:
    """2^x. 0 at -inf, inf at inf, NaN at NaN; exact at integers."""
    form = form_of(x)
    x = clamp(k, x, -151.0 if form.fraction == 23 else -1076.0, form.bias + 2.0)
    n, _ = rounded(k, x)
    r = k.sub(x, n)
    coefficients = table.EXP2_32 if form.fraction == 23 else table.EXP2_64
    return k.scale(k.fma(polynomial(k, r, coefficients), r, 1.0), n)


def expm1(k: Builder, x: Value) -> Value:
    """e^x - 1, accurate near 0. -1 at -inf, inf at inf, NaN at NaN, x itself for tiny x (-0 included).

    With s = 2^(n-1): (s - 1/2) + s*r exactly, as a sum of two, then s*(e^r - 1 - r), then doubled.
    """
    form = form_of(x)
    y = clamp(k, x, -25.0 if form.fraction == 23 else -60.0, form.largest_exp)
    n, bits = rounded(k, y, form.bias - 1, LOG2_E)
    high, low = k.fma(n, -form.ln2_high, y), k.mul(n, form.ln2_low)
    r = k.sub(high, low)
    lost = k.sub(k.sub(high, r), low)
    q = k.fma(k.mul(r, r), polynomial(k, r, exp_tail(form)), lost)
    s = two_to(k, bits, form)
    total, error = fast_two_sum(k, k.sub(s, 0.5), k.mul(s, r))
    half = k.add(total, k.fma(s, q, error))
    return keep_tiny(k, x, k.add(half, half), 2.0 ** -(form.fraction + 3))
