"""ONNX ops whose results are as large as the data says, and that chainrule has no op for."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.importing.readers_images import Read, Reader
from chainrule.backends.onnx.node import Given
from chainrule.errors import ModelError
from chainrule.ir.types import bool_
from chainrule.ops import selecting as ops
from chainrule.ops.indexing import gather
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.shaping import reshape


def compressed(given: Given) -> Read:
    """The slices along an axis, or the elements, at whose place the condition is true; it may be shorter."""
    x, condition = given.value(0), given.value(1)
    if condition.rank != 1 or condition.dtype != bool_:
        raise ModelError(f"Compress: the condition is {condition.type}", help="it is a vector of bool")
    along = given.attribute("axis") is not None
    x, axis = (x, axis_of(given.whole("axis"), x.rank)) if along else (ops.flattened(x), 0)
    places = ops.nonzero(condition, given.told(ops.nonzero_count(condition), "compress"))
    return gather(x, reshape(places, places.shape[1:]), axis)


READERS: Mapping[str, Reader] = {"Compress": compressed}
