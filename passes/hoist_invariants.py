"""Moves what is the same in every round of a loop out of its body: weights are packed once, and not once per step.

The captured values of a loop have the role "param" in its body, as weights have in a graph: passes that treat what
depends on weights alone treat what depends on captures alone so too. This pass computes that in front of the loop. Of a
branch it moves only what depends on what is fixed around it, because a branch may never run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from chainrule import loc as locations
from chainrule.ir.body import Body, Control, bodies, body_of, with_bodies, with_inner
from chainrule.ir.graph import Graph, Input, Value, build, new_input, rebuild, rewrite
from chainrule.ops import indexing, indexing_nd
from chainrule.ops.control import Checkpoint, Cond, While, with_roles
from chainrule.ops.shaping import Expand, Reshape
from chainrule.passes.base import Notes, Pass
from chainrule.passes.rewrite import fixed_values

CHEAP = Expand | Reshape  # no worth keeping the result of
MAY_FAIL = (*indexing.OPS, *indexing_nd.OPS)  # a loop without rounds must not raise what its rounds would


@dataclass(frozen=True)
class MarkFixed(Pass):
    """Inputs of branches get the role "param" where what they are given is fixed around the branch."""

    name: ClassVar[str] = "mark-fixed"
    enters_bodies: ClassVar[bool] = False

    def run(self, graph: Graph, notes: Notes) -> Graph:
        return _marked(graph)


def _marked(graph: Graph) -> Graph:
    """From the outermost bodies inwards; recurs over nesting, which is bounded."""
    if not any(isinstance(node.op, Control) for node in graph.nodes):
        return graph
    fixed = fixed_values(graph)

    def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
        given = node.inputs[1:] if isinstance(node.op, Cond) else node.inputs
        roles = ["param" if v in fixed else "input" for v in given]

        def marked(body: Body) -> Body:
            named = with_roles(body, roles) if isinstance(node.op, Cond | Checkpoint) else body
            inner = _marked(named)
            return body if inner is body else body_of(inner)

        op = with_bodies(node.op, marked)
        return None if op is node.op else build(op, *inputs)

    return rewrite(graph, rule)


@dataclass(frozen=True)
class HoistInvariants(Pass):
    """What depends on the "param" inputs of a body alone is computed in front of the loop or branch."""

    name: ClassVar[str] = "hoist-invariants"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            return _hoisted(node, inputs, notes) if isinstance(node.op, Control) else None

        return rewrite(graph, rule)


def _hoisted(node: Value, inputs: tuple[Value, ...], notes: Notes) -> Value | None:
    """The loop with its invariants as further captured values, None when it has none."""
    first = 1 if isinstance(node.op, Cond) else 0
    moved = [_border(body) for body in bodies(node.op)]
    count = sum(map(len, moved))
    if count == 0:
        return None
    notes.count(f"moved out of {node.op.mnemonic}", count)
    added: list[Value] = []
    for body, border in zip(bodies(node.op), moved, strict=True):
        added += _on(body, border, dict(zip(body.inputs, inputs[first:], strict=True)))
    changes: dict[str, Any] = {}
    for item in fields(node.op):
        value = getattr(node.op, item.name)
        if isinstance(value, Body):
            changes[item.name] = _without(value, moved)
    with locations.using(node.locs):
        return build(replace(node.op, **changes), *inputs, *added)


def _border(body: Body) -> list[Value]:
    """The invariant values of a body that what varies reads, in order."""
    fixed = _invariant(body)
    border: dict[Value, None] = {}
    seen: set[Value] = set()
    stack = list(body.outputs)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in fixed and not isinstance(node.op, CHEAP) and not isinstance(node.op, Input):
            border[node] = None
        else:
            stack.extend(node.inputs)
    return sorted(border, key=body.order.__getitem__)


def _invariant(body: Body) -> set[Value]:
    """The values with inputs that are made of "param" inputs and constants alone, by ops that cannot fail."""
    fixed: set[Value] = set()
    free: set[Value] = set()
    for node in body.nodes:
        if isinstance(node.op, Input):
            if node.op.role == "param":
                fixed.add(node)
        elif not node.inputs:
            free.add(node)
        elif all(v in fixed or v in free for v in node.inputs) and not _may_fail(node):
            fixed.add(node)
    return fixed


def _may_fail(node: Value) -> bool:
    """True for ops that look at indices, loops without a bound, and what holds such ops."""
    if not isinstance(node.op, Control):
        return isinstance(node.op, MAY_FAIL)
    inner = [n.op for body in bodies(node.op) for n in with_inner(body)]
    return any(isinstance(op, MAY_FAIL) or (isinstance(op, While) and op.max_trips is None) for op in (node.op, *inner))


def _on(body: Body, border: Sequence[Value], arguments: Mapping[Value, Value]) -> list[Value]:
    """The border's values, of the loop's own arguments."""
    done = dict(arguments)
    for node in Graph(body.name, body.inputs, tuple(border)).nodes:
        if node not in done:
            done[node] = rebuild(node, tuple(done[v] for v in node.inputs))
    return [done[v] for v in border]


def _without(body: Body, moved: Sequence[Sequence[Value]]) -> Body:
    """The body with one more input for each value that was moved, out of it or out of another body of the op."""
    inputs = [[new_input(f"outer{len(body.inputs) + i}", v.tensor, "param") for i, v in enumerate(part)]
              for part in moved]  # fmt: skip
    done: dict[Value, Value] = {v: v for v in body.inputs}
    for part, made in zip(moved, inputs, strict=True):
        done |= {v: new for v, new in zip(part, made, strict=True) if v in body.order}
    for node in body.nodes:
        if node not in done:
            done[node] = rebuild(node, tuple(done[v] for v in node.inputs))
    extra = tuple(new for made in inputs for new in made)
    return body_of(Graph(body.name, (*body.inputs, *extra), tuple(done[v] for v in body.outputs)))
