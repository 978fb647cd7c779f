"""ONNX's quantisation family: numbers as small integers with a scale and a zero point, and products of them."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.importing.narrow import NARROW
from chainrule.backends.onnx.importing.readers_images import pads_of, window_of
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build
from chainrule.ir.types import DType, f32, u8
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.arithmetic import clip
from chainrule.ops.arithmetic import round as rounded
from chainrule.ops.basic import constant, scalar_like, zeros_like
from chainrule.ops.conv import kernel_of
from chainrule.ops.integer_products import IntegerConv
from chainrule.ops.quantise import Dequantize, Quantize
from chainrule.ops.repeating import repeat
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.zero_points import as_channels, shifted_conv, shifted_product, single_or_same


def quantised(x: Value, scale: Value, zero: Value | None, dtype: DType, bits: int = 0) -> Value:
    """round(x / scale) + zero as an integer type; bits: saturated to the range of so many."""
    return build(Quantize(dtype, bits), x, scale, constant(0, dtype) if zero is None else zero)


def dequantised(x: Value, scale: Value, zero: Value | None, dtype: DType) -> Value:
    """(x - zero) * scale."""
    wide = dtype if scale.dtype.bits < dtype.bits else scale.dtype
    point = constant(0, x.dtype) if zero is None else zero
    return el.cast(build(Dequantize(), x, el.cast(scale, wide), point), dtype)


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
    one = given.value(1).shape in ((), (1,))  # for all of x: quantisers leave an axis that x may not have
    axis = 0 if one else axis_of(given.whole("axis", 1), x.rank)
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
    wide, step = (el.cast(v, f32) if v.dtype.is_int else v for v in (x, scale))
    return quantised(wide, step, zero, dtype, bits)


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


def shifted_convolution(given: Given, x: Value, weight: Value, zero_x: Value | None,
                        zero_w: Value | None) -> Value:  # fmt: skip
    """The convolution of x - zero_x with weight - zero_w in i32, as a node says."""
    kernel = kernel_of(weight.tensor)
    stride, dilation = window_of(given, kernel)
    pads = pads_of(given, kernel, stride, dilation, x.shape[2:])
    op = IntegerConv(stride, (0,) * len(pads), dilation, given.whole("group", 1))
    return shifted_conv(op, pads, x, weight, zero_x, zero_w)


def integer_convolution(given: Given) -> Read:
    """The convolution of bytes less their zero points."""
    return shifted_convolution(given, given.value(0), given.value(1), optional(given, 2), optional(given, 3))


def quantised_convolution(given: Given) -> Read:
    """The convolution of quantised numbers, quantised; the bias is in units of the product of the scales."""
    x, scale_x, zero_x, weight, scale_w, zero_w, scale, zero = (given.value(i) for i in range(8))
    y = shifted_convolution(given, x, weight, zero_x, zero_w)
    rank = weight.rank - 2
    if given.has(8):
        y = el.add(y, as_channels(given.value(8), rank))
    factor = el.div(el.mul(as_channels(scale_x, rank), as_channels(scale_w, rank)), single_or_same(scale))
    steps = el.mul(el.cast(y, f32), factor)
    return quantised(steps, scalar_like(1.0, steps), single_or_same(zero), zero.dtype)


READERS: Mapping[str, Reader] = {
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize, "DynamicQuantizeLinear": dynamic_quantize,
    "MatMulInteger": integer_product, "QLinearMatMul": quantised_product, "ConvInteger": integer_convolution,
    "QLinearConv": quantised_convolution,
}  # fmt: skip
