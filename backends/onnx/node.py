"""One ONNX node as the importer sees it: attributes, values, and what is known of them before the model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Graph, Input, Value, input_name
from chainrule.ir.op import Array
from chainrule.ir.types import DType
from chainrule.ops.basic import Constant, constant, size_of
from chainrule.ops.elementwise import cast
from chainrule.ops.shaping import reshape, stack

Vector = tuple[Dim, ...]
Store = Callable[[str], Value]
Arranged = Callable[[Sequence["Entry"]], list["Entry"]]
Tell = Callable[[Value, str], Dim]


class Undecided(NotSupported):
    """What a node needs to know when the model is loaded follows from data. inputs: the model's, that decide it."""

    inputs: tuple[str, ...] = ()


def undecided(cause: str, value: Value) -> Undecided:
    """The error for a value that had to be known."""
    error = Undecided(cause, help="state it when the model is loaded: known={name: array} of the inputs that decide it")
    nodes = Graph("known", (), (value,)).nodes
    error.inputs = tuple(input_name(v) for v in nodes if isinstance(v.op, Input) and v.op.role == "input")
    return error


class Entry:
    """One value of the model: a node of the graph, or numbers and sizes that become one only where they are data.

    content: an array of numbers, or an object array of sizes; None when nothing is known. store: makes the graph input
    of an initializer, given its role. bits: of a number, where a byte holds fewer than it could.
    """

    def __init__(self, value: Value | None, content: Array | None, dtype: DType, store: Store | None = None,
                 bits: int = 0) -> None:  # fmt: skip
        self.content = content
        self.dtype = dtype
        self.bits = bits
        self._value = value
        self._store = store

    @property
    def is_node(self) -> bool:
        """True when a node gives it, not numbers or a stored weight."""
        return self._value is not None and not isinstance(self._value.op, Constant)

    def value(self, role: str = "param") -> Value:
        """The node of the graph."""
        if self._value is None and self._store is not None:
            self._value = self._store(role)
        elif self._value is None:
            assert self.content is not None
            self._value = _made(self.content, self.dtype)
        return self._value


@dataclass(frozen=True, eq=False)
class Body:
    """A graph out of an attribute as a Graph of its own.

    Its inputs are those that were asked for, then one for each value of captured: what its nodes read from outside.
    """

    graph: Graph
    captured: tuple[Value, ...]


class Subgraph(Protocol):
    """A graph that is an attribute (a branch, a body), as the reader of its node sees it. It may be read many times."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of its outputs."""
        ...

    def inlined(self, arguments: Sequence[Entry]) -> list[Entry]:
        """Its outputs for these inputs, as nodes of the graph around it: a branch that is known, a loop unrolled."""
        ...

    def body(self, inputs: Sequence[Value | Entry], arranged: Arranged = list) -> Body:
        """The graph of its outputs, read with these inputs (made by new_input) for its own.

        An input that is an Entry is no input of the graph: it is known inside. arranged: makes the graph's outputs of
        those of the attribute.
        """
        ...


def _made(content: Array, dtype: DType) -> Value:
    """Numbers as a constant; symbolic sizes as what the inputs' shapes tell at run time."""
    flat = content.reshape(-1).tolist()
    if not any(isinstance(d, DimExpr) for d in flat):
        return constant(content.astype(dtype.numpy))
    if content.ndim == 0:
        return cast(size_of(flat[0]), dtype)
    return reshape(stack([cast(size_of(d), dtype) for d in flat]), content.shape)


@dataclass(frozen=True)
class Given:
    """One ONNX node: what a form reads. outputs: how many of its outputs are named, the last named one included.

    opset: the version of its domain. domain: "" is ONNX's own. tell: makes a size of the graph out of a value.
    """

    op_type: str
    opset: int
    entries: tuple[Entry | None, ...]
    attributes: Mapping[str, object]
    outputs: int = 1
    domain: str = ""
    graphs: Mapping[str, Subgraph] = field(default_factory=dict[str, "Subgraph"])
    tell: Tell | None = None

    def entry(self, position: int) -> Entry:
        """The input at a position. Raises ModelError when it is absent."""
        found = self.entries[position] if position < len(self.entries) else None
        if found is None:
            raise ModelError(f"{self.op_type}: input {position} is missing")
        return found

    def value(self, position: int, role: str = "param") -> Value:
        """The input at a position as a node of the graph. role: what an initializer there is for."""
        return self.entry(position).value(role)

    def values(self) -> list[Value]:
        """All inputs that are there, as nodes of the graph."""
        return [e.value() for e in self.entries if e is not None]

    def with_values(self, *values: Value | None) -> Given:
        """The node with other inputs, None for one that is left out."""
        return replace(self, entries=tuple(None if v is None else Entry(v, None, v.dtype) for v in values))

    def has(self, position: int) -> bool:
        """True when the node has an input there."""
        return position < len(self.entries) and self.entries[position] is not None

    def known(self, position: int) -> Array | None:
        """What is known of an input; None when nothing is."""
        return self.entry(position).content

    def told(self, value: Value, name: str) -> Dim:
        """A size that the node's graph tells: an i64 scalar that depends on data."""
        if isinstance(value.op, Constant):
            return int(value.op.data.array)
        if self.tell is None:
            raise undecided(f"{self.op_type}: a size depends on data", value)
        return self.tell(value, name)

    def content(self, position: int) -> Array:
        """What is known of an input. Raises NotSupported when it depends on data."""
        found = self.known(position)
        if found is None:
            raise undecided(f"{self.op_type}: input {position} is not known when the model is loaded",
                            self.value(position))  # fmt: skip
        return found

    def dims(self, position: int) -> Vector:
        """An input as sizes."""
        found = self.content(position)
        if found.dtype != object and found.dtype.kind not in "iu":
            raise ModelError(f"{self.op_type}: input {position} is of {found.dtype}, not of whole numbers")
        return tuple(d if isinstance(d, DimExpr) else int(d) for d in found.reshape(-1).tolist())

    def ints(self, position: int) -> tuple[int, ...]:
        """An input as whole numbers. Raises NotSupported when one is symbolic."""
        found = self.dims(position)
        if any(isinstance(d, DimExpr) for d in found):
            raise NotSupported(f"{self.op_type}: input {position} depends on symbolic sizes: {found}")
        return tuple(int(d) for d in found)  # type: ignore[arg-type]

    def number(self, position: int) -> float:
        """An input as one number, a float as the shortest that its type rounds to the same."""
        found = self.content(position)
        if found.size != 1:
            raise ModelError(f"{self.op_type}: input {position} holds {found.size} numbers, not one")
        number = found.reshape(-1)[0]
        if isinstance(number, DimExpr):
            raise NotSupported(f"{self.op_type}: input {position} is the symbolic size {number}")
        if not isinstance(number, np.generic):
            return number
        return number.item() if number.dtype.kind in "iub" else shortest(number)

    def attribute(self, name: str, default: object = None) -> object:
        """An attribute, or what the operator set says where it is left out."""
        return self.attributes.get(name, default)

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole-number attribute. Raises ModelError for another kind, or where it is left out and has no default."""
        found = self.attributes.get(name, default)
        if not isinstance(found, int):
            wrong = "is missing" if found is None else "is no whole number"
            raise ModelError(f"{self.op_type}: the attribute {name} {wrong}")
        return found

    def fraction(self, name: str, default: float) -> float:
        """A float attribute, as the shortest number that it stands for."""
        found = self.attributes.get(name, default)
        if not isinstance(found, float | int):
            raise ModelError(f"{self.op_type}: the attribute {name} is no number")
        return shortest(np.float32(found)) if isinstance(found, float) else float(found)

    def word(self, name: str, default: str) -> str:
        """A text attribute."""
        found = self.attributes.get(name, default)
        if not isinstance(found, str):
            raise ModelError(f"{self.op_type}: the attribute {name} is no text")
        return found

    def vector(self, name: str) -> tuple[int, ...] | None:
        """A list of whole numbers, None where it is left out."""
        found = self.attributes.get(name)
        if found is None:
            return None
        if not isinstance(found, tuple) or not all(isinstance(n, int) for n in found):
            raise ModelError(f"{self.op_type}: the attribute {name} is no list of whole numbers")
        return found

    def graph(self, name: str) -> Subgraph:
        """An attribute that is a graph."""
        found = self.graphs.get(name)
        if found is None:
            raise ModelError(f"{self.op_type}: the attribute {name} is missing or no graph")
        return found

    def axes(self, input_since: int, position: int = 1) -> tuple[int, ...] | None:
        """The axes, from an attribute before an opset and from an input since; None where they are left out."""
        if self.opset < input_since:
            return self.vector("axes")
        return self.ints(position) if self.has(position) else None


def shortest(value: np.generic) -> float:
    """The number with the fewest digits that a float stands for: 1e-5 for f32's 9.99999974e-06."""
    return float(str(value))


Read = Value | Entry | tuple[Value | Entry | None, ...]  # what a reader makes: an Entry carries what is known of it
Reader = Callable[[Given], Read]
