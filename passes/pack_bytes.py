"""Gives products of bytes with a fixed weight what the processor's instruction takes: u8 rows and i8 panels.

The instruction multiplies four u8 by four i8 and adds them up. Bytes of the other sign are moved by 128 into its range,
and sums of the other operand take the difference away again; all of it wraps in 32 bits alike, so it stays exact. The
weight's part is ordinary nodes of fixed values, which passes.hoist computes once per set of weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ir.types import DType, i8, i32, u8
from chainrule.ops.basic import full, scalar_like
from chainrule.ops.conv import kernel_of
from chainrule.ops.elementwise import add, cast, mul, sub
from chainrule.ops.integer_products import IntegerConv, IntegerMatMul
from chainrule.ops.lowered import panel_count
from chainrule.ops.lowered_bytes import GROUP, ByteConv, ByteMatMul
from chainrule.ops.lowered_grouped import runs_of
from chainrule.ops.reduce import Sum
from chainrule.ops.shaping import pad_constant, reshape, transpose
from chainrule.passes.base import Notes, Pass
from chainrule.passes.pack import TILES, Tiles, even_width
from chainrule.passes.rewrite import fixed_values

_SHIFT = 128


@dataclass(frozen=True)
class PackBytes(Pass):
    """integer_matmul(a, w) becomes byte_matmul where w is fixed and one matrix; integer_conv(x, w) of a fixed weight
    becomes one of u8 by i8, which the layout pass takes."""

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
            if not all(isinstance(n, int) and n > 0 for n in w.shape):
                return None
            if isinstance(node.op, IntegerConv):
                return _unsigned_conv(node.op, x, w)
            if w.rank != 2:
                return None
            notes.count("fixed weight of bytes")
            return byte_product(x, w, self.tiles)

        return rewrite(graph, rule)


def takes_conv(node: Value) -> bool:
    """True for a convolution of bytes that has a kernel: u8 by i8 of known size, several channels in a group."""
    op = node.op
    if not isinstance(op, IntegerConv) or op.by_channels(node.inputs[1].tensor):
        return False
    x, w = node.inputs
    return (x.dtype, w.dtype) == (u8, i8) and all(isinstance(n, int) and n > 0 for n in w.shape) and x.rank <= 5


def _unsigned_conv(op: IntegerConv, x: Value, w: Value) -> Value | None:
    """A convolution of u8 by i8 for one of other signs, less sums of the weight, and with sums of windows of x."""
    if (x.dtype, w.dtype) == (u8, i8) or op.by_channels(w.tensor) or (w.dtype != i8 and op.groups > 1):
        return None
    image, moved = _moved(x, u8, _SHIFT), _moved(w, i8, -_SHIFT)
    op = op if image is x else replace(op, fill=op.fill + _SHIFT)
    y = build(op, image, moved)
    if moved is not w:
        y = add(y, _times(_SHIFT, build(op, image, full(1, (1, *w.shape[1:]), i8))))
    if image is not x:
        sums = build(Sum(tuple(range(1, w.rank))), cast(w, i32))
        y = sub(y, _times(_SHIFT, reshape(sums, (w.shape[0], *(1,) * (w.rank - 2)))))
    return y


def conv_of_bytes(node: Value, op: IntegerConv, x: Value, w: Value, width: int) -> Value:
    """The convolution with channels last. x: [N, *S, C]; width: columns of the packed weight's panels.

    One tap at stride 1 is a product with the pixels, where these are whole steps of the depth.
    """
    rank, outs = len(op.stride), int(w.shape[0])  # type: ignore[arg-type]
    kernel = kernel_of(w.tensor)
    one = all(n == 1 for n in (*kernel, *op.stride)) and not any(op.pad) and op.groups == 1
    if one and int(w.shape[1]) % GROUP == 0:  # type: ignore[arg-type]
        return build(ByteMatMul(outs), x, byte_panels(transpose(reshape(w, w.shape[:2]), (1, 0)), width))
    axes = (op.stride, op.pad[:rank], op.dilation)
    made = ByteConv(kernel, *axes, op.groups, outs, node.shape[2:], (1,) * rank, op.fill)
    return build(made, x, kernel_panels(w, op, width))


def kernel_panels(w: Value, op: IntegerConv, width: int) -> Value:
    """i8[O, C/groups, *K] in panels of groups of rows, filled up with zeros: see ByteConv."""
    outs, ins, *kernel = (int(n) for n in w.shape)  # type: ignore[arg-type]
    part, rank = outs // op.groups, len(kernel)
    count, length = runs_of(kernel, ins, op.groups, op.dilation, (1,) * len(kernel))
    steps, panels = -(-length // GROUP), -(-part // width)
    rows = transpose(reshape(w, (op.groups, part, ins, *kernel)), (0, *range(3, 3 + rank), 2, 1))
    rows = reshape(rows, (op.groups, count, length, part))
    rows = pad_constant(rows, (0,) * 4, (0, 0, steps * GROUP - length, panels * width - part))
    apart = reshape(rows, (op.groups, count * steps, GROUP, panels, width))
    return reshape(transpose(apart, (0, 3, 1, 4, 2)), (op.groups, panels, count * steps, width * GROUP))


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
