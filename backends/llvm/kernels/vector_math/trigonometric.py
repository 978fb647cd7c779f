"""sin, cos, tan. At most 2 ULP for every finite argument, however large; NaN at the infinities, -0 kept."""

from __future__ import annotations

from chainrule.backends.llvm.kernels.vector_math import coefficients as table
from chainrule.backends.llvm.kernels.vector_math.floats import (
    form_of,
    keep_tiny,
    polynomial,
    quotient_of_sums,
    widened,
)
from chainrule.backends.llvm.kernels.vector_math.reduction import Reduced, reduce_half_pi
from chainrule.backends.loops import Builder, Value
from chainrule.ir.types import f32, u32, u64


def sin_and_cos_32(k: Builder, r: Value) -> tuple[Value, Value]:
    """sin(r) and cos(r) of a float32 |r| <= pi/4."""
    square = k.mul(r, r)
    sine = k.fma(k.mul(square, r), polynomial(k, square, table.SIN_32), r)
    cosine = k.fma(k.mul(square, square), polynomial(k, square, table.COS_32), k.fma(square, -0.5, 1.0))
    return sine, cosine


def sin_parts(k: Builder, reduced: Reduced) -> tuple[Value, Value]:
    """sin(r) as a sum of two, the second small, of the float64 r = high + low, |r| <= pi/4."""
    r = reduced.high
    square = k.mul(r, r)
    near_one = k.fma(square, -0.5, 1.0)
    return r, k.fma(k.mul(square, r), polynomial(k, square, table.SIN_64), k.mul(reduced.low, near_one))


def cos_parts(k: Builder, reduced: Reduced) -> tuple[Value, Value]:
    """cos(r) as a sum of two, the second small, of the float64 r = high + low, |r| <= pi/4."""
    r = reduced.high
    square = k.mul(r, r)
    half = k.mul(square, 0.5)
    near_one = k.sub(1.0, half)
    rest = k.sub(k.mul(k.mul(square, square), polynomial(k, square, table.COS_64)), k.mul(r, reduced.low))
    return near_one, k.add(k.sub(k.sub(1.0, near_one), half), rest)


def in_quadrant(k: Builder, quadrant: Value, sine: Value, cosine: Value) -> Value:
    """sin(r + quadrant*pi/2): sine or cosine by bit 0, negated by bit 1."""
    form = form_of(sine)
    number = k.cast(quadrant, u32) if form.dtype == f32 else k.bitcast(quadrant, u64)
    chosen = k.select(k.cmp("ne", k.and_(number, 1), 0), cosine, sine)
    sign = k.shl(k.and_(number, 2), form.dtype.bits - 2)
    return k.bitcast(k.xor_(k.bitcast(chosen, form.unsigned), sign), form.dtype)


def sin(k: Builder, x: Value) -> Value:
    """The sine."""
    return keep_tiny(k, x, shifted_sine(k, x, 0), 2.0**-12 if x.dtype == f32 else 2.0**-27)


def cos(k: Builder, x: Value) -> Value:
    """The cosine."""
    return shifted_sine(k, x, 1)


def shifted_sine(k: Builder, x: Value, quarter_turns: int) -> Value:
    """sin(x + quarter_turns * pi/2)."""
    if x.dtype == f32:
        reduced = reduce_half_pi(k, widened(k, x), 32)
        sine, cosine = sin_and_cos_32(k, k.cast(reduced.high, f32))
    else:
        reduced = reduce_half_pi(k, x, 64)
        sine, cosine = k.add(*sin_parts(k, reduced)), k.add(*cos_parts(k, reduced))
    quadrant = k.add(reduced.quadrant, quarter_turns) if quarter_turns else reduced.quadrant
    return in_quadrant(k, quadrant, sine, cosine)


def tan(k: Builder, x: Value) -> Value:
    """The tangent: sine / cosine, or -cosine / sine in odd quadrants."""
    wide = widened(k, x)
    reduced = reduce_half_pi(k, wide, x.dtype.bits)
    odd = k.cmp("ne", k.and_(reduced.quadrant, 1), 0)
    if x.dtype == f32:
        square = k.mul(reduced.high, reduced.high)
        sine = k.fma(k.mul(square, reduced.high), polynomial(k, square, table.SIN_MIDDLE_64), reduced.high)
        cosine = k.fma(k.mul(square, square), polynomial(k, square, table.COS_MIDDLE_64), k.fma(square, -0.5, 1.0))
        y = k.div(k.select(odd, k.neg(cosine), sine), k.select(odd, sine, cosine))
    else:
        (a, b), (c, d) = sin_parts(k, reduced), cos_parts(k, reduced)
        top = k.select(odd, k.neg(c), a), k.select(odd, k.neg(d), b)
        y = quotient_of_sums(k, top, (k.select(odd, a, c), k.select(odd, b, d)))
    return k.cast(keep_tiny(k, wide, y, 2.0**-27), x.dtype)
