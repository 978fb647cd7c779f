"""Gives products of bytes with a fixed weight what the processor's instruction takes: u8 rows and i8 panels.

The instruction multiplies four u8 by four i8 and adds them up. Bytes of the other sign are moved by 128 into its range,
and sums of the other operand take the difference away again; all of it wraps in 32 bits alike, so it stays exact. The
weight's part is ordinary nodes of fixed values, which passes.hoist computes once per set of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ir.types import DType, i8, i32, u8
from chainrule.ops.basic import scalar_like
from chainrule.ops.elementwise import add, cast, mul, sub
from chainrule.ops.integer_products import IntegerConv, IntegerMatMul
from chainrule.ops.lowered import panel_count
from chainrule.ops.lowered_bytes import GROUP, ByteMatMul
from chainrule.ops.reduce import Sum
from chainrule.ops.shaping import pad_constant, reshape, transpose
from chainrule.passes.base import Notes, Pass
from chainrule.passes.pack import TILES, Tiles, even_width
from chainrule.passes.rewrite import fixed_values

_SHIFT = 128


@dataclass(frozen=True)
class PackBytes(Pass):
    """integer_matmul(a, w), and integer_conv by 1x1 kernels, become byte_matmul where w is fixed and one matrix."""

    name: ClassVar[str] = "pack-bytes"
    tiles: tuple[tuple[int, int], ...] = TILES

    def __str__(self) -> str:
        return self.name

    def run(self, graph: Graph, notes: Notes) -> Graph:
        fixed = fixed_values(graph)

        def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            if not isinstance(node.op, IntegerMatMul | IntegerConv) or node.inputs[1] not in fixed:
                return None
            x, w = inputs
            if not all(isinstance(n, int) and n > 0 for n in w.shape) or not _is_product(node.op, w):
                return None
            notes.count("fixed weight of bytes")
            return (byte_product if isinstance(node.op, IntegerMatMul) else _pixel_product)(x, w, self.tiles)

        return rewrite(graph, rule)


def byte_product(a: Value, w: Value, tiles: Tiles) -> Value:
    """The product of bytes of any sign. With a = a' - s and w = w' + t it is a' w' + t sum(a') - s sum(w), by rows and
    by columns."""
    left, right = _moved(a, u8, _SHIFT), _moved(w, i8, -_SHIFT)
    depth, columns = int(w.shape[0]), int(w.shape[1])  # type: ignore[arg-type]
    width = even_width(columns, tiles, i32)
    rest = -depth % GROUP
    rows = pad_constant(left, (0,) * a.rank, (*(0,) * (a.rank - 1), rest))
    y = build(ByteMatMul(columns), rows, byte_panels(right, width))
    if left is not a:
        y = sub(y, _times(_SHIFT, build(Sum((0,)), cast(w, i32))))
    if right is not w:
        y = add(y, _times(_SHIFT, build(Sum((-1,), keepdims=True), cast(left, i32))))
    return y


def _is_product(op: IntegerMatMul | IntegerConv, w: Value) -> bool:
    """True for a product with one matrix, and for a convolution that takes each pixel alone, which is one."""
    if isinstance(op, IntegerMatMul):
        return w.rank == 2
    return op.groups == 1 and not any(op.pad) and all(n == 1 for n in (*op.stride, *w.shape[2:]))


def _pixel_product(x: Value, w: Value, tiles: Tiles) -> Value:
    """A convolution by 1x1 kernels: the channels of each pixel times the weight.

    Turning the image and the result is cheap next to products of f32: measured beside onnxruntime's ConvInteger, one
    thread, 0.44 to 0.83 of its time, where the decomposition took 2.0 to 3.0.
    """
    columns = transpose(reshape(w, w.shape[:2]), (1, 0))
    pixels = transpose(x, (0, *range(2, x.rank), 1))
    return transpose(byte_product(pixels, columns, tiles), (0, x.rank - 1, *range(1, x.rank - 1)))


def byte_panels(w: Value, width: int) -> Value:
    """i8[K, N] in panels of groups of rows, filled up with zeros: see ByteMatMul."""
    depth, columns = int(w.shape[0]), int(w.shape[1])  # type: ignore[arg-type]
    steps, count = panel_count(depth, GROUP), panel_count(columns, width)
    assert isinstance(steps, int) and isinstance(count, int)
    full = pad_constant(w, (0, 0), (steps * GROUP - depth, count * width - columns))
    turned = transpose(reshape(full, (steps, GROUP, count, width)), (2, 0, 3, 1))
    return reshape(turned, (count, steps, width * GROUP))


def _moved(x: Value, dtype: DType, by: int) -> Value:
    """x as bytes of a type, by so much larger where it has the other sign."""
    wide = cast(x, i32)
    return x if x.dtype == dtype else cast(add(wide, scalar_like(by, wide)), dtype)


def _times(factor: int, x: Value) -> Value:
    return mul(x, scalar_like(factor, x))
