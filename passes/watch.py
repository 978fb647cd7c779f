"""A graph that reports where its numbers stop being finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.errors import NumericsError
from chainrule.ir.graph import Get, Graph, Input, Value, input_name, reachable
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType, i64
from chainrule.ops import reduce
from chainrule.ops.arithmetic import isfinite
from chainrule.ops.basic import Constant, Full
from chainrule.ops.compare import logical_not
from chainrule.ops.elementwise import cast


@dataclass(frozen=True)
class Watched:
    """A graph with one more output for each of its float values: how many of its elements are not finite.

    watched: those values of the graph as it was, in order. forward: what its outputs are made of; the rest belongs to
    gradients and updates.
    """

    graph: Graph
    watched: tuple[Value, ...]
    forward: frozenset[Value]

    def complaint(self, counts: Sequence[Array]) -> NumericsError | None:
        """The error about the first value that is not finite although all it is made of is; None if all are.

        Constants may hold infinities (the -inf of a mask); what uses them is then not judged.
        """
        bad = {v: int(count) for v, count in zip(self.watched, counts, strict=True) if int(count)}
        for value, count in bad.items():
            if not isinstance(value.op, Constant | Full) and not any(v in bad for v in _operands(value)):
                return _error(value, count, value in self.forward)
        return None


def watch(graph: Graph) -> Watched:
    """The graph, watched."""
    values = tuple(v for v in graph.nodes if isinstance(v.type, TensorType) and v.dtype.is_float)
    counts = tuple(reduce.sum(cast(logical_not(isfinite(v)), i64)) for v in values)
    names = (*graph.output_names, *(f"nonfinite{i}" for i in range(len(counts)))) if graph.output_names else ()
    more = graph.replace(outputs=(*graph.outputs, *counts), output_names=names)
    return Watched(more, values, frozenset(reachable(graph.outputs)))


def _operands(value: Value) -> tuple[Value, ...]:
    return value.inputs[0].inputs if isinstance(value.op, Get) else value.inputs


def _error(value: Value, count: int, forward: bool) -> NumericsError:
    if isinstance(value.op, Input):
        role = {"input": "input", "param": "parameter", "state": "state"}[value.op.role]
        return NumericsError(f"{role} {input_name(value)}: {count} of its elements are NaN or infinite",
                             notes=[f"{input_name(value)}: {value.type}"],
                             help="clean the data before the call")  # fmt: skip
    node = value.inputs[0] if isinstance(value.op, Get) else value
    names = node.op.argument_names(len(node.inputs))
    where = "" if forward else ", in the gradients or the update"
    return NumericsError(f"{node.op.mnemonic}: {count} of its elements are NaN or infinite{where}", loc=value.loc,
                         notes=[f"{name}: {v.type}" for name, v in zip(names, node.inputs, strict=False)],
                         help="its inputs are finite: hold them where the op is defined")  # fmt: skip
