"""Gives products with a weight their weight in packed panels, as a node of its own.

Where the weight is fixed, passes.hoist computes the packing once per set of weights; in a training step it is one more
kernel, worth it where the weight would have to be turned round anyway. Products of two activations are left to the
kernel, which packs what it reads more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.dims import Dim
from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ir.types import DType
from chainrule.ops.lowered import PackPanels, PanelMatMul, accumulated, panel_width
from chainrule.ops.matmul import MatMul, product
from chainrule.ops.shaping import transpose
from chainrule.passes.base import Notes, Pass
from chainrule.passes.rewrite import fixed_values

Tiles = Sequence[tuple[int, int]]

# (rows, f32 columns) of the register tiles of a machine, the best first: those of AVX-512 (backends give their own).
TILES: tuple[tuple[int, int], ...] = ((6, 64), (8, 48), (7, 32), (8, 16))


def widest(tiles: Tiles, dtype: DType) -> int:
    """Columns of the widest panel for an element type."""
    return tiles[0][1] * 4 // accumulated(dtype).itemsize


def even_width(columns: Dim, tiles: Tiles, dtype: DType) -> int:
    """The width of panels for so many columns: the widest that leaves no rest, down to half of the widest there is."""
    most = widest(tiles, dtype)
    if isinstance(columns, int) and columns > most:
        widths = (width for _, width in whole_tiles(tiles, dtype))
        return next((w for w in sorted(widths, reverse=True) if columns % w == 0 and 2 * w >= most), most)
    return panel_width(columns, most, dtype)


def whole_tiles(tiles: Tiles, dtype: DType) -> list[tuple[int, int]]:
    """The tiles (rows, columns in elements of the type) whose columns are whole half vectors of 32 bytes.

    Others would be computed and stored beyond their end.
    """
    size = accumulated(dtype).itemsize
    scaled = [(rows, width * 4 // size) for rows, width in tiles]
    return [(rows, width) for rows, width in scaled if width * size % 32 == 0]


def packed(w: Value, tiles: Tiles, transposed: bool) -> tuple[Value, Dim]:
    """A weight [K, N] (transposed: [N, K]) in panels, and N."""
    columns = w.shape[0] if transposed else w.shape[1]
    width = even_width(columns, tiles, w.dtype)
    return build(PackPanels(width, transposed), w), columns


FEW_ROWS = 4  # packing a weight costs so much more than copying what is as large
LEAST_TURNED = (256, 64, 384)  # depth, rows and columns of a product whose left operand is turned


@dataclass(frozen=True)
class PackWeights(Pass):
    """matmul(a, w) becomes panel_matmul(a, pack_panels(w)) where w is one matrix that is fixed or transposed."""

    name: ClassVar[str] = "pack-weights"
    tiles: tuple[tuple[int, int], ...] = TILES

    def __str__(self) -> str:
        return self.name

    def run(self, graph: Graph, notes: Notes) -> Graph:
        fixed = fixed_values(graph)

        def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            if not isinstance(node.op, MatMul):
                return None
            left, right = inputs
            turns = turns_left(node)
            if turns:
                notes.count("left operand turned")
                left = transpose(left, (*range(left.rank - 2), left.rank - 1, left.rank - 2))
            if not turns and right not in fixed and has_few_rows(node):
                notes.count("weight as the left operand")
                panels, columns = packed(left, self.tiles, True)
                return transpose(build(PanelMatMul(columns), right, panels), (1, 0))
            transpose_a = node.op.transpose_a and not turns
            if right.rank == 2 and (node.inputs[1] in fixed or node.op.transpose_b):
                notes.count("fixed weight" if node.inputs[1] in fixed else "transposed weight")
                panels, columns = packed(right, self.tiles, node.op.transpose_b)
                return build(PanelMatMul(columns, transpose_a), left, panels)
            return product(left, right, False, node.op.transpose_b) if turns else None

        return rewrite(graph, rule)


def has_few_rows(node: Value) -> bool:
    """True where a @ w^T is better computed as the transpose of w @ a^T: packing a costs less than packing w.

    Rows of w lie as the left operand wants them. Each number has the same sum either way.
    """
    op, (a, w) = node.op, node.inputs
    sizes = (*a.shape, w.shape[0])
    if not isinstance(op, MatMul) or op.transpose_a or not op.transpose_b or a.rank != 2 or w.rank != 2:
        return False
    if not all(isinstance(n, int) for n in sizes):
        return False
    rows, depth, columns = map(int, sizes)  # type: ignore[arg-type]
    return FEW_ROWS * rows * (depth + columns) <= depth * columns


def turns_left(node: Value) -> bool:
    """True where a copy of the left operand with its rows in order is worth it.

    A register tile takes a few columns of [K, M] at each step of the depth: a cache line for 24 bytes, and a page where
    rows are long. Measured on the weight gradients of a transformer's layers, [1024, 768]^T [1024, 3072] and its like,
    on a Zen 5 core: 202 to 213 GFLOP/s as they lie, 223 to 228 turned; a training step of two layers 2 to 5 % shorter.
    By few columns the copy is not: it is a third of the product of attention's 512 x 512 weights by 64 columns.
    """
    if not isinstance(node.op, MatMul) or not node.op.transpose_a:
        return False
    depth, rows = node.inputs[0].shape[-2:]
    sizes = (depth, rows, node.shape[-1])
    return all(isinstance(n, int) and n >= m for n, m in zip(sizes, LEAST_TURNED, strict=True))
