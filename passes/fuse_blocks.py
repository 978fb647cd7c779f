"""Puts a depthwise convolution and the 1x1 convolutions around it into one region, where the image between is large.

An inverted residual block widens an image, filters each channel by itself and narrows it again. One kernel can do all
three row by row (backends/llvm/kernels/conv_block.py), so that the wide image never reaches memory. Elementwise nodes
on the way, and behind the last product, join the region. Small images stay in the caches between three kernels, which
then read the weights fewer times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.graph import Graph, Value
from chainrule.ops.lowered import ChannelConv, PanelMatMul
from chainrule.ops.shaping import Expand
from chainrule.passes.base import Notes, Pass
from chainrule.passes.fuse import MAX_UNROLLED_WEIGHT, GrowingRegion, closed_regions, is_pointwise, weight_of

Takes = Callable[[Value | None, Value, Value], bool]  # (product before, depthwise convolution, product behind)


@dataclass(frozen=True)
class FuseBlocks(Pass):
    """takes(expand, filter, project) tells which blocks the backend has a kernel for; expand is None where there is no
    product before."""

    name: ClassVar[str] = "fuse-blocks"
    takes: Takes

    def __str__(self) -> str:
        return self.name

    def run(self, graph: Graph, notes: Notes) -> Graph:
        regions: dict[Value, GrowingRegion] = {}
        for node in graph.nodes:
            if isinstance(node.op, ChannelConv):
                region = self._block(graph, node)
                if region is not None and not any(m in regions for m in region.members):
                    regions |= dict.fromkeys(region.members, region)
        return closed_regions(graph, regions, notes) if regions else graph

    def _block(self, graph: Graph, node: Value) -> GrowingRegion | None:
        """The region of a depthwise convolution and what stands around it."""
        outer = set(graph.results)
        behind = _chain(graph, node, outer)
        project = _only_user(graph, behind[-1], outer)
        if project is None or not isinstance(project.op, PanelMatMul) or project.inputs[0] is not behind[-1]:
            return None
        before = _chain_before(graph, node.inputs[0], outer)
        expand = before[0] if before and isinstance(before[0].op, PanelMatMul) else None
        if not self.takes(expand, node, project):
            return None
        last = _chain(graph, project, outer)
        members = [*(before if expand else ()), *behind, *last]
        stretched = [v for m in members for v in m.inputs
                     if isinstance(v.op, Expand) and v not in outer and len(graph.users[v]) == 1]  # fmt: skip
        if weight_of(members) > MAX_UNROLLED_WEIGHT:
            return None
        return GrowingRegion(last[-1], node, dict.fromkeys([*members, *stretched]), {last[-1]: None})


def _only_user(graph: Graph, node: Value, outer: set[Value]) -> Value | None:
    """The one node that uses the value; None where there are several, or where it is a result."""
    users = graph.users[node]
    return users[0] if len(users) == 1 and node not in outer else None


def _chain(graph: Graph, node: Value, outer: set[Value]) -> list[Value]:
    """The node and the elementwise ones of its shape that follow, each the only user of the one before."""
    found = [node]
    while (user := _only_user(graph, found[-1], outer)) is not None:
        if not is_pointwise(user) or user.shape != node.shape:
            break
        found.append(user)
    return found


def _chain_before(graph: Graph, node: Value, outer: set[Value]) -> list[Value]:
    """A product and the elementwise nodes from it to the node, each used by the next alone; empty without a product."""
    found: list[Value] = []
    while _only_user(graph, node, outer) is not None:
        found.append(node)
        if isinstance(node.op, PanelMatMul):
            return found[::-1]
        wide = [v for v in node.inputs if v.tensor.shape == node.shape and not isinstance(v.op, Expand)]
        if not is_pointwise(node) or len(wide) != 1:
            return []
        node = wide[0]
    return []
