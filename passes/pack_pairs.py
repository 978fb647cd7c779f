"""Gives products of bf16 what the processor's instruction takes: rows of pairs, and panels of pairs.

The instruction multiplies two bf16 by two others and adds both products to a sum in f32. In a mixed-precision step all
three products of a layer get it: what is packed is rounded on the way, so no copy of a weight in bf16 is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ir.types import bf16, f32
from chainrule.ops.elementwise import Cast
from chainrule.ops.lowered_pairs import GROUP, PackPairs, PairMatMul
from chainrule.ops.matmul import MatMul
from chainrule.ops.shaping import pad_constant, transpose
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
    wide = w.inputs[0] if isinstance(w.op, Cast) and w.inputs[0].dtype == f32 else w
    panels = build(PackPairs(even_width(columns, tiles, bf16), op.transpose_b), wide)
    return build(PairMatMul(columns), rows, panels)
