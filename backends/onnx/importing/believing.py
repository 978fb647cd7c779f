"""Believes a file's note of the graph that it was written from, where that graph writes this very file.

The note is text of the file like any other, and proves nothing by itself. So the graph that it describes is written
anew: if that gives the nodes and constants that the file holds, both mean the same. A file that a tool has changed, or
that another version wrote, does not pass; then its nodes are read as they stand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from chainrule.backends.onnx.export import Exporter, prepared
from chainrule.backends.onnx.importing.files import Tensors
from chainrule.backends.onnx.noted import NOTE, STORED
from chainrule.errors import ChainruleError
from chainrule.ir.graph import Graph, building_at_most, on_inputs
from chainrule.ir.op import Array
from chainrule.ir.parse import parse
from chainrule.ir.types import type_of
from chainrule.ops import OP_BY_NAME
from chainrule.ops.basic import constant

MOST_VALUES = 8  # that are built for each node of the file, and as many again for MOST_ANYWAY nodes
MOST_ANYWAY = 1 << 9

# What a text that nobody vouches for may make of the parser and of the exporter.
_FAULTS = (ChainruleError, AssertionError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError,
           MemoryError, RecursionError)  # fmt: skip


def noted_graph(model: ModelProto, tensors: Tensors) -> tuple[Graph, list[Array]] | None:
    """The graph that a model says it was written from, with the arrays of its param and state inputs, if that is so."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    whole = [o.domain for o in model.opset_import] == [""] and not model.functions
    if NOTE not in metadata or not whole or model.graph.sparse_initializer:
        return None
    count = len(model.graph.node) + MOST_ANYWAY
    try:
        with building_at_most(MOST_VALUES * count):
            return _believed(model, metadata, tensors)
    except _FAULTS:
        return None


def _believed(model: ModelProto, metadata: Mapping[str, str], tensors: Tensors) -> tuple[Graph, list[Array]] | None:
    stored = {name: array for _, name, array in tensors.stored(model.graph)}
    graph = _parsed(metadata, stored)
    exporter = Exporter(graph, prepared(graph, model.opset_import[0].version), model.opset_import[0].version,
                        model.ir_version)  # fmt: skip
    written = exporter.graph()
    names = [exporter.names[v] for v in exporter.stored]
    weights = [stored[name] for name in names]
    fits = (_same_graphs([written], [model.graph])
            and sorted(t.name for t in model.graph.initializer) == sorted([*names, *exporter.constants])
            and all(_same_array(array, stored.get(name)) for name, array in exporter.constants.items())
            and all(type_of(w) == v.tensor for v, w in zip(exporter.stored, weights, strict=True)))  # fmt: skip
    return (graph, weights) if fits else None


def _parsed(metadata: Mapping[str, str], stored: Mapping[str, Array]) -> Graph:
    """The graph of the note, the initializers that its last inputs stand for put in as constants."""
    graph = parse(metadata[NOTE], OP_BY_NAME)
    names = json.loads(metadata[STORED])
    own = len(graph.inputs) - len(names)
    return on_inputs(graph, (*graph.inputs[:own], *(constant(stored[name]) for name in names)))


def _same_graphs(ours: Sequence[GraphProto], theirs: Sequence[GraphProto]) -> bool:
    """True for graphs of the same nodes, inputs and outputs, wherever they come from. Recurs over nesting."""
    return len(ours) == len(theirs) and all(
        a.input == b.input and a.output == b.output and len(a.node) == len(b.node)
        and all(map(_same_node, a.node, b.node)) for a, b in zip(ours, theirs, strict=True)
    )  # fmt: skip


def _same_node(a: NodeProto, b: NodeProto) -> bool:
    plain = (a.op_type == b.op_type and a.domain == b.domain and a.input == b.input and a.output == b.output
             and len(a.attribute) == len(b.attribute))  # fmt: skip
    return plain and all(map(_same_attribute, a.attribute, b.attribute))


def _same_attribute(a: AttributeProto, b: AttributeProto) -> bool:
    if a.type != AttributeProto.GRAPH or b.type != AttributeProto.GRAPH:
        return a == b
    return a.name == b.name and not b.g.initializer and _same_graphs([a.g], [b.g])


def _same_array(a: Array, b: Array | None) -> bool:
    return b is not None and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
