"""Writes a graph as an ONNX model of standard ops."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from chainrule.backends.onnx.export_nodes import NodeWriter, info, nodes_within
from chainrule.backends.onnx.external import External
from chainrule.backends.onnx.lower import lowered
from chainrule.backends.onnx.noted import NOTE, STORED, note_of
from chainrule.backends.onnx.writer import SizeSource, Writer
from chainrule.errors import ArgumentError, ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr, line_of_dim, symbol
from chainrule.ir.graph import Graph, Input, Value, input_name, reachable, results
from chainrule.ir.op import Array
from chainrule.passes.base import Pipeline
from chainrule.passes.canonicalize import Canonicalize
from chainrule.passes.fold import FoldConstants
from chainrule.passes.merge_scans import MergeScans
from chainrule.passes.trim_bodies import TrimBodies

DEFAULT_OPSET = 18  # the first with the bitwise ops that random numbers need; every runtime of the last years has it
LEAST_OPSET = 17
LEAST_EXTERNAL = 1024  # bytes: smaller tensors stay in the model, where shape inference sees them
ROLES = "chainrule.roles"  # metadata: the role of each stored input by name
OWN_METADATA = frozenset({ROLES, NOTE, STORED})
NEW = ".new"  # what the name of a state's next value adds to its own

_AFTER = Pipeline("onnx", (Canonicalize(strict=True), FoldConstants(max_growth_bytes=4096)))
_BEFORE = Pipeline("onnx", (MergeScans(), TrimBodies(), *_AFTER.passes))


def export_graph(graph: Graph, weights: Sequence[Array], *, opset: int = DEFAULT_OPSET, ir_version: int | None = None,
                 name: str | None = None, metadata: Mapping[str, str] | None = None,
                 external: External | None = None, check: bool = True, note: bool = True) -> ModelProto:  # fmt: skip
    """The graph as a checked ONNX model made of standard ops.

    weights: one array for each param and state input, in the order of graph.by_role("param", "state"). Those that no
    update changes become initializers. State that is updated becomes an input whose initial value stands in the
    initializer of the same name, and its next value an output "<name>.new": a loop feeds these back. Symbolic sizes
    stay symbolic. opset: 17 to the newest that the installed onnx knows. ir_version: default, the lowest that has the
    opset. metadata: further entries of the model's metadata_props. external: collects the bytes of large initializers
    for a file of their own. check: pass the model to onnx.checker (one with external data is checked as a file). note:
    say in the metadata which graph was written, so that reading gives it back (see noted.py).

    Raises ArgumentError for an unknown opset, NotSupported naming all ops that have no form in it, ModelError when the
    result does not pass onnx.checker.
    """
    version = _ir_version(opset, ir_version)
    graph = graph.replace(name=name or graph.name)
    exporter = Exporter(graph, prepared(graph, opset), opset, version)
    proto = exporter.graph()
    proto.initializer.extend(exporter.initializers(weights, external))
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", opset)], ir_version=version,
                              producer_name="chainrule")  # fmt: skip
    roles = {input_name(v): v.op.role for v in exporter.stored if isinstance(v.op, Input)}
    noted = note_of(graph, exporter.inputs, exporter.constants) if note else {}
    helper.set_model_props(model, {ROLES: json.dumps(roles), **noted, **(metadata or {})})
    if check and external is None:
        check_model(model, graph.name)
    return model


def _ir_version(opset: int, wanted: int | None) -> int:
    newest = onnx.defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= newest:
        raise ArgumentError(f"opset {opset} is not built", help=f"give {LEAST_OPSET} to {newest}")
    least = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    if wanted is None:
        return least
    if not least <= wanted <= onnx.IR_VERSION:
        raise ArgumentError(f"ir_version {wanted} does not go with opset {opset}",
                            help=f"give {least} to {onnx.IR_VERSION}, or leave it out")  # fmt: skip
    return wanted


def prepared(graph: Graph, opset: int) -> Graph:
    """The graph of which each node is one node of the file. Raises NotSupported naming all ops without a form."""
    simple, _ = _BEFORE.run(graph)
    found = tellers(simple)  # what only says how large they are is not written: the results say it themselves
    read_off = tuple((name, results(found[name])[0] if name in found else value) for name, value in simple.sizes)
    small, _ = _AFTER.run(lowered(simple.replace(sizes=read_off), opset))
    if lost := found.keys() - tellers(small).keys():
        node = found[min(lost)]
        raise NotSupported(f"ONNX has no {node.op.mnemonic} of {node.inputs[0].type}", loc=node.loc,
                           help="cast its input to f32 or i64")  # fmt: skip
    return small


def check_model(model: ModelProto | str, name: str) -> None:
    """The model, or the model in a file, passes onnx.checker with strict shape inference. Raises ModelError."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{name}: the exported model does not pass onnx.checker: {error}") from error


class Exporter:
    """One export. source: the whole graph; ready: the same, prepared.

    inputs, outputs: their names in the file. stored: the param and state inputs. constants: the initializers besides.
    """

    def __init__(self, source: Graph, ready: Graph, opset: int, ir_version: int) -> None:
        self.ready = ready
        self.stored = source.by_role("param", "state")
        self.inputs = _distinct([input_name(v) for v in source.inputs])
        self.outputs = _output_names(source, self.inputs)
        self.names = dict(zip(source.inputs, self.inputs, strict=True))
        self.writer = Writer(_size_sources(ready, self.inputs), [*self.inputs, *self.outputs], ir_version)
        self.nodes = NodeWriter(ready, self.writer, opset, self.names, ready.results, self.outputs)
        self.told = dict(ready.sizes)
        self.tellers = tellers(ready)
        self.constants: dict[str, Array] = {}

    def graph(self) -> onnx.GraphProto:
        """The graph with its inputs and outputs, still without initializers."""
        outputs = self.nodes.written(self._order(), self._tell)
        changing = {state for state, _ in self.ready.updates}
        inputs = [info(n, v.tensor) for v, n in self.names.items() if v not in self.stored or v in changing]
        used = {name for node in nodes_within(self.writer.nodes) for name in node.input}
        self.constants = {name: array for name, array in self.writer.constants.items() if name in used}
        return helper.make_graph(self.writer.nodes, self.ready.name, inputs, outputs)

    def initializers(self, weights: Sequence[Array], external: External | None) -> Iterator[TensorProto]:
        """The weights, one for each stored input, and the constants."""
        arrays = {self.names[v]: array for v, array in zip(self.stored, weights, strict=True)}
        for name, given in {**arrays, **self.constants}.items():
            array = np.ascontiguousarray(given).reshape(given.shape)
            if external is not None and array.nbytes >= LEAST_EXTERNAL:
                yield external.tensor(name, array)
            else:
                yield numpy_helper.from_array(array, name)

    def _order(self) -> tuple[Value, ...]:
        """The nodes, those that tell a size before those that mention it."""
        tellers = [self.tellers.get(name) or self.told[name] for name in self.told]
        return reachable((*self.ready.inputs, *tellers, *self.ready.results))

    def _tell(self, node: Value, names: Sequence[str]) -> None:
        """Notes where a size can be read off once the node is written that tells it."""
        for name, value in self.told.items():
            teller = self.tellers.get(name)
            if teller is node:
                first = results(node)[0]
                axis = next(i for i, d in enumerate(first.shape) if d == symbol(name))
                self.writer.sources[name] = SizeSource(names[0], axis)
            elif teller is None and value is node:
                self.writer.told[name] = names[0]


def tellers(graph: Graph) -> dict[str, Value]:
    """For each computed size the op whose result is as large, where there is one."""
    found: dict[str, Value] = {}
    for node in graph.nodes if graph.sizes else ():
        size = getattr(node.op, node.op.tells) if node.op.tells else None
        name = size.symbol_name() if isinstance(size, DimExpr) else None
        if name is not None:
            found.setdefault(name, node)
    return found


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number added to one that occurs again."""
    found: list[str] = []
    taken: set[str] = set()
    for wanted in names:
        name, count = wanted or "x", 1
        while name in taken:
            count += 1
            name = f"{wanted}_{count}"
        taken.add(name)
        found.append(name)
    return found


def _output_names(graph: Graph, inputs: Sequence[str]) -> list[str]:
    wanted = list(graph.output_names) or [f"output{i}" for i in range(len(graph.outputs))]
    states = [input_name(state) + NEW for state, _ in graph.updates]
    return _distinct([*inputs, *wanted, *states])[len(inputs) :]


def _size_sources(graph: Graph, names: Sequence[str]) -> dict[str, SizeSource]:
    """For each symbol an axis of an input that tells it: of just that size, or else linear in it (2*H)."""
    found: dict[str, SizeSource] = {}
    composed: list[tuple[Dim, str, int]] = []
    for value, name in zip(graph.inputs, names, strict=True):
        for axis, dim in enumerate(value.shape):
            symbol = dim.symbol_name() if isinstance(dim, DimExpr) else None
            if symbol is not None:
                found.setdefault(symbol, SizeSource(name, axis))
            else:
                composed.append((dim, name, axis))
    for dim, name, axis in composed:
        line = line_of_dim(dim, found)
        if line is not None and isinstance(line[2], int) and line[2] != 0:
            found[line[0]] = SizeSource(name, axis, line[1], line[2])
    return found
