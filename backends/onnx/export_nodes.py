"""Writes the nodes of a lowered graph, and branches and loops with their bodies.

A body sees the names around it: what it captures needs no inputs of its own. Names are distinct over all bodies, as
ONNX asks; constants and sizes are those of the outermost graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from onnx import AttributeProto, GraphProto, NodeProto, ValueInfoProto, helper

from chainrule.backends.onnx.dtypes import ONNX_OF
from chainrule.backends.onnx.forms.form import Numbers
from chainrule.backends.onnx.lower import form_of
from chainrule.backends.onnx.writer import Writer
from chainrule.ir.graph import Get, Graph, Input, Value, inline, reachable
from chainrule.ir.types import TensorType, TupleType, bool_, i64
from chainrule.ops.basic import Constant, SizeOf
from chainrule.ops.control import Cond, Scan, While

Tell = Callable[[Value, Sequence[str]], None]


class NodeWriter:
    """Writes one graph or body. inputs: the names of its inputs; names: those of its results."""

    def __init__(self, graph: Graph, writer: Writer, opset: int, inputs: Mapping[Value, str],
                 results: Sequence[Value], names: Sequence[str]) -> None:  # fmt: skip
        self.source = graph
        self.writer = writer
        self.opset = opset
        self.results = tuple(zip(results, names, strict=True))
        self.names: dict[Value, tuple[str, ...]] = {value: (name,) for value, name in inputs.items()}
        self.wanted = self._wanted()

    def _wanted(self) -> dict[Value, str]:
        """The values that get the name of a result; one that is an input, a constant or a second result does not."""
        found: dict[Value, str] = {}
        for value, name in self.results:
            if not isinstance(value.op, Input | Constant | SizeOf):
                found.setdefault(value, name)
        return found

    def written(self, order: Iterable[Value], tell: Tell | None = None) -> list[ValueInfoProto]:
        """Writes all nodes, in this order; returns the results. tell: is called with each node and its names."""
        for node in order:
            if node not in self.names:
                self._write(node)
            if tell is not None:
                tell(node, self.names[node])
        return [self._result(value, name) for value, name in self.results]

    def _write(self, node: Value) -> None:
        match node.op:
            case Constant(data=data):
                self.names[node] = (self.writer.constant(data.array),)
            case SizeOf(dim=dim):
                self.names[node] = (self.writer.size(dim),)
            case Get(index=index):
                self.names[node] = (self.names[node.inputs[0]][index],)
            case Cond() as op:
                self._write_cond(node, op)
            case Scan() as op:
                self._write_scan(node, op)
            case While() as op:
                self._write_while(node, op)
            case _:
                self._write_op(node)

    def _write_op(self, node: Value) -> None:
        form = form_of(node, self.opset)
        assert form is not None, f"{node.op.mnemonic} was not lowered"
        call = form.call(node, self.opset)
        inputs = [self._input(v) for v in call.inputs]
        while inputs and not inputs[-1]:
            inputs.pop()
        outputs = self._result_names(node)
        # What has no inputs is shared by all that write it: its place means nothing, and the text has none either.
        self.writer.node(form.name, inputs, call.attributes, outputs, locs=node.locs if node.inputs else ())
        self.names[node] = outputs

    def _input(self, value: Value | Numbers | None) -> str:
        if value is None:
            return ""
        return self.writer.numbers(value) if isinstance(value, Numbers) else self.names[value][0]

    def _result_names(self, node: Value) -> tuple[str, ...]:
        if isinstance(node.type, TensorType):
            return (self.wanted.get(node) or self.writer.name(node.op.mnemonic),)
        assert isinstance(node.type, TupleType)
        taken = {u.op.index: self.wanted[u] for u in self.source.users.get(node, ())
                 if isinstance(u.op, Get) and u in self.wanted}  # fmt: skip
        return tuple(taken.get(i) or self.writer.name(node.op.mnemonic) for i in range(len(node.type.items)))

    def _result(self, value: Value, name: str) -> ValueInfoProto:
        if self.names[value][0] != name:
            self.writer.node("Identity", [self.names[value][0]], outputs=[name])
        return info(name, value.tensor)

    def _body(self, graph: Graph, own: Sequence[Value], captured: Mapping[Value, str],
              before: Sequence[ValueInfoProto] = ()) -> GraphProto:  # fmt: skip
        """A body. own: its inputs; captured: the names of what it takes from around it; before: inputs in front."""
        writer = self.writer.inner()
        inputs = {value: writer.name("body") for value in own}
        names = [writer.name("body") for _ in graph.outputs]
        nodes = NodeWriter(graph, writer, self.opset, {**inputs, **captured}, graph.outputs, names)

        def tell(node: Value, found: Sequence[str]) -> None:
            for name in (name for name, value in graph.sizes if value is node):
                writer.tell(name, found[0])

        outputs = nodes.written(graph.nodes, tell)
        infos = [*before, *(info(name, value.tensor) for value, name in inputs.items())]
        return helper.make_graph(writer.nodes, graph.name, infos, outputs)

    def _given(self, node: Value) -> list[str]:
        return [self.names[v][0] for v in node.inputs]

    def _write_cond(self, node: Value, op: Cond) -> None:
        flag, *given = self._given(node)
        graphs = {name: self._body(body, (), dict(zip(body.inputs, given, strict=True)))
                  for name, body in (("then_branch", op.then), ("else_branch", op.otherwise))}  # fmt: skip
        self.names[node] = self._result_names(node)
        self.writer.node("If", [flag], outputs=self.names[node], locs=node.locs, graphs=graphs)

    def _write_scan(self, node: Value, op: Scan) -> None:
        """All axes are 0. A loop backwards reads and writes from the end."""
        given, own = self._given(node), op.carries + op.scanned
        captured = dict(zip(op.body.inputs[own:], given[own:], strict=True))
        body = self._body(op.body, op.body.inputs[:own], captured)
        attributes: dict[str, int | tuple[int, ...]] = {"num_scan_inputs": op.scanned}
        if op.reverse:
            attributes["scan_input_directions"] = (1,) * op.scanned
            attributes["scan_output_directions"] = (1,) * (len(op.body.outputs) - op.carries)
        self.names[node] = self._result_names(node)
        self.writer.node("Scan", given[:own], {k: v for k, v in attributes.items() if v != ()}, self.names[node],
                         locs=node.locs, graphs={"body": body})  # fmt: skip

    def _write_while(self, node: Value, op: While) -> None:
        """The test is asked once in front of the loop, and by the body for each next round."""
        (first,) = inline(op.test, node.inputs)
        for part in reachable((first,)):
            if part not in self.names:
                self._write(part)
        given, held = self._given(node), op.body.inputs[: op.carries]
        (again,) = inline(op.test, (*op.body.outputs, *op.body.inputs[op.carries :]))
        graph = op.body.replace(outputs=(again, *op.body.outputs))
        captured = dict(zip(op.body.inputs[op.carries :], given[op.carries :], strict=True))
        before = [info(self.writer.name("iteration"), TensorType(i64, ())),
                  info(self.writer.name("going"), TensorType(bool_, ()))]  # fmt: skip
        body = self._body(graph, held, captured, before)
        bound = "" if op.max_trips is None else self.writer.size(op.max_trips)
        self.names[node] = self._result_names(node)
        self.writer.node("Loop", [bound, self.names[first][0], *given[: op.carries]], outputs=self.names[node],
                         locs=node.locs, graphs={"body": body})  # fmt: skip


def info(name: str, type: TensorType) -> ValueInfoProto:
    """The declaration of a value."""
    shape = [d if isinstance(d, int) else str(d) for d in type.shape]
    return helper.make_tensor_value_info(name, ONNX_OF[type.dtype], shape)


def nodes_within(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and those of the bodies inside them."""
    waiting = [nodes]
    while waiting:
        for node in waiting.pop():
            yield node
            waiting += [item.g.node for item in node.attribute if item.type == AttributeProto.GRAPH]
