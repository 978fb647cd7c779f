"""asin, acos, atan, atan2. At most 2 ULP; computed in float64, with shorter polynomials for float32."""

from __future__ import annotations

from chainrule.backends.llvm.kernels.vector_math import coefficients as table
from chainrule.backends.llvm.kernels.vector_math.floats import INFINITY, form_of, head, polynomial, two_product, widened
from chainrule.backends.llvm.kernels.vector_math.reduction import HALF_PI, HALF_PI_LOW
from chainrule.backends.loops import Builder, Value
from chainrule.ir.types import f32

PI, PI_LOW = 2 * HALF_PI, 2 * HALF_PI_LOW
QUARTER_PI, QUARTER_PI_LOW = HALF_PI / 2, HALF_PI_LOW / 2


def asin_rest(k: Builder, square: Value, bits: int) -> Value:
    """asin(x)/x - 1 from x^2 <= 1/4."""
    return k.mul(square, polynomial(k, square, table.ASIN_MIDDLE_64 if bits == 32 else table.ASIN_64))


def half_angle(k: Builder, a: Value) -> tuple[Value, Value, Value]:
    """z, s, c with z = (1-a)/2 and s + c = sqrt(z), s with few bits, for 1/2 <= a <= 1."""
    z = k.mul(k.sub(1.0, a), 0.5)
    root = k.sqrt(z)
    s = head(k, root)
    c = k.div(k.sub(z, k.mul(s, s)), k.add(root, s))
    return z, s, k.select(k.cmp("gt", z, 0.0), c, 0.0)


def asin(k: Builder, x: Value) -> Value:
    """The arc sine; NaN beyond [-1, 1], -0 at -0."""
    wide = widened(k, x)
    a = k.abs(wide)
    small = k.cmp("lt", a, 0.5)
    z, s, c = half_angle(k, a)
    rest = asin_rest(k, k.select(small, k.mul(a, a), z), x.dtype.bits)
    near = k.fma(a, rest, a)
    # pi/2 - 2*(s + c)*(1 + rest), with pi/4 - 2s exact enough taken out first.
    root = k.add(s, c)
    low = k.sub(k.mul(k.mul(root, 2.0), rest), k.sub(HALF_PI_LOW, k.add(c, c)))
    far = k.sub(QUARTER_PI, k.sub(low, k.sub(QUARTER_PI, k.add(s, s))))
    return k.cast(k.copysign(k.select(small, near, far), wide), x.dtype)


def acos(k: Builder, x: Value) -> Value:
    """The arc cosine; NaN beyond [-1, 1]."""
    wide = widened(k, x)
    a = k.abs(wide)
    small = k.cmp("lt", a, 0.5)
    z, s, c = half_angle(k, a)
    rest = asin_rest(k, k.select(small, k.mul(a, a), z), x.dtype.bits)
    near = k.sub(HALF_PI, k.sub(wide, k.sub(HALF_PI_LOW, k.mul(wide, rest))))
    root = k.add(s, c)
    positive = k.mul(k.add(s, k.fma(root, rest, c)), 2.0)
    negative = k.sub(PI, k.mul(k.add(root, k.sub(k.mul(root, rest), HALF_PI_LOW)), 2.0))
    far = k.select(k.cmp("lt", wide, 0.0), negative, positive)
    return k.cast(k.select(small, near, far), x.dtype)


def atan_of_positive(k: Builder, a: Value, bits: int) -> tuple[Value, Value]:
    """atan(a) as high + low for a >= 0, inf included: a itself up to 1/2, (a-1)/(a+1) from pi/4, -1/a from pi/2."""
    large, middle = k.cmp("gt", a, 2.414213562373095), k.cmp("gt", a, 0.5)
    top = k.select(large, k.const(-1.0, a.dtype, a.lanes), k.select(middle, k.sub(a, 1.0), a))
    bottom = k.select(large, a, k.select(middle, k.add(a, 1.0), 1.0))
    t = k.div(top, bottom)
    square = k.mul(t, t)
    rest = k.mul(k.mul(t, square), polynomial(k, square, table.ATAN_MIDDLE_64 if bits == 32 else table.ATAN_64))
    zero = k.const(0.0, a.dtype, a.lanes)
    base = k.select(large, k.const(HALF_PI, a.dtype, a.lanes), k.select(middle, QUARTER_PI, zero))
    low = k.select(large, k.const(HALF_PI_LOW, a.dtype, a.lanes), k.select(middle, QUARTER_PI_LOW, zero))
    high = k.add(base, t)
    return high, k.add(k.sub(t, k.sub(high, base)), k.add(rest, low))


def atan(k: Builder, x: Value) -> Value:
    """The arc tangent; -pi/2 and pi/2 at the infinities, -0 at -0."""
    wide = widened(k, x)
    high, low = atan_of_positive(k, k.abs(wide), x.dtype.bits)
    return k.cast(k.copysign(k.add(high, low), wide), x.dtype)


def atan2(k: Builder, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), -pi to pi, with all special values of C99: signed zeros and infinities."""
    wide_y, wide_x = widened(k, y), widened(k, x)
    a, b = k.abs(wide_y), k.abs(wide_x)
    steep = k.cmp("gt", a, b)
    top, bottom = k.select(steep, b, a), k.select(steep, a, b)
    if y.dtype != f32:
        # Both are scaled where they are so small that the products below would underflow.
        little = k.cmp("lt", bottom, 2.0**-800)
        top, bottom = (k.select(little, k.mul(v, 2.0**200), v) for v in (top, bottom))
    quotient = k.div(top, bottom)
    # 0/0 is the angle of an axis, inf/inf that of a diagonal.
    quotient = k.select(k.cmp("eq", bottom, 0.0), k.const(0.0, a.dtype, a.lanes), quotient)
    quotient = k.select(k.cmp("eq", top, INFINITY), k.const(1.0, a.dtype, a.lanes), quotient)
    high, low = atan_of_positive(k, quotient, y.dtype.bits)
    if y.dtype != f32:
        # What the rounding of the quotient took, times the derivative of atan; where products do not underflow.
        product, error = two_product(k, quotient, bottom)
        lost = k.div(k.sub(k.sub(top, product), error), k.mul(bottom, k.fma(quotient, quotient, 1.0)))
        usual = k.and_(k.cmp("gt", top, 2.0**-960), k.cmp("lt", bottom, 2.0**1020))
        low = k.add(low, k.select(usual, lost, 0.0))
    form = form_of(wide_x)
    backward = k.cmp("ne", k.and_(k.bitcast(wide_x, form.unsigned), form.sign_bit), 0)
    high, low = from_axis(k, steep, high, low, HALF_PI, HALF_PI_LOW)
    high, low = from_axis(k, backward, high, low, PI, PI_LOW)
    angle = k.copysign(k.add(high, low), wide_y)
    nan = k.or_(k.cmp("ne", a, a), k.cmp("ne", b, b))
    return k.cast(k.select(nan, k.add(a, b), angle), y.dtype)


def from_axis(k: Builder, where: Value, high: Value, low: Value, axis: float, axis_low: float) -> tuple[Value, Value]:
    """axis - (high + low) where the condition holds, else high + low."""
    turned = k.sub(axis, high)
    lost = k.sub(k.sub(axis, turned), high)
    turned_low = k.add(lost, k.sub(axis_low, low))
    return k.select(where, turned, high), k.select(where, turned_low, low)
