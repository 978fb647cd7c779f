"""Collects the nodes of an ONNX graph: names, shared constants, and symbolic sizes as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

from chainrule.backends.onnx.dtypes import ONNX_OF
from chainrule.backends.onnx.forms.form import Attribute, Numbers
from chainrule.errors import ShapeError
from chainrule.ir.dims import Atom, Dim, DimExpr, dim_symbols, lower_bound
from chainrule.ir.op import Array
from chainrule.ir.types import DType
from chainrule.loc import Loc


class SizeSource(NamedTuple):
    """Where a symbol's number is read off: this axis of this value has the size start + slope * symbol."""

    value: str
    axis: int
    start: Dim = 0
    slope: Dim = 1


class Writer:
    """The nodes and constants of one ONNX graph, in order.

    sources: for each symbol, where its number is read off. told: symbols that a value is, an i64 scalar.
    around: the writer of the graph that this one is a body in; it keeps names, constants and sizes for both, because a
    body sees them, but for sizes that the body itself tells.
    """

    def __init__(self, sources: Mapping[str, SizeSource], taken: Sequence[str], ir_version: int,
                 around: Writer | None = None) -> None:  # fmt: skip
        self.sources = dict(sources)
        self.told: dict[str, str] = {}
        self.ir_version = ir_version
        self.around = around
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self._own: set[str] = set()
        self._taken = set(taken)
        self._counts: dict[str, int] = {}
        self._known: dict[tuple[object, ...], str] = {}

    def inner(self) -> Writer:
        """A writer of a body inside this graph."""
        made = Writer(self.sources, (), self.ir_version, self)
        made.told = dict(self.told)
        return made

    def tell(self, symbol: str, name: str) -> None:
        """From here on a size is what this value says, in this graph and in bodies inside it."""
        self.told[symbol] = name
        self._own.add(symbol)
        self.sources.pop(symbol, None)

    def name(self, wanted: str) -> str:
        """A name that no other value has, of this graph, those around it or those inside it."""
        if self.around is not None:
            return self.around.name(wanted)
        while True:
            count = self._counts.get(wanted, 0)
            self._counts[wanted] = count + 1
            name = f"{wanted}_{count}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def node(self, op_type: str, inputs: Sequence[str], attributes: Mapping[str, Attribute] | None = None,
             outputs: Sequence[str] = (), label: str = "", locs: Sequence[Loc] = (),
             graphs: Mapping[str, GraphProto] | None = None) -> str:  # fmt: skip
        """Appends a node; returns its first output. outputs: their names, one made up when none is given.

        graphs: attributes that are bodies.
        """
        named = list(outputs) or [self.name(label or op_type)]
        proto = helper.make_node(op_type, list(inputs), named, name=named[0])
        proto.attribute.extend(helper.make_attribute(key, _attribute(value))
                               for key, value in sorted((attributes or {}).items()))  # fmt: skip
        proto.attribute.extend(helper.make_attribute(key, graph) for key, graph in (graphs or {}).items())
        places = ", ".join(dict.fromkeys(loc.short() for loc in locs))
        if places:
            proto.doc_string = places
            if self.ir_version >= 10:
                entry = proto.metadata_props.add()
                entry.key, entry.value = "chainrule.source", places
        self.nodes.append(proto)
        return named[0]

    def constant(self, array: Array) -> str:
        """The name of a constant, shared by all of the same numbers."""
        if self.around is not None:
            return self.around.constant(array)
        array = np.asarray(array)
        key = (array.dtype.name, array.shape, array.tobytes() if array.nbytes <= 4096 else id(array))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.name("const")
            self.constants[found] = array
        return found

    def numbers(self, numbers: Numbers) -> str:
        """The name of the value of known numbers or sizes."""
        if self.around is not None and not any(self._is_own(dim) for dim in numbers.dims):
            return self.around.numbers(numbers)
        if numbers.array is not None:
            return self.constant(numbers.array)
        if not any(isinstance(d, DimExpr) for d in numbers.dims):
            values = np.asarray(numbers.dims, np.int64)
            return self.constant(values.reshape(()) if numbers.scalar else values)
        if numbers.scalar:
            return self.size(numbers.dims[0])
        parts = self._runs(numbers.dims)
        return parts[0] if len(parts) == 1 else self._once("Concat", parts, {"axis": 0})

    def _runs(self, dims: Sequence[Dim]) -> list[str]:
        """Vectors whose concatenation is dims; neighbouring numbers share one."""
        parts: list[str] = []
        run: list[int] = []
        for dim in (*dims, None):
            if isinstance(dim, int):
                run.append(dim)
                continue
            if run:
                parts.append(self.constant(np.asarray(run, np.int64)))
                run = []
            if dim is not None:
                parts.append(self._vector(dim))
        return parts

    def _is_own(self, dim: Dim) -> bool:
        """True for a size that this graph tells, or that depends on one."""
        return bool(self._own & dim_symbols(dim))

    def size(self, dim: Dim) -> str:
        """A size as i64[]."""
        if self.around is not None and not self._is_own(dim):
            return self.around.size(dim)
        if isinstance(dim, int):
            return self.constant(np.asarray(dim, np.int64))
        return self._once("Reshape", [self._vector(dim), self.constant(np.zeros(0, np.int64))])

    def _vector(self, dim: Dim) -> str:
        """A size as i64[1]: sums of products of symbols and of quotients, minima and maxima of sizes."""
        if isinstance(dim, int):
            return self.constant(np.asarray([dim], np.int64))
        total: str | None = None
        for monomial, coefficient in dim.terms:
            factors = [self._atom(atom) for atom in monomial]
            sign = -1 if coefficient < 0 and total is not None else 1
            if sign * coefficient != 1 or not factors:
                factors.append(self._vector(sign * coefficient))
            term = factors[0]
            for factor in factors[1:]:
                term = self._once("Mul", [term, factor])
            total = term if total is None else self._once("Sub" if sign < 0 else "Add", [total, term])
        assert total is not None
        return total

    def _atom(self, atom: Atom) -> str:
        if atom.op == "sym":
            return self._symbol(str(atom.args[0]))
        a, b = atom.args
        assert isinstance(a, int | DimExpr) and isinstance(b, int | DimExpr)
        if atom.op in ("min", "max"):
            return self._once("Min" if atom.op == "min" else "Max", [self._vector(a), self._vector(b)])
        return self._quotient(a, b)

    def _quotient(self, a: Dim, b: Dim) -> str:
        """floor(a / b); -1 for b = 0, as for sizes everywhere."""
        above, below = self._vector(a), self._vector(b)
        positive = isinstance(b, int) and b > 0
        zero = "" if positive else self._once("Equal", [below, self._vector(0)])
        if not positive:
            below = self._once("Where", [zero, self._vector(1), below])
        if not (positive and (low := lower_bound(a)) is not None and low >= 0):
            # ONNX drops the fraction; what Mod takes away first leaves nothing to drop.
            above = self._once("Sub", [above, self._once("Mod", [above, below])])
        found = self._once("Div", [above, below])
        return found if positive else self._once("Where", [zero, self._vector(-1), found])

    def _symbol(self, name: str) -> str:
        if name in self.told:
            return self._once("Reshape", [self.told[name], self.constant(np.ones(1, np.int64))])
        source = self.sources.get(name)
        if source is None:
            raise ShapeError(f"the size {name} has no value: it follows from no axis of an input",
                             help=f"declare an axis of an input as {name!r}")  # fmt: skip
        size = self._once("Shape", [source.value], {"start": source.axis, "end": source.axis + 1})
        if source.start != 0:
            size = self._once("Sub", [size, self._vector(source.start)])
        return size if source.slope == 1 else self._once("Div", [size, self._vector(source.slope)])

    def _once(self, op_type: str, inputs: Sequence[str], attributes: Mapping[str, Attribute] | None = None) -> str:
        """A node of the arithmetic of sizes; the same one for the same question."""
        key = (op_type, *inputs, *(attributes or {}).items())
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.node(op_type, inputs, attributes, label="size")
        return found


def _attribute(value: Attribute) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, DType):
        return ONNX_OF[value]
    if isinstance(value, np.ndarray):
        return numpy_helper.from_array(value)
    return list(value) if isinstance(value, tuple) else value
