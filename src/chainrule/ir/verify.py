"""Proves that a graph is well formed: typed as its ops infer, closed over its inputs, updates typed as their state."""

from __future__ import annotations

from dataclasses import fields

from chainrule.errors import ModelError
from chainrule.ir.graph import Get, Graph, Input, Value, reachable, symbols_of
from chainrule.ir.types import TensorType, TupleType, i64


def verify(graph: Graph) -> None:
    """Raises ModelError naming the node that breaks a rule of the graph; returns nothing when all hold."""
    inputs = set(graph.inputs)
    if len(inputs) != len(graph.inputs):
        raise ModelError(f"{graph.name}: an input stands twice in the list of inputs")
    for value in graph.inputs:
        if not isinstance(value.op, Input):
            raise ModelError(f"{graph.name}: {value!r} is listed as an input", loc=value.loc)
    for node in graph.nodes:
        _verify_node(graph, node, inputs)
    _verify_results(graph)
    _verify_sizes(graph)


def _verify_node(graph: Graph, node: Value, inputs: set[Value]) -> None:
    match node.op:
        case Input():
            if node not in inputs:
                raise ModelError(f'{graph.name}: uses the input "{node.op.name_}", which is not in its list',
                                 loc=node.loc)  # fmt: skip
            return
        case Get():
            source = node.inputs[0].type
            if not isinstance(source, TupleType) or source.items[node.op.index] != node.type:
                raise ModelError(f"{graph.name}: get {node.op.index} of {source} is not {node.type}", loc=node.loc)
            return
        case _:
            inferred = node.op.infer(*(v.tensor for v in node.inputs))
    if inferred != node.type:
        raise ModelError(f"{graph.name}: {node.op.mnemonic} has type {node.type}, its op infers {inferred}",
                         loc=node.loc)  # fmt: skip
    for item in fields(node.op):  # nesting is bounded: see ir.body
        if isinstance(body := getattr(node.op, item.name), Graph):
            verify(body)


def _verify_sizes(graph: Graph) -> None:
    """Each computed size is one i64, has a name of its own, and is told before any node of another size mentions it."""
    known = set(graph.symbols)
    for i, (name, value) in enumerate(graph.sizes):
        if name in known:
            raise ModelError(f"{graph.name}: the size {name} is told twice", loc=value.loc)
        if not isinstance(value.type, TensorType) or value.type.dtype != i64 or value.type.shape != ():
            raise ModelError(f"{graph.name}: the size {name} is {value.type}, not i64[]", loc=value.loc)
        later = {name for name, _ in graph.sizes[i:]}
        for node in reachable((value,)):
            if mentioned := later & symbols_of(node):
                raise ModelError(f"{graph.name}: the size {name} depends on {min(mentioned)}, told later", loc=node.loc)
        known.add(name)


def _verify_results(graph: Graph) -> None:
    for value in graph.results:
        if isinstance(value.type, TupleType):
            raise ModelError(f"{graph.name}: an output is a tuple; take its parts with get", loc=value.loc)
    updated: set[Value] = set()
    for state, new in graph.updates:
        if not isinstance(state.op, Input) or state.op.role == "input":
            raise ModelError(f"{graph.name}: an update names something that is not state", loc=state.loc)
        if state in updated:
            raise ModelError(f'{graph.name}: "{state.op.name_}" is updated twice', loc=new.loc)
        if state.type != new.type:
            raise ModelError(f'{graph.name}: the new value of "{state.op.name_}" has type {new.type}, not {state.type}',
                             loc=new.loc)  # fmt: skip
        updated.add(state)
    if graph.output_names and len(graph.output_names) != len(graph.outputs):
        raise ModelError(f"{graph.name}: {len(graph.output_names)} names for {len(graph.outputs)} outputs")
