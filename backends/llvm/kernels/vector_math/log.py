"""Logarithms: log, log2, log10, log1p. At most 2 ULP; -inf at 0, NaN below, inf at inf; subnormal inputs are right.

x = 2^e * m with sqrt(1/2) <= m < sqrt(2), f = m - 1. float32: ln(m) = f - f^2/2 + f^3*P(f). float64: with s = f/(2+f),
ln(m) = f - (f^2/2 - s*(f^2/2 + s^2*R(s^2))), as in Tang's and Ng's libraries, so that f itself is never rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.backends.llvm.kernels.vector_math import coefficients as table
from chainrule.backends.llvm.kernels.vector_math.floats import (
    INFINITY,
    NAN,
    Form,
    fast_two_sum,
    form_of,
    head,
    polynomial,
    two_sum,
)
from chainrule.backends.loops import Builder, Value


@dataclass(frozen=True)
class Parts:
    """x = 2^exponent * (1 + f), exponent as a float."""

    exponent: Value
    f: Value


SQRT_HALF_BITS = {23: 0x3F3504F3, 52: 0x3FE6A09E667F3BCD}


def parts_of(k: Builder, x: Value) -> Parts:
    """Exponent and mantissa of a positive finite x, subnormals included; anything for other x."""
    form = form_of(x)
    small = k.cmp("lt", x, form.smallest_normal)
    scaled = k.select(small, k.mul(x, 2.0 ** (form.fraction + 2)), x)
    lift = k.select(small, k.const(-(form.fraction + 2.0), x.dtype, x.lanes), 0.0)
    bits = k.bitcast(scaled, form.unsigned)
    # The exponent is found with bias + 2 added, so that it is positive and the shift may be logical.
    base = k.add(bits, ((form.bias + 2) << form.fraction) - SQRT_HALF_BITS[form.fraction])
    raw = k.shr(base, form.fraction)
    mantissa = k.sub(bits, k.shl(k.sub(raw, form.bias + 2), form.fraction))
    f = k.sub(k.bitcast(mantissa, form.dtype), 1.0)
    return Parts(k.add(exponent_as_float(k, raw, form), lift), f)


def exponent_as_float(k: Builder, raw: Value, form: Form) -> Value:
    """raw - (bias + 2) as a float: the integer is put into the fraction of 2^fraction, which is then taken off."""
    carrier = k.bitcast(k.add(raw, (form.bias + form.fraction) << form.fraction), form.dtype)
    return k.sub(carrier, 2.0**form.fraction + form.bias + 2)


def log_of_mantissa(k: Builder, f: Value) -> tuple[Value, Value]:
    """half, rest: ln(1 + f) = f - (half - rest), where half = f^2/2; rest is small."""
    square = k.mul(f, f)
    half = k.mul(square, 0.5)
    if form_of(f).fraction == 23:
        return half, k.mul(k.mul(square, f), polynomial(k, f, table.LOG_32))
    s = k.div(f, k.add(f, 2.0))
    z = k.mul(s, s)
    return half, k.mul(s, k.fma(z, polynomial(k, z, table.LOG_64), half))


def log_tail(k: Builder, f: Value, extra: Value) -> Value:
    """ln(1 + f) - f + extra, where extra is small."""
    if form_of(f).fraction == 23:
        square = k.mul(f, f)
        return k.fma(square, -0.5, k.fma(k.mul(square, f), polynomial(k, f, table.LOG_32), extra))
    half, rest = log_of_mantissa(k, f)
    return k.sub(k.add(rest, extra), half)


def with_special_values(k: Builder, x: Value, y: Value) -> Value:
    """The logarithm of x: y where x is positive and finite, else inf, -inf or NaN."""
    outside = k.select(k.cmp("eq", x, 0.0), k.const(-INFINITY, x.dtype, x.lanes), NAN)
    return k.select(k.cmp("gt", x, 0.0), k.select(k.cmp("lt", x, INFINITY), y, x), outside)


def log(k: Builder, x: Value) -> Value:
    """The natural logarithm."""
    form = form_of(x)
    parts = parts_of(k, x)
    low = log_tail(k, parts.f, k.mul(parts.exponent, form.ln2_low))
    return with_special_values(k, x, k.fma(parts.exponent, form.ln2_high, k.add(parts.f, low)))


def log1p(k: Builder, x: Value) -> Value:
    """ln(1 + x), accurate near 0. x itself for tiny x (-0 included); -inf at -1, NaN below."""
    form = form_of(x)
    u, lost = two_sum(k, k.const(1.0, x.dtype, x.lanes), x)
    parts = parts_of(k, u)
    low = log_tail(k, parts.f, k.fma(parts.exponent, form.ln2_low, k.div(lost, u)))
    y = k.fma(parts.exponent, form.ln2_high, k.add(parts.f, low))
    y = with_special_values(k, u, y)
    return k.select(k.cmp("lt", k.abs(x), 2.0 ** -(form.fraction + 3)), x, y)


# 1/ln(2) and log10(e) as head + tail; the head has 12 or 21 bits: its product with the head of a float is exact.
# log10(2) as high + low; the product of high with an exponent is exact.
LOG2_SPLIT = {23: (1.4423828125, 0.00031222838896340733), 52: (1.4426946640014648, 3.768874985636099e-07)}
LOG10_SPLIT = {23: (0.434326171875, -3.168997174817235e-05), 52: (0.4342944622039795, 1.9699272335463627e-08)}
LOG10_2 = {23: (0.301025390625, 4.605038981195214e-06), 52: (0.3010299956658855, -1.9043128467164274e-12)}


def log2(k: Builder, x: Value) -> Value:
    """The logarithm to base 2; exact at powers of two."""
    parts = parts_of(k, x)
    high, low = scaled_log(k, parts.f, LOG2_SPLIT[form_of(x).fraction])
    total, error = fast_two_sum(k, parts.exponent, high)
    return with_special_values(k, x, k.add(total, k.add(error, low)))


def log10(k: Builder, x: Value) -> Value:
    """The logarithm to base 10."""
    form = form_of(x)
    parts = parts_of(k, x)
    high, low = scaled_log(k, parts.f, LOG10_SPLIT[form.fraction])
    two_high, two_low = LOG10_2[form.fraction]
    total, error = fast_two_sum(k, k.mul(parts.exponent, two_high), high)
    return with_special_values(k, x, k.add(total, k.add(error, k.fma(parts.exponent, two_low, low))))


def scaled_log(k: Builder, f: Value, factor: tuple[float, float]) -> tuple[Value, Value]:
    """ln(1 + f) * (factor[0] + factor[1]) as high + low, high exact."""
    half, rest = log_of_mantissa(k, f)
    high = head(k, k.sub(f, half))
    low = k.add(k.sub(k.sub(f, high), half), rest)
    scaled_low = k.fma(low, factor[0], k.mul(k.add(low, high), factor[1]))
    return k.mul(high, factor[0]), scaled_low
