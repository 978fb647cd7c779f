"""The names of one graph, or of one call of a function, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chainrule.backends.onnx.importing.sequences import Absent, Listed
from chainrule.backends.onnx.node import Entry, Subgraph
from chainrule.ir.graph import Input, Value, new_input

MOST_NESTED = 32  # graphs in graphs, or calls in calls


@dataclass(frozen=True)
class Arguments:
    """What the attributes of a call are inside the function: attributes there refer to them by name."""

    attributes: Mapping[str, object] = field(default_factory=dict[str, object])
    graphs: Mapping[str, Subgraph] = field(default_factory=dict[str, Subgraph])


@dataclass(eq=False)
class Scope:
    """A graph's own names; those of the graphs around it are seen through it.

    versions: of the operator sets, by domain. path: what stands before the names of its nodes in messages. captures:
    its nodes become a Graph of their own, whose inputs stand for the values outside that they read. arguments: inside
    a function, the attributes of its call. sizes: those that data tells in the graph that its nodes become part of.
    """

    versions: Mapping[str, int]
    path: str = ""
    outer: Scope | None = None
    captures: bool = False
    arguments: Arguments | None = None
    depth: int = 0
    sizes: list[tuple[str, Value]] = field(default_factory=list[tuple[str, Value]])
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    captured: dict[Value, Value] = field(default_factory=dict[Value, Value])

    def entry(self, name: str) -> Entry | None:
        """What a name stands for here; None where nothing gives it."""
        scope, crossed = self, list[Scope]()
        while True:
            found = scope.entries.get(name)
            if found is not None:
                break
            crossed.append(scope)
            if scope.outer is None:
                return None
            scope = scope.outer
        return _through(found, crossed)

    @property
    def is_outermost(self) -> bool:
        """True for the model's own graph: no branch, no body, no call of a function."""
        return self.outer is None and self.arguments is None

    def inside(self, value: Value) -> Value:
        """A value of the graph around this one as an input of this one; what has no inputs needs none."""
        if not value.inputs and not isinstance(value.op, Input):
            return value
        if value not in self.captured:
            self.captured[value] = new_input(f"outer_{len(self.captured)}", value.tensor)
        return self.captured[value]


def _through(entry: Entry, crossed: list[Scope]) -> Entry:
    """An entry as the innermost of nested scopes sees it. crossed: from the innermost outwards."""
    for scope in reversed(crossed):
        if scope.captures:
            entry = _captured(entry, scope)
    return entry


def _captured(entry: Entry, scope: Scope) -> Entry:
    if isinstance(entry, Absent):
        return entry
    if isinstance(entry, Listed):
        return entry.through(lambda e: _captured(e, scope), scope.inside)
    return Entry(None, entry.content, entry.dtype, lambda role: scope.inside(entry.value(role)))
