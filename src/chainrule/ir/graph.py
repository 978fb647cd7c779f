"""The graph: hash-consed values, and graphs over them.

A Value is one node: (op, inputs, type). Values are immutable and interned: building the same op on the same inputs
returns the same object, so common subexpressions are free and identity is equality. An op with several results has a
TupleType; `get` takes one result out. Every value carries the user's source lines, which equality ignores.

A Graph is (inputs, outputs, updates, sizes). Its inputs are Input nodes whose role tells them apart: data of a call
("input"), trained weights ("param") and other state ("state": running statistics, optimiser slots, keys, counters). An
update pairs a param or state input with the value that replaces it after the call.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from functools import cache
from typing import ClassVar, Literal, cast
from weakref import WeakValueDictionary

from chainrule import loc as locations
from chainrule.errors import ChainruleError, NotSupported, ShapeError
from chainrule.ir.data import Data
from chainrule.ir.dims import Dim, DimExpr, dim_symbols
from chainrule.ir.lazy import lazy
from chainrule.ir.op import Op
from chainrule.ir.types import DType, TensorType, TupleType, Type
from chainrule.loc import Loc

Role = Literal["input", "param", "state"]

_interned: WeakValueDictionary[tuple[object, ...], Value] = WeakValueDictionary()
_lock = threading.Lock()
_left: ContextVar[list[int] | None] = ContextVar("chainrule_values_left", default=None)  # of `building_at_most`


def _after_fork() -> None:
    """The thread that was building a node, if one was, is not in the child."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Value:
    """One node of a graph and its result. Made only by `build`; compared by identity."""

    __slots__ = ("__weakref__", "inputs", "locs", "op", "type")

    def __init__(self, op: Op, inputs: tuple[Value, ...], type: Type, locs: tuple[Loc, ...]) -> None:
        self.op = op
        self.inputs = inputs
        self.type = type
        self.locs = locs

    @property
    def tensor(self) -> TensorType:
        """The type of a single-result value. A value with several results has none (take one with `get`)."""
        assert isinstance(self.type, TensorType), f"{self.op.name} has several results"
        return self.type

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.tensor.shape

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    @property
    def rank(self) -> int:
        return len(self.tensor.shape)

    @property
    def loc(self) -> Loc | None:
        """The first source place."""
        return self.locs[0] if self.locs else None

    def __repr__(self) -> str:
        return f"<{self.op.mnemonic} {self.type}>"


def build(op: Op, *inputs: Value) -> Value:
    """The value of op on inputs: type inferred, interned, at the current source place.

    Raises what op.infer raises, with the user's line and the types of the arguments added.
    """
    key = (op, zero_signs(op), *map(id, inputs))
    found = _interned.get(key)
    if found is not None:
        return found
    try:
        type = op.infer(*(value.tensor for value in inputs))
    except ChainruleError as error:
        raise explained(error, op, inputs) from None
    left = _left.get()
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise NotSupported("more values are built than were allowed")
    with _lock:
        found = _interned.get(key)
        if found is None:
            found = _interned[key] = Value(op, inputs, type, locations.here())
    return found


@contextmanager
def building_at_most(count: int) -> Generator[None]:
    """Within this context `build` makes that many new values and then raises NotSupported: what is not trusted ends."""
    token = _left.set([count])
    try:
        yield
    finally:
        _left.reset(token)


@cache
def _float_fields(kind: type[Op]) -> tuple[str, ...]:
    """The attributes of an op that may hold floats."""
    return tuple(item.name for item in fields(kind) if "float" in str(item.type))


def zero_signs(op: Op) -> tuple[float, ...]:
    """The signs of the zeros among an op's attributes: 0.0 == -0.0, but full(0.0) is not full(-0.0)."""
    names = _float_fields(type(op))
    if not names:
        return ()
    return tuple(math.copysign(1.0, v) for name in names if isinstance(v := getattr(op, name), float) and v == 0.0)


def explained(error: ChainruleError, op: Op, inputs: Sequence[Value]) -> ChainruleError:
    """The error with the op's name, the user's line and the arguments' types added, where it has none yet."""
    if error.loc is not None or error.notes:
        return error
    places = locations.here()
    cause = error.cause if error.cause.startswith(op.mnemonic) else f"{op.mnemonic}: {error.cause}"
    notes = [_describe(name, value) for name, value in zip(op.argument_names(len(inputs)), inputs, strict=False)]
    return type(error)(cause, loc=places[0] if places else None, notes=notes, help=error.help, apart=error.apart)


def _describe(name: str, value: Value) -> str:
    if isinstance(value.op, Input):
        kind = {"input": "input", "param": "parameter", "state": "state"}[value.op.role]
        return f'{name}: {value.type} {kind} "{value.op.name_}"'
    data = getattr(value.op, "data", None)
    if isinstance(data, Data):  # equal constants are one value, whose place may be any line that had it first
        return f"{name}: {value.type} constant" + (f" {data.array.item()}" if data.array.size == 1 else "")
    # A constant is shared by all that write it: its place would be that of whoever wrote it first.
    place = value.loc.short() if value.loc and value.inputs else ""
    return f"{name}: {value.type}" + (f" from {place}" if place else "")


@dataclass(frozen=True)
class Input(Op):
    """A named input of a graph. Each is distinct: two inputs of one name and type are different values."""

    name: ClassVar[str] = "input"
    name_: str
    type: TensorType
    role: Role = "input"
    uid: int = field(default_factory=itertools.count().__next__)

    def infer(self, *types: TensorType) -> TensorType:
        return self.type


@dataclass(frozen=True)
class Get(Op):
    """Result number `index` of a value with several results."""

    name: ClassVar[str] = "get"
    index: int = 0


def get(value: Value, index: int) -> Value:
    """Result number `index` of a value with several results; of a single-result value, itself at index 0."""
    if isinstance(value.type, TensorType):
        assert index == 0
        return value
    op = Get(index)
    key = (op, id(value))
    with _lock:
        found = _interned.get(key)
        if found is None:
            found = _interned[key] = Value(op, (value,), value.type.items[index], value.locs)
    return found


def results(value: Value) -> tuple[Value, ...]:
    """All results of a value, as single-result values."""
    if isinstance(value.type, TupleType):
        return tuple(get(value, i) for i in range(len(value.type.items)))
    return (value,)


def rebuild(value: Value, inputs: Sequence[Value]) -> Value:
    """The same op on other inputs, at the same source place."""
    if all(a is b for a, b in zip(value.inputs, inputs, strict=True)):
        return value
    if isinstance(value.op, Get):
        return get(inputs[0], value.op.index)
    with locations.using(value.locs):
        return build(value.op, *inputs)


def new_input(name: str, type: TensorType, role: Role = "input") -> Value:
    """A fresh input of a graph."""
    return build(Input(name, type, role))


@dataclass(frozen=True)
class Graph:
    """Inputs, outputs and state updates; the nodes are all that the outputs and updates reach.

    sizes: symbols whose value the graph itself computes, each with that value (i64[]), in an order in which a value
    mentions only symbols of the inputs and earlier ones.

    Graphs compare by identity; compare texts (ir.text) to compare meaning.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    updates: tuple[tuple[Value, Value], ...] = ()
    output_names: tuple[str, ...] = ()
    sizes: tuple[tuple[str, Value], ...] = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    @property
    def results(self) -> tuple[Value, ...]:
        """All values the graph must compute: outputs, then the new values of its state."""
        return self.outputs + tuple(new for _, new in self.updates)

    @property
    def roots(self) -> tuple[Value, ...]:
        """The results, and before them what tells the sizes."""
        return tuple(value for _, value in self.sizes) + self.results

    @lazy
    def nodes(self) -> tuple[Value, ...]:
        """Every node that the roots reach and all inputs, producers before users, sizes before who mentions them."""
        return reachable(self.inputs + self.roots)

    @lazy
    def order(self) -> Mapping[Value, int]:
        """The place of each node in `nodes`: larger than that of all it depends on."""
        return {node: i for i, node in enumerate(self.nodes)}

    @lazy
    def users(self) -> Mapping[Value, tuple[Value, ...]]:
        """The nodes that use each node. Being an output is not a use: see `results`."""
        found: dict[Value, list[Value]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                found[value].append(node)
        return {node: tuple(users) for node, users in found.items()}

    @lazy
    def symbols(self) -> tuple[str, ...]:
        """The names of the symbolic sizes of the inputs, sorted."""
        return tuple(sorted({s for v in self.inputs for d in v.tensor.shape for s in dim_symbols(d)}))

    def by_role(self, *roles: Role) -> tuple[Value, ...]:
        """The inputs with one of these roles, in order."""
        return tuple(v for v in self.inputs if isinstance(v.op, Input) and v.op.role in roles)

    @lazy
    def called(self) -> Graph:
        """The graph as a call sees it: weights and state are no inputs."""
        return self.replace(inputs=self.by_role("input"))

    @lazy
    def claims(self) -> tuple[tuple[Value, Dim, Dim], ...]:
        """The sizes that must be equal for the graph to run, with the node that needs it."""
        return tuple((node, a, b) for node in self.nodes for a, b in
                     node.op.claims(*(v.tensor for v in node.inputs if isinstance(v.type, TensorType))))  # fmt: skip

    def replace(self, **changes: object) -> Graph:
        """A copy with some fields changed."""
        fields = {"name": self.name, "inputs": self.inputs, "outputs": self.outputs,
                  "updates": self.updates, "output_names": self.output_names,
                  "sizes": self.sizes}  # fmt: skip
        return Graph(**(fields | changes))  # type: ignore[arg-type]


def input_name(value: Value) -> str:
    """The name of an input node."""
    assert isinstance(value.op, Input)
    return value.op.name_


def reachable(roots: Iterable[Value], within: Container[Value] | None = None) -> tuple[Value, ...]:
    """All nodes that the roots reach, producers before users, in an order that depends on the structure alone.

    within: only these, and what they reach through each other; the walk does not leave them.
    """
    order: dict[Value, None] = {}
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, inputs_done = stack.pop()
        if node in order:
            continue
        if inputs_done or not node.inputs:
            order[node] = None
            continue
        stack.append((node, True))
        inner = node.inputs if within is None else [v for v in node.inputs if v in within]
        stack.extend((v, False) for v in reversed(inner) if v not in order)
    return tuple(order)


def symbols_of(node: Value) -> frozenset[str]:
    """The symbolic sizes that a node's type or its attributes mention; a body's own are those of its nodes."""
    items = node.type.items if isinstance(node.type, TupleType) else (node.type,)
    found = {s for item in items for d in item.shape for s in dim_symbols(d)}
    for item in fields(node.op):
        value = getattr(node.op, item.name)
        if isinstance(value, Graph):
            found |= {s for inner in value.nodes for s in symbols_of(inner)} - {name for name, _ in value.sizes}
        for part in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            if isinstance(part, DimExpr):
                found |= dim_symbols(part)
    return frozenset(found)


def needed_sizes(sizes: Sequence[tuple[str, Value]], roots: Sequence[Value]) -> tuple[tuple[str, Value], ...]:
    """Those of some computed sizes that the nodes below the roots mention, and those that these mention."""
    kept: list[tuple[str, Value]] = []
    below = list(roots)
    for name, value in reversed(sizes):
        if any(name in symbols_of(node) for node in reachable(below)):
            kept.append((name, value))
            below.append(value)
    return tuple(reversed(kept))


Rule = Callable[[Value, tuple[Value, ...]], "Value | None"]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph with every node passed through a rule, producers first.

    rule(node, inputs) gets a node and its already rewritten inputs and returns its replacement (of the same type), or
    None to keep the op. Inputs of the graph are kept. New nodes are built at the source place of the node they replace.
    """
    done: dict[Value, Value] = {}
    for node in graph.nodes:
        if isinstance(node.op, Input):
            done[node] = node
            continue
        inputs = tuple(done[v] for v in node.inputs)
        with locations.using(node.locs):
            new = rule(node, inputs)
        done[node] = rebuild(node, inputs) if new is None else new
    return remapped(graph, done)


def replace_each(
    roots: Sequence[Value], done: dict[Value, tuple[Value, ...]], replacement: Callable[[Value], tuple[Value, ...]]
) -> None:
    """Fills `done` with what takes the place of the results of every node that the roots reach, producers first.

    replacement(node) gets the node on already replaced inputs. It may call this for what it returns, with the node's
    inputs as done: recursion is then as deep as replacements within replacements, never as deep as the graph.
    """
    stack = [(v, False) for v in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if not ready:
            stack.append((node, True))
            stack.extend((v, False) for v in reversed(node.inputs) if v not in done)
        elif isinstance(node.op, Get):
            done[node] = (done[node.inputs[0]][node.op.index],)
        else:
            done[node] = replacement(rebuild(node, tuple(done[v][0] for v in node.inputs)))


def remapped(graph: Graph, done: Mapping[Value, Value]) -> Graph:
    """The graph whose outputs and updates are replaced by what `done` maps them to; itself if nothing changed."""
    outputs = tuple(done[v] for v in graph.outputs)
    updates = tuple((state, done[new]) for state, new in graph.updates)
    sizes = tuple((name, done[value]) for name, value in graph.sizes)
    if outputs == graph.outputs and updates == graph.updates and sizes == graph.sizes:
        return graph
    return graph.replace(outputs=outputs, updates=updates, sizes=sizes)


def inline(graph: Graph, arguments: Sequence[Value]) -> tuple[Value, ...]:
    """The outputs of a graph (a region's body) with its inputs replaced by arguments."""
    if len(arguments) != len(graph.inputs):
        raise ShapeError(f"{graph.name} takes {len(graph.inputs)} values, {len(arguments)} were given")
    done: dict[Value, Value] = dict(zip(graph.inputs, arguments, strict=True))
    for node in graph.nodes:
        if node not in done:
            done[node] = rebuild(node, tuple(done[v] for v in node.inputs))
    return tuple(done[v] for v in graph.outputs)


def on_inputs(graph: Graph, arguments: Sequence[Value]) -> Graph:
    """The graph with its inputs replaced, in order; an argument that is no input itself stands for numbers it holds."""
    roots = inline(graph.replace(outputs=graph.roots, updates=(), sizes=()), arguments)
    sizes, outputs = len(graph.sizes), len(graph.sizes) + len(graph.outputs)
    now = dict(zip(graph.inputs, arguments, strict=True))
    return graph.replace(
        inputs=tuple(v for v in arguments if isinstance(v.op, Input)), outputs=roots[sizes:outputs],
        updates=tuple((now[state], new) for (state, _), new in zip(graph.updates, roots[outputs:], strict=True)),
        sizes=tuple((name, value) for (name, _), value in zip(graph.sizes, roots, strict=False)),
    )  # fmt: skip
