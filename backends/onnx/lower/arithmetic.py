"""Elementwise ops that ONNX lacks, or leaves open where chainrule promises a result, in terms of those it has."""

from __future__ import annotations

import math

import numpy as np

from chainrule.backends.onnx.raw import RawCast, RawDiv, RawMod, RawShift
from chainrule.ir.graph import Value, build
from chainrule.ir.types import BY_NAME, DType, f64
from chainrule.ops import arithmetic as ar
from chainrule.ops import compare as cmp
from chainrule.ops import elementwise as el
from chainrule.ops import transcendental as tr
from chainrule.ops import trigonometric as tri
from chainrule.ops.basic import Constant, constant, scalar_like

Parts = Value | tuple[Value, ...] | None


def square(node: Value) -> Parts:
    """x * x."""
    return el.mul(node.inputs[0], node.inputs[0])


def not_equal(node: Value) -> Parts:
    """not (a == b)."""
    return cmp.logical_not(cmp.eq(*node.inputs))


def rsqrt(node: Value) -> Parts:
    """1 / sqrt(x), rounded twice."""
    return ar.reciprocal(tr.sqrt(node.inputs[0]))


def trunc(node: Value) -> Parts:
    """Rounded up below zero and down above."""
    (x,) = node.inputs
    return el.where(cmp.lt(x, scalar_like(0.0, x)), ar.ceil(x), ar.floor(x))


def isfinite(node: Value) -> Parts:
    """|x| < inf, which NaN is not."""
    (x,) = node.inputs
    return cmp.lt(el.abs(x), scalar_like(math.inf, x))


def known_array(value: Value) -> np.ndarray | None:
    """The numbers of a constant."""
    return value.op.data.array if isinstance(value.op, Constant) else None


def _harmless(b: Value) -> bool:
    """True when no element of a divisor is 0 or -1."""
    numbers = known_array(b)
    return numbers is not None and not bool(np.any(numbers == 0)) and (b.dtype.kind == "u" or not np.any(numbers == -1))


def _guarded(b: Value) -> Value:
    """b with 1 in place of 0 and -1, by which processors cannot divide every number."""
    one = scalar_like(1, b)
    bad = cmp.eq(b, scalar_like(0, b))
    if b.dtype.is_signed:
        bad = cmp.logical_or(bad, cmp.eq(b, scalar_like(-1, b)))
    return el.where(bad, one, b)


def _all_bits(x: Value) -> Value:
    return scalar_like(-1 if x.dtype.is_signed else int(np.iinfo(x.dtype.numpy).max), x)


def _finished(quotient: Value, a: Value, b: Value) -> Value:
    """A guarded quotient with the results for 0 and -1 put in."""
    if b.dtype.is_signed:
        quotient = el.where(cmp.eq(b, scalar_like(-1, b)), el.sub(scalar_like(0, a), a), quotient)
    return el.where(cmp.eq(b, scalar_like(0, b)), _all_bits(a), quotient)


def div(node: Value) -> Parts:
    """Integer division, total: x/0 = -1, INT_MIN/-1 = INT_MIN."""
    a, b = node.inputs
    if node.dtype.is_float:
        return None
    return build(RawDiv(), a, b) if _harmless(b) else _finished(build(RawDiv(), a, _guarded(b)), a, b)


def floor_divide(node: Value) -> Parts:
    """Rounded down: what is left of a after the remainder divides evenly."""
    a, b = node.inputs
    if node.dtype.is_float:
        return _float_floor_divide(a, b)
    safe, zero = b if _harmless(b) else _guarded(b), scalar_like(0, a)
    whole, rest = build(RawDiv(), a, safe), build(RawMod(True), a, safe)
    crosses = cmp.logical_xor(cmp.lt(rest, zero), cmp.lt(safe, zero))
    inexact = cmp.logical_and(cmp.logical_not(cmp.eq(rest, zero)), crosses)
    down = el.sub(whole, el.cast(inexact, a.dtype)) if a.dtype.is_signed else whole
    return down if _harmless(b) else _finished(down, a, b)


def _float_floor_divide(a: Value, b: Value) -> Value:
    # As numpy: from the exact remainder, so that the quotient is whole up to rounding, then rounded to the nearest.
    if a.dtype.bits == 16:
        wide = _float_floor_divide(el.cast(a, "f32"), el.cast(b, "f32"))
        return el.cast(wide, a.dtype)
    zero, one = scalar_like(0.0, a), scalar_like(1.0, a)
    rest = ar.fmod(a, b)
    quotient = el.div(el.sub(a, rest), b)
    crosses = cmp.logical_and(cmp.logical_not(cmp.eq(rest, zero)), cmp.logical_xor(cmp.lt(b, zero), cmp.lt(rest, zero)))
    quotient = el.where(crosses, el.sub(quotient, one), quotient)
    down = ar.floor(quotient)
    down = el.where(cmp.gt(el.sub(quotient, down), scalar_like(0.5, a)), el.add(down, one), down)
    signed_zero = el.mul(el.div(a, b), zero)
    found = el.where(cmp.eq(quotient, zero), signed_zero, down)
    return el.where(cmp.eq(b, zero), el.div(a, b), found)


def remainder(node: Value) -> Parts:
    """With the sign of b. Integers: x % 0 = x; floats: exact, a result of 0 has the sign of b."""
    a, b = node.inputs
    if not node.dtype.is_float:
        if _harmless(b):
            return build(RawMod(), a, b)
        return el.where(cmp.eq(b, scalar_like(0, b)), a, build(RawMod(), a, _guarded(b)))
    zero = scalar_like(0.0, a)
    rest = ar.fmod(a, b)
    crosses = cmp.logical_xor(cmp.lt(b, zero), cmp.lt(rest, zero))
    moved = el.where(crosses, el.add(rest, b), rest)
    signed_zero = el.where(cmp.lt(b, zero), scalar_like(-0.0, a), zero)
    return el.where(cmp.eq(rest, zero), signed_zero, moved)


def fmod(node: Value) -> Parts:
    """With the sign of a, of integers: x % 0 = x."""
    a, b = node.inputs
    if node.dtype.is_float:
        return None
    if _harmless(b):
        return build(RawMod(True), a, b)
    return el.where(cmp.eq(b, scalar_like(0, b)), a, build(RawMod(True), a, _guarded(b)))


def cast(node: Value) -> Parts:
    """Float to integer, saturating, NaN to 0: what does not fit is put in by hand."""
    assert isinstance(node.op, el.Cast)
    (x,), dtype = node.inputs, node.op.dtype
    if not (x.dtype.is_float and dtype.is_int):
        return None
    if x.dtype.bits == 16:
        return el.cast(el.cast(x, "f32"), dtype)
    limits = np.iinfo(dtype.numpy)
    # Compared in float64, as the reference does: its numbers are those of x, and most limits are among them.
    wide = el.cast(x, f64)
    over = cmp.ge(wide, constant(float(limits.max) + (dtype.bits < 53), f64))
    under = cmp.le(wide, constant(float(limits.min), f64))
    outside = cmp.logical_or(cmp.logical_or(over, under), ar.isnan(wide))
    carrier = dtype if dtype.bits >= 32 else BY_NAME["i32"]
    inside = el.cast(build(RawCast(carrier), el.where(outside, constant(0.0, f64), wide)), dtype)
    low, high = constant(limits.min, dtype), constant(limits.max, dtype)
    return el.where(over, high, el.where(under, low, inside))


def pow(node: Value) -> Parts:
    """Integer powers, wrapping, by repeated squaring."""
    a, b = node.inputs
    if node.dtype.is_float:
        return None
    known = known_array(b)
    bits = node.dtype.bits - node.dtype.is_signed
    if known is not None:
        bits = int(np.max(known, initial=0)).bit_length()
    result, factor, left = scalar_like(1, a), a, el.maximum(b, scalar_like(0, b))
    two = scalar_like(2, b)
    for _ in range(bits):
        odd = cmp.eq(build(RawMod(), left, two), scalar_like(1, b))
        result = el.where(odd, el.mul(result, factor), result)
        factor, left = el.mul(factor, factor), build(RawDiv(), left, two)
    if node.dtype.is_signed:
        result = _with_negative_powers(result, a, b)
    from chainrule.ops.shaping import expand

    return expand(result, node.shape)


def _with_negative_powers(result: Value, a: Value, b: Value) -> Value:
    zero, one, minus = (scalar_like(n, a) for n in (0, 1, -1))
    even = cmp.eq(build(RawMod(), b, scalar_like(2, b)), zero)
    small = el.where(cmp.eq(a, one), one, el.where(cmp.eq(a, minus), el.where(even, one, minus), zero))
    return el.where(cmp.lt(b, zero), small, result)


def _unsigned(dtype: DType) -> DType:
    return BY_NAME[f"u{dtype.bits}"]


def shift_left(node: Value) -> Parts:
    """The count clamped; signed numbers by their bits."""
    a, b = node.inputs
    bits = _unsigned(a.dtype)
    moved = el.cast(build(RawShift("LEFT"), el.cast(a, bits), _count(b, bits)), a.dtype)
    return _unless_all_leave(moved, scalar_like(0, a), b)


def shift_right(node: Value) -> Parts:
    """The count clamped; copies of the sign come in: the bits of a negative number are turned before and after."""
    a, b = node.inputs
    bits = _unsigned(a.dtype)
    if not a.dtype.is_signed:
        return _unless_all_leave(build(RawShift("RIGHT"), a, _count(b, bits)), scalar_like(0, a), b)
    negative = cmp.lt(a, scalar_like(0, a))
    turned = el.where(negative, cmp.bitwise_not(a), a)
    moved = el.cast(build(RawShift("RIGHT"), el.cast(turned, bits), _count(b, bits)), a.dtype)
    kept = el.where(negative, cmp.bitwise_not(moved), moved)
    return _unless_all_leave(kept, el.where(negative, scalar_like(-1, a), scalar_like(0, a)), b)


def _count(b: Value, bits: DType) -> Value:
    known = known_array(b)
    if known is not None and bool(np.all((known >= 0) & (known < bits.bits))):
        return constant(known.astype(bits.numpy))
    bounded = el.minimum(b, scalar_like(bits.bits - 1, b))
    return el.cast(el.maximum(bounded, scalar_like(0, b)) if b.dtype.is_signed else bounded, bits)


def _unless_all_leave(moved: Value, spent: Value, b: Value) -> Value:
    known = known_array(b)
    if known is not None and bool(np.all(known < b.dtype.bits)):
        return moved
    return el.where(cmp.ge(b, scalar_like(b.dtype.bits, b)), spent, moved)


def _in_f64(function: object, *xs: Value) -> Value:
    """function computed in f64, rounded once to the element type of the inputs."""
    assert callable(function)
    found = function(*(el.cast(x, f64) for x in xs))
    assert isinstance(found, Value)
    return el.cast(found, xs[0].dtype)


def exp2(node: Value) -> Parts:
    """2 to the power x."""
    return _in_f64(lambda x: tr.pow(constant(2.0, f64), x), node.inputs[0])


def expm1(node: Value) -> Parts:
    """(u - 1) x / log(u) with u = e^x rounded, in which the rounding cancels. Source: Kahan; Higham 2002, 1.14.1."""

    def body(x: Value) -> Value:
        one = constant(1.0, f64)
        u = tr.exp(x)
        less = el.sub(u, one)
        ratio = el.div(el.mul(less, x), tr.log(u))
        flat = cmp.logical_or(cmp.eq(less, constant(-1.0, f64)), ar.isinf(u))
        return el.where(cmp.eq(u, one), x, el.where(flat, less, ratio))

    return _in_f64(body, node.inputs[0])


def log1p(node: Value) -> Parts:
    """log(u) x / (u - 1) with u = 1 + x rounded, in which the rounding cancels. Source: Goldberg 1991, theorem 4."""

    def body(x: Value) -> Value:
        one = constant(1.0, f64)
        u = el.add(one, x)
        less = el.sub(u, one)
        ratio = el.div(el.mul(tr.log(u), x), less)
        return el.where(cmp.eq(less, constant(0.0, f64)), x, el.where(ar.isinf(u), tr.log(u), ratio))

    return _in_f64(body, node.inputs[0])


def log2(node: Value) -> Parts:
    """log(x) / log(2)."""
    return _in_f64(lambda x: el.div(tr.log(x), constant(math.log(2.0), f64)), node.inputs[0])


def log10(node: Value) -> Parts:
    """log(x) / log(10)."""
    return _in_f64(lambda x: el.div(tr.log(x), constant(math.log(10.0), f64)), node.inputs[0])


def cbrt(node: Value) -> Parts:
    """sign(x) |x|^(1/3), with one step of Newton's method for the digits that the rounded 1/3 costs."""

    def body(x: Value) -> Value:
        three = constant(3.0, f64)
        size = el.abs(x)
        root = tr.pow(size, constant(1.0 / 3.0, f64))
        step = el.div(el.sub(root, el.div(size, el.mul(root, root))), three)
        plain = cmp.logical_or(cmp.eq(size, constant(0.0, f64)), ar.isinf(size))
        fine = el.where(plain, size, el.sub(root, step))
        return el.where(cmp.eq(size, constant(0.0, f64)), x, el.mul(ar.sign(x), fine))

    return _in_f64(body, node.inputs[0])


def clip(node: Value) -> Parts:
    """Without bounds it is x itself."""
    assert isinstance(node.op, ar.Clip)
    return node.inputs[0] if node.op.low == -math.inf and node.op.high == math.inf else None


def isinf(node: Value) -> Parts:
    """Of half precision: in f32, which has the same infinities."""
    (x,) = node.inputs
    return ar.isinf(el.cast(x, "f32")) if x.dtype.bits == 16 else None


# log(erfc(z) e^(z^2) / t) as a polynomial in s = 2t - 1, t = 2 / (2 + z): interpolated at 17 Chebyshev nodes from 40
# digits; erfc is then within 1.2e-11 of its value for z up to 11, beyond which it is 0 in f32.
_ERFC = (
    -0.6717940840566925, 0.6726432239714475, 0.04734330710750148, -0.0468956100290475, -0.00987270215367357,
    0.008824939029655563, 0.0017591138964047467, -0.002345852751062328, -0.00014739451001015677,
    0.0006740252334574621, -8.98365367353854e-05, -0.00017567172411047632, 6.381846141052837e-05,
    3.474781770122097e-05, -2.1670642791462023e-05, -3.739809691298367e-06, 3.3867054112457937e-06,
)  # fmt: skip


def erfc(node: Value) -> Parts:
    """t e^(P(2t - 1) - z^2) with t = 2 / (2 + |x|), computed in f64; f64 itself would need more digits."""
    if node.dtype == f64:
        return None

    def body(x: Value) -> Value:
        one, two = constant(1.0, f64), constant(2.0, f64)
        z = el.minimum(el.abs(x), constant(40.0, f64))
        t = el.div(two, el.add(two, z))
        s = el.sub(el.mul(two, t), one)
        power = constant(_ERFC[-1], f64)
        for coefficient in _ERFC[-2::-1]:
            power = el.add(el.mul(power, s), constant(coefficient, f64))
        found = el.mul(t, tr.exp(el.sub(power, el.mul(z, z))))
        return el.where(cmp.lt(x, constant(0.0, f64)), el.sub(two, found), found)

    return _in_f64(body, node.inputs[0])


def atan2(node: Value) -> Parts:
    """The arc tangent of y / x, by half a turn in the half plane x < 0; zeros and infinities by their signs."""
    y, x = node.inputs
    if y.dtype.bits == 16:
        return el.cast(tri.atan2(el.cast(y, "f32"), el.cast(x, "f32")), node.dtype)
    zero, one = scalar_like(0.0, x), scalar_like(1.0, x)
    both_zero = cmp.logical_and(cmp.eq(y, zero), cmp.eq(x, zero))
    both_inf = cmp.logical_and(ar.isinf(y), ar.isinf(x))
    # Of two infinities the quotient is that of their signs; of two zeros it is the zero y itself.
    upper = el.where(both_inf, ar.sign(y), y)
    # A zero x counts as the side of y's own sign, whichever zero it is.
    lower = el.where(both_inf, ar.sign(x), el.where(both_zero, one, el.where(cmp.eq(x, zero), el.abs(x), x)))
    slope = tri.atan(el.div(upper, lower))
    behind = cmp.logical_or(cmp.lt(x, zero), cmp.logical_and(both_zero, cmp.lt(ar.reciprocal(x), zero)))
    below = cmp.logical_or(cmp.lt(y, zero), cmp.lt(ar.reciprocal(y), zero))
    half_turn = el.where(below, scalar_like(-math.pi, x), scalar_like(math.pi, x))
    return el.where(behind, el.add(slope, half_turn), slope)


LOWERINGS = {
    ar.Square: square, cmp.Ne: not_equal, tr.Rsqrt: rsqrt, ar.Trunc: trunc, ar.IsFinite: isfinite, el.Div: div,
    ar.FloorDivide: floor_divide, ar.Remainder: remainder, ar.FMod: fmod, el.Cast: cast, tr.Pow: pow,
    cmp.ShiftLeft: shift_left, cmp.ShiftRight: shift_right, tr.Exp2: exp2, tr.ExpM1: expm1, tr.Log1P: log1p,
    tr.Log2: log2, tr.Log10: log10, tr.Cbrt: cbrt, ar.IsInf: isinf, ar.Clip: clip, tr.Erfc: erfc,
    tri.ATan2: atan2,
}  # fmt: skip

