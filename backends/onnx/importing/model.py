"""Reads an ONNX model as a graph: every node by its form, or by a reader, or by what is known of it before it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TypeProto, defs

from chainrule import loc as locations
from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.export import NEW, ROLES
from chainrule.backends.onnx.forms import FORMS_NAMED
from chainrule.backends.onnx.importing.contents import BOOLEAN, LARGEST, RULES, fold
from chainrule.backends.onnx.importing.files import Tensors, read_model
from chainrule.backends.onnx.importing.readers import READERS
from chainrule.backends.onnx.node import Entry, Given, Store
from chainrule.errors import ChainruleError, ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr, dim_symbols, parse_dim, symbol
from chainrule.ir.graph import Graph, Role, Value, new_input, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType, as_dtype, bool_, i64, type_of
from chainrule.loc import Loc
from chainrule.ops.basic import Constant, constant

LEAST_OPSET = 7
MOST_NODES = 1_000_000
FILLING = frozenset({"ConstantOfShape", "Range"})  # as data they stay what they are, although their numbers are known
_OUR_PLACES = re.compile(r"[^,:\n]+:\d+(, [^,:\n]+:\d+)*\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, eq=False)
class Weight:
    """A param or state input of an imported graph: the graph's input, its name in the file and its numbers."""

    value: Value
    name: str
    role: Role
    array: Array


@dataclass(frozen=True, eq=False)
class Imported:
    """An ONNX model as a graph, with its weights in the order of graph.by_role("param", "state")."""

    graph: Graph
    weights: tuple[Weight, ...]
    metadata: Mapping[str, str]


def import_model(source: object) -> Imported:
    """The graph of a model. source: a path, the bytes of a model, or a ModelProto.

    Float initializers with axes become parameters, running statistics of norms become state; of a model that chainrule
    wrote, what they were. Raises ModelError for a broken file, NotSupported naming all ops that are not built.
    """
    model, folder, label = read_model(source)
    return _Importer(model, folder, label).imported()


class _Importer:
    """One import. entries: every value by its name in the file."""

    def __init__(self, model: ModelProto, folder: Path | None, label: str) -> None:
        self.model = model
        self.graph = model.graph
        self.label = label
        self.tensors = Tensors(folder)
        self.opset = _opset(model)
        self.metadata = {p.key: p.value for p in model.metadata_props}
        self.ours = ROLES in self.metadata
        self.roles = _roles(self.metadata)
        self.entries: dict[str, Entry] = {}
        self.inputs: list[Value] = []
        self.weights: dict[str, Weight] = {}
        self.symbols: dict[str, str] = {}

    def imported(self) -> Imported:
        """The graph, its weights and the model's metadata."""
        self._refuse_unknown()
        self._read_inputs()
        for index, node in enumerate(self.graph.node):
            self._read_node(index, node)
        outputs = self._outputs()
        kept, updates = self._split_updates(outputs)
        weights = tuple(self.weights.values())
        inputs = (*self.inputs, *(w.value for w in weights))
        graph = Graph(self.graph.name or "model", inputs, tuple(v for _, v in kept), updates, tuple(n for n, _ in kept))
        return Imported(graph, weights, self.metadata)

    def _refuse_unknown(self) -> None:
        """All that is not built, in one message."""
        if len(self.graph.node) > MOST_NODES:
            raise ModelError(f"{self.label} has {len(self.graph.node)} nodes", help=f"at most {MOST_NODES} are read")
        if self.graph.sparse_initializer:
            raise NotSupported(f"{self.label}: sparse initializers are not built", help="store them densely")
        found: dict[tuple[str, str], list[str]] = {}
        for node in self.graph.node:
            domain = "" if node.domain == "ai.onnx" else node.domain
            if domain or not (node.op_type in FORMS_NAMED or node.op_type in READERS or node.op_type in RULES):
                found.setdefault((domain, node.op_type), []).append(node.name or "(no name)")
        if found:
            notes = [f"{op} (domain {domain or 'ai.onnx'}, version {self._version(domain, op)}): {len(names)} times, "
                     f"first at node {names[0]}" for (domain, op), names in found.items()]  # fmt: skip
            raise NotSupported(f"{self.label} has {len(found)} ops that are not built: "
                               + ", ".join(op for _, op in found), notes=notes,
                               help="export the model without them, or with its functions inlined")  # fmt: skip

    def _version(self, domain: str, op: str) -> int:
        stated = {o.domain: o.version for o in self.model.opset_import}
        version = stated.get(domain, 0)
        known = not domain and defs.has(op) and version <= defs.onnx_opset_version()
        return defs.get_schema(op, version).since_version if known else version

    def _read_inputs(self) -> None:
        for tensor in self.graph.initializer:
            if not tensor.name or tensor.name in self.entries:
                raise ModelError(f"{self.label}: the initializer {tensor.name!r} " +
                                 ("occurs twice" if tensor.name else "has no name"))  # fmt: skip
            self.entries[tensor.name] = self._initializer(tensor.name, self.tensors.array(tensor))
        seen: set[str] = set()
        for info in self.graph.input:
            if not info.name or info.name in seen:
                raise ModelError(f"{self.label}: the input {info.name!r} " +
                                 ("occurs twice" if info.name else "has no name"))  # fmt: skip
            seen.add(info.name)
            if info.name not in self.entries:
                value = new_input(info.name, self._type(info.name, info.type))
                self.inputs.append(value)
                self.entries[info.name] = Entry(value, None, value.dtype)
        for name, role in self.roles.items():
            if role in ("param", "state") and name in self.entries:
                self.entries[name].value(role)

    def _initializer(self, name: str, array: Array) -> Entry:
        """A stored tensor: a weight, or a constant, by its role in a model of ours, else by its type."""
        stored = self.roles.get(name)
        dtype = as_dtype(array.dtype)
        known = array if array.size <= LARGEST else None
        if stored in ("param", "state"):
            return Entry(None, None, dtype, self._store(name, array, stored))  # it changes: nothing is known of it
        if not self.ours and dtype.is_float and array.ndim > 0:
            return Entry(None, known, dtype, self._store(name, array, None))
        return Entry(constant(array), known, dtype)

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
            if value < 0:
                raise ModelError(f"{self.label}: axis {axis} of the input {name} has the size {value}")
            return int(value)
        if text:
            try:
                found = parse_dim(text)
                if all(_NAME.match(s) for s in dim_symbols(found)):
                    return found
            except ChainruleError:
                pass
        return symbol(self._symbol(text or f"{name}_{axis}"))

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

    def _read_node(self, index: int, node: NodeProto) -> None:
        place = self._places(index, node)
        entries = tuple(self._entry(name, node) for name in node.input)
        named = [i for i, name in enumerate(node.output) if name]
        attributes = self._attributes(node)
        given = Given(node.op_type, self.opset, entries, attributes, max(named, default=0) + 1)
        try:
            with locations.using(place):
                found = self._results(given)
        except ChainruleError as error:
            raise _placed(error, node, index, place) from error
        except (TypeError, ValueError, IndexError, OverflowError) as problem:
            raise ModelError(f"{node.op_type} {node.name or index}: {problem}", loc=place[0]) from problem
        for name, entry in zip(node.output, found, strict=False):
            if not name:
                continue
            if name in self.entries:
                raise ModelError(f"{self.label}: the value {name!r} is defined twice", loc=place[0])
            if entry is None:
                raise NotSupported(f"{node.op_type} {node.name or index}: the output {name!r} is not built",
                                   loc=place[0])  # fmt: skip
            self.entries[name] = entry
        for i in named:
            if i >= len(found):
                raise ModelError(f"{node.op_type} {node.name or index}: it has no output {i}", loc=place[0])

    def _entry(self, name: str, node: NodeProto) -> Entry | None:
        if not name:
            return None
        found = self.entries.get(name)
        if found is None:
            raise ModelError(f"{self.label}: {node.op_type} {node.name!r} reads {name!r}, which nothing gives",
                             help="nodes stand in the order in which they run")  # fmt: skip
        return found

    def _results(self, given: Given) -> Sequence[Entry | None]:
        """The outputs of a node: what is known of them, and their values."""
        content = fold(given)
        if content is not None:
            made = (lambda role: self._value(given)) if given.op_type in FILLING else None
            return [Entry(None, content, _type_of_content(given), made)]
        made = self._built(given)
        parts = made if isinstance(made, tuple) else results(made)
        return [None if v is None else Entry(v, known_numbers(v), v.dtype) for v in parts]

    def _value(self, given: Given) -> Value:
        made = self._built(given)
        assert isinstance(made, Value)
        return made

    def _built(self, given: Given) -> Value | tuple[Value | None, ...]:
        for form in FORMS_NAMED.get(given.op_type, ()):
            if form.matches(given):
                return form.value(given)
        reader = READERS.get(given.op_type)
        if reader is None:
            raise NotSupported(f"{given.op_type}: this form of it is not built in opset {given.opset}")
        return reader(given)

    def _attributes(self, node: NodeProto) -> dict[str, object]:
        found: dict[str, object] = {}
        for item in node.attribute:
            if item.name in found:
                raise ModelError(f"{node.op_type} {node.name!r}: the attribute {item.name} occurs twice")
            found[item.name] = self._attribute(item, node)
        return found

    def _attribute(self, item: AttributeProto, node: NodeProto) -> object:
        match item.type:
            case AttributeProto.FLOAT:
                return item.f
            case AttributeProto.INT:
                return item.i
            case AttributeProto.STRING:
                return item.s.decode("utf-8", "replace")
            case AttributeProto.TENSOR:
                return self.tensors.array(item.t)
            case AttributeProto.FLOATS:
                return tuple(item.floats)
            case AttributeProto.INTS:
                return tuple(item.ints)
            case AttributeProto.STRINGS:
                return tuple(s.decode("utf-8", "replace") for s in item.strings)
            case _:
                raise NotSupported(f"{node.op_type} {node.name!r}: the attribute {item.name} is of a kind not built")

    def _places(self, index: int, node: NodeProto) -> tuple[Loc, ...]:
        """Where a node comes from: the user's lines in a model of ours, else its name in the file."""
        if self.ours and _OUR_PLACES.match(node.doc_string):
            parts = [part.rpartition(":") for part in node.doc_string.split(", ")]
            return tuple(Loc(file, int(line)) for file, _, line in parts)
        return (Loc(self.label, 0, name=node.name or f"{node.op_type}_{index}"),)

    def _outputs(self) -> list[tuple[str, Value]]:
        found: list[tuple[str, Value]] = []
        for info in self.graph.output:
            entry = self.entries.get(info.name)
            if entry is None:
                raise ModelError(f"{self.label}: no node gives the output {info.name!r}")
            found.append((info.name, entry.value()))
        if not found:
            raise ModelError(f"{self.label} has no outputs")
        return found

    def _split_updates(self, outputs: Sequence[tuple[str, Value]]) -> tuple[
            list[tuple[str, Value]], tuple[tuple[Value, Value], ...]]:  # fmt: skip
        """The outputs proper, and the next values of the states of a training step that chainrule wrote."""
        states = {name + NEW: w.value for name, w in self.weights.items() if name in self.roles}
        updates = tuple((states[name], value) for name, value in outputs if name in states)
        return [(name, value) for name, value in outputs if name not in states], updates


def _opset(model: ModelProto) -> int:
    stated = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    version = stated.get("", 0)
    newest = defs.onnx_opset_version()
    if not version:
        raise ModelError("the model names no operator set of ONNX's own domain")
    if not LEAST_OPSET <= version <= newest:
        raise NotSupported(f"opset {version} is not built", help=f"{LEAST_OPSET} to {newest} are; convert the model")
    return version


def _roles(metadata: Mapping[str, str]) -> dict[str, str]:
    try:
        found = json.loads(metadata.get(ROLES, "{}"))
    except (json.JSONDecodeError, RecursionError) as problem:
        raise ModelError(f"the model's metadata {ROLES} is not JSON") from problem
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ModelError(f"the model's metadata {ROLES} is not a map of names to roles")
    return found


def _type_of_content(given: Given) -> DType:
    if given.op_type in BOOLEAN:
        return bool_
    if given.op_type in ("Shape", "Size"):
        return i64
    if given.op_type == "Cast":
        return dtype_of(given.whole("to"))
    if given.op_type == "ConstantOfShape":
        value = given.attribute("value")
        return as_dtype(value.dtype) if isinstance(value, np.ndarray) else i64
    return given.entry(1 if given.op_type == "Where" else 0).dtype


def known_numbers(value: Value) -> Array | None:
    """The numbers of a small value that is made of constants alone."""
    if isinstance(value.op, Constant):
        return value.op.data.array if value.op.data.array.size <= LARGEST else None
    if not isinstance(value.type, TensorType) or not value.inputs or type(value.op).ref is Op.ref:
        return None
    size = value.type.size
    if isinstance(size, DimExpr) or size > LARGEST or any(not isinstance(v.op, Constant) for v in value.inputs):
        return None
    if any(v.tensor.nbytes() > 8 * LARGEST for v in value.inputs):
        return None
    with np.errstate(all="ignore"):
        found = value.op.ref(*(v.op.data.array for v in value.inputs if isinstance(v.op, Constant)))
    return np.asarray(found)


def _placed(error: ChainruleError, node: NodeProto, index: int, place: tuple[Loc, ...]) -> ChainruleError:
    """The error with the ONNX node named; what an op refuses is a fault of the file."""
    what = f"{node.op_type} {node.name or index}"
    cause = error.cause if error.cause.startswith(what) else f"{what}: {error.cause}"
    kind = type(error) if isinstance(error, ModelError | NotSupported) else ModelError
    return kind(cause, loc=error.loc or place[0], notes=error.notes, help=error.help)


