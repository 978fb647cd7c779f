"""x = n * pi/2 + r with |r| <= pi/4, right for every finite float64 and float32.

Up to 2^20, n * pi/2 is subtracted in parts of 33 bits (Cody and Waite); each product with n is exact. Beyond, the bits
of 2/pi that matter for the exponent of x are cut out of a constant and multiplied in integers (Payne and Hanek). That
branch runs only when some lane needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.backends.llvm.kernels.vector_math.floats import FORM_64, fast_two_sum, rounded, two_product, two_sum
from chainrule.backends.loops import Builder, Value
from chainrule.ir.types import f64, i32, i64, u64

# pi/2 in parts of 33 bits and a rest.
HALF_PI_PARTS = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)
HALF_PI, HALF_PI_LOW = 1.5707963267948966, 6.123233995736766e-17
# pi/2 without its first part.
HALF_PI_REST = 6.077100506506192e-11
TWO_OVER_PI = 0.6366197723675814
LIMIT = 2.0**20
LOW_32 = 0xFFFFFFFF
# The first 1216 bits of 2/pi as an integer (2/pi * 2^1216, rounded down).
TWO_OVER_PI_BITS = int(
    "A2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561B7246E3A424DD2E006492EEA09D1921C"
    "FE1DEB1CB129A73EE88235F52EBB4484E99C7026B45F7E413991D639835339F49C845F8BBDF9283B1FF897FFDE05980F"
    "EF2F118B5A0A6D1F6D367ECF27CB09B74F463F669E5FEA2D7527BAC7EBE5F17B3D0739F78A5292EA6BFB5FB11F8D5D08"
    "56033046FC7B6BAB",
    16,
)


@dataclass(frozen=True)
class Reduced:
    """quadrant: i64 whose low two bits are n mod 4. r = high + low in float64."""

    quadrant: Value
    high: Value
    low: Value


def reduce_half_pi(k: Builder, x: Value, bits: int) -> Reduced:
    """The reduction of a float64 x that holds a float of `bits` bits (32 or 64). NaN for infinite x.

    bits = 32 leaves low at 0: high is right to 2^-50 of itself for every float32.
    """
    n, quadrant = rounded(k, x, 0, TWO_OVER_PI)
    if bits == 32:
        high = k.fma(n, -HALF_PI_REST, k.fma(n, -HALF_PI_PARTS[0], x))
        low = k.const(0.0, f64, x.lanes)
    else:
        high, low = subtract_in_parts(k, x, n)
    registers = k.reg(quadrant), k.reg(high), k.reg(low)
    large = k.cmp("gt", k.abs(x), LIMIT)
    with k.when(k.reduce("or", large)):
        far = payne_hanek(k, x, 1023 + (127 if bits == 32 else 1023))
        near = quadrant, high, low
        for register, there, here in zip(registers, (far.quadrant, far.high, far.low), near, strict=True):
            k.set(register, k.select(large, there, here))
    quadrant, high, low = (k.get(register) for register in registers)
    # inf - inf is NaN; a finite x passes.
    return Reduced(quadrant, k.add(high, k.sub(x, x)), low)


def subtract_in_parts(k: Builder, x: Value, n: Value) -> tuple[Value, Value]:
    """x - n * pi/2 as high + low, to about 100 bits below pi/2."""
    first = k.fma(n, -HALF_PI_PARTS[0], x)
    second, error = two_sum(k, first, k.mul(n, -HALF_PI_PARTS[1]))
    third, error_3 = two_sum(k, second, k.mul(n, -HALF_PI_PARTS[2]))
    return fast_two_sum(k, third, k.fma(n, -HALF_PI_PARTS[3], k.add(error, error_3)))


def payne_hanek(k: Builder, x: Value, largest_exponent: int) -> Reduced:
    """The reduction for |x| > 2^20 with biased exponents up to largest_exponent; anything for other lanes."""
    bits = k.bitcast(x, u64)
    exponent = k.and_(k.shr(bits, 52), 0x7FF)
    mantissa = k.or_(k.and_(bits, (1 << 52) - 1), 1 << 52)
    # |x| = mantissa * 2^(exponent - 1075). Bits of 2/pi that weigh 4 or more are dropped: the window starts at bit
    # `start` of 64 zeros followed by 2/pi. It is 192 bits wide and its first bit weighs 2.
    start = k.sub(exponent, 1075 - 62)
    window = window_of_two_over_pi(k, start, largest_exponent - 1075 + 62)
    limbs = multiplied(k, mantissa, window)
    top = k.or_(k.shl(limbs[5], 32), limbs[4])
    n = k.shr(k.add(top, 1 << 61), 62)
    # The fraction of x * 2/pi as a signed number of 64 bits, and 64 more bits below.
    fraction = k.bitcast(k.or_(k.shl(top, 2), k.shr(limbs[3], 30)), i64)
    third = k.and_(k.or_(k.shl(limbs[3], 2), k.shr(limbs[2], 30)), LOW_32)
    fourth = k.and_(k.or_(k.shl(limbs[2], 2), k.shr(limbs[1], 30)), LOW_32)
    leading = k.mul(k.cast(k.cast(k.shr(fraction, 32), i32), f64), 2.0**-32)
    following = k.mul(as_float(k, k.and_(k.bitcast(fraction, u64), LOW_32)), 2.0**-64)
    total, error = fast_two_sum(k, leading, following)
    rest = k.add(k.mul(as_float(k, third), 2.0**-96), k.mul(as_float(k, fourth), 2.0**-128))
    total, rest = fast_two_sum(k, total, k.add(error, rest))
    high, low = two_product(k, total, k.const(HALF_PI, f64, x.lanes))
    low = k.add(low, k.fma(total, HALF_PI_LOW, k.mul(rest, HALF_PI)))
    high, low = fast_two_sum(k, high, low)
    negative = k.cmp("lt", x, 0.0)
    signed = k.bitcast(n, i64)
    return Reduced(
        k.select(negative, k.neg(signed), signed),
        k.select(negative, k.neg(high), high),
        k.select(negative, k.neg(low), low),
    )


def window_of_two_over_pi(k: Builder, start: Value, largest_start: int) -> list[Value]:
    """The 192 bits that begin at bit `start` of 64 zeros followed by 2/pi, as six 32-bit limbs in u64, lowest first."""
    largest_word = largest_start // 64
    total = 1216 + 64
    words = [
        k.const((TWO_OVER_PI_BITS >> (total - 64 * (i + 1))) & ((1 << 64) - 1), u64, start.lanes)
        for i in range(largest_word + 4)
    ]
    word = k.shr(start, 6)
    # words[i] becomes words[i + word] in steps of 16, 8, 4, 2, 1.
    for step in (16, 8, 4, 2, 1):
        if step <= largest_word:
            taken = k.cmp("ne", k.and_(word, step), 0)
            needed = 4 + step - 1
            words = [
                k.select(taken, words[i + step], words[i]) if i + step < len(words) else words[i]
                for i in range(min(needed, len(words)))
            ]
    shift = k.and_(start, 63)
    back = k.sub(64, shift)
    limbs: list[Value] = []
    for i in (2, 1, 0):
        joined = k.or_(k.shl(words[i], shift), k.shr(words[i + 1], back))
        limbs += [k.and_(joined, LOW_32), k.shr(joined, 32)]
    return limbs


def multiplied(k: Builder, mantissa: Value, limbs: list[Value]) -> list[Value]:
    """mantissa (53 bits) times the number made of the 32-bit limbs, modulo 2^192, as 32-bit limbs."""
    low, high = k.and_(mantissa, LOW_32), k.shr(mantissa, 32)
    carry = k.shr(k.mul(low, limbs[0]), 32)
    result = [k.and_(k.mul(low, limbs[0]), LOW_32)]
    for i in range(1, len(limbs)):
        product = k.mul(low, limbs[i])
        column = k.add(k.add(k.and_(product, LOW_32), carry), k.mul(high, limbs[i - 1]))
        result.append(k.and_(column, LOW_32))
        carry = k.add(k.shr(column, 32), k.shr(product, 32))
    return result


def as_float(k: Builder, x: Value) -> Value:
    """A u64 below 2^52 as float64: put into the fraction of 2^52, which is then taken off."""
    return k.sub(k.bitcast(k.or_(x, (FORM_64.bias + 52) << 52), f64), 2.0**52)
