"""A product's region with its leading axes put together where every operand walks them alike.

[B, T, K] @ [K, N] is B*T rows, and a bias [N] or a residual [B, T, N] behind it sees the same rows. The body is rebuilt
under the merged shapes; buffers are row-major, so their bytes stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chainrule.backends.llvm.kernels.region import Region, is_number
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Graph, Input, Value, build, new_input, rebuild
from chainrule.ops.basic import Full
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.shaping import Expand


def with_merged_rows(region: Region) -> Region:
    """The region with adjacent leading axes of the anchor's result merged; itself where that is not possible."""
    anchor = region.anchor
    assert anchor is not None
    if getattr(anchor.op, "transpose_a", False):
        return region  # its rows are not next to each other
    rank = anchor.rank
    fixed = anchor.inputs[1:]
    groups = _groups(region, rank, fixed)
    if groups is None or len(groups) == rank - 1:
        return region
    done: dict[Value, Value] = {}
    for node in region.body.nodes:
        shape = _merged(node.tensor.shape, groups, rank)
        if isinstance(node.op, Input):
            kind = node.tensor if node in fixed else node.tensor.with_shape(shape)
            done[node] = new_input(node.op.name_, kind)
        elif isinstance(node.op, Full | Expand) and not (isinstance(node.op, Full) and node in fixed):
            done[node] = build(replace(node.op, shape=shape), *(done[v] for v in node.inputs))
        else:
            done[node] = rebuild(node, tuple(done[v] for v in node.inputs))
    inputs, outputs = (tuple(done[v] for v in values) for values in (region.body.inputs, region.body.outputs))
    return Region(region.node, Graph(region.body.name, inputs, outputs), done[anchor])


def _groups(region: Region, rank: int, fixed: Sequence[Value]) -> list[list[int]] | None:
    """The leading axes by group; None where the body holds something whose shape cannot be merged."""
    anchor = region.anchor
    assert anchor is not None
    nodes = [n for n in region.body.nodes if n is not anchor and n not in fixed]
    if any(f in v.inputs for f in fixed for v in region.body.nodes if v is not anchor):
        return None
    if not all(isinstance(n.op, Input | Elementwise | Expand) or is_number(n) for n in nodes):
        return None
    shapes = [n.tensor.shape for n in nodes]
    if any(len(shape) > rank for shape in shapes):
        return None
    flags = [tuple(_has(shape, axis, rank, anchor.tensor.shape) for shape in shapes) for axis in range(rank - 1)]
    groups: list[list[int]] = [[0]]
    for axis in range(1, rank - 1):
        if flags[axis] == flags[groups[-1][-1]]:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def _has(shape: Sequence[Dim], axis: int, rank: int, whole: Sequence[Dim]) -> bool:
    place = axis - (rank - len(shape))
    return (whole[axis] == 1 and place >= 0) or (place >= 0 and shape[place] != 1)


def _merged(shape: Sequence[Dim], groups: Sequence[Sequence[int]], rank: int) -> tuple[Dim, ...]:
    """A shape with its axes merged, without the leading ones that it never had."""
    absent = rank - len(shape)
    full = (1,) * absent + tuple(shape)
    kept = [dim_product(full[axis] for axis in group) for group in groups if group[-1] >= absent]
    return (*kept, full[-1]) if shape else ()


