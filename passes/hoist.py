"""Splits off what depends on the weights alone, so that it is computed once per set of weights and not per call.

Packing, transposing and scaling of weights are ordinary nodes; this split is what makes them free at inference. The
weights stay parameters of the first part, so a compiled program can be given new ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.ir.graph import Graph, Input, Value, new_input, rebuild, remapped, symbols_of
from chainrule.ir.types import TensorType
from chainrule.loc import using
from chainrule.ops.basic import Constant, Full, SizeOf


@dataclass(frozen=True)
class Split:
    """prepare computes the values that main takes as extra params, from the params and state of the whole.

    prepare.outputs[i] is the value of main's input `prepared[i]`. kept: the params and state that main still reads.
    """

    prepare: Graph
    main: Graph
    prepared: tuple[Value, ...]


def hoist(graph: Graph) -> Split:
    """The split of a graph at the border between what depends on call inputs and what does not.

    State that an update changes counts as a call input. Only values made of such values are hoisted, where no type or
    attribute holds a named size (sizes are those of call inputs), and none that is a bare param or cheap to make again
    (constants, filled arrays).
    """
    changing = {state for state, _ in graph.updates}
    fixed: set[Value] = {v for v in graph.by_role("param", "state") if v not in changing}
    depends_on_weights: set[Value] = set(fixed)
    for node in graph.nodes:
        if isinstance(node.op, Input) or not _is_static(node):
            continue
        if node.inputs and all(v in fixed for v in node.inputs):
            fixed.add(node)
            if any(v in depends_on_weights for v in node.inputs):
                depends_on_weights.add(node)
        elif isinstance(node.op, Constant | Full):
            fixed.add(node)
    border = [n for n in _border(graph, fixed) if _worth_keeping(n, depends_on_weights)]
    with using(()):
        inputs = tuple(new_input(f"prepared.{i}", v.tensor, "param") for i, v in enumerate(border))
    main = _cut(graph, dict(zip(border, inputs, strict=True)))
    weights = tuple(v for v in graph.inputs if v in fixed)
    prepare = Graph(f"{graph.name}_prepare", weights, tuple(border))
    return Split(prepare, main, inputs)


def _border(graph: Graph, fixed: set[Value]) -> list[Value]:
    """The fixed single-result values that something unfixed or an output uses."""
    outer = set(graph.results)
    return [n for n in graph.nodes
            if n in fixed and isinstance(n.type, TensorType)
            and (n in outer or any(u not in fixed for u in graph.users[n]))]  # fmt: skip


def _worth_keeping(node: Value, depends_on_weights: set[Value]) -> bool:
    if isinstance(node.op, Input | Constant | Full | SizeOf):
        return False
    return node in depends_on_weights or bool(node.inputs)


def _is_static(node: Value) -> bool:
    """True for a node without sizes of a call, in its type or in its attributes (a slice's begin)."""
    return not symbols_of(node)


def _cut(graph: Graph, replaced: dict[Value, Value]) -> Graph:
    done: dict[Value, Value] = dict(replaced)
    live = Graph(graph.name, graph.inputs, graph.outputs, graph.updates)
    for node in live.nodes:
        if node in done:
            continue
        if isinstance(node.op, Input):
            done[node] = node
        else:
            done[node] = rebuild(node, tuple(done[v] for v in node.inputs))
    cut = remapped(graph, done)
    used = set(cut.replace(inputs=()).nodes)
    keep = tuple(v for v in graph.inputs if isinstance(v.op, Input) and (v.op.role == "input" or v in used or v in
                 {s for s, _ in graph.updates}))  # fmt: skip
    return cut.replace(inputs=keep + tuple(replaced.values()))
