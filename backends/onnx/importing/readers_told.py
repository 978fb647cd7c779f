"""ONNX ops whose results are as large as the data says, and that chainrule has no op for, or not in that form."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.importing.readers_control import moved
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError
from chainrule.ir.dims import dim_product
from chainrule.ir.graph import Graph, Value, build, new_input, results
from chainrule.ir.types import TensorType, bool_, i64
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import selecting as ops
from chainrule.ops.basic import constant, full
from chainrule.ops.compare import ne
from chainrule.ops.control import scan
from chainrule.ops.cumulative import cumsum
from chainrule.ops.indexing import gather, scatter
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.shaping import reshape
from chainrule.ops.sorting import argsort


def compressed(given: Given) -> Read:
    """The slices along an axis, or the elements, at whose place the condition is true; it may be shorter."""
    x, condition = given.value(0), given.value(1)
    if condition.rank != 1 or condition.dtype != bool_:
        raise ModelError(f"Compress: the condition is {condition.type}", help="it is a vector of bool")
    along = given.attribute("axis") is not None
    x, axis = (x, axis_of(given.whole("axis"), x.rank)) if along else (ops.flattened(x), 0)
    places = ops.nonzero(condition, given.told(ops.nonzero_count(condition), "compress"))
    return gather(x, reshape(places, places.shape[1:]), axis)


def distinct_slices(given: Given) -> Read:
    """The distinct slices along an axis, in the order of their elements or as they first occur."""
    x, axis = given.value(0), axis_of(given.whole("axis"), given.value(0).rank)
    numbers = _ranks(x, axis)
    count = given.told(ops.unique_count(numbers), "unique")
    _, first, inverse, counts = results(build(ops.Unique(count, bool(given.whole("sorted", 1))), numbers))
    return gather(x, first, axis), first, inverse, counts


def _ranks(x: Value, axis: int) -> Value:
    """A number for each slice along an axis, smaller for one that comes earlier in the order of their elements.

    The slices are sorted by their last elements, then by those before them: each sort keeps what those before it did.
    """
    size = x.shape[axis]
    others = [dim for i, dim in enumerate(x.shape) if i != axis]
    columns = reshape(moved(x, axis, x.rank - 1), (dim_product(others), size))
    order, column = new_input("order", TensorType(i64, (size,))), new_input("column", x.tensor.with_shape((size,)))
    body = Graph("by_one", (order, column), (gather(order, argsort(gather(column, order, 0), 0), 0),))
    (sorted_by_all,) = scan(body, [iota((size,), 0, i64)], [columns], [], columns.shape[0], reverse=True)
    ordered = gather(columns, sorted_by_all, 1)
    place = iota((size,), 0, i64)
    before = gather(ordered, el.maximum(el.sub(place, constant(1, i64)), constant(0, i64)), 1)
    changes = red.sum(el.cast(ne(ordered, before), i64), 0)
    number = cumsum(el.cast(ne(changes, constant(0, i64)), i64), 0)
    return scatter(full(0, (size,), i64), sorted_by_all, number, 0)


READERS: Mapping[str, Reader] = {"Compress": compressed, "Unique": distinct_slices}
