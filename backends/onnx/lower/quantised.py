"""Quantised numbers as ONNX has them: bytes, with one scale and zero point, or one for each place of an axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from chainrule.backends.onnx.raw import DequantizeAlong, QuantizeAlong
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Op
from chainrule.ir.types import f32, i8, i32, u8
from chainrule.ops.integer_products import IntegerConv
from chainrule.ops.quantise import Dequantize, Quantize
from chainrule.ops.shaping import Reshape, expand, pad_constant, reshape
from chainrule.ops.zero_points import is_zero

Parts = Value | tuple[Value, ...] | None
OLD_BYTES = (i8, u8)  # what every version knows; 16 bits are said in other ops


def quantize(node: Value) -> Parts:
    """QuantizeLinear, where it has this type and the parameters lie along one axis."""
    op, (x, scale, zero) = node.op, node.inputs
    assert isinstance(op, Quantize)
    if op.bits or op.dtype not in OLD_BYTES or (x.dtype, scale.dtype) != (f32, f32):
        return None
    axis = _axis(x, scale, zero)
    if axis is None:
        return None
    return build(QuantizeAlong(op.dtype, axis), x, *_flat((scale, zero), x, axis))


def dequantize(node: Value) -> Parts:
    """DequantizeLinear, where it has this type; of i32 it has no zero point."""
    x, scale, zero = node.inputs
    if x.dtype not in (*OLD_BYTES, i32) or scale.dtype != f32 or (x.dtype == i32 and not is_zero(zero)):
        return None
    axis = _axis(x, scale, scale if x.dtype == i32 else zero)
    if axis is None:
        return None
    if x.dtype == i32:
        return build(DequantizeAlong(axis), x, *_flat((scale,), x, axis))
    return build(DequantizeAlong(axis), x, *_flat((scale, zero), x, axis))


def integer_conv(node: Value) -> Parts:
    """Padding of another number than 0 is put around the image."""
    op, (x, weight) = node.op, node.inputs
    assert isinstance(op, IntegerConv)
    if not op.fill or not any(op.pad):
        return None
    rank = len(op.stride)
    padded = pad_constant(x, (0, 0, *op.pad[:rank]), (0, 0, *op.pad[rank:]), op.fill)
    return build(replace(op, pad=(0,) * (2 * rank), fill=0), padded, weight)


def _axis(x: Value, *parameters: Value) -> int | None:
    """The axis of x that parameters lie along, 0 where each is one number; None where they lie along several."""
    found: set[int] = set()
    for parameter in parameters:
        ahead = x.rank - parameter.rank
        found |= {ahead + axis for axis, size in enumerate(parameter.shape) if size != 1}
    if len(found) > 1 or any(not isinstance(x.shape[axis], int) for axis in found):
        return None
    return next(iter(found), 0)


def _flat(parameters: Sequence[Value], x: Value, axis: int) -> list[Value]:
    """Parameters as ONNX wants them: each one number, or all of them rows along the axis."""
    sources: list[Value] = []
    for source in parameters:
        while isinstance(source.op, Reshape) and source.rank > 1:
            (source,) = source.inputs
        sources.append(source)
    if all(size == 1 for p in parameters for size in p.shape):
        return [reshape(p, ()) for p in sources]
    row = (x.shape[axis],)
    return [reshape(p, row) if any(n != 1 for n in p.shape) else expand(reshape(p, (1,)), row) for p in sources]


LOWERINGS: Mapping[type[Op], Callable[[Value], Parts]] = {
    Quantize: quantize, Dequantize: dequantize, IntegerConv: integer_conv,
}  # fmt: skip
