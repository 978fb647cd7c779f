"""Functions that a model brings along: found by name, refused where they call themselves or grow too far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import FunctionProto, ModelProto, NodeProto

from chainrule.backends.onnx.importing.attributes import graphs_of
from chainrule.backends.onnx.importing.domains import domain_of
from chainrule.errors import ModelError

MOST_EXPANDED = 1 << 14  # nodes that calls may expand to in any model
GROWTH = 16  # in a large one, that many for each node in the file

Key = tuple[str, str, str]


class Functions:
    """The functions of one model. Raises ModelError for one that stands twice, calls itself, or expands too far."""

    def __init__(self, model: ModelProto, label: str) -> None:
        self.label = label
        self.table: dict[Key, FunctionProto] = {}
        for function in model.functions:
            key = (domain_of(function.domain), function.name, function.overload)
            if key in self.table:
                raise ModelError(f"{label}: the function {function.name!r} is defined twice")
            self.table[key] = function
        if self.table:
            self._check_growth(model)

    def called(self, node: NodeProto) -> FunctionProto | None:
        """The function that a node calls; None for an op."""
        return self.table.get(_key(node)) if self.table else None

    def _check_growth(self, model: ModelProto) -> None:
        weights = self._weights()
        count = sum(1 for _ in nodes_within(model.graph.node))
        expanded = sum(weights.get(_key(node), 1) for node in nodes_within(model.graph.node))
        if expanded > max(MOST_EXPANDED, GROWTH * count):
            raise ModelError(f"{self.label}: its {count} nodes call functions that expand to {expanded}",
                             help=f"at most {MOST_EXPANDED}, or {GROWTH} for each, are read")  # fmt: skip

    def _weights(self) -> dict[Key, int]:
        """How many nodes a call of each function expands to."""
        callees = {key: [_key(n) for n in nodes_within(f.node)] for key, f in self.table.items()}
        weights: dict[Key, int] = {}
        for root in self.table:
            path = {root: None}  # in order, the last is looked at
            while path:
                key = next(reversed(path))
                waiting = next((k for k in callees[key] if k in self.table and k not in weights), None)
                if waiting is None:
                    weights[key] = 1 + sum(weights.get(k, 1) for k in callees[key])
                    del path[key]
                elif waiting in path:
                    raise ModelError(f"{self.label}: the function {waiting[1]!r} calls itself")
                else:
                    path[waiting] = None
        return weights


def nodes_within(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and those of the graphs inside them."""
    waiting: list[Iterable[NodeProto]] = [nodes]
    while waiting:
        for node in waiting.pop():
            yield node
            waiting.extend(graph.node for graph in graphs_of(node))


def _key(node: NodeProto) -> Key:
    return domain_of(node.domain), node.op_type, node.overload
