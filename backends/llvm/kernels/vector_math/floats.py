"""The small tools of the vector functions: float formats, polynomials, powers of two, sums and products without error.

Every tool is right whether k.fma rounds once or twice: exact products come from factors with few bits, never from fma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.backends.loops import Builder, Value
from chainrule.ir.types import DType, f32, f64, i32, i64, u32, u64


@dataclass(frozen=True)
class Form:
    """The layout of a float type. ln2_high has so few bits that its product with any exponent is exact."""

    dtype: DType
    signed: DType
    unsigned: DType
    fraction: int
    bias: int
    ln2_high: float
    ln2_low: float
    largest_exp: float
    smallest_exp: float

    @property
    def round_magic(self) -> float:
        """Added to x, it leaves x rounded to an integer in the low bits of the sum."""
        return 1.5 * 2.0**self.fraction

    @property
    def sign_bit(self) -> int:
        return 1 << (self.dtype.bits - 1)

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)


LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453

# ln 2 = high + low: high has 9 bits (float32) and 33 bits (float64).
FORM_32 = Form(f32, i32, u32, 23, 127, 0.693359375, -2.12194440054690583e-4, 89.0, -104.0)
FORM_64 = Form(f64, i64, u64, 52, 1023, 6.93147180369123816490e-01, 1.90821492927058770002e-10, 710.0, -746.0)
INFINITY = float("inf")
NAN = float("nan")


def form_of(x: Value) -> Form:
    """The format of a float32 or float64 value."""
    assert x.dtype in (f32, f64), f"vector functions take f32 or f64, not {x.dtype}"
    return FORM_32 if x.dtype == f32 else FORM_64


def polynomial(k: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """c0 + c1*x + c2*x^2 + ... by Horner's rule."""
    result = k.const(coefficients[-1], x.dtype, x.lanes)
    for c in reversed(coefficients[:-1]):
        result = k.fma(result, x, c)
    return result


def rounded(k: Builder, x: Value, offset: int = 0, factor: float | None = None) -> tuple[Value, Value]:
    """n, bits: x * factor rounded to the integer n (as a float); the low bits of the integer `bits` hold n + offset.

    |n| < 2^21 in float32, 2^50 in float64. n is any integer where x is infinite or NaN.
    """
    form = form_of(x)
    magic = form.round_magic + offset
    shifted = k.add(x, magic) if factor is None else k.fma(x, factor, magic)
    return k.sub(shifted, magic), k.bitcast(shifted, form.signed)


def two_to(k: Builder, bits: Value, form: Form) -> Value:
    """2^n from an integer whose low bits hold n + bias, for a normal 2^n."""
    return k.bitcast(k.shl(bits, form.fraction), form.dtype)


def halves_of_power(k: Builder, bits: Value, form: Form) -> tuple[Value, Value]:
    """Two normal powers of two whose product is 2^n, |n| < 2*bias - 2. The low bits of `bits` hold n + 2*bias."""
    mask = ((1 << (form.dtype.bits - form.fraction)) - 1) << form.fraction
    first = k.and_(k.shl(bits, form.fraction - 1), mask)
    second = k.sub(k.shl(bits, form.fraction), first)
    return k.bitcast(first, form.dtype), k.bitcast(second, form.dtype)


def clamp(k: Builder, x: Value, lo: float, hi: float) -> Value:
    """x within [lo, hi]; NaN stays NaN."""
    return k.max(k.const(lo, x.dtype, x.lanes), k.min(k.const(hi, x.dtype, x.lanes), x))


def fast_two_sum(k: Builder, a: Value, b: Value) -> tuple[Value, Value]:
    """a + b and its rounding error, where |a| >= |b| or a = 0."""
    total = k.add(a, b)
    return total, k.sub(b, k.sub(total, a))


def two_sum(k: Builder, a: Value, b: Value) -> tuple[Value, Value]:
    """a + b and its rounding error."""
    total = k.add(a, b)
    part = k.sub(total, a)
    return total, k.add(k.sub(a, k.sub(total, part)), k.sub(b, part))


def head(k: Builder, x: Value) -> Value:
    """x with its lower half of bits cleared: products of two heads are exact (float64: 26 bits are kept)."""
    form = form_of(x)
    drop = (form.fraction + 2) // 2
    mask = ((1 << form.dtype.bits) - 1) ^ ((1 << drop) - 1)
    return k.bitcast(k.and_(k.bitcast(x, form.signed), mask), form.dtype)


def two_product(k: Builder, a: Value, b: Value) -> tuple[Value, Value]:
    """a * b and its rounding error, where neither over- nor underflows."""
    product = k.mul(a, b)
    ah, bh = head(k, a), head(k, b)
    al, bl = k.sub(a, ah), k.sub(b, bh)
    error = k.sub(k.mul(ah, bh), product)
    error = k.add(k.add(error, k.mul(ah, bl)), k.mul(al, bh))
    return product, k.add(error, k.mul(al, bl))


def quotient_of_sums(k: Builder, top: tuple[Value, Value], bottom: tuple[Value, Value]) -> Value:
    """(a + b) / (c + d) with one rounding and a little, where b and d are small."""
    a, b = fast_two_sum(k, *top)
    c, d = fast_two_sum(k, *bottom)
    first = k.div(a, c)
    product, error = two_product(k, first, c)
    left = k.add(k.sub(k.sub(a, product), error), k.sub(b, k.mul(first, d)))
    return k.add(first, k.div(left, c))


def widened(k: Builder, x: Value) -> Value:
    """x as float64."""
    return k.cast(x, f64)


def keep_tiny(k: Builder, x: Value, y: Value, bound: float) -> Value:
    """x where |x| < bound (the function is x there; keeps -0 and subnormals), else y."""
    return k.select(k.cmp("lt", k.abs(x), bound), x, y)
