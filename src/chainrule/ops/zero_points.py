"""Products of 8-bit integers less their zero points, from the products of the bytes themselves and their sums.

(a - s)(b - t) = ab - s*(sums of b) - t*(sums of a) + n*s*t: exact in 32 bits, wrapping alike. What depends on fixed
weights alone is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array
from chainrule.ir.types import i32
from chainrule.ops.basic import Constant, constant, full, scalar_like
from chainrule.ops.elementwise import cast, mul, sub, where
from chainrule.ops.integer_products import IntegerConv, integer_matmul
from chainrule.ops.reduce import sum as total
from chainrule.ops.shaping import Reshape, pad_constant, reshape


def numbers_of(point: Value) -> Array | None:
    """The numbers of a parameter where they are known, whatever shape they were given since."""
    while isinstance(point.op, Reshape):
        (point,) = point.inputs
    return point.op.data.array if isinstance(point.op, Constant) else None


def is_zero(zero: Value | None) -> bool:
    """True for a zero point that is left out or known to be 0 everywhere."""
    numbers = None if zero is None else numbers_of(zero)
    return zero is None or (numbers is not None and not numbers.any())


def first_number(point: Value) -> int | None:
    """The number of a parameter that is one known number."""
    numbers = numbers_of(point)
    return int(numbers.reshape(-1)[0]) if numbers is not None and numbers.size == 1 else None


def single_or_same(point: Value) -> Value:
    """A parameter that is one number as a scalar, whether it has an axis or not."""
    return reshape(point, ()) if point.shape == (1,) else point


def shifted_product(a: Value, b: Value, zero_a: Value | None, zero_b: Value | None) -> Value:
    """(a - zero_a) @ (b - zero_b) in i32; zero points lie along the matrices, a's by rows, b's by columns."""
    y = integer_matmul(a, b)
    if not is_zero(zero_a):
        assert zero_a is not None
        y = sub(y, mul(cast(zero_a, i32), total(cast(b, i32), -2, True)))
    if not is_zero(zero_b):
        assert zero_b is not None
        rows = total(cast(a, i32), -1, True)
        if not is_zero(zero_a):
            assert zero_a is not None
            rows = sub(rows, mul(scalar_like(a.shape[-1], rows), cast(zero_a, i32)))
        y = sub(y, mul(cast(zero_b, i32), rows))
    return y


def shifted_conv(op: IntegerConv, pads: Sequence[Dim], x: Value, weight: Value, zero_x: Value | None,
                 zero_w: Value | None) -> Value:  # fmt: skip
    """The convolution of x - zero_x, one number, with weight - zero_w, one or by output channels, in i32.

    op: without padding. The padding of x - zero_x is 0, so that x is padded with its zero point.
    """
    rank = len(op.stride)
    x, bare = _padded(op, pads, x, zero_x)
    y = build(bare, x, weight)
    if not is_zero(zero_x):
        assert zero_x is not None
        sums = total(cast(weight, i32), range(1, weight.rank))
        y = sub(y, mul(cast(single_or_same(zero_x), i32), as_channels(sums, rank)))
    if not is_zero(zero_w):
        assert zero_w is not None
        windows = build(bare, x, full(1, weight.shape, weight.dtype))
        if not is_zero(zero_x):
            assert zero_x is not None
            taps = scalar_like(dim_product(weight.shape[1:]), windows)
            windows = sub(windows, mul(taps, cast(single_or_same(zero_x), i32)))
        y = sub(y, mul(as_channels(cast(zero_w, i32), rank), windows))
    return y


def _padded(op: IntegerConv, pads: Sequence[Dim], x: Value, zero: Value | None) -> tuple[Value, IntegerConv]:
    """x and the convolution of it: where only a call knows the pads or the zero point, x has it around already."""
    rank = len(op.stride)
    if all(p == 0 for p in pads):
        return x, op
    before, after = (0, 0, *pads[:rank]), (0, 0, *pads[rank:])
    fill = 0 if zero is None else first_number(zero)
    if fill is not None:
        known = tuple(p for p in pads if isinstance(p, int))
        if len(known) == len(pads):
            return x, replace(op, pad=known, fill=fill)
        return pad_constant(x, before, after, fill), op
    assert zero is not None
    inside = pad_constant(full(True, x.shape[2:], constant(True).dtype), before[2:], after[2:], False)
    return where(inside, pad_constant(x, before, after, 0), single_or_same(zero)), op


def as_channels(value: Value, rank: int) -> Value:
    """One number, or one for each output channel, as it lies along [N, O, *S]."""
    if value.rank == 0 or value.shape == (1,):
        return reshape(value, ())
    return reshape(value, (1, value.shape[0], *(1,) * rank))
