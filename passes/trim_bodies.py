"""Takes out of loops and branches what nobody asks for: results, the carried values behind them, and captures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from chainrule import loc as locations
from chainrule.ir.body import MAX_NESTING, Body, Control, body_of, with_bodies
from chainrule.ir.graph import Get, Graph, Input, Value, build, get, reachable, rebuild, remapped
from chainrule.ops.control import Checkpoint, Cond, Scan, While
from chainrule.passes.base import Notes, Pass


@dataclass(frozen=True)
class TrimBodies(Pass):
    """Every loop and branch computes only the results that are used; from the outermost bodies inwards."""

    name: ClassVar[str] = "trim-bodies"
    enters_bodies: ClassVar[bool] = False

    def run(self, graph: Graph, notes: Notes) -> Graph:
        for _ in range(MAX_NESTING):  # what an inner body no longer reads, the one around it need not capture
            after = _trimmed(graph, notes)
            if after is graph:
                break
            graph = after
        return graph


@dataclass(frozen=True)
class _Kept:
    """What stays of an op: places among its results and inputs, and the op itself."""

    results: tuple[int, ...]
    inputs: tuple[int, ...]
    op: Control


def _trimmed(graph: Graph, notes: Notes) -> Graph:
    """Recurs over nesting, which is bounded."""
    if not any(isinstance(node.op, Control) for node in graph.nodes):
        return graph
    done: dict[Value, Value] = {}
    places: dict[Value, Mapping[int, int]] = {}  # of a trimmed node: where each result is now
    for node in graph.nodes:
        if isinstance(node.op, Control):
            done[node], places[node] = _node(graph, node, done, notes)
        elif isinstance(node.op, Get) and node.inputs[0] in places:
            source = node.inputs[0]
            done[node] = get(done[source], places[source][node.op.index])
        else:
            done[node] = node if isinstance(node.op, Input) else rebuild(node, tuple(done[v] for v in node.inputs))
    return remapped(graph, done)


def _node(graph: Graph, node: Value, done: Mapping[Value, Value], notes: Notes) -> tuple[Value, Mapping[int, int]]:
    used = sorted({u.op.index for u in graph.users[node] if isinstance(u.op, Get)}) or [0]
    match node.op:
        case Cond() as op:
            kept = _cond(op, used)
        case Scan() as op:
            kept = _scan(op, used)
        case While() as op:
            kept = _while(op, used)
        case Checkpoint() as op:
            read = sorted(_read(op.body, used))
            kept = _Kept(tuple(used), tuple(read), replace(op, body=_cut(op.body, read, used)))
        case _:
            return rebuild(node, tuple(done[v] for v in node.inputs)), {i: i for i in used}
    if len(kept.inputs) < len(node.inputs):
        notes.count("unused input", len(node.inputs) - len(kept.inputs))
    op = _inside(kept.op, notes)
    with locations.using(node.locs):
        return build(op, *(done[node.inputs[i]] for i in kept.inputs)), {r: i for i, r in enumerate(kept.results)}


def _inside(op: Control, notes: Notes) -> Control:
    def trimmed(body: Body) -> Body:
        after = _trimmed(body, notes)
        return body if after is body else body_of(after)

    return with_bodies(op, trimmed)


def _cut(body: Body, inputs: Sequence[int], outputs: Sequence[int]) -> Body:
    """The body with some of its inputs and outputs; itself when it has no others."""
    if len(inputs) == len(body.inputs) and len(outputs) == len(body.outputs):
        return body
    kept = tuple(body.outputs[i] for i in outputs)
    return body_of(Graph(body.name, tuple(body.inputs[i] for i in inputs), kept, sizes=body.sizes))


def _read(body: Body, outputs: Sequence[int]) -> set[int]:
    """The places of the inputs that these outputs depend on, and the sizes that the body tells."""
    needed = set(reachable([*(value for _, value in body.sizes), *(body.outputs[i] for i in outputs)]))
    return {i for i, value in enumerate(body.inputs) if value in needed}


def _cond(op: Cond, used: Sequence[int]) -> _Kept:
    read = sorted(_read(op.then, used) | _read(op.otherwise, used))
    cut = replace(op, then=_cut(op.then, read, used), otherwise=_cut(op.otherwise, read, used))
    return _Kept(tuple(used), (0, *(i + 1 for i in read)), cut)


def _needed_carries(body: Body, carries: int, wanted: set[int]) -> tuple[set[int], set[int]]:
    """The outputs that must be computed for the wanted ones, carried values included, and the inputs they read."""
    outputs = set(wanted)
    while True:
        read = _read(body, sorted(outputs))
        more = {i for i in read if i < carries} - outputs
        if not more:
            return outputs, read | {i for i in outputs if i < carries}
        outputs |= more


def _scan(op: Scan, used: Sequence[int]) -> _Kept:
    outputs, read = _needed_carries(op.body, op.carries, set(used))
    inputs, results = sorted(read), sorted(outputs)
    carries = sum(i < op.carries for i in results)
    scanned = sum(op.carries <= i < op.carries + op.scanned for i in inputs)
    cut = replace(op, body=_cut(op.body, inputs, results), carries=carries, scanned=scanned)
    return _Kept(tuple(results), tuple(inputs), cut)


def _while(op: While, used: Sequence[int]) -> _Kept:
    asked = _read(op.test, [0])
    outputs, read = _needed_carries(op.body, op.carries, set(used) | {i for i in asked if i < op.carries})
    inputs, results = sorted(read | asked), sorted(outputs)
    test = _cut(op.test, inputs, [0])
    return _Kept(tuple(results), tuple(inputs), replace(op, test=test, body=_cut(op.body, inputs, results),
                                                        carries=len(results)))  # fmt: skip
