"""Ops of the domain com.microsoft on quantised numbers: what onnxruntime's quantiser writes besides ONNX's own.

An op on bytes means: dequantise, compute in f32, quantise. Products are summed exactly, as ONNX's own are. onnxruntime
takes other roads to the same numbers (tables, scales joined beforehand), so its results may be a step away.
Source: onnxruntime's ContribOperators.md, checked against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chainrule.backends.onnx.importing.readers_contrib import embed_layer_norm
from chainrule.backends.onnx.importing.readers_contrib_heads import heads_attended
from chainrule.backends.onnx.importing.readers_images import global_pool
from chainrule.backends.onnx.importing.readers_quantised import (
    by_columns,
    by_rows,
    dequantised,
    dynamic_quantize,
    optional,
    quantised,
    quantised_convolution,
)
from chainrule.backends.onnx.importing.readers_windows import average_pooling, max_pooling
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError
from chainrule.ir.dims import dim_product
from chainrule.ir.graph import Value
from chainrule.ir.types import f32, u8
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.activations import leaky_relu, number
from chainrule.ops.basic import constant, scalar_like
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.softmax import softmax
from chainrule.ops.transcendental import sigmoid
from chainrule.ops.zero_points import shifted_product, single_or_same

Pair = Callable[[Value, Value], Value]
Function = Callable[[Given, Value], Value]


def real(given: Given, at: int, scale: int | None = None, zero: int | None = None) -> Value:
    """The quantised input at a place as f32; its scale and zero point follow it, or lie elsewhere."""
    scale, zero = at + 1 if scale is None else scale, at + 2 if zero is None else zero
    point = optional(given, zero)
    x = given.value(at)
    _require_bytes(given, x)
    return dequantised(x, single_or_same(given.value(scale)), None if point is None else single_or_same(point), f32)


def stepped(given: Given, y: Value, scale: int, like: Value) -> Value:
    """y quantised by the scale at a place and the zero point behind it, to the type of another value."""
    point = optional(given, scale + 1)
    zero = None if point is None else single_or_same(point)
    return quantised(y, single_or_same(given.value(scale)), zero, like.dtype)


def _require_bytes(given: Given, x: Value) -> None:
    if not x.dtype.is_int or x.dtype.bits > 16:
        raise ModelError(f"{given.op_type}: {x.type} is not quantised")


# -- element by element ------------------------------------------------------------------------------------------------


def of_pairs(function: Pair) -> Reader:
    """QLinearAdd: both operands broadcast."""

    def read(given: Given) -> Read:
        return stepped(given, function(real(given, 0), real(given, 3)), 6, given.value(0))

    return read


def multiplied(given: Given) -> Read:
    """QLinearMul: whole numbers are multiplied first, then by the scales. A mask's -3.4e38 in 127 steps may be infinite
    as a float, and 0 times it no number."""
    scales = el.mul(*(single_or_same(given.value(at)) for at in (1, 4)))
    return stepped(given, el.mul(el.mul(_whole(given, 0), _whole(given, 3)), scales), 6, given.value(0))


def _whole(given: Given, at: int) -> Value:
    """The quantised input at a place less its zero point, as f32."""
    point, x = optional(given, at + 2), given.value(at)
    _require_bytes(given, x)
    return dequantised(x, constant(1.0, f32), None if point is None else single_or_same(point), f32)


def of_one(function: Function) -> Reader:
    """An op on each quantised number, or on images of them."""

    def read(given: Given) -> Read:
        return stepped(given, function(given, real(given, 0)), 3, given.value(0))

    return read


def _leaky(given: Given, x: Value) -> Value:
    return leaky_relu(x, given.fraction("alpha", 0.01))


def _softmax(given: Given, x: Value) -> Value:
    """Before opset 13 all axes from one on count as one."""
    axis = axis_of(given.whole("axis", -1), x.rank)
    if given.whole("opset") >= 13:
        return softmax(x, axis)
    flat = sh.reshape(x, (dim_product(x.shape[:axis]), dim_product(x.shape[axis:])))
    return sh.reshape(softmax(flat, 1), x.shape)


def chosen(given: Given) -> Read:
    """QLinearWhere: one of two quantised arrays, element by element."""
    y = el.where(given.value(0), real(given, 1), real(given, 4))
    return stepped(given, y, 7, given.value(8))


def joined(given: Given) -> Read:
    """QLinearConcat: arrays of any scales side by side."""
    count, rest = divmod(len(given.entries) - 2, 3)
    if count < 1 or rest:
        raise ModelError(f"QLinearConcat: {len(given.entries)} inputs are not 2 and three for each array")
    parts = [real(given, 2 + 3 * i) for i in range(count)]
    return stepped(given, sh.concat(parts, given.whole("axis")), 0, given.value(1))


# -- images ------------------------------------------------------------------------------------------------------------


def _last(given: Given) -> bool:
    return bool(given.whole("channels_last", 0))


def turned(x: Value, to_last: bool) -> Value:
    """An image with its channels last as one with them first, or the other way round."""
    return sh.transpose(x, (0, *range(2, x.rank), 1) if to_last else (0, x.rank - 1, *range(1, x.rank - 1)))


def _pooled(pool: Reader) -> Function:
    """A pool of quantised images with their channels first or last."""

    def function(given: Given, x: Value) -> Value:
        y = pool(given.with_values(turned(x, False) if _last(given) else x))
        assert isinstance(y, Value)
        return turned(y, True) if _last(given) else y

    return function


def last_max_pool(given: Given) -> Read:
    """NhwcMaxPool: MaxPool of an image with its channels last."""
    y = max_pooling(given.with_values(turned(given.value(0), False)))
    assert isinstance(y, Value)
    return turned(y, True)


def convolution(given: Given) -> Read:
    """QLinearConv, its image with channels first or last."""
    if not _last(given):
        return quantised_convolution(given)
    rest = [optional(given, i) for i in range(1, len(given.entries))]
    y = quantised_convolution(given.with_values(turned(given.value(0), False), *rest))
    assert isinstance(y, Value)
    return turned(y, True)


# -- products ----------------------------------------------------------------------------------------------------------


def scaled_product(a: Value, b: Value, scales: Sequence[Value], zeros: Sequence[Value | None]) -> Value:
    """The product of bytes less their zero points, in units of the scales: f32. Parameters of b may go by columns."""
    y = shifted_product(a, b, by_rows(zeros[0]), by_columns(zeros[1]))
    left, right = by_rows(el.cast(scales[0], f32)), by_columns(el.cast(scales[1], f32))
    assert left is not None and right is not None
    return el.mul(el.cast(y, f32), el.mul(left, right))


def product_to_float(given: Given) -> Read:
    """MatMulIntegerToFloat: a product of bytes, its scales and a bias, in f32."""
    scales, zeros = [given.value(2), given.value(3)], [optional(given, 4), optional(given, 5)]
    y = scaled_product(given.value(0), given.value(1), scales, zeros)
    return el.add(y, given.value(6)) if given.has(6) else y


def dynamic_product(given: Given) -> Read:
    """DynamicQuantizeMatMul: a is quantised by its own range first."""
    found = dynamic_quantize(given.with_values(given.value(0)))
    assert isinstance(found, tuple)
    a, scale, zero = (v for v in found if isinstance(v, Value))
    y = scaled_product(a, given.value(1), (scale, given.value(2)), (zero, optional(given, 3)))
    return el.add(y, given.value(4)) if given.has(4) else y


def general_product(given: Given) -> Read:
    """QGemm: alpha * (A B + C) in units of the scales, quantised where there is a scale for the result."""
    a, b = given.value(0), given.value(3)
    if a.rank != 2 or b.rank != 2:
        raise ModelError(f"QGemm: {a.type} and {b.type} are not two matrices")
    a = sh.transpose(a) if given.whole("transA", 0) else a
    b = sh.transpose(b) if given.whole("transB", 0) else b
    zeros = by_rows(optional(given, 2)), by_columns(optional(given, 5))
    y = shifted_product(a, b, *zeros)
    y = el.add(y, given.value(6)) if given.has(6) else y
    left, right = by_rows(given.value(1)), by_columns(given.value(4))
    assert left is not None and right is not None
    factor, alpha = el.mul(left, right), given.fraction("alpha", 1.0)
    exact = el.mul(el.cast(y, f32), factor if alpha == 1.0 else el.mul(number(alpha, factor), factor))
    if not given.has(7):
        return exact
    like = given.value(8) if given.has(8) else scalar_like(0, el.cast(y, u8))
    return stepped(given, exact, 7, like)


# -- transformers ------------------------------------------------------------------------------------------------------


def attention(given: Given) -> Read:
    """QAttention: Attention whose input and projection are quantised."""
    scales, zeros = (given.value(3), given.value(4)), (optional(given, 6), optional(given, 7))
    whole = el.add(scaled_product(given.value(0), given.value(1), scales, zeros), given.value(2))
    return heads_attended(given, whole, mask=5, past=8)


def embedding(given: Given) -> Read:
    """QEmbedLayerNormalization: EmbedLayerNormalization of quantised tables."""
    tables = [real(given, 2 + i, 8 + i, 13 + i) if given.has(2 + i) else None for i in range(5)]
    return embed_layer_norm(given.with_values(given.value(0), optional(given, 1), *tables, optional(given, 7)))


READERS: Mapping[str, Reader] = {
    "QLinearAdd": of_pairs(el.add), "QLinearMul": multiplied,
    "QLinearSigmoid": of_one(lambda given, x: sigmoid(x)), "QLinearLeakyRelu": of_one(_leaky),
    "QLinearSoftmax": of_one(_softmax),
    "QLinearAveragePool": of_one(_pooled(average_pooling)),
    "QLinearGlobalAveragePool": of_one(_pooled(global_pool(red.mean))),
    "QLinearWhere": chosen, "QLinearConcat": joined, "QLinearConv": convolution, "NhwcMaxPool": last_max_pool,
    "MatMulIntegerToFloat": product_to_float, "DynamicQuantizeMatMul": dynamic_product, "QGemm": general_product,
    "QAttention": attention, "QEmbedLayerNormalization": embedding,
}  # fmt: skip
