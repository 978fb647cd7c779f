"""Gathers nodes into regions that one kernel computes, so that what lies between them never reaches memory.

A region is a `fuse` op that holds a small graph. It has at most one anchor (convolution, product, reduction, ...): the
elementwise nodes that only feed the anchor are its prologue, those that only follow it its epilogue; a region without
an anchor is one elementwise sweep. Walking from the last node to the first, a node joins the region of its users when
all of them lie in that one region: then no path can leave the region and come back, so the graph stays acyclic. Where
its users lie in several elementwise regions of one shape, those become one, if no path leads from one to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from chainrule.ir.graph import Get, Graph, Value, build, get, new_input, reachable, rebuild, remapped
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType
from chainrule.loc import Loc, using
from chainrule.ops import activations_smooth, transcendental, trigonometric
from chainrule.ops.basic import Constant, Full, Fuse, SizeOf
from chainrule.ops.elementwise import Cast, Elementwise, Sub
from chainrule.ops.quantise import RoundTo
from chainrule.ops.ranges import Iota
from chainrule.ops.shaping import Expand
from chainrule.passes.base import Notes, Pass
from chainrule.passes.fold import scalar_of


@dataclass(frozen=True)
class Anchors:
    """What a backend's kernels can take in: op classes by what may join them.

    prologue: anchors that compute elementwise producers while reading. epilogue: anchors that compute elementwise
    consumers while writing. chains: pairs of anchors that one kernel runs (convolution, then pool), with a function
    that says of two such nodes whether the kernel takes them. widening: anchors that read bytes as wider numbers, less
    a number.
    """

    prologue: frozenset[type[Op]] = frozenset()
    epilogue: frozenset[type[Op]] = frozenset()
    widening: frozenset[type[Op]] = frozenset()
    chains: Mapping[tuple[type[Op], type[Op]], Callable[[Value, Value], bool]] = field(default_factory=dict)


@dataclass(eq=False)
class GrowingRegion:
    """A region while it grows. root: its last node, of the shape that the kernel sweeps."""

    root: Value
    anchor: Value | None
    members: dict[Value, None]
    outputs: dict[Value, None]


# Ops whose code is a polynomial: a region is bounded by its code, and one of these weighs as much as many additions.
HEAVY: frozenset[type[Op]] = frozenset((*transcendental.OPS, *trigonometric.OPS, *activations_smooth.OPS))
HEAVY_WEIGHT = 8
MAX_UNROLLED_WEIGHT = 32


def weight(node: Value) -> int:
    """How many nodes' worth of code a node is."""
    return HEAVY_WEIGHT if type(node.op) in HEAVY else 1


def weight_of(members: Iterable[Value]) -> int:
    """The weight of a region."""
    return sum(weight(node) for node in members)


def widens(node: Value) -> bool:
    """True for bytes as wider numbers, less a number: cheap enough to be computed at each read."""
    x = node.inputs[0] if isinstance(node.op, Sub) and scalar_of(node.inputs[1]) is not None else node
    return isinstance(x.op, Cast) and x.inputs[0].dtype.bits == 8


def is_pointwise(node: Value) -> bool:
    """True for what a sweep computes element by element: elementwise ops, and stretching by broadcast."""
    return isinstance(node.op, Elementwise | Expand)


@dataclass(frozen=True)
class FuseRegions(Pass):
    """Forms regions as the anchors allow; max_nodes bounds its weight, because code generation is not linear."""

    name: ClassVar[str] = "fuse"
    anchors: Anchors = field(default_factory=Anchors)
    max_nodes: int = 120

    def __str__(self) -> str:
        return self.name if self.max_nodes == 120 else f"{self.name}{{max-nodes={self.max_nodes}}}"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        regions = self._grow(graph)
        return closed_regions(graph, regions, notes)

    def _grow(self, graph: Graph) -> dict[Value, GrowingRegion]:
        outer = set(graph.results)
        region_of: dict[Value, GrowingRegion] = {}
        for node in reversed(graph.nodes):
            if not isinstance(node.type, TensorType) or not self._fusable(node):
                continue
            region = self._joined(graph, node, region_of, node in outer)
            if region is None:
                anchor = None if is_pointwise(node) else node
                region = GrowingRegion(node, anchor, {}, {node: None})
            region.members[node] = None
            region_of[node] = region
        return region_of

    def _fusable(self, node: Value) -> bool:
        return is_pointwise(node) or type(node.op) in self.anchors.prologue | self.anchors.epilogue

    def _joined(self, graph: Graph, node: Value, region_of: dict[Value, GrowingRegion],
                is_output: bool) -> GrowingRegion | None:  # fmt: skip
        """The region that the node joins, None if it starts its own."""
        users = graph.users[node]
        regions = list(dict.fromkeys(r for u in users if (r := region_of.get(u)) is not None))
        if not regions:
            return None
        if len(regions) > 1 or any(u not in region_of for u in users):
            return self._merged(graph, node, regions, region_of, is_output or any(u not in region_of for u in users))
        (region,) = regions
        if weight_of(region.members) + weight(node) > self._limit(region.anchor):
            return None
        if is_pointwise(node):
            if not all(self._may_read(u, node, region) for u in users) or self._stays_bytes(node, region):
                return None
            if is_output:
                if node.shape != region.root.shape or (region.anchor is not None and region.anchor in users):
                    return None
                if region.anchor is not None and not self._after_anchor(node, region):
                    return None
                region.outputs[node] = None
            return region
        if is_output or not self._may_anchor(node, region, users):
            return None
        region.anchor = node
        return region

    def _merged(self, graph: Graph, node: Value, regions: list[GrowingRegion], region_of: dict[Value, GrowingRegion],
                is_output: bool) -> GrowingRegion | None:  # fmt: skip
        """The one region that the node makes of the elementwise regions of its users; None if that is not possible."""
        members = {m: None for r in regions for m in r.members}
        fits = (
            is_pointwise(node)
            and all(r.anchor is None and r.root.shape == node.shape for r in regions)
            and weight_of(members) + weight(node) <= self.max_nodes
            and all(region_of.get(u) is None or node.shape == u.shape for u in graph.users[node])
        )
        if not fits or _returns(graph, {**members, node: None}, region_of):
            return None
        whole = regions[0]
        for other in regions[1:]:
            whole.outputs.update(other.outputs)
        whole.members = members
        for member in members:
            region_of[member] = whole
        if is_output:
            whole.outputs[node] = None
        return whole

    def _limit(self, anchor: Value | None) -> int:
        """The most that a region of this anchor may weigh: products unroll their epilogue over a tile of registers."""
        unrolled = anchor is not None and type(anchor.op) not in self.anchors.prologue
        return MAX_UNROLLED_WEIGHT if unrolled else self.max_nodes

    def _may_read(self, user: Value, node: Value, region: GrowingRegion) -> bool:
        """True if computing node where user reads it repeats no work."""
        if is_pointwise(user):
            return node.shape == user.shape
        return type(user.op) in self.anchors.prologue or (type(user.op) in self.anchors.widening and widens(node))

    def _stays_bytes(self, node: Value, region: GrowingRegion) -> bool:
        """True for what is rounded to bytes and leads to an anchor, or to a region that reads another such already.

        It joins the product that makes it, whose sums would lie in memory in 32 bits else: a region has one anchor.
        """
        if not isinstance(node.op, RoundTo):
            return False
        if any(isinstance(m.op, RoundTo) and m not in region.outputs for m in region.members):
            return True
        seen, stack = set[Value](), [] if region.anchor is None else [region.anchor]
        while stack:
            inputs = stack.pop().inputs
            if node in inputs:
                return True
            stack.extend(v for v in inputs if v in region.members and v not in seen)
            seen.update(inputs)
        return False

    def _after_anchor(self, node: Value, region: GrowingRegion) -> bool:
        """True if the node lies behind the anchor: only then does the kernel visit each of its elements once."""
        seen, stack = set[Value](), [node]
        while stack:
            value = stack.pop()
            if value is region.anchor:
                return True
            stack.extend(v for v in value.inputs if v in region.members and v not in seen)
            seen.update(value.inputs)
        return False

    def _may_anchor(self, node: Value, region: GrowingRegion, users: tuple[Value, ...]) -> bool:
        if type(node.op) not in self.anchors.epilogue or weight_of(region.members) >= self._limit(node):
            return False
        if region.anchor is not None:
            fits = self.anchors.chains.get((type(node.op), type(region.anchor.op)))
            if fits is None or not fits(node, region.anchor):
                return False
            return node.shape == region.anchor.inputs[0].shape
        return node.shape == region.root.shape and all(is_pointwise(u) and u.shape == node.shape for u in users)


def _returns(graph: Graph, members: Mapping[Value, None], region_of: Mapping[Value, GrowingRegion]) -> bool:
    """True if a path leaves the members and comes back: one unit of them would then wait for itself.

    A path may enter another region at one node and leave it at another, so regions are stepped over whole.
    """
    stack = [v for m in members for v in m.inputs if v not in members]
    first = min(graph.order[m] for m in members)
    seen: set[Value] = set(stack)
    while stack:
        node = stack.pop()
        region = region_of.get(node)
        for inner in (node,) if region is None else region.members:
            for value in inner.inputs:
                if value in members:
                    return True
                if value not in seen and graph.order[value] > first:
                    seen.add(value)
                    stack.append(value)
    return False


def closed_regions(graph: Graph, region_of: Mapping[Value, GrowingRegion], notes: Notes) -> Graph:
    """The graph with every region of two nodes or more closed, units in the order of their dependence."""
    done: dict[Value, Value] = {v: v for v in graph.inputs}
    stack = [(v, False) for v in reversed(graph.results)]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        region = region_of.get(node)
        if region is not None and len(region.members) == 1:
            region = None
        if ready and region is None:
            done[node] = _moved(node, done)
        elif ready and region is not None:
            _close(region, done, notes)
        else:
            needed = node.inputs if region is None else _arguments(region)
            stack.append((node, True))
            stack.extend((v, False) for v in reversed(needed) if v not in done)
    return remapped(graph, done)


def _arguments(region: GrowingRegion) -> tuple[Value, ...]:
    """The values that a region takes from outside."""
    return tuple(
        dict.fromkeys(v for m in region.members for v in m.inputs if v not in region.members and not _is_free(v))
    )


def _moved(node: Value, done: Mapping[Value, Value]) -> Value:
    if isinstance(node.op, Get):
        return get(done[node.inputs[0]], node.op.index)
    return rebuild(node, tuple(done[v] for v in node.inputs))


def _close(region: GrowingRegion, done: dict[Value, Value], notes: Notes) -> None:
    """Builds the region's op and tells where its results now come from."""
    order = list(reachable(region.outputs, within=region.members))
    with using(_places(order)):
        _closed(region, order, done, notes)


def _closed(region: GrowingRegion, order: Sequence[Value], done: dict[Value, Value], notes: Notes) -> None:
    inner: dict[Value, Value] = {}
    arguments: dict[Value, Value] = {}
    for node in order:
        for value in node.inputs:
            if value in region.members or value in inner:
                continue
            if _is_free(value):
                inner[value] = value
            else:
                inner[value] = new_input(f"x{len(arguments)}", value.tensor)
                arguments[value] = inner[value]
        inner[node] = rebuild(node, tuple(inner[v] for v in node.inputs))
    outputs = tuple(region.outputs)
    label = "_".join(dict.fromkeys(n.op.name for n in order))[:60]
    body = Graph(label, tuple(arguments.values()), tuple(inner[v] for v in outputs))
    kind = "elementwise" if region.anchor is None else region.anchor.op.name
    fused = build(Fuse(body, kind), *(done[v] for v in arguments))
    for i, value in enumerate(outputs):
        done[value] = get(fused, i)
    notes.count(f"{kind} region")


def _is_free(value: Value) -> bool:
    """A number or position that the kernel makes itself."""
    return isinstance(value.op, Iota) or (
        isinstance(value.op, Constant | Full | SizeOf)
        and (scalar_of(value) is not None or isinstance(value.op, SizeOf))
    )


def _places(members: Sequence[Value]) -> tuple[Loc, ...]:
    return tuple(dict.fromkeys(loc for node in members for loc in node.locs))
