"""asin, acos, atan, atan2. At most 2 ULP in both types: multiples of pi are added as sums of two."""

from __future__ import annotations

from chainrule.backends.llvm.kernels.vector_math import coefficients as table
from chainrule.backends.llvm.kernels.vector_math.floats import INFINITY, form_of, head, polynomial, two_product
from chainrule.backends.llvm.kernels.vector_math.reduction import HALF_PI, HALF_PI_LOW
from chainrule.backends.loops import Builder, Value
from chainrule.ir.types import f32

# pi/2 as high + low, by the bits of the type's fraction.
HALF_PI_SPLIT = {23: (1.5707963705062866, -4.371139000186241e-08), 52: (HALF_PI, HALF_PI_LOW)}


def turns(x: Value, quarters: float) -> tuple[float, float]:
    """quarters * pi/2 as high + low, in the type of x; quarters is a power of two."""
    high, low = HALF_PI_SPLIT[form_of(x).fraction]
    return high * quarters, low * quarters


def asin_rest(k: Builder, square: Value) -> Value:
    """asin(x)/x - 1 from x^2 <= 1/4."""
    return k.mul(square, polynomial(k, square, table.ASIN_32 if square.dtype == f32 else table.ASIN_64))


def half_angle(k: Builder, a: Value) -> tuple[Value, Value, Value]:
    """z, s, c with z = (1-a)/2 and s + c = sqrt(z), s with few bits, for 1/2 <= a <= 1."""
    z = k.mul(k.sub(1.0, a), 0.5)
    root = k.sqrt(z)
    s = head(k, root)
    c = k.div(k.sub(z, k.mul(s, s)), k.add(root, s))
    return z, s, k.select(k.cmp("gt", z, 0.0), c, 0.0)


def asin(k: Builder, x: Value) -> Value:
    """The arc sine; NaN beyond [-1, 1], -0 at -0."""
    a = k.abs(x)
    small = k.cmp("lt", a, 0.5)
    z, s, c = half_angle(k, a)
    rest = asin_rest(k, k.select(small, k.mul(a, a), z))
    near = k.fma(a, rest, a)
    # pi/2 - 2*(s + c)*(1 + rest), with pi/4 - 2s taken out first, which is exact enough.
    quarter, half_low = turns(x, 0.5)[0], turns(x, 1)[1]
    low = k.sub(k.mul(k.mul(k.add(s, c), 2.0), rest), k.sub(half_low, k.add(c, c)))
    far = k.sub(quarter, k.sub(low, k.sub(quarter, k.add(s, s))))
    return k.copysign(k.select(small, near, far), x)


def acos(k: Builder, x: Value) -> Value:
    """The arc cosine; NaN beyond [-1, 1]."""
    a = k.abs(x)
    small = k.cmp("lt", a, 0.5)
    z, s, c = half_angle(k, a)
    rest = asin_rest(k, k.select(small, k.mul(a, a), z))
    half, half_low = turns(x, 1)
    near = k.sub(half, k.sub(x, k.sub(half_low, k.mul(x, rest))))
    root = k.add(s, c)
    positive = k.mul(k.add(s, k.fma(root, rest, c)), 2.0)
    negative = k.sub(2 * half, k.mul(k.add(root, k.sub(k.mul(root, rest), half_low)), 2.0))
    return k.select(small, near, k.select(k.cmp("lt", x, 0.0), negative, positive))


def atan_of_positive(k: Builder, a: Value) -> tuple[Value, Value]:
    """atan(a) as high + low for a >= 0, inf included: a itself up to 1/2, (a-1)/(a+1) from pi/4, -1/a from pi/2."""
    large, middle = k.cmp("gt", a, 2.414213562373095), k.cmp("gt", a, 0.5)
    top = k.select(large, k.const(-1.0, a.dtype, a.lanes), k.select(middle, k.sub(a, 1.0), a))
    bottom = k.select(large, a, k.select(middle, k.add(a, 1.0), 1.0))
    t = k.div(top, bottom)
    square = k.mul(t, t)
    rest = k.mul(k.mul(t, square), polynomial(k, square, table.ATAN_32 if a.dtype == f32 else table.ATAN_64))
    (half, half_low), (quarter, quarter_low) = turns(a, 1), turns(a, 0.5)
    zero = k.const(0.0, a.dtype, a.lanes)
    base = k.select(large, k.const(half, a.dtype, a.lanes), k.select(middle, quarter, zero))
    low = k.select(large, k.const(half_low, a.dtype, a.lanes), k.select(middle, quarter_low, zero))
    high = k.add(base, t)
    return high, k.add(k.sub(t, k.sub(high, base)), k.add(rest, low))


def atan(k: Builder, x: Value) -> Value:
    """The arc tangent; -pi/2 and pi/2 at the infinities, -0 at -0."""
    return k.copysign(k.add(*atan_of_positive(k, k.abs(x))), x)


def atan2(k: Builder, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), -pi to pi, with all special values of C99: signed zeros and infinities."""
    form = form_of(x)
    a, b = k.abs(y), k.abs(x)
    steep = k.cmp("gt", a, b)
    quotient, lost = exact_quotient(k, k.select(steep, b, a), k.select(steep, a, b))
    high, low = atan_of_positive(k, quotient)
    low = k.add(low, k.div(lost, k.fma(quotient, quotient, 1.0)))
    backward = k.cmp("ne", k.and_(k.bitcast(x, form.unsigned), form.sign_bit), 0)
    high, low = from_axis(k, steep, high, low, turns(x, 1))
    high, low = from_axis(k, backward, high, low, turns(x, 2))
    angle = k.copysign(k.add(high, low), y)
    nan = k.or_(k.cmp("ne", a, a), k.cmp("ne", b, b))
    return k.select(nan, k.add(a, b), angle)


def exact_quotient(k: Builder, top: Value, bottom: Value) -> tuple[Value, Value]:
    """top / bottom and its rounding error, 0 <= top <= bottom; 0/0 = 0 and inf/inf = 1, the angles of C99."""
    form = form_of(top)
    # Both are scaled where they are so small that the products below would underflow.
    little = k.cmp("lt", bottom, 2.0 ** -(form.bias * 3 // 4))
    grown = 2.0 ** (2 * form.fraction + 20)
    top, bottom = (k.select(little, k.mul(v, grown), v) for v in (top, bottom))
    quotient = k.div(top, bottom)
    quotient = k.select(k.cmp("eq", bottom, 0.0), k.const(0.0, top.dtype, top.lanes), quotient)
    quotient = k.select(k.cmp("eq", top, INFINITY), k.const(1.0, top.dtype, top.lanes), quotient)
    product, error = two_product(k, quotient, bottom)
    lost = k.div(k.sub(k.sub(top, product), error), bottom)
    least = 2.0 ** (2 * form.fraction + 5 - form.bias)
    usual = k.and_(k.cmp("gt", top, least), k.cmp("lt", bottom, 2.0 ** (form.bias - 3)))
    return quotient, k.select(usual, lost, 0.0)


def from_axis(
    k: Builder, where: Value, high: Value, low: Value, axis_parts: tuple[float, float]
) -> tuple[Value, Value]:
    """axis - (high + low) where the condition holds, else high + low."""
    axis, axis_low = axis_parts
    turned = k.sub(axis, high)
    lost = k.sub(k.sub(axis, turned), high)
    turned_low = k.add(lost, k.sub(axis_low, low))
    return k.select(where, turned, high), k.select(where, turned_low, low)
