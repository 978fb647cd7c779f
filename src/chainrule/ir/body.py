"""Graphs inside ops: what a branch or a loop runs.

A Body is a graph that compares and hashes by what it computes, whatever its names: so ops that hold equal bodies are
equal, and a loop that is written twice is one node. It is closed: what it needs of the graph around it comes in
through its inputs. An input with the role "param" has the same value each time a loop runs the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, cast

from chainrule import loc as locations
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr, dim_substitute
from chainrule.ir.graph import Get, Graph, Input, Value, build, get, new_input, zero_signs
from chainrule.ir.lazy import lazy
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType, Type

MAX_NESTING = 32
# run(body, arrays) -> the body's outputs.
RunBody = Callable[[Graph, Sequence[Array]], Sequence[Array]]
AnyOp = TypeVar("AnyOp", bound=Op)


@dataclass(frozen=True, eq=False)
class Body(Graph):
    """A graph that is an attribute of an op: equal to every graph that computes the same from as many inputs."""

    @lazy
    def key(self) -> tuple[object, ...]:
        """What the body computes: each node as its op and the places of its inputs."""
        place = self.order
        rows = tuple(
            (node.type, node.op.role) if isinstance(node.op, Input)
            else (node.op, zero_signs(node.op), *(place[v] for v in node.inputs))
            for node in self.nodes
        )  # fmt: skip
        told = tuple((name, place[v]) for name, v in self.sizes)
        return len(self.inputs), rows, tuple(place[v] for v in self.outputs), told

    @lazy
    def digest(self) -> int:
        return hash(self.key)

    @lazy
    def depth(self) -> int:
        """How many bodies lie one in another here, this one included."""
        return 1 + max((inner.depth for node in self.nodes for inner in bodies(node.op)), default=0)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Body) and self.digest == other.digest and self.key == other.key

    def __hash__(self) -> int:
        return self.digest


class Control(Op):
    """The base of ops that run bodies."""

    def executed(self, arrays: Sequence[Array], run: RunBody, sizes: Mapping[str, int]) -> tuple[Array, ...]:
        """The results for these arrays, where `run` gives a body's outputs; sizes: the values of symbols."""
        raise NotImplementedError


def body_of(graph: Graph) -> Body:
    """The graph as a body. Raises ModelError when it is not closed or updates state, NotSupported when it is too deep.
    """
    if graph.updates:
        raise ModelError(f"{graph.name}: a body has no state of its own, so it updates none")
    known = set(graph.inputs)
    for node in graph.nodes:
        if isinstance(node.op, Input) and node not in known:
            raise ModelError(f'{graph.name}: a body uses "{node.op.name_}", which is not in its list of inputs')
    made = Body(graph.name, graph.inputs, graph.outputs, sizes=graph.sizes)
    if made.depth > MAX_NESTING:
        raise NotSupported(f"{graph.name}: bodies lie {made.depth} deep one in another",
                           help=f"up to {MAX_NESTING} are taken; flatten the loops")  # fmt: skip
    return made


def bodies(op: Op) -> tuple[Body, ...]:
    """The bodies that an op runs, in the order of its fields."""
    if not isinstance(op, Control):
        return ()
    return tuple(value for item in fields(op) if isinstance(value := getattr(op, item.name), Body))


def with_bodies_of(graph: Graph) -> Iterator[Graph]:
    """A graph and all bodies in it, each once."""
    seen: set[Body] = set()
    stack = [graph]
    while stack:
        part = stack.pop()
        yield part
        fresh = [body for node in part.nodes for body in bodies(node.op) if body not in seen]
        seen.update(fresh)
        stack += dict.fromkeys(fresh)


def tells_sizes(graph: Graph) -> bool:
    """True where data tells sizes, in the graph or in a body in it."""
    return any(part.sizes for part in with_bodies_of(graph))


def with_inner(graph: Graph) -> Iterator[Value]:
    """The nodes of a graph and of all bodies in it, each body once."""
    for part in with_bodies_of(graph):
        yield from part.nodes


def with_bodies(op: AnyOp, change: Callable[[Body], Body]) -> AnyOp:
    """The op with each of its bodies replaced; itself when all stay."""
    if not isinstance(op, Control):
        return op
    changes: dict[str, Any] = {}
    for item in fields(op):
        before = getattr(op, item.name)
        if isinstance(before, Body) and (after := change(before)) is not before:
            changes[item.name] = after
    return replace(op, **changes) if changes else op


def tuple_of(types: Sequence[TensorType]) -> Type:
    """The type of a node with these results: one is a tensor, several are a tuple."""
    return types[0] if len(types) == 1 else TupleType(tuple(types))


def resized(op: AnyOp, env: Mapping[str, Dim]) -> AnyOp:
    """The op with the symbols in its attributes, bodies included, replaced by other sizes."""
    changes: dict[str, object] = {}
    for item in fields(op):
        value: Any = getattr(op, item.name)
        if isinstance(value, DimExpr):
            changes[item.name] = dim_substitute(value, env)
        elif isinstance(value, Body):
            changes[item.name] = _resized_body(value, env)
        elif isinstance(value, tuple):
            parts = cast("tuple[object, ...]", value)
            if any(isinstance(part, DimExpr) for part in parts):
                changes[item.name] = tuple(dim_substitute(d, env) if isinstance(d, DimExpr) else d for d in parts)
    return replace(op, **changes) if changes else op


def _resized_body(body: Body, env: Mapping[str, Dim]) -> Body:
    done: dict[Value, Value] = {}
    for value in body.inputs:
        assert isinstance(value.op, Input)
        type = value.tensor.with_shape(dim_substitute(d, env) for d in value.shape)
        done[value] = new_input(value.op.name_, type, value.op.role)
    inputs = tuple(done[v] for v in body.inputs)
    for node in body.nodes:
        if node in done:
            continue
        arguments = [done[v] for v in node.inputs]
        with locations.using(node.locs):
            done[node] = (get(arguments[0], node.op.index) if isinstance(node.op, Get)
                          else build(resized(node.op, env), *arguments))  # fmt: skip
    sizes = tuple((name, done[v]) for name, v in body.sizes)
    return body_of(Graph(body.name, inputs, tuple(done[v] for v in body.outputs), sizes=sizes))
