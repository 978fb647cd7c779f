"""Attributes of ONNX nodes as Python values."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, NodeProto

from chainrule.backends.onnx.importing.files import Tensors
from chainrule.backends.onnx.importing.scope import Arguments
from chainrule.errors import ModelError, NotSupported


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs among a node's attributes."""
    for item in node.attribute:
        if item.type == AttributeProto.GRAPH:
            yield item.g
        elif item.type == AttributeProto.GRAPHS:
            yield from item.graphs


def plain_attributes(node: NodeProto, tensors: Tensors, arguments: Arguments | None) -> dict[str, object]:
    """All attributes but graphs. arguments: inside a function, what its attributes refer to.

    One that refers to an attribute which the call leaves out is left out too.
    """
    found: dict[str, object] = {}
    seen: set[str] = set()
    for item in node.attribute:
        if item.name in seen:
            raise ModelError(f"the attribute {item.name} occurs twice")
        seen.add(item.name)
        if item.ref_attr_name:
            if arguments is None:
                raise ModelError(f"the attribute {item.name} refers to {item.ref_attr_name} outside of a function")
            if item.ref_attr_name in arguments.attributes:
                found[item.name] = arguments.attributes[item.ref_attr_name]
        elif item.type != AttributeProto.GRAPH:
            found[item.name] = attribute(item, tensors)
    return found


def attribute(item: AttributeProto, tensors: Tensors) -> object:
    """The value of one attribute: a number, a text, an array, a type, or a tuple of numbers or texts."""
    match item.type:
        case AttributeProto.FLOAT:
            return item.f
        case AttributeProto.INT:
            return item.i
        case AttributeProto.STRING:
            return item.s.decode("utf-8", "replace")
        case AttributeProto.TENSOR:
            return tensors.array(item.t)
        case AttributeProto.SPARSE_TENSOR:
            return tensors.dense(item.sparse_tensor)
        case AttributeProto.FLOATS:
            return tuple(item.floats)
        case AttributeProto.INTS:
            return tuple(item.ints)
        case AttributeProto.STRINGS:
            return tuple(s.decode("utf-8", "replace") for s in item.strings)
        case AttributeProto.TYPE_PROTO:
            return item.tp  # of an optional that holds nothing
        case _:
            raise NotSupported(f"the attribute {item.name} is of a kind not built")
