"""The graph that a file was written from, noted in the file's metadata as text.

Most ops have no ONNX op of their own: an integer quotient becomes seven nodes with guards, a loss a dozen. Read as they
stand, these would get guards around their guards when they are written again. The note says what they were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from chainrule.ir.graph import Graph, Input, Value, input_name, new_input, on_inputs, rewrite
from chainrule.ir.op import Array
from chainrule.ir.text import INLINE_ELEMENTS, text
from chainrule.ops.basic import Constant

NOTE = "chainrule.graph"  # metadata: the text of the graph; large constants are inputs behind its own
STORED = "chainrule.constants"  # metadata: the initializers that those inputs are, as a JSON list


def note_of(graph: Graph, names: Sequence[str], stored: Mapping[str, Array]) -> dict[str, str]:
    """The note of a graph, as metadata. names: of its inputs in the file; stored: the constants that the file holds."""
    held = {id(array): name for name, array in stored.items()}
    places: dict[str, Value] = {}

    def placed(node: Value, inputs: tuple[Value, ...]) -> Value | None:
        if not isinstance(node.op, Constant) or node.op.data.array.size <= INLINE_ELEMENTS:
            return None
        name = held.get(id(node.op.data.array))
        return None if name is None else places.setdefault(name, new_input(name, node.tensor, "state"))

    outlined = rewrite(_named(graph, names), placed)
    return {NOTE: text(outlined.replace(inputs=(*outlined.inputs, *places.values()))), STORED: json.dumps([*places])}


def _named(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph with its inputs called so: two of one name have different ones in a file."""
    if [input_name(v) for v in graph.inputs] == list(names):
        return graph
    return on_inputs(graph, [new_input(name, v.tensor, v.op.role) for v, name in zip(graph.inputs, names, strict=True)
                             if isinstance(v.op, Input)])  # fmt: skip
