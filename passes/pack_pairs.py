"""Gives products of bf16 what the processor's instruction takes: rows of pairs, and panels of pairs.

The instruction multiplies two bf16 by two others and adds both products to a sum in f32. In a mixed-precision step all
three products of a layer get it: what is packed is rounded on the way, so no copy of a weight in bf16 is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ir.types import bf16, f32
from chainrule.ops.elementwise import Cast, cast
from chainrule.ops.lowered import PackKernel, PanelConv
from chainrule.ops.lowered_pairs import GROUP, PackPairs, PairConv, PairMatMul
from chainrule.ops.matmul import MatMul
from chainrule.ops.shaping import pad_constant, reshape, transpose
from chainrule.passes.base import Notes, Pass
from chainrule.passes.pack import TILES, Tiles, even_width


@dataclass(frozen=True)
class PackBf16(Pass):
    """matmul(a, w) of bf16 becomes pair_matmul(a, pack_pairs(w)) where w is one matrix of known size."""

    name: ClassVar[str] = "pack-bf16"
    tiles: tuple[tuple[int, int], ...] = TILES

    def __str__(self) -> str:
        return self.name

    def run(self, graph: Graph, notes: Notes) -> Graph:
        def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            if not isinstance(node.op, MatMul) or node.dtype != bf16 or inputs[1].rank != 2:
                return None
            if not all(isinstance(n, int) and n > 0 for n in inputs[1].shape):
                return None
            notes.count("product of bf16")
            return _pair_product(node.op, inputs[0], inputs[1], self.tiles)

        return rewrite(graph, rule)


def _pair_product(op: MatMul, a: Value, w: Value, tiles: Tiles) -> Value:
    """The product with its rows in pairs, one number of zero at the end of those of odd length."""
    if op.transpose_a:
        a = transpose(a, (*range(a.rank - 2), a.rank - 1, a.rank - 2))
    depth, columns = w.shape[::-1] if op.transpose_b else w.shape
    rows = pad_constant(a, (0,) * a.rank, (*(0,) * (a.rank - 1), -int(depth) % GROUP))  # type: ignore[arg-type]
    panels = build(PackPairs(even_width(columns, tiles, bf16), op.transpose_b), _unrounded(w))
    return build(PairMatMul(columns), rows, panels)


def _unrounded(w: Value) -> Value:
    """The f32 that a weight was rounded from, as packing rounds it; else itself."""
    return w.inputs[0] if isinstance(w.op, Cast) and w.inputs[0].dtype == f32 else w


def takes_pairs(conv: Value) -> bool:
    """True for a convolution of bf16 whose weight has a known size."""
    return conv.dtype == bf16 and all(isinstance(n, int) and n > 0 for n in conv.inputs[1].shape)


def pixel_product(x: Value, w: Value, width: int, bias: Sequence[Value]) -> Value:
    """The pixels of an image with an even number of channels, which are last, by w: [O, C, 1, ..]."""
    panels = build(PackPairs(width, transposed=True), reshape(_unrounded(w), w.shape[:2]))
    return build(PairMatMul(w.shape[0]), x, panels, *bias)


def conv_in_pairs(op: PanelConv, w: Value, pack: PackKernel, inputs: Sequence[Value]) -> Value:
    """What op computes of an image and a bias, two numbers to a step. pack: packs the weight for op itself."""
    x, *bias = inputs
    made = PairConv(op.kernel, op.stride, op.pad, op.dilation, op.groups, int(op.channels), op.sizes, op.spread)  # type: ignore[arg-type]
    packed = build(pack, _unrounded(w))
    groups, count, _, width = (int(n) for n in packed.shape)  # type: ignore[arg-type]
    runs, length = made.runs(int(x.shape[-1]))  # type: ignore[arg-type]
    rows = reshape(packed, (groups, count, runs, length, width))
    rows = pad_constant(rows, (0,) * 5, (0, 0, 0, -length % GROUP, 0))
    steps = runs * -(-length // GROUP)
    paired = transpose(reshape(rows, (groups, count, steps, GROUP, width)), (0, 1, 2, 4, 3))
    return build(made, x, cast(reshape(paired, (groups, count, steps, width * GROUP)), bf16), *bias)
