"""Reads an ONNX model as a graph: every node by its form, or by a reader, or by what is known of it before it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TypeProto

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.export import NEW, OWN_METADATA, ROLES
from chainrule.backends.onnx.importing.believing import noted_graph
from chainrule.backends.onnx.importing.contents import LARGEST
from chainrule.backends.onnx.importing.files import Tensors, read_model
from chainrule.backends.onnx.importing.fitting import SameSize
from chainrule.backends.onnx.importing.functions import Functions
from chainrule.backends.onnx.importing.narrow import narrow_bits
from chainrule.backends.onnx.importing.refusal import opset_of, refuse_ir_version, refuse_unread
from chainrule.backends.onnx.importing.scope import Scope
from chainrule.backends.onnx.importing.sequences import TENSOR, Absent, Listed, Nesting, Part
from chainrule.backends.onnx.importing.walk import Walker
from chainrule.backends.onnx.node import Entry, Store
from chainrule.errors import ArgumentError, ChainruleError, ModelError, NotSupported
from chainrule.ir.dims import Dim, dim_substitute, dim_symbols, parse_dim, symbol
from chainrule.ir.graph import Graph, Input, Role, Value, input_name, needed_sizes, new_input
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType, as_dtype, type_of
from chainrule.ops.basic import constant

UNNAMED = frozenset({"?", "-1", "None", "*"})  # what some exporters write for a size without a name
Known = Array | TensorType | Sequence[Array | TensorType] | None
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, eq=False)
class Weight:
    """A param or state input of an imported graph: the graph's input, its name in the file and its numbers.

    Nobody else holds the array.
    """

    value: Value
    name: str
    role: Role
    array: Array


@dataclass(frozen=True, eq=False)
class Imported:
    """An ONNX model as a graph, with its weights in the order of graph.by_role("param", "state").

    metadata: what others wrote there. opset, ir_version: of a file that is as chainrule wrote it, else None. inputs:
    the model's, by name, with how graph.by_role("input") hold them; outputs: how graph.outputs hold the model's.
    """

    graph: Graph
    weights: tuple[Weight, ...]
    metadata: Mapping[str, str]
    inputs: tuple[tuple[str, Nesting], ...]
    outputs: tuple[Nesting, ...]
    opset: int | None = None
    ir_version: int | None = None


def import_model(source: object, known: Mapping[str, Known] | None = None) -> Imported:
    """The graph of a model. source: a path, the bytes of a model, or a ModelProto.

    known: what inputs of the model will hold, by name, where sizes or axes follow from it. Of a sequence, its elements
    or their types; of an optional, None where it will hold nothing.

    Float initializers and Constant nodes with axes become parameters, running statistics of norms become state; of a
    model that chainrule wrote, what they were. Raises ModelError for a broken file, NotSupported naming all ops that
    are not built.
    """
    read = read_model(source)
    model, tensors = read.model, Tensors(read.folder, read.apart)
    refuse_ir_version(model, read.label)
    metadata = {p.key: p.value for p in model.metadata_props}
    others = {key: value for key, value in metadata.items() if key not in OWN_METADATA}
    written = None if known else _as_written(model, tensors)
    if written is None:
        return _as_it_stands(model, tensors, read.label, known or {}, others)
    graph, weights = written
    inputs = tuple((input_name(v), TENSOR) for v in graph.by_role("input"))
    outputs = (TENSOR,) * len(graph.outputs)
    return Imported(graph, weights, others, inputs, outputs, model.opset_import[0].version, model.ir_version)


Read = tuple[Graph, tuple[Weight, ...]]


def _as_written(model: ModelProto, tensors: Tensors) -> Read | None:
    """What chainrule wrote the file from, if it did."""
    found = noted_graph(model, tensors)
    if found is None:
        return None
    graph, arrays = found
    stored = zip(graph.by_role("param", "state"), arrays, strict=True)
    return graph, tuple(Weight(v, v.op.name_, v.op.role, a) for v, a in stored if isinstance(v.op, Input))


def _as_it_stands(model: ModelProto, tensors: Tensors, label: str, known: Mapping[str, Known],
                  metadata: Mapping[str, str]) -> Imported:  # fmt: skip
    """What the nodes of the file mean."""
    same: dict[str, Dim] = {}
    while True:
        try:
            importer = _Importer(model, tensors, label, known, same)
            graph, weights = importer.imported()
            return Imported(graph, weights, metadata, tuple(importer.given), tuple(importer.made))
        except SameSize as found:
            same[found.symbol] = found.other


class _Importer:
    """One import: the inputs, weights and outputs of the outermost graph.

    same: free sizes that turned out to be others. entries: the graph's values by name. given, made: how the model's
    inputs and outputs are held.
    """

    def __init__(self, model: ModelProto, tensors: Tensors, label: str, known: Mapping[str, Known],
                 same: Mapping[str, Dim]) -> None:  # fmt: skip
        self.model = model
        self.graph = model.graph
        self.label = label
        self.known = known
        self.tensors = tensors
        metadata = {p.key: p.value for p in model.metadata_props}
        self.ours = ROLES in metadata
        self.roles = _roles(metadata)
        self.scope = Scope(opset_of(model))
        self.entries = self.scope.entries
        self.walker = Walker(label, self.tensors, Functions(model, label), self.ours, self._initializer)
        self.inputs: list[Value] = []
        self.weights: dict[str, Weight] = {}
        self.symbols: dict[str, str] = {}
        self.same = same
        self.given: list[tuple[str, Nesting]] = []
        self.made: list[Nesting] = []

    def imported(self) -> Read:
        """The graph and its weights."""
        refuse_unread(self.model, self.walker.functions, self.label)
        self._read_inputs()
        self.walker.free = {s for v in self.inputs for d in v.shape for s in dim_symbols(d)}
        self.walker.read(self.graph.node, self.scope)
        outputs = self._outputs()
        kept, updates = self._split_updates(outputs)
        weights = tuple(self.weights.values())
        inputs = (*self.inputs, *(w.value for w in weights))
        graph = Graph(self.graph.name or "model", inputs, tuple(v for _, v in kept), updates, tuple(n for n, _ in kept))
        graph = graph.replace(sizes=needed_sizes(self.scope.sizes, graph.results))
        return graph, weights

    def _read_inputs(self) -> None:
        for tensor, name, array in self.tensors.stored(self.graph):
            if not name or name in self.entries:
                raise ModelError(f"{self.label}: the initializer {name!r} " +
                                 ("occurs twice" if name else "has no name"))  # fmt: skip
            self.entries[name] = self._initializer(name, array, narrow_bits(tensor))
        seen: set[str] = set()
        for info in self.graph.input:
            if not info.name or info.name in seen:
                raise ModelError(f"{self.label}: the input {info.name!r} " +
                                 ("occurs twice" if info.name else "has no name"))  # fmt: skip
            seen.add(info.name)
            if info.name not in self.entries:
                self.entries[info.name], form = self._input(info.name, info.type)
                self.given.append((info.name, form))
        for name, role in self.roles.items():
            if role in ("param", "state") and name in self.entries:
                self.entries[name].value(role)

    def _input(self, name: str, type: TypeProto) -> tuple[Entry, Nesting]:
        """An input of the model: a tensor, the elements of a sequence, or an optional of these or of nothing."""
        if type.HasField("optional_type"):
            if name in self.known and self.known[name] is None:
                return Absent(), Nesting(absent=True)
            type = type.optional_type.elem_type
        if type.HasField("sequence_type"):
            return self._sequence(name, type.sequence_type.elem_type)
        value = new_input(name, self._type(name, type))
        self.inputs.append(value)
        return self._tensor(name, value), TENSOR

    def _sequence(self, name: str, element: TypeProto) -> tuple[Entry, Nesting]:
        """A sequence of as many elements as are stated, of the types that they have."""
        stated = self.known.get(name)
        if not isinstance(stated, list | tuple):
            raise NotSupported(f"{self.label}: the input {name} is a sequence of unknown length",
                               help=f"state its elements: load_onnx(..., known={{{name!r}: [cr.spec(...), ...]}})")
        dtype = dtype_of(element.tensor_type.elem_type)
        types = [x if isinstance(x, TensorType) else type_of(x) for x in stated]
        wrong = next((t for t in types if t.dtype != dtype), None)
        if wrong is not None:
            raise ArgumentError(f"{self.label}: the elements of the input {name} are {dtype}, {wrong} is stated")
        values = [new_input(f"{name}.{i}", t) for i, t in enumerate(types)]
        self.inputs += values
        return Listed([Part(Entry(v, None, dtype)) for v in values], dtype), Nesting((False,) * len(values))

    def _tensor(self, name: str, value: Value) -> Entry:
        """An input that is a tensor: data, or numbers that are stated."""
        stated = self.known.get(name)
        if stated is None or isinstance(stated, TensorType):
            return Entry(value, None, value.dtype)
        if not isinstance(stated, np.ndarray | np.generic):
            raise ArgumentError(f"{self.label}: the input {name} is a tensor, {stated.__class__.__name__} is stated")
        if type_of(stated) != value.tensor and (value.tensor.is_static or as_dtype(stated.dtype) != value.dtype):
            raise ArgumentError(f"{self.label}: the input {name} is {value.type}, {type_of(stated)} is stated")
        return Entry(constant(stated), stated if stated.size <= LARGEST else None, value.dtype)

    def _initializer(self, name: str, array: Array, bits: int = 0) -> Entry:
        """A stored tensor: a weight, or a constant, by its role in a model of ours, else by its type.

        bits: of a number, where it is narrower than a byte.
        """
        stored = self.roles.get(name)
        dtype = as_dtype(array.dtype)
        known = array if array.size <= LARGEST else None
        if stored in ("param", "state"):
            return Entry(None, None, dtype, self._store(name, array, stored))  # it changes: nothing is known of it
        if not self.ours and dtype.is_float and array.ndim > 0:
            return Entry(None, known, dtype, self._store(name, array, None))
        return Entry(constant(array), known, dtype, bits=bits)

    def _store(self, name: str, array: Array, stored: str | None) -> Store:
        def store(role: str) -> Value:
            chosen: Role = "state" if (stored or role) == "state" else "param"
            value = new_input(name, type_of(array), chosen)
            self.weights[name] = Weight(value, name, chosen, array)
            return value

        return store

    def _type(self, name: str, proto: TypeProto) -> TensorType:
        if not proto.HasField("tensor_type"):
            kind = proto.WhichOneof("value") or "nothing"
            raise NotSupported(f"{self.label}: the input {name} is a {kind.removesuffix('_type')}, not a tensor")
        tensor = proto.tensor_type
        if not tensor.HasField("shape"):
            raise NotSupported(f"{self.label}: the input {name} has no shape",
                               help="run onnx.shape_inference, or state its axes")  # fmt: skip
        shape = tuple(self._dim(name, axis, dim) for axis, dim in enumerate(tensor.shape.dim))
        return TensorType(dtype_of(tensor.elem_type), shape)

    def _dim(self, name: str, axis: int, dim: object) -> Dim:
        value, text = getattr(dim, "dim_value", 0), getattr(dim, "dim_param", "")
        if getattr(dim, "WhichOneof")("value") == "dim_value":  # noqa: B009
            if value < -1:  # -1 stands for a free size in what some exporters write
                raise ModelError(f"{self.label}: axis {axis} of the input {name} has the size {value}")
            return int(value) if value >= 0 else self._free(f"{name}_{axis}")
        if text in UNNAMED:
            return self._free(f"{name}_{axis}")
        if text:
            try:
                found = parse_dim(text)
                if all(_NAME.match(s) for s in dim_symbols(found)):
                    return dim_substitute(found, self.same)
            except ChainruleError:
                pass
        return self._free(text or f"{name}_{axis}")

    def _free(self, text: str) -> Dim:
        name = self._symbol(text)
        return self.same.get(name, symbol(name))

    def _symbol(self, text: str) -> str:
        """A size's name as an identifier, one for each text."""
        if text not in self.symbols:
            wanted = re.sub(r"\W", "_", text, flags=re.ASCII)
            wanted = wanted if _NAME.match(wanted) else f"d_{wanted}"
            taken = set(self.symbols.values())
            name, count = wanted, 1
            while name in taken:
                count += 1
                name = f"{wanted}_{count}"
            self.symbols[text] = name
        return self.symbols[text]

    def _outputs(self) -> list[tuple[str, Value]]:
        found: list[tuple[str, Value]] = []
        states = {name + NEW for name in self.weights if name in self.roles}
        for info in self.graph.output:
            entry = self.entries.get(info.name)
            if entry is None:
                raise ModelError(f"{self.label}: no node gives the output {info.name!r}")
            values, form = _held(entry)
            self.made += [form] if info.name not in states else []
            numbered = form.many is not None and form.many != (True,)
            found += [(f"{info.name}.{i}" if numbered else info.name, v) for i, v in enumerate(values)]
        if not found:
            raise ModelError(f"{self.label} has no outputs")
        return found

    def _split_updates(self, outputs: Sequence[tuple[str, Value]]) -> tuple[
            list[tuple[str, Value]], tuple[tuple[Value, Value], ...]]:  # fmt: skip
        """The outputs proper, and the next values of the states of a training step that chainrule wrote."""
        states = {name + NEW: w.value for name, w in self.weights.items() if name in self.roles}
        updates = tuple((states[name], value) for name, value in outputs if name in states)
        return [(name, value) for name, value in outputs if name not in states], updates


def _held(entry: Entry) -> tuple[list[Value], Nesting]:
    """The tensors that an output is held in."""
    if isinstance(entry, Absent):
        return [], Nesting(absent=True)
    if isinstance(entry, Listed):
        return [part.entry.value() for part in entry.parts], Nesting(tuple(part.many for part in entry.parts))
    return [entry.value()], TENSOR


def _roles(metadata: Mapping[str, str]) -> dict[str, str]:
    try:
        found = json.loads(metadata.get(ROLES, "{}"))
    except (json.JSONDecodeError, RecursionError) as problem:
        raise ModelError(f"the model's metadata {ROLES} is not JSON") from problem
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ModelError(f"the model's metadata {ROLES} is not a map of names to roles")
    return found
