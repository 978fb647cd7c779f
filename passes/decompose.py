"""Replaces composite ops by their decompositions, except those that the backend keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule import loc as locations
from chainrule.errors import NotSupported
from chainrule.ir.body import Body, Control, body_of, with_bodies, with_inner
from chainrule.ir.graph import Get, Graph, Input, Value, build, remapped, replace_each, results
from chainrule.passes.base import Notes, Pass

Keeps = Callable[[Value], bool]


def keeps_nothing(node: Value) -> bool:
    """Every composite is decomposed."""
    return False


@dataclass(frozen=True)
class Decompose(Pass):
    """Every node that `keeps` refuses becomes its decomposition, until all are kept or primitive.

    keeps(node) tells whether a backend runs the node as it is. A primitive that is not kept stays: see require_kept.
    """

    name: ClassVar[str] = "decompose"
    keeps: Keeps = keeps_nothing

    def __str__(self) -> str:
        return self.name

    def run(self, graph: Graph, notes: Notes) -> Graph:
        done: dict[Value, tuple[Value, ...]] = {v: (v,) for v in graph.inputs}
        _expand(graph.results, done, self.keeps, notes)
        return remapped(graph, {node: parts[0] for node, parts in done.items()})


def _expand(roots: Sequence[Value], done: dict[Value, tuple[Value, ...]], keeps: Keeps, notes: Notes) -> None:
    """Fills `done` with the results, in kept ops, of every node the roots reach."""
    replace_each(roots, done, lambda node: _expanded(node, keeps, notes))


def _expanded(node: Value, keeps: Keeps, notes: Notes) -> tuple[Value, ...]:
    if isinstance(node.op, Control):
        node = _entered(node, keeps, notes)
    if isinstance(node.op, Input) or keeps(node):
        return results(node)
    with locations.using(node.locs):
        parts = node.op.decompose(*node.inputs)
    if parts is None:
        return results(node)
    notes.count(node.op.mnemonic)
    outputs = parts if isinstance(parts, tuple) else (parts,)
    inner: dict[Value, tuple[Value, ...]] = {v: (v,) for v in node.inputs}
    with locations.using(node.locs):
        _expand(outputs, inner, keeps, notes)
    return tuple(inner[v][0] for v in outputs)


def _entered(node: Value, keeps: Keeps, notes: Notes) -> Value:
    """The node with its bodies decomposed: those of a loop that a decomposition is made of were not there before."""

    def decomposed(body: Body) -> Body:
        inner = Decompose(keeps).run(body, notes)
        return body if inner is body else body_of(inner)

    op = with_bodies(node.op, decomposed)
    return node if op == node.op else build(op, *node.inputs)


def require_kept(graph: Graph, keeps: Keeps, backend: str) -> None:
    """Raises NotSupported naming every op of the graph that the backend neither runs nor can decompose."""
    missing = {n.op.mnemonic: n for n in with_inner(graph) if not isinstance(n.op, Input | Get) and not keeps(n)}
    if missing:
        first = next(iter(missing.values()))
        raise NotSupported(f"the {backend} backend has no {', '.join(sorted(missing))}", loc=first.loc,
                           help='compile with backend="reference", or write it with other ops')  # fmt: skip
