"""pow, rsqrt, cbrt. pow: at most 4 ULP (in practice below 2), all special cases of C99; rsqrt and cbrt: at most 2 ULP.

pow(x, y) = 2^(y * log2|x|). float64: log2|x| to about 68 bits as a sum of two; float32 through float64.
"""

from __future__ import annotations

from chainrule.backends.llvm.kernels.vector_math import coefficients as table
from chainrule.backends.llvm.kernels.vector_math.floats import (
    FORM_64,
    INFINITY,
    NAN,
    clamp,
    fast_two_sum,
    form_of,
    polynomial,
    rounded,
    two_product,
    two_sum,
    widened,
)
from chainrule.backends.llvm.kernels.vector_math.log import parts_of
from chainrule.backends.loops import Builder, Value
from chainrule.ir.types import f32, f64, i32, i64, u64

LOG2_E, LOG2_E_LOW = 1.4426950408889634, 2.0355273740931033e-17
TWO_THIRDS, TWO_THIRDS_LOW = 0.6666666666666666, 3.700743415417188e-17
LARGEST_EXPONENT = 2.0**80


def rsqrt(k: Builder, x: Value) -> Value:
    """1 / sqrt(x). inf at 0, -inf at -0, NaN below, 0 at inf."""
    return k.div(1.0, k.sqrt(x))


def cbrt(k: Builder, x: Value) -> Value:
    """The cube root; x itself at 0, -0, infinities and NaN.

    A first guess from the exponent's third, a polynomial to 23 bits, and one step of Newton's on the rounded guess.
    Source: the method of Kahan and Bindel, as in Sun's library.
    """
    wide = widened(k, x)
    a = k.abs(wide)
    tiny = k.cmp("lt", a, FORM_64.smallest_normal)
    a = k.select(tiny, k.mul(a, 2.0**54), a)
    # The high 32 bits of the guess are those of a, divided by 3, plus 2/3 of the bias (with Kahan's correction).
    upper = k.cast(k.cast(k.shr(k.bitcast(a, u64), 32), i32), f64)
    third = k.fma(upper, 1 / 3, k.select(tiny, k.const(CBRT_OFFSET - 18 * 2.0**20, f64, x.lanes), CBRT_OFFSET))
    _, bits = rounded(k, third)
    guess = k.bitcast(k.shl(bits, 32), f64)
    a = k.select(tiny, k.mul(a, 2.0**-54), a)
    guess = k.mul(guess, polynomial(k, k.mul(k.mul(guess, guess), k.div(guess, a)), table.CBRT_64))
    guess = k.bitcast(k.and_(k.add(k.bitcast(guess, i64), 1 << 30), -(1 << 31)), f64)
    ratio = k.div(a, k.mul(guess, guess))
    better = k.fma(guess, k.div(k.sub(ratio, guess), k.add(k.add(guess, guess), ratio)), guess)
    regular = k.and_(k.cmp("gt", a, 0.0), k.cmp("lt", a, INFINITY))
    return k.cast(k.select(regular, k.copysign(better, wide), wide), x.dtype)


CBRT_OFFSET = 715094163.0


def log2_of_magnitude(k: Builder, a: Value) -> tuple[Value, Value]:
    """log2(a) of a positive finite float64 as high + low, to about 68 bits.

    With s = f/(2+f): ln(1+f) = 2s + s*z*(2/3 + z*R(z)), z = s^2; every step but R keeps its rounding error.
    """
    parts = parts_of(k, a)
    f = parts.f
    denominator, lost = two_sum(k, f, k.const(2.0, f64, a.lanes))
    s = k.div(f, denominator)
    product, error = two_product(k, s, denominator)
    s_low = k.div(k.sub(k.sub(k.sub(f, product), error), k.mul(s, lost)), denominator)
    z, z_low = two_product(k, s, s)
    z_low = k.fma(k.add(s, s), s_low, z_low)
    factor, factor_low = fast_two_sum(
        k, k.const(TWO_THIRDS, f64, a.lanes), k.mul(z, polynomial(k, z, table.LOG_REST_64))
    )
    factor_low = k.add(factor_low, TWO_THIRDS_LOW)
    cubic, cubic_low = product_of_sums(k, z, z_low, factor, factor_low)
    cubic, cubic_low = product_of_sums(k, cubic, cubic_low, s, s_low)
    high, low = fast_two_sum(k, k.add(s, s), cubic)
    low = k.add(low, k.add(cubic_low, k.add(s_low, s_low)))
    high, low = fast_two_sum(k, high, low)
    high, low = product_of_sums(k, high, low, k.const(LOG2_E, f64, a.lanes), k.const(LOG2_E_LOW, f64, a.lanes))
    total, error = fast_two_sum(k, parts.exponent, high)
    return fast_two_sum(k, total, k.add(error, low))


def product_of_sums(k: Builder, a: Value, a_low: Value, b: Value, b_low: Value) -> tuple[Value, Value]:
    """(a + a_low) * (b + b_low) as high + low."""
    product, error = two_product(k, a, b)
    return product, k.add(error, k.fma(a, b_low, k.mul(a_low, b)))


def exp2_of_sum(k: Builder, high: Value, low: Value) -> Value:
    """2^(high + low) in float64."""
    high = clamp(k, high, -1076.0, FORM_64.bias + 2.0)
    n, _ = rounded(k, high)
    r = k.add(k.sub(high, n), low)
    return k.scale(k.fma(polynomial(k, r, table.EXP2_64), r, 1.0), n)


def magnitude_64(k: Builder, a: Value, y: Value) -> Value:
    """a^y for positive finite float64 a and any y but NaN."""
    y = clamp(k, y, -LARGEST_EXPONENT, LARGEST_EXPONENT)
    log_high, log_low = log2_of_magnitude(k, a)
    high, low = two_product(k, log_high, y)
    low = k.fma(log_low, y, low)
    # Beyond 2^11 the result is 0 or inf whatever low is, and low may be large.
    low = k.select(k.cmp("lt", k.abs(high), 2048.0), low, 0.0)
    return exp2_of_sum(k, high, low)


def magnitude_32(k: Builder, a: Value, y: Value) -> Value:
    """a^y as float64 right to about 2^-29, for positive finite a and any y but NaN, both float32 values in float64."""
    parts = parts_of(k, a)
    s = k.div(parts.f, k.add(parts.f, 2.0))
    z = k.mul(s, s)
    log = k.mul(s, k.fma(z, polynomial(k, z, table.LOG_MIDDLE_64), 2.0))
    log2 = k.fma(log, LOG2_E, parts.exponent)
    high = clamp(k, k.mul(log2, clamp(k, y, -LARGEST_EXPONENT, LARGEST_EXPONENT)), -200.0, 200.0)
    n, bits = rounded(k, high, FORM_64.bias)
    r = k.sub(high, n)
    power = k.bitcast(k.shl(bits, FORM_64.fraction), f64)
    return k.mul(k.fma(polynomial(k, r, table.EXP2_MIDDLE_64), r, 1.0), power)


def pow(k: Builder, x: Value, y: Value) -> Value:
    """x^y with the special cases of C99 (F.9.4.4): 1 for x = 1 or y = 0, even with NaN; NaN for x < 0, y not whole."""
    form = form_of(x)
    a = k.abs(x)
    if x.dtype == f32:
        result = k.cast(magnitude_32(k, widened(k, a), widened(k, y)), f32)
    else:
        result = magnitude_64(k, a, y)
    zero, one, infinite = (k.const(c, x.dtype, x.lanes) for c in (0.0, 1.0, INFINITY))
    # |x| is 0 or inf: the result is inf or 0 by the sign of y.
    a_is_zero, y_is_negative = k.cmp("eq", a, 0.0), k.cmp("lt", y, 0.0)
    grows = k.or_(k.and_(a_is_zero, y_is_negative), k.and_(k.cmp("eq", a, INFINITY), k.cmp("gt", y, 0.0)))
    edge = k.or_(a_is_zero, k.cmp("eq", a, INFINITY))
    result = k.select(edge, k.select(grows, infinite, zero), result)
    whole = k.cmp("eq", k.trunc(y), y)
    half = k.mul(y, 0.5)
    odd = k.and_(whole, k.cmp("ne", k.trunc(half), half))
    sign = k.and_(k.bitcast(x, form.unsigned), form.sign_bit)
    none = k.const(0, form.unsigned, x.lanes)
    result = k.bitcast(k.xor_(k.bitcast(result, form.unsigned), k.select(odd, sign, none)), form.dtype)
    undefined = k.and_(k.and_(k.cmp("lt", x, 0.0), k.cmp("gt", x, -INFINITY)), k.not_(whole))
    result = k.select(undefined, k.const(NAN, x.dtype, x.lanes), result)
    nan = k.or_(k.cmp("ne", x, x), k.cmp("ne", y, y))
    result = k.select(nan, k.add(x, y), result)
    return k.select(k.or_(k.cmp("eq", x, 1.0), k.cmp("eq", y, 0.0)), one, result)
