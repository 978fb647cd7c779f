"""The error function and its complement, and GELU. erf and erfc: at most 2 ULP; GELU: class C.

float32 erf(x) = x + x*P(x^2) up to 1, 1 - 2^Q(|x|) beyond, where Q fits log2(erfc). float64, and erfc of both: the
same series up to 0.8; beyond, erfc(x) = e^(-x^2) * (1/2 + R(t)) / x with t = (x-3)/(x+3), and x^2 is an exact square
plus a rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.backends.llvm.kernels.vector_math import coefficients as table
from chainrule.backends.llvm.kernels.vector_math.exp import expm1_reduced
from chainrule.backends.llvm.kernels.vector_math.floats import (
    FORM_64,
    LOG2_E,
    form_of,
    head,
    polynomial,
    quotient_of_sums,
    rounded,
    two_product,
    two_sum,
    two_to,
    widened,
)
from chainrule.backends.llvm.kernels.vector_math.sigmoid import sigmoid
from chainrule.backends.loops import Builder, Value
from chainrule.ir.types import f32


@dataclass(frozen=True)
class Quality:
    """How well erf and erfc are computed in float64: polynomials, and whether rounding errors of quotients are kept."""

    erf: tuple[float, ...]
    erfc: tuple[float, ...]
    exp: tuple[float, ...]
    careful: bool


FOR_FLOAT32 = Quality(table.ERF_MIDDLE_64, table.ERFC_MIDDLE_64, table.EXP_MIDDLE_64, False)
PLAIN = Quality(table.ERF_64, table.ERFC_64, table.EXP_64, False)
CAREFUL = Quality(table.ERF_64, table.ERFC_64, table.EXP_64, True)
SMALL_32, SMALL_64 = 1.0, 0.8
SQRT_HALF = 0.7071067811865476


def erf(k: Builder, x: Value) -> Value:
    """The error function. -1 and 1 at the infinities, -0 at -0."""
    if x.dtype == f32:
        return erf_32(k, x)
    a = k.abs(x)
    near = k.fma(a, small_erf_rest(k, a, PLAIN), a)
    far = k.sub(1.0, erfc_of_large(k, a, PLAIN))
    return k.copysign(k.select(k.cmp("lt", a, SMALL_64), near, far), x)


def erf_32(k: Builder, x: Value) -> Value:
    """erf of float32. Both polynomials have the same degree, so that one evaluation with chosen coefficients does."""
    a = k.min(k.const(4.0, f32, x.lanes), k.abs(x))
    small = k.cmp("lt", a, SMALL_32)
    chosen = [
        k.select(small, k.const(c, f32, x.lanes), d) for c, d in zip(table.ERF_32, table.ERFC_LOG2_32, strict=True)
    ]
    variable = k.select(small, k.mul(a, a), a)
    value = chosen[-1]
    for coefficient in reversed(chosen[:-1]):
        value = k.fma(value, variable, coefficient)
    return k.copysign(k.select(small, k.fma(a, value, a), k.sub(1.0, short_exp2(k, value))), x)


def short_exp2(k: Builder, x: Value) -> Value:
    """2^x of float32 -126 <= x <= 0, to about 23 bits."""
    form = form_of(x)
    n, bits = rounded(k, x, form.bias)
    r = k.sub(x, n)
    return k.mul(k.fma(polynomial(k, r, table.EXP2_SHORT_32), r, 1.0), two_to(k, bits, form))


def small_erf_rest(k: Builder, x: Value, quality: Quality) -> Value:
    """erf(x)/x - 1 for |x| <= 0.8 in float64."""
    return polynomial(k, k.mul(x, x), quality.erf)


def erfc_of_large(k: Builder, a: Value, quality: Quality) -> Value:
    """erfc(a) for float64 a >= 0.8; anything below."""
    a = k.min(k.const(28.0, a.dtype, a.lanes), a)
    # a^2 = top^2 + rest: the head's square is exact.
    top = head(k, a)
    square, rest = k.mul(top, top), k.mul(k.sub(a, top), k.add(a, top))
    n, _ = rounded(k, square, 0, -LOG2_E)
    r = k.sub(k.mul(n, -FORM_64.ln2_high), square)
    r, r_low = two_sum(k, r, k.neg(k.fma(n, FORM_64.ln2_low, rest)))
    p = k.add(expm1_reduced(k, r, quality.exp), r_low)
    q = scaled_erfc(k, a, quality)
    # (1/2 + q) * (1 + p)
    top = k.const(0.5, a.dtype, a.lanes), k.fma(k.add(q, 0.5), p, q)
    bottom = a, k.const(0.0, a.dtype, a.lanes)
    scaled = quotient_of_sums(k, top, bottom) if quality.careful else k.div(k.add(*top), a)
    return k.scale(scaled, n)


def scaled_erfc(k: Builder, a: Value, quality: Quality) -> Value:
    """a * e^(a^2) * erfc(a) - 1/2 for float64 0.8 <= a <= 28."""
    if not quality.careful:
        return polynomial(k, k.div(k.sub(a, 3.0), k.add(a, 3.0)), quality.erfc)
    top, top_low = two_sum(k, a, k.const(-3.0, a.dtype, a.lanes))
    bottom, bottom_low = two_sum(k, a, k.const(3.0, a.dtype, a.lanes))
    t = k.div(top, bottom)
    product, error = two_product(k, t, bottom)
    t_low = k.div(k.add(k.sub(k.sub(top, product), error), k.sub(top_low, k.mul(t, bottom_low))), bottom)
    slope = polynomial(k, t, [i * c for i, c in enumerate(quality.erfc[:5])][1:])
    return k.fma(slope, t_low, polynomial(k, t, quality.erfc))


def erfc(k: Builder, x: Value) -> Value:
    """1 - erf(x), accurate in the tail, where it underflows gradually. 2 at -inf, 0 at inf."""
    return k.cast(erfc_64(k, widened(k, x), FOR_FLOAT32 if x.dtype == f32 else CAREFUL), x.dtype)


def erfc_64(k: Builder, x: Value, quality: Quality) -> Value:
    """erfc of float64."""
    a = k.abs(x)
    far = erfc_of_large(k, a, quality)
    far = k.select(k.cmp("lt", x, 0.0), k.sub(2.0, far), far)
    # 1 - x is exact from 1/2 on, and x*rest is small.
    near = k.sub(k.sub(1.0, x), k.mul(x, small_erf_rest(k, x, quality)))
    return k.select(k.cmp("lt", a, SMALL_64), near, far)


def gelu(k: Builder, x: Value) -> Value:
    """x * Phi(x), Phi the normal distribution function; NaN at -inf, as the product is.

    float32: Phi(-|x|) = 2^Q(|x|). float64: x * erfc(-x/sqrt(2)) / 2.
    """
    if x.dtype != f32:
        return k.mul(k.mul(x, 0.5), erfc_64(k, k.mul(x, -SQRT_HALF), PLAIN))
    # At 10.575 the fit is -127.0, and 2^-127 is taken as 0 (exponent field 0); the fit falls all the way.
    a = k.min(k.const(10.575, f32, x.lanes), k.abs(x))
    tail = short_exp2(k, polynomial(k, a, table.NORMAL_LOG2_32))
    return k.mul(x, k.select(k.cmp("gt", x, 0.0), k.sub(1.0, tail), tail))


def gelu_tanh(k: Builder, x: Value) -> Value:
    """x * (1 + tanh(u)) / 2 = x * sigmoid(2u), u = sqrt(2/pi) * (x + 0.044715 x^3); NaN at -inf, as the formula is."""
    inner = k.mul(x, k.fma(k.mul(x, x), 2 * 0.7978845608028654 * 0.044715, 2 * 0.7978845608028654))
    return k.mul(x, sigmoid(k, inner))
