"""A model cut short: it gives what the last node before an output takes, where that output alone tells too little."""

from __future__ import annotations

from onnx import ModelProto, ValueInfoProto


def up_to_argument(source: bytes, output: str, op_type: str) -> bytes | None:
    """The model that gives what the node of this type takes that makes an output; None where none of the type does."""
    model = ModelProto.FromString(source)
    argument = next((n.input[0] for n in model.graph.node if n.op_type == op_type and output in n.output), None)
    if argument is None:
        return None
    del model.graph.output[:]
    model.graph.output.append(ValueInfoProto(name=argument))
    return model.SerializeToString()
