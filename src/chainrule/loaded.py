"""A graph from a file as a model like any other: its weights are parameters, and it can be called in a trace."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend import scope as scopes
from chainrule.frontend.nn.module import Module, adopt
from chainrule.frontend.places import error
from chainrule.frontend.stored import Buffer, Parameter, Stored
from chainrule.frontend.structure import LEAF, Structure
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import Arguments, Origin, Traced
from chainrule.ir.body import resized
from chainrule.ir.dims import Dim, DimExpr, dim_substitute
from chainrule.ir.graph import Get, Graph, Input, Value, build, get, input_name
from chainrule.ir.op import Array


class GraphModule(Module):
    """A graph with its weights. traced: the whole, ready to be compiled; calling it on tensors puts it into a trace.

    Its parameters and buffers have the names they have in the file. Inputs are positional, in the file's order; several
    outputs are a tuple. In a trace its symbolic sizes take those of the tensors it is called on.

    weights: nobody else holds these arrays. inputs: the form of each argument, by name; outputs: that of each result;
    both are tensors where they are left out.
    """

    def __init__(self, graph: Graph, weights: Mapping[Value, Array], origin: Origin | None = None,
                 inputs: Sequence[tuple[str, Structure]] | None = None, outputs: Sequence[Structure] | None = None
                 ) -> None:  # fmt: skip
        object.__setattr__(self, "stored", {})
        self.graph = graph
        self.origin = origin
        given = [(input_name(v), LEAF) for v in graph.by_role("input")] if inputs is None else inputs
        forms = tuple(form for _, form in given)
        names = tuple(name for name, _ in given)
        self.arguments = Arguments(names, Structure(tuple, tuple(range(len(forms))), forms))
        made = tuple(outputs or (LEAF,) * len(graph.outputs))
        self.structure = made[0] if len(made) == 1 else Structure(tuple, tuple(range(len(made))), made)
        self.sources: list[tuple[Value, Stored]] = []
        for value in graph.by_role("param", "state"):
            assert isinstance(value.op, Input)
            kind = Parameter if value.op.role == "param" else Buffer
            stored = kind(weights[value], dtype=value.dtype, given=True)
            self.sources.append((value, self._held(value.op.name_, stored)))
        self._signature = inspect.Signature([
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in _identifiers(names)
        ])  # fmt: skip

    stored: dict[str, Stored]

    def _held(self, name: str, stored: Stored) -> Stored:
        adopt(self, name, stored)
        self.stored[name] = stored
        return stored

    def members(self) -> Iterator[tuple[str, object]]:
        return iter(tuple(self.stored.items()))

    @property
    def traced(self) -> Traced:
        """The graph with where its weights are read from."""
        return Traced(self.graph, self.arguments, self.structure, tuple(self.sources), self.origin)

    def called(self) -> Callable[..., Any]:
        """A function with the graph's inputs as arguments."""

        def call(*inputs: Any) -> Any:
            return self.forward(*inputs)

        call.__signature__ = self._signature  # type: ignore[attr-defined]
        return call

    def forward(self, *inputs: Any) -> Any:
        """The outputs for tensors of a running trace."""
        scope = scopes.required("a loaded model")
        names = self.arguments.names
        if len(inputs) != len(names):
            raise error(ArgumentError, f"{self.graph.name} takes {len(names)} inputs, {len(inputs)} were given",
                        help="they are " + ", ".join(names))  # fmt: skip
        values = [_value_of(x) for x in self.arguments.flatten(inputs, {})]
        wanted = self.graph.by_role("input")
        done = dict(zip(wanted, values, strict=True)) | {v: stored.value for v, stored in self.sources}
        outputs, updates = instantiated(self.graph, done, _sizes(wanted, values), scope.told)
        for state, stored in self.sources:
            if state in updates:
                scope.assign(stored, updates[state])
        return self.structure.build([Tensor(v, scope) for v in outputs])

    def extra_repr(self) -> str:
        return f"{self.graph.name}: {len(self.graph.nodes)} nodes"


def _identifiers(names: Sequence[str]) -> list[str]:
    """The names as arguments of a function: those that are none, or stand twice, by their place."""
    plain = all(n.isidentifier() and not keyword.iskeyword(n) for n in names) and len(set(names)) == len(names)
    return list(names) if plain else [f"x{i}" for i in range(len(names))]


def _value_of(x: object) -> Value:
    if not isinstance(x, Tensor):
        raise error(ArgumentError, f"a loaded model takes tensors, {type(x).__name__} was given",
                    help="compile it to run it on arrays: cr.compile(model)")  # fmt: skip
    return x.value


def _sizes(wanted: Sequence[Value], given: Sequence[Value]) -> dict[str, Dim]:
    """What each symbol of the graph's inputs is for the tensors given. Raises ShapeError where they do not fit."""
    env: dict[str, Dim] = {}
    for value, actual in zip(wanted, given, strict=True):
        if value.rank != actual.rank or value.dtype != actual.dtype:
            raise error(ShapeError, f"{input_name(value)}: {value.type} was declared, {actual.type} was given")
        for dim, size in zip(value.shape, actual.shape, strict=True):
            name = dim.symbol_name() if isinstance(dim, DimExpr) else None
            if name is not None:
                env.setdefault(name, size)
    for value, actual in zip(wanted, given, strict=True):
        if tuple(dim_substitute(d, env) for d in value.shape) != actual.shape:
            raise error(ShapeError, f"{input_name(value)}: {value.type} was declared, {actual.type} was given")
    return env


def instantiated(graph: Graph, done: dict[Value, Value], sizes: Mapping[str, Dim], told: Callable[[Value, str], Dim]
                 ) -> tuple[list[Value], dict[Value, Value]]:  # fmt: skip
    """The graph's outputs, and the new values of its state, on other inputs and other sizes.

    told: makes a symbol for a size that the graph tells, from its value.
    """
    env = dict(sizes)
    tells = {value: name for name, value in graph.sizes}
    for node in graph.nodes:
        if node in done:
            continue
        inputs = [done[v] for v in node.inputs]
        op = node.op
        done[node] = get(inputs[0], op.index) if isinstance(op, Get) else build(resized(op, env), *inputs)
        if node in tells:
            env[tells[node]] = told(done[node], tells[node])
    return [done[v] for v in graph.outputs], {state: done[new] for state, new in graph.updates}
