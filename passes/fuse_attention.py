"""Gathers an attention with the views around it, so that heads are read and written where they lie.

Models keep heads beside each other in one row, [B, T, H * D], and turn them to [B, H, T, D] for the attention alone; a
joint projection holds queries, keys and values in one row. The kernel walks heads by strides: transposes that leave the
last axis where it is, splits of the last axis and slices join the attention's region, and no copy is made.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Graph, Input, Value, build, new_input, reachable, rebuild, remapped
from chainrule.loc import Loc, using
from chainrule.ops.attention import Attention
from chainrule.ops.basic import Fuse
from chainrule.ops.shaping import Reshape, Slice, Transpose
from chainrule.passes.base import Notes, Pass


@dataclass(frozen=True)
class FuseAttention(Pass):
    """Attentions take in the views of their operands and of their result."""

    name: ClassVar[str] = "fuse-attention"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        ends = {_end(graph, node): node for node in graph.nodes if isinstance(node.op, Attention)}
        if not ends:
            return graph
        done: dict[Value, Value] = {}
        for node in graph.nodes:
            anchor = ends.get(node)
            fused = None if anchor is None else _fused(node, anchor, done, ends.keys())
            if fused is not None:
                notes.count("attention region")
                done[node] = fused
            else:
                done[node] = node if isinstance(node.op, Input) else rebuild(node, tuple(done[v] for v in node.inputs))
        return remapped(graph, done)


def _end(graph: Graph, anchor: Value) -> Value:
    """The last view of an attention's result that nothing but the next one reads."""
    end, outer = anchor, set(graph.results)
    while end not in outer and len(graph.users[end]) == 1 and joins(graph.users[end][0]):
        end = graph.users[end][0]
    return end


def _fused(end: Value, anchor: Value, done: Mapping[Value, Value], ends: Container[Value]) -> Value | None:
    """The region of an attention; None where there is no view around it."""
    members: dict[Value, None] = {}
    node = end
    while node is not anchor:
        members[node] = None
        node = node.inputs[0]
    members[anchor] = None
    for value in anchor.inputs[:3]:
        while splits(value) and value not in ends:
            members[value] = None
            value = value.inputs[0]
    if len(members) == 1:
        return None
    order = reachable((end,), within=members)
    inner: dict[Value, Value] = {}
    arguments: list[Value] = []
    for node in order:
        for value in node.inputs:
            if value not in members and value not in inner:
                inner[value] = new_input(f"x{len(arguments)}", value.tensor)
                arguments.append(value)
        inner[node] = rebuild(node, tuple(inner[v] for v in node.inputs))
    body = Graph("attention", tuple(inner[v] for v in arguments), (inner[end],))
    places: tuple[Loc, ...] = tuple(dict.fromkeys(loc for node in order for loc in node.locs))
    with using(places):
        return build(Fuse(body, "attention"), *(done[v] for v in arguments))


def splits(node: Value) -> bool:
    """True for a view whose rows are rows of what it views, or parts of them."""
    match node.op:
        case Transpose(perm=perm):
            return bool(perm) and perm[-1] == node.rank - 1
        case Slice(steps=steps):
            return all(step == 1 for step in steps)
        case Reshape():
            return axis_pairs(node.inputs[0].shape, node.shape) is not None
        case _:
            return False


def joins(node: Value) -> bool:
    """True for a view of a result that puts its rows elsewhere, or several into one."""
    match node.op:
        case Transpose(perm=perm):
            return bool(perm) and perm[-1] == node.rank - 1
        case Reshape():
            return axis_pairs(node.shape, node.inputs[0].shape) is not None
        case _:
            return False


def axis_pairs(joined: Sequence[Dim], split: Sequence[Dim]) -> tuple[tuple[int, ...], ...] | None:
    """For each axis of `joined` the axes of `split` that make it up, where only the last may be several; else None.

    An axis of size 1 may be absent on either side.
    """
    if not joined or not split:
        return None
    found: list[tuple[int, ...]] = []
    at = 0
    for dim in joined[:-1]:
        while at < len(split) - 1 and split[at] != dim and split[at] == 1:
            at += 1
        if at < len(split) - 1 and split[at] == dim:
            found.append((at,))
            at += 1
        elif dim == 1:
            found.append(())
        else:
            return None
    rest = tuple(range(at, len(split)))
    return (*found, rest) if dim_product(split[a] for a in rest) == joined[-1] else None
