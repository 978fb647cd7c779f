"""Makes one loop of scans that run side by side over the same values and carry the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from chainrule import loc as locations
from chainrule.ir.body import body_of
from chainrule.ir.graph import Get, Graph, Input, Value, build, get, inline, rebuild, remapped
from chainrule.ops.control import Scan
from chainrule.passes.base import Notes, Pass

Place = tuple[Value, int]  # a result of a node


@dataclass(frozen=True)
class MergeScans(Pass):
    """Scans with equal inputs and equal carried values become one that stacks what any of them stacks.

    The gradient of a scan builds the scan once more, with what the backward steps need among its results.
    """

    name: ClassVar[str] = "merge-scans"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        done: dict[Value, Value] = {}
        while True:
            groups = _groups(graph)
            if not groups:
                return graph
            done = _merged(graph, groups)
            notes.count("scans merged", sum(len(group) - 1 for group in groups))
            graph = remapped(graph, done)


def _groups(graph: Graph) -> list[list[Value]]:
    """Lists of two or more scans that can be one. Those that read results of others in a list come later, in a round
    of their own."""
    alike: dict[tuple[object, ...], list[Value]] = {}
    for node in graph.nodes:
        if isinstance(node.op, Scan) and not node.op.body.sizes:  # each tells its own
            op = node.op
            key = (node.inputs, op.carries, op.scanned, op.length, op.reverse, len(op.body.inputs))
            alike.setdefault(key, []).append(node)
    found: list[list[Value]] = []
    for nodes in alike.values():
        first = nodes[0]
        group = [n for n in nodes if _carried(n, first) == _carried(first, first)]
        if len(group) > 1:
            found.append(group)
    return found


def _outputs(node: Value, like: Value) -> Sequence[Value]:
    """The outputs of a scan's body on the body inputs of another scan: values that are equal are then the same."""
    assert isinstance(node.op, Scan) and isinstance(like.op, Scan)
    return inline(node.op.body, like.op.body.inputs)


def _carried(node: Value, like: Value) -> tuple[Value, ...]:
    assert isinstance(node.op, Scan)
    return tuple(_outputs(node, like)[: node.op.carries])


def _merged(graph: Graph, groups: Sequence[Sequence[Value]]) -> dict[Value, Value]:
    """What every node becomes."""
    leaders: dict[Value, tuple[Value, Mapping[Place, int], Scan]] = {}
    for group in groups:
        leader, places, op = _joined(group)
        leaders |= dict.fromkeys(group, (leader, places, op))
    done: dict[Value, Value] = {}
    for node in graph.nodes:
        if node in leaders:
            leader, places, op = leaders[node]
            with locations.using(leader.locs):
                whole = build(op, *(done[v] for v in node.inputs))
            done[node] = whole if isinstance(node.type, type(whole.type)) else get(whole, places[node, 0])
        elif isinstance(node.op, Get) and node.inputs[0] in leaders:
            source = node.inputs[0]
            done[node] = get(done[source], leaders[source][1][source, node.op.index])
        else:
            done[node] = node if isinstance(node.op, Input) else rebuild(node, tuple(done[v] for v in node.inputs))
    return done


def _joined(group: Sequence[Value]) -> tuple[Value, Mapping[Place, int], Scan]:
    """The first scan, where each result of each scan is in the new one, and the new one."""
    leader = group[0]
    assert isinstance(leader.op, Scan)
    carries = leader.op.carries
    stacked: dict[Value, int] = {}
    places: dict[Place, int] = {}
    for node in group:
        for i, value in enumerate(_outputs(node, leader)):
            if i >= carries:
                stacked.setdefault(value, carries + len(stacked))
            places[node, i] = i if i < carries else stacked[value]
    outputs = (*leader.op.body.outputs[:carries], *stacked)
    body = body_of(Graph(leader.op.body.name, leader.op.body.inputs, outputs))
    return leader, places, replace(leader.op, body=body)
