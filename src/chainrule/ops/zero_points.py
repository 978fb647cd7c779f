"""Products of 8-bit integers less their zero points, from the products of the bytes themselves and their sums.

(a - s)(b - t) = ab - s*(sums of b) - t*(sums of a) + n*s*t: exact in 32 bits, wrapping alike. What depends on fixed
weights alone is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array
from chainrule.ir.types import f32, i8, i32, u8
from chainrule.ops.basic import Constant, constant, full, scalar_like
from chainrule.ops.compare import BitXor
from chainrule.ops.conv import Conv
from chainrule.ops.elementwise import BitCast, cast, mul, sub, where
from chainrule.ops.integer_products import IntegerConv, integer_matmul
from chainrule.ops.reduce import sum as total
from chainrule.ops.shaping import Reshape, pad_constant, reshape

_SIGN = 128  # between a byte without sign and one with it at the same place of their ranges


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
    sides = tuple(p for p in pads if isinstance(p, int))
    if len(sides) == len(pads) and op.by_channels(weight.tensor) and _fits_floats(weight):
        conv = Conv(op.stride, sides, op.dilation, op.groups)
        point = zero_w if zero_w is None or zero_w.rank == 0 else reshape(zero_w, (-1, *(1,) * (weight.rank - 1)))
        return cast(build(conv, _shifted_float(x, zero_x), _shifted_float(weight, point)), i32)
    weight, zero_w = _with_sign(weight, zero_w)
    x, bare = _padded(op, pads, x, zero_x)
    y = build(bare, x, weight)
    if not is_zero(zero_x):
        assert zero_x is not None
        sums = total(cast(weight, i32), range(1, weight.rank))
        y = sub(y, mul(cast(single_or_same(zero_x), i32), as_channels(sums, rank)))
    if not is_zero(zero_w):
        assert zero_w is not None
        alike = weight.shape if op.groups > 1 else (1, *weight.shape[1:])  # all outputs of a group see the same window
        windows = build(bare, x, full(1, alike, weight.dtype))
        if not is_zero(zero_x):
            assert zero_x is not None
            taps = scalar_like(dim_product(weight.shape[1:]), windows)
            windows = sub(windows, mul(taps, cast(single_or_same(zero_x), i32)))
        y = sub(y, mul(as_channels(cast(zero_w, i32), rank), windows))
    return y


def _fits_floats(weight: Value) -> bool:
    """True where f32 holds every sum of a window's products of shifted bytes exactly."""
    taps = dim_product(weight.shape[1:])
    return isinstance(taps, int) and taps * 255 * 255 <= 1 << 24


def _shifted_float(x: Value, zero: Value | None) -> Value:
    """x - zero as f32."""
    wide = cast(x, f32)
    return wide if zero is None or is_zero(zero) else sub(wide, cast(single_or_same(zero), f32))


def _with_sign(weight: Value, zero: Value | None) -> tuple[Value, Value | None]:
    """A weight of u8 as one of i8, as products of bytes take it, and its zero point, each 128 less."""
    if weight.dtype != u8:
        return weight, zero
    signed = build(BitCast(i8), build(BitXor(), weight, constant(_SIGN, u8)))
    known = np.zeros((), u8.numpy) if zero is None else numbers_of(zero)
    if known is None:
        assert zero is not None
        wide = cast(zero, i32)
        return signed, sub(wide, scalar_like(_SIGN, wide))
    return signed, constant(known.astype(np.int32) - _SIGN)


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
