"""Finds products of quantised numbers and makes them products of the bytes themselves.

A static quantised graph is written in floats: dequantize, an op, quantize. A convolution or product between dequantized
operands is the integer one times both scales, with the zero point's share taken away by sums of the weight:

    conv((x - z) * s, w * t) = (conv(x, w) - z * sum(w)) * s * t

What follows in floats, down to the next quantize, is elementwise and is computed in the product's stores. Ops that
only move numbers, and maximum pools, move bytes instead: dequantize goes down through them and quantize up. A quantize
behind a product divides the scales, which are fixed, instead of every number. i8 activations become u8, as the
instructions for products take them: both their ends are here, so nothing of it is left in the program.

Results may be a step of the quantisation away from the floats' where those lie within rounding of a half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from chainrule.ir.graph import Graph, Input, Value, build, rewrite
from chainrule.ir.op import Op
from chainrule.ir.types import f32, i8, u8
from chainrule.ops.activations import Relu
from chainrule.ops.arithmetic import Clip
from chainrule.ops.basic import Constant, constant, scalar_like
from chainrule.ops.compare import BitXor
from chainrule.ops.conv import Conv, kernel_of
from chainrule.ops.elementwise import Add, BitCast, Mul, add, cast, div, mul, sub
from chainrule.ops.integer_products import IntegerConv
from chainrule.ops.matmul import MatMul
from chainrule.ops.pool import MaxPool
from chainrule.ops.quantise import Dequantize, Quantize, RoundTo, limits
from chainrule.ops.shaping import Concat, Flip, Pad, Reshape, Slice, Transpose, reshape, transpose
from chainrule.ops.zero_points import as_channels, first_number, numbers_of, shifted_conv, shifted_product
from chainrule.passes.base import Notes, Pass
from chainrule.passes.fold import scalar_of
from chainrule.passes.rewrite import fixed_values

MOVERS = (Reshape, Transpose, Slice, Flip, MaxPool, Concat, Pad)
SIGN = 128  # between a byte with a sign and the one without of the same place in their ranges
MOST_TAPS = (1 << 24) // (255 * 128)  # of which f32 holds the sum of products
MOST_MADE = 16  # nodes between a value that is made here and fixed ones
DEPTH = 6  # elementwise ops between a product and the quantize behind it that are looked through


@dataclass(frozen=True)
class RecogniseBytes(Pass):
    """Convolutions, products and moves between dequantize and quantize become those of bytes."""

    name: ClassVar[str] = "recognise-bytes"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        if not any(isinstance(node.op, Dequantize | Quantize) for node in graph.nodes):
            return graph
        return rewrite(graph, _Bytes(graph, notes).rewritten)


class _Bytes:
    """The rules, applied to a graph whose producers were rewritten already."""

    def __init__(self, graph: Graph, notes: Notes) -> None:
        self.graph, self.notes = graph, notes
        self.fixed = set(fixed_values(graph))

    def rewritten(self, node: Value, inputs: tuple[Value, ...]) -> Value | None:
        """What takes the node's place; None keeps it."""
        found = self._rewritten(node, inputs)
        if found is not None and node in self.fixed:
            self.fixed.add(found)
        return found

    def _rewritten(self, node: Value, inputs: tuple[Value, ...]) -> Value | None:
        if node in self.fixed:
            return None
        match node.op:
            case Dequantize():
                return _dequantised(*inputs)
            case Quantize():
                return self._quantised(node, node.op, inputs)
            case Conv():
                return self._convolution(node.op, *inputs)
            case MatMul():
                return self._product(node.op, *inputs)
            case Reshape() | Transpose() | Slice() | Flip() | MaxPool() | Concat() | Pad():
                return _moved(node.op, inputs)
            case _:
                return None

    # -- products ------------------------------------------------------------------------------------------------------

    def _convolution(self, op: Conv, x: Value, w: Value, bias: Value | None = None) -> Value | None:
        left, right = _activation(x), self._weight(w, 0)
        if left is None or right is None:
            return None
        (image, scale, zero), (kernel, by) = left, right
        rank = len(op.stride)
        factor = self._fix(mul(scale, as_channels(by, rank)))
        taps = kernel_of(kernel.tensor)
        if kernel.shape[1] == 1 and op.groups == x.shape[1] == kernel.shape[0] and math.prod(taps) <= MOST_TAPS:
            self.notes.count("convolution of bytes by channels")
            y = build(op, _whole(image, zero), self._fix(cast(kernel, f32)))
        else:
            self.notes.count("convolution of bytes")
            bare = IntegerConv(op.stride, (0,) * len(op.pad), op.dilation, op.groups)
            y = cast(shifted_conv(bare, op.pad, image, kernel, constant(zero, u8), None), f32)
        y = mul(y, factor)
        return y if bias is None else add(y, self._fix(as_channels(bias, rank)))

    def _product(self, op: MatMul, a: Value, b: Value) -> Value | None:
        left, right = _activation(a), self._weight(b, 0 if op.transpose_b else 1)
        if left is None or right is None or b.rank != 2 or op.transpose_a:
            return None
        (rows, scale, zero), (matrix, by) = left, right
        self.notes.count("product of bytes")
        matrix = self._fix(transpose(matrix, (1, 0))) if op.transpose_b else matrix
        y = shifted_product(rows, matrix, constant(zero, u8), None)
        return mul(cast(y, f32), self._fix(mul(scale, by)))

    def _weight(self, w: Value, axis: int) -> tuple[Value, Value] | None:
        """A fixed weight as i8 whose zero point is 0, and its scale: one, or one for each position of an axis."""
        if not isinstance(w.op, Dequantize) or w not in self.fixed or w.dtype != f32:
            return None
        x, scale, zero = w.inputs
        points = numbers_of(zero)
        if points is None or x.dtype not in (i8, u8) or not all(isinstance(d, int) for d in x.shape):
            return None
        middle = 0 if x.dtype == i8 else SIGN
        along = scale.rank == x.rank and all(d == 1 for i, d in enumerate(scale.shape) if i != axis)
        if (points != middle).any() or not (scale.shape == () or along):
            return None
        flat = scale if scale.shape == () else self._fix(reshape(scale, (scale.shape[axis],)))
        return (x if x.dtype == i8 else self._fix(_signed(x))), flat

    def _fix(self, value: Value) -> Value:
        """A value made here, noted as fixed with the few that it is made of, if it is."""
        stack, made = [value], list[Value]()
        while stack and len(made) < MOST_MADE:
            node = stack.pop()
            if node in self.fixed:
                continue
            if not node.inputs and not isinstance(node.op, Constant):
                return value
            made.append(node)
            stack.extend(node.inputs)
        if not stack:
            self.fixed.update(made)
        return value

    # -- quantize ------------------------------------------------------------------------------------------------------

    def _quantised(self, node: Value, op: Quantize, inputs: tuple[Value, ...]) -> Value | None:
        """quantize behind moves goes up to where numbers are made, and divides scales instead of numbers."""
        x, scale, zero = inputs
        point = first_number(zero)
        if op.bits or op.dtype not in (i8, u8) or point is None or scale.rank or (x.dtype, scale.dtype) != (f32, f32):
            return None
        point += SIGN if op.dtype == i8 else 0
        moves: list[Op] = []
        source = node.inputs[0]
        while len(x.inputs) == 1 and isinstance(x.op, MOVERS) and _takes_bytes(x.op) and len(self._users(source)) == 1:
            moves.append(x.op)
            x, source = x.inputs[0], source.inputs[0]
            if x.op != source.op:
                break
        if isinstance(x.op, Concat) and len(self._users(source)) == 1:
            y = build(x.op, *(self._bytes_of(v, scale, point, False) for v in x.inputs))
        else:
            y = self._bytes_of(x, scale, point, self._is_alone(source))
        for move in reversed(moves):
            y = build(_filled(move, point), y)
        return y if op.dtype == u8 else _signed(y)

    def _users(self, value: Value) -> tuple[Value, ...]:
        return self.graph.users.get(value, ())

    def _bytes_of(self, x: Value, scale: Value, point: int, alone: bool) -> Value:
        """x quantised to u8."""
        found = _activation(x)
        if found is not None and found[1:] == (scale, point):
            return found[0]
        steps = self._in_steps(x, scale, DEPTH) if alone else None
        if steps is None:
            return build(Quantize(u8), x, scale, constant(point, u8))
        low, high = (n - point for n in limits(u8, 0))
        needless = isinstance(steps.op, Clip) and steps.op.low <= low and steps.op.high >= high
        if needless or (isinstance(steps.op, Relu) and low == 0):
            (steps,) = steps.inputs  # what it cuts off is out of the bytes' range
        self.notes.count("scales divided")
        return build(RoundTo(u8), steps, constant(point, u8))

    def _is_alone(self, value: Value) -> bool:
        """True when a value and what leads to it from products have no other users, so that they may change."""
        stack, left = [value], 4 * DEPTH
        while stack and left:
            node, left = stack.pop(), left - 1
            if node in self.fixed or isinstance(node.op, Dequantize | Input):
                continue
            if len(self._users(node)) != 1:
                return False
            if isinstance(node.op, Add | Relu | Clip):
                stack.extend(node.inputs)
        return not stack

    def _in_steps(self, x: Value, scale: Value, depth: int) -> Value | None:
        """x / scale without a division of x, where x is sums and bounds of what has a factor; None where it is not."""
        if x in self.fixed:
            return self._fix(div(x, scale))
        if not depth:
            return None
        match x.op:
            case Dequantize() if x.dtype == f32:
                return build(Dequantize(), x.inputs[0], self._fix(div(x.inputs[1], scale)), x.inputs[2])
            case Mul() if x.inputs[1] in self.fixed:
                return mul(x.inputs[0], self._fix(div(x.inputs[1], scale)))
            case Add():
                parts = [self._in_steps(v, scale, depth - 1) for v in x.inputs]
                known = [p for p in parts if p is not None]
                return build(x.op, *known) if len(known) == len(parts) else None
            case Relu() | Clip():  # bounds change sides where the scale is below 0
                number, inner = scalar_of(scale), self._in_steps(x.inputs[0], scale, depth - 1)
                if number is None or inner is None or not number > 0:
                    return None
                by = float(number)
                return build(Clip(x.op.low / by, x.op.high / by) if isinstance(x.op, Clip) else x.op, inner)
            case _:
                return None


# -- bytes with and without a sign -------------------------------------------------------------------------------------


def _signed(x: Value) -> Value:
    """x - 128 as i8. x: u8."""
    return build(BitCast(i8), build(BitXor(), x, constant(SIGN, u8)))


def _unsigned(x: Value) -> Value:
    """x + 128 as u8. x: i8."""
    inner = x.inputs[0] if isinstance(x.op, BitCast) else None
    if inner is not None and isinstance(inner.op, BitXor) and first_number(inner.inputs[1]) == SIGN:
        return inner.inputs[0]
    return build(BitXor(), build(BitCast(u8), x), constant(SIGN, u8))


def _dequantised(x: Value, scale: Value, zero: Value) -> Value | None:
    """dequantize of i8 as one of u8."""
    point = first_number(zero)
    if x.dtype != i8 or point is None:
        return None
    return build(Dequantize(), _unsigned(x), scale, constant(point + SIGN, u8))


def _activation(x: Value) -> tuple[Value, Value, int] | None:
    """The u8, the scale and the zero point that x is dequantized from, each parameter one number."""
    if not isinstance(x.op, Dequantize) or x.dtype != f32 or x.inputs[0].dtype != u8:
        return None
    image, scale, zero = x.inputs
    point = first_number(zero)
    return None if point is None or scale.rank or zero.rank else (image, scale, point)


def _whole(x: Value, zero: int) -> Value:
    """x - zero as f32."""
    y = cast(x, f32)
    return sub(y, scalar_like(float(zero), y)) if zero else y


# -- moves -------------------------------------------------------------------------------------------------------------


def _takes_bytes(op: Op) -> bool:
    """True for a move that can take quantised numbers: a pad's value must be the zero point's."""
    return not isinstance(op, Pad) or op.value == 0


def _filled(op: Op, point: int) -> Op:
    return replace(op, value=point) if isinstance(op, Pad) else op


def _moved(op: Op, inputs: tuple[Value, ...]) -> Value | None:
    """A move of dequantized numbers as dequantize of the bytes moved, where all have the same parameters."""
    parts = [_activation(x) for x in inputs]
    known = [p for p in parts if p is not None]
    if not known or len(known) < len(parts) or any(p[1:] != known[0][1:] for p in known) or not _takes_bytes(op):
        return None
    _, scale, point = known[0]
    number = scalar_of(scale)
    if isinstance(op, MaxPool) and (number is None or not number > 0):
        return None
    return build(Dequantize(), build(_filled(op, point), *(p[0] for p in known)), scale, constant(point, u8))


