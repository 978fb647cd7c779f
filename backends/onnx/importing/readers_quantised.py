"""ONNX's quantisation family: numbers as small integers with a scale and a zero point, and products of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.importing.narrow import NARROW, limits_of
from chainrule.backends.onnx.importing.readers_images import Read, Reader, pads_of, window_of
from chainrule.backends.onnx.node import Given
from chainrule.errors import ModelError
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.types import DType, f32, i32, u8
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.arithmetic import clip
from chainrule.ops.arithmetic import round as rounded
from chainrule.ops.basic import Constant, constant, full, scalar_like, zeros_like
from chainrule.ops.conv import kernel_of
from chainrule.ops.integer_products import IntegerConv, integer_matmul
from chainrule.ops.repeating import repeat
from chainrule.ops.shape_rules import axis_of


def quantised(x: Value, scale: Value, zero: Value | None, dtype: DType, bits: int = 0) -> Value:
    """round(x / scale) + zero as an integer type, saturated; halves go to the even number, NaN counts as 0.

    bits: to whose range it saturates where that is not the type's own.
    """
    wide = f32 if x.dtype.bits == 16 else x.dtype
    steps = rounded(el.div(el.cast(x, wide), el.cast(scale, wide)))
    low, high = limits_of(dtype, bits)
    if zero is None:
        return el.cast(clip(steps, float(low), float(high)), dtype)
    # Beyond these bounds every zero point leads out of the type; within them i32 holds the sum.
    span = float(high) - float(low)
    whole = el.add(el.cast(clip(steps, -span, span), i32), el.cast(zero, i32))
    return el.cast(clip(whole, low, high), dtype)


def dequantised(x: Value, scale: Value, zero: Value | None, dtype: DType) -> Value:
    """(x - zero) * scale, in f32 where the type is narrower."""
    whole = el.cast(x, i32)
    if zero is not None:
        whole = el.sub(whole, el.cast(zero, i32))
    wide = f32 if dtype.bits == 16 else dtype
    return el.cast(el.mul(el.cast(whole, wide), el.cast(scale, wide)), dtype)


def along(given: Given, parameter: Value, x: Value, axis: int) -> Value:
    """A scale or zero point as it lies along x: one for all, one for each position of an axis, or one for a block."""
    if parameter.rank == 0 or parameter.shape == (1,):
        return sh.reshape(parameter, ())
    if parameter.rank == 1:
        shape: list[Dim] = [1] * x.rank
        shape[axis] = parameter.shape[0]
        return sh.reshape(parameter, shape)
    block = given.whole("block_size", 0)
    if parameter.rank != x.rank or block < 1:
        raise ModelError(f"{given.op_type}: {parameter.type} with blocks of {block} does not lie along {x.type}")
    return sh.narrow(repeat(parameter, block, axis), axis, 0, x.shape[axis])


def _parameters(given: Given) -> tuple[Value, Value, Value | None]:
    """x, and the scale and the zero point as they lie along it."""
    x = given.value(0)
    axis = axis_of(given.whole("axis", 1), x.rank) if x.rank > 1 or (given.value(1).rank > 0 and x.rank) else 0
    zero = along(given, given.value(2), x, axis) if given.has(2) else None
    return x, along(given, given.value(1), x, axis), zero


def quantize(given: Given) -> Read:
    """To the zero point's type, or the one that is named, or u8."""
    x, scale, zero = _parameters(given)
    named = given.whole("output_dtype", 0)
    bits, dtype = NARROW.get(named, (0, u8))
    if zero is not None:
        bits, dtype = given.entry(2).bits, zero.dtype
    elif named and not bits:
        dtype = dtype_of(named)
    precision = given.whole("precision", 0)
    if precision:
        x, scale = el.cast(x, dtype_of(precision)), el.cast(scale, dtype_of(precision))
    wide = x if not x.dtype.is_int else el.cast(x, f32)
    return quantised(wide, scale, zero, dtype, bits)


def dequantize(given: Given) -> Read:
    """To the scale's type, or the one that is named."""
    x, scale, zero = _parameters(given)
    named = given.whole("output_dtype", 0)
    return dequantised(x, scale, zero, dtype_of(named) if named else scale.dtype)


def dynamic_quantize(given: Given) -> Read:
    """To u8 by the range of x itself, stretched to hold 0; y, its scale and its zero point."""
    x = given.value(0)
    zero = zeros_like(red.amax(x))
    low, high = el.minimum(red.amin(x), zero), el.maximum(red.amax(x), zero)
    scale = el.div(el.sub(high, low), scalar_like(255.0, low))
    point = el.cast(rounded(clip(el.div(el.neg(low), scale), 0.0, 255.0)), u8)
    return quantised(x, scale, point, u8), scale, point


def _is_zero(zero: Value | None) -> bool:
    return zero is None or (isinstance(zero.op, Constant) and not zero.op.data.array.any())


def shifted_product(a: Value, b: Value, zero_a: Value | None, zero_b: Value | None) -> Value:
    """(a - zero_a) @ (b - zero_b) in i32, from the product of the bytes themselves.

    It is a @ b - zero_a * (sums of b's columns) - zero_b * (sums of a's rows) + K * zero_a * zero_b, wrapping alike.
    """
    y = integer_matmul(a, b)
    if not _is_zero(zero_a):
        assert zero_a is not None
        y = el.sub(y, el.mul(el.cast(zero_a, i32), red.sum(el.cast(b, i32), -2, True)))
    if not _is_zero(zero_b):
        assert zero_b is not None
        rows = red.sum(el.cast(a, i32), -1, True)
        if not _is_zero(zero_a):
            assert zero_a is not None
            depth = scalar_like(a.shape[-1], rows)
            rows = el.sub(rows, el.mul(depth, el.cast(zero_a, i32)))
        y = el.sub(y, el.mul(el.cast(zero_b, i32), rows))
    return y


def by_rows(point: Value | None) -> Value | None:
    """A parameter of the left operand: one, or one for each row."""
    return point if point is None or point.rank != 1 else _single(point) or sh.unsqueeze(point, 1)


def by_columns(point: Value | None) -> Value | None:
    """A parameter of the right operand: one, or one for each column."""
    return point if point is None or point.rank != 1 else _single(point) or sh.unsqueeze(point, 0)


def _single(point: Value) -> Value | None:
    return sh.reshape(point, ()) if point.shape == (1,) else None


def optional(given: Given, position: int) -> Value | None:
    """An input, None where it is left out."""
    return given.value(position) if given.has(position) else None


def _matrices(a: Value, b: Value) -> tuple[Value, Value]:
    """Operands with at least two axes: a vector is a row on the left, a column on the right."""
    return (sh.unsqueeze(a, 0) if a.rank == 1 else a), (sh.unsqueeze(b, 1) if b.rank == 1 else b)


def _without_added(y: Value, a: Value, b: Value) -> Value:
    rows, columns = y.shape[-2:]
    return sh.reshape(y, (*y.shape[:-2], *(() if a.rank == 1 else (rows,)), *(() if b.rank == 1 else (columns,))))


def integer_product(given: Given) -> Read:
    """The product of two matrices of bytes less their zero points."""
    a, b = given.value(0), given.value(1)
    left, right = _matrices(a, b)
    y = shifted_product(left, right, by_rows(optional(given, 2)), by_columns(optional(given, 3)))
    return _without_added(y, a, b)


def quantised_product(given: Given) -> Read:
    """The product of two quantised matrices, quantised."""
    a, scale_a, zero_a, b, scale_b, zero_b, scale, zero = (given.value(i) for i in range(8))
    left, right = _matrices(a, b)
    y = shifted_product(left, right, by_rows(zero_a), by_columns(zero_b))
    factor_a, factor_b = by_rows(el.cast(scale_a, f32)), by_columns(el.cast(scale_b, f32))
    assert factor_a is not None and factor_b is not None
    exact = el.mul(el.cast(y, f32), el.mul(factor_a, factor_b))
    return _without_added(quantised(exact, single_or_same(scale), single_or_same(zero), zero.dtype), a, b)


def single_or_same(point: Value) -> Value:
    """A parameter that is one number as a scalar, whether it has an axis or not."""
    return _single(point) or point


def shifted_convolution(given: Given, x: Value, weight: Value, zero_x: Value | None,
                        zero_w: Value | None) -> Value:  # fmt: skip
    """The convolution of x - zero_x with weight - zero_w in i32, from that of the bytes themselves.

    The padding of x - zero_x is 0, so that x is padded with its zero point.
    """
    kernel = kernel_of(weight.tensor)
    stride, dilation = window_of(given, kernel)
    pads = pads_of(given, kernel, stride, dilation, x.shape[2:])
    groups, rank = given.whole("group", 1), len(kernel)
    bare = IntegerConv(stride, (0,) * (2 * rank), dilation, groups)
    x = _padded(x, zero_x, pads, rank)
    y = build(bare, x, weight)
    if not _is_zero(zero_x):
        assert zero_x is not None
        sums = red.sum(el.cast(weight, i32), range(1, weight.rank))
        y = el.sub(y, el.mul(el.cast(single_or_same(zero_x), i32), _as_channels(sums, rank)))
    if not _is_zero(zero_w):
        assert zero_w is not None
        ones = full(1, (weight.shape[0], *weight.shape[1:]), weight.dtype)
        windows = build(bare, x, ones)
        if not _is_zero(zero_x):
            assert zero_x is not None
            taps = scalar_like(dim_product(weight.shape[1:]), windows)
            windows = el.sub(windows, el.mul(taps, el.cast(single_or_same(zero_x), i32)))
        y = el.sub(y, el.mul(_as_channels(el.cast(zero_w, i32), rank), windows))
    return y


def _padded(x: Value, zero: Value | None, pads: Sequence[Dim], rank: int) -> Value:
    if all(p == 0 for p in pads):
        return x
    before, after = (0, 0, *pads[:rank]), (0, 0, *pads[rank:])
    if _is_zero(zero):
        return sh.pad_constant(x, before, after, 0)
    assert zero is not None
    if isinstance(zero.op, Constant):
        return sh.pad_constant(x, before, after, zero.op.data.array.reshape(-1)[0].item())
    inside = sh.pad_constant(full(True, x.shape[2:], constant(True).dtype), before[2:], after[2:], False)
    return el.where(inside, sh.pad_constant(x, before, after, 0), single_or_same(zero))


def _as_channels(value: Value, rank: int) -> Value:
    """One number, or one for each output channel, as it lies along [N, O, *S]."""
    if value.rank == 0 or value.shape == (1,):
        return sh.reshape(value, ())
    return sh.reshape(value, (1, value.shape[0], *(1,) * rank))


def integer_convolution(given: Given) -> Read:
    """The convolution of bytes less their zero points."""
    return shifted_convolution(given, given.value(0), given.value(1), optional(given, 2), optional(given, 3))


def quantised_convolution(given: Given) -> Read:
    """The convolution of quantised numbers, quantised; the bias is in units of the product of the scales."""
    x, scale_x, zero_x, weight, scale_w, zero_w, scale, zero = (given.value(i) for i in range(8))
    y = shifted_convolution(given, x, weight, zero_x, zero_w)
    rank = weight.rank - 2
    if given.has(8):
        y = el.add(y, _as_channels(given.value(8), rank))
    factor = el.div(el.mul(_as_channels(scale_x, rank), _as_channels(scale_w, rank)), single_or_same(scale))
    steps = el.mul(el.cast(y, f32), factor)
    return quantised(steps, scalar_like(1.0, steps), single_or_same(zero), zero.dtype)


READERS: Mapping[str, Reader] = {
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize, "DynamicQuantizeLinear": dynamic_quantize,
    "MatMulInteger": integer_product, "QLinearMatMul": quantised_product, "ConvInteger": integer_convolution,
    "QLinearConv": quantised_convolution,
}  # fmt: skip
