"""Reads nodes: each by its form, or by a reader, or by what is known before it runs. Calls of functions are inlined."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

from chainrule import loc as locations
from chainrule.backends.onnx.forms import FORMS_NAMED
from chainrule.backends.onnx.importing.attributes import attribute, plain_attributes
from chainrule.backends.onnx.importing.contents import LARGEST, fold, type_of_content
from chainrule.backends.onnx.importing.domains import OWN, READERS, domain_of
from chainrule.backends.onnx.importing.files import MOST_AXES, Tensors
from chainrule.backends.onnx.importing.fitting import MOST_CLAIMS, fitted
from chainrule.backends.onnx.importing.functions import Functions
from chainrule.backends.onnx.importing.readers_old import aligned
from chainrule.backends.onnx.importing.refusal import MOST_NODES
from chainrule.backends.onnx.importing.scope import MOST_NESTED, Arguments, Scope
from chainrule.backends.onnx.node import Arranged, Body, Entry, Given, Subgraph, Undecided, undecided
from chainrule.errors import ChainruleError, ModelError, NotSupported, ShapeError
from chainrule.ir.dims import Dim, DimExpr, dim_symbols, symbol
from chainrule.ir.graph import Graph, Value, needed_sizes, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, as_dtype
from chainrule.loc import Loc
from chainrule.ops.basic import Constant, constant

FILLING = frozenset({"ConstantOfShape", "Range"})  # as data they stay what they are, although their numbers are known
LONGEST_SAYING = 80  # characters of a node's doc string that are shown


@dataclass
class _Frame:
    """A list of nodes that is being read. call: the node whose outputs it gives, for the body of a function."""

    scope: Scope
    nodes: Iterator[tuple[int, NodeProto]]
    function: FunctionProto | None = None
    call: NodeProto | None = None


@dataclass(eq=False)
class Walker:
    """Reads the nodes of one model, whatever scope they stand in. ours: chainrule wrote it, with source lines.

    free: the names of the sizes that the model's inputs introduce. weight: what an array of the outermost graph
    becomes. names: of all sizes that data tells, in any graph. undecided: the branches that are no body, by their
    paths: each is tried once, or branches in branches would be read 2^depth times.
    """

    label: str
    tensors: Tensors
    functions: Functions
    ours: bool = False
    weight: Callable[[str, Array], Entry] | None = None
    free: Collection[str] = ()
    count: int = 0
    names: set[str] = field(default_factory=set[str])
    undecided: dict[str, Undecided] = field(default_factory=dict[str, Undecided])

    def told(self, value: Value, name: str, sizes: list[tuple[str, Value]]) -> Dim:
        """A size that a value is, a symbol of its own. sizes: those of the graph that the value is in."""
        known = next((n for n, told in sizes if told is value), None)
        if known is None:
            taken = {*self.free, *self.names}
            known = next(n for n in (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
            self.names.add(known)
            sizes.append((known, value))
        return symbol(known)

    def read(self, nodes: Sequence[NodeProto], scope: Scope) -> None:
        """Every node, in order; its outputs become entries of the scope."""
        frames = [_Frame(scope, enumerate(nodes))]
        while frames:
            frame = frames[-1]
            index, node = next(frame.nodes, (0, None))
            if node is None:
                frames.pop()
                if frame.call is not None:
                    self._return(frame, frames[-1].scope)
                continue
            self.count += 1
            if self.count > MOST_NODES:
                raise ModelError(f"{self.label} expands to more than {MOST_NODES} nodes")
            function = self.functions.called(node)
            if function is not None:
                frames.append(self._call(function, node, index, frame.scope))
            else:
                self._read_node(index, node, frame.scope)

    def _read_node(self, index: int, node: NodeProto, scope: Scope) -> None:
        place = self._places(index, node, scope)
        named = [i for i, name in enumerate(node.output) if name]
        try:
            given = self._given(node, scope, max(named, default=0) + 1, place)
            with locations.using(place):
                found = self._fitting_results(given)
        except ChainruleError as error:
            raise _placed(error, node, index, place) from error
        except (TypeError, ValueError, LookupError, ArithmeticError, MemoryError) as problem:
            raise ModelError(f"{node.op_type} {node.name or index}: {problem}", loc=place[0]) from problem
        for i in named:
            if i >= len(found):
                raise ModelError(f"{node.op_type} {node.name or index}: it has no output {i}", loc=place[0])
            entry, name = found[i], node.output[i]
            if entry is None:
                raise NotSupported(f"{node.op_type} {node.name or index}: the output {name!r} is not built",
                                   loc=place[0])  # fmt: skip
            self._define(name, self._stored(name, entry, scope) if node.op_type == "Constant" else entry, scope, place)

    def _stored(self, name: str, entry: Entry, scope: Scope) -> Entry:
        """What a Constant node gives: in the outermost graph a weight like an initializer, as some exporters write.

        One number alone stays a constant: it is a fill, a scale or a bound, which other nodes need to know.
        """
        op = entry.value().op
        if scope.is_outermost and self.weight is not None and isinstance(op, Constant) and op.data.array.size > 1:
            return self.weight(name, op.data.array)
        return entry

    def _fitting_results(self, given: Given) -> Sequence[Entry | None]:
        """The outputs of a node, its inputs declared to fit where sizes differ that may be equal."""
        for _ in range(MOST_CLAIMS):
            try:
                return _results(given)
            except ShapeError as error:
                fit = fitted(given, error, self.free)
                if fit is None:
                    raise
                given = fit
        return _results(given)

    def _define(self, name: str, entry: Entry, scope: Scope, place: tuple[Loc, ...]) -> None:
        if name in scope.entries:
            raise ModelError(f"{self.label}: the value {name!r} is defined twice", loc=place[0])
        scope.entries[name] = entry

    def _given(self, node: NodeProto, scope: Scope, outputs: int, place: tuple[Loc, ...]) -> Given:
        entries = tuple(self._entry(name, node, scope) for name in node.input)
        domain = domain_of(node.domain)
        graphs = self._graphs(node, scope, place) if node.attribute else {}
        attributes, opset = plain_attributes(node, self.tensors, scope.arguments), scope.versions.get(domain, 0)
        if domain == OWN and opset < 7:
            entries = aligned(node.op_type, entries, attributes)
        return Given(node.op_type, opset, entries, attributes, outputs, domain, graphs,
                     lambda value, name: self.told(value, name, scope.sizes))

    def _entry(self, name: str, node: NodeProto, scope: Scope) -> Entry | None:
        if not name:
            return None
        found = scope.entry(name)
        if found is None:
            raise ModelError(f"{self.label}: {node.op_type} {node.name!r} reads {name!r}, which nothing gives",
                             help="nodes stand in the order in which they run")  # fmt: skip
        return found

    def _graphs(self, node: NodeProto, scope: Scope, place: tuple[Loc, ...]) -> Mapping[str, Subgraph]:
        found: dict[str, Subgraph] = {}
        for item in node.attribute:
            if item.type == AttributeProto.GRAPH and not item.ref_attr_name:
                found[item.name] = _Attached(self, item.g, scope, f"{place[0].name}/{item.name}/")
            elif scope.arguments is not None and item.ref_attr_name in scope.arguments.graphs:
                found[item.name] = scope.arguments.graphs[item.ref_attr_name]
        return found

    def _call(self, function: FunctionProto, node: NodeProto, index: int, scope: Scope) -> _Frame:
        """The body of a function with the inputs and attributes of a call."""
        place = self._places(index, node, scope)
        try:
            if len(node.input) > len(function.input) or len(node.output) > len(function.output):
                raise ModelError(f"the function takes {len(function.input)} values and gives {len(function.output)}")
            plain = plain_attributes(node, self.tensors, scope.arguments)
            for item in function.attribute_proto:
                plain.setdefault(item.name, attribute(item, self.tensors))
            arguments = Arguments(plain, self._graphs(node, scope, place))
            entries = [self._entry(name, node, scope) for name in node.input]
        except ChainruleError as error:
            raise _placed(error, node, index, place) from error
        versions = {domain_of(o.domain): o.version for o in function.opset_import}
        inner = Scope({**scope.versions, **versions}, f"{place[0].name}/", arguments=arguments, sizes=scope.sizes)
        inner.entries = {name: e for name, e in zip(function.input, entries, strict=False) if name and e is not None}
        return _Frame(inner, enumerate(function.node), function, node)

    def _return(self, frame: _Frame, scope: Scope) -> None:
        assert frame.function is not None and frame.call is not None
        for inner, outer in zip(frame.function.output, frame.call.output, strict=False):
            found = frame.scope.entries.get(inner)
            if outer and found is None:
                raise ModelError(f"{self.label}: no node of the function {frame.function.name!r} gives {inner!r}")
            if outer and found is not None:
                self._define(outer, found, scope, (Loc(self.label, 0, name=frame.call.name or frame.call.op_type),))

    def _places(self, index: int, node: NodeProto, scope: Scope) -> tuple[Loc, ...]:
        """Where a node comes from: the user's lines in a model of ours, else its name in the file."""
        if self.ours and node.doc_string:
            return tuple(locations.parsed(part, self.label) for part in node.doc_string.split(", "))
        said = _printable(node.doc_string.strip().partition("\n")[0])[:LONGEST_SAYING]
        name = scope.path + _printable(node.name or f"{node.op_type}_{index}")
        return (Loc(self.label, 0, name=f"{name}: {said}" if said else name),)


@dataclass(frozen=True, eq=False)
class _Attached:
    """A graph in an attribute: see Subgraph. scope: that of its node."""

    walker: Walker
    proto: GraphProto
    scope: Scope
    path: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(info.name for info in self.proto.input)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(info.name for info in self.proto.output)

    def inlined(self, arguments: Sequence[Entry]) -> list[Entry]:
        return self._read(self._inner(captures=False), arguments)

    def body(self, inputs: Sequence[Value | Entry], arranged: Arranged = list) -> Body:
        known = self.walker.undecided.get(self.path) if not inputs else None
        if known is not None:
            raise known
        try:
            return self._body(inputs, arranged)
        except Undecided as error:
            if not inputs:
                self.walker.undecided[self.path] = error
            raise

    def _body(self, inputs: Sequence[Value | Entry], arranged: Arranged) -> Body:
        scope = self._inner(captures=True)
        found = self._read(scope, [Entry(v, None, v.dtype) if isinstance(v, Value) else v for v in inputs])
        outputs = tuple(e.value() for e in arranged(found))
        own_inputs = tuple(v for v in inputs if isinstance(v, Value))
        names = self.outputs if len(outputs) == len(found) else ()
        whole = Graph(self.proto.name or "body", own_inputs, outputs, output_names=names,
                      sizes=needed_sizes(scope.sizes, outputs))  # fmt: skip
        self._refuse_told(whole)
        read = [(out, own) for out, own in scope.captured.items() if own in whole.order]
        return Body(whole.replace(inputs=(*own_inputs, *(own for _, own in read))), tuple(out for out, _ in read))

    def _inner(self, captures: bool) -> Scope:
        depth = self.scope.depth + 1
        if depth > MOST_NESTED:
            raise ModelError(f"graphs stand in graphs more than {MOST_NESTED} deep")
        return Scope(self.scope.versions, self.path, self.scope, captures, self.scope.arguments, depth,
                     sizes=list[tuple[str, Value]]() if captures else self.scope.sizes)  # fmt: skip

    def _refuse_told(self, graph: Graph) -> None:
        """Raises Undecided where a result is as large as the data of one round says: rounds would not fit together."""
        told = {name for name, _ in graph.sizes}
        for i, value in enumerate(graph.outputs):
            if any(told & dim_symbols(dim) for dim in value.shape):
                name = graph.output_names[i] if graph.output_names else str(i)
                raise undecided(f"the result {name!r} of its graph {self.proto.name!r} is {value.type}, as large as "
                                "data in it says", value)  # fmt: skip

    def _read(self, scope: Scope, arguments: Sequence[Entry]) -> list[Entry]:
        if len(arguments) != len(self.proto.input):
            raise ModelError(f"its graph {self.proto.name!r} takes {len(self.proto.input)} values, "
                             f"not {len(arguments)}")  # fmt: skip
        for _, name, array in self.walker.tensors.inner((*self.proto.initializer, *self.proto.sparse_initializer)):
            if name in scope.entries:
                raise ModelError(f"{self.path}: the initializer {name!r} occurs twice")
            scope.entries[name] = _constant(array)
        for info, entry in zip(self.proto.input, arguments, strict=True):
            scope.entries[info.name] = entry
        self.walker.read(self.proto.node, scope)
        return [self._output(info.name, scope) for info in self.proto.output]

    def _output(self, name: str, scope: Scope) -> Entry:
        found = scope.entry(name)
        if found is None:
            raise ModelError(f"no node of its graph {self.proto.name!r} gives the output {name!r}")
        return found


def _constant(array: Array) -> Entry:
    """An initializer of a graph inside another: it is no parameter, as it may be read many times."""
    return Entry(constant(array), array if array.size <= LARGEST else None, as_dtype(array.dtype))


def _printable(text: str) -> str:
    """The text on one line, without what would steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _results(given: Given) -> Sequence[Entry | None]:
    """The outputs of a node: what is known of them, and their values."""
    content = fold(given) if given.domain == OWN else None
    if content is not None:
        made = (lambda role: _value(given)) if given.op_type in FILLING else None
        return [Entry(None, content, type_of_content(given), made)]
    made = _built(given)
    parts = made if isinstance(made, tuple) else (made,) if isinstance(made, Entry) else results(made)
    for part in parts:
        if isinstance(part, Value) and isinstance(part.type, TensorType) and part.rank > MOST_AXES:
            raise NotSupported(f"{given.op_type}: a tensor of {part.rank} axes", help=f"at most {MOST_AXES} are built")
    return [part if part is None or isinstance(part, Entry) else Entry(part, known_numbers(part), part.dtype)
            for part in parts]  # fmt: skip


def _value(given: Given) -> Value:
    made = _built(given)
    assert isinstance(made, Value)
    return made


def _built(given: Given) -> Value | Entry | tuple[Value | Entry | None, ...]:
    for form in FORMS_NAMED.get(given.op_type, ()) if given.domain == OWN else ():
        if form.matches(given):
            return form.value(given)
    reader = READERS.get(given.domain, {}).get(given.op_type)
    if reader is None:
        raise NotSupported(f"{given.op_type}: this form of it is not built in opset {given.opset}")
    return reader(given)


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
    placed = kind(cause, loc=error.loc or place[0], notes=error.notes, help=error.help)
    if isinstance(placed, Undecided) and isinstance(error, Undecided):
        placed.inputs = error.inputs
    return placed
