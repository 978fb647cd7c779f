"""Functions whose results are as large as the data says. Their sizes are symbols that the program itself tells.

Outside of a trace the sizes are numbers. In the body of a loop or branch such sizes are not built.
"""

from __future__ import annotations

from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.frontend import eager
from chainrule.frontend import scope as scopes
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, value_of, wrap
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build, results
from chainrule.ops import indexing, shaping, suppression
from chainrule.ops import selecting as ops
from chainrule.ops.suppression import NonMaxSuppression


def nonzero(x: Operand) -> tuple[Tensor, ...]:
    """The positions of the elements that are not zero: for each axis of x one i64[K], in row-major order."""
    with located():
        value = value_of(x, "nonzero")
        if value.rank == 0:
            raise error(ArgumentError, "nonzero: a scalar has no positions", help="reshape it to one axis")
        found = _places(value)
        return tuple(wrap(shaping.reshape(shaping.narrow(found, 0, i, 1), found.shape[1:])) for i in range(value.rank))


def boolean_mask(x: Operand, mask: Operand) -> Tensor:
    """The slices of x where the mask is true: x[mask]. x: [*M, *S], mask: bool[*M] -> [K, *S]. Differentiable in x."""
    with located():
        value, where = value_of(x, "boolean_mask"), value_of(mask, "boolean_mask")
        rank = where.rank
        if rank == 0 or where.dtype.name != "bool":
            raise error(ArgumentError, f"boolean_mask: the mask is {where.type}", help="it is bool, with an axis")
        if value.shape[:rank] != where.shape:
            raise error(ShapeError, f"boolean_mask: the mask {where.type} does not fit {value.type}",
                        help="its axes are the first axes of x")  # fmt: skip
        places = _places(ops.flattened(where))
        rows = shaping.reshape(value, (dim_product(where.shape), *value.shape[rank:]))
        return wrap(indexing.gather(rows, shaping.reshape(places, places.shape[1:]), 0))


def unique(x: Operand, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
           sorted: bool = True) -> Tensor | tuple[Tensor, ...]:  # fmt: skip
    """The distinct elements of x, ascending; with first positions, the inverse and counts on demand, all flat.

    sorted: False leaves them as they first occur. Every NaN is distinct.
    """
    with located():
        flat = ops.flattened(value_of(x, "unique"))
        values, first, inverse, counts = ops.unique(flat, _told(ops.unique_count(flat), "unique"), sorted)
        asked = (True, return_index, return_inverse, return_counts)
        found = tuple(wrap(v) for v, wanted in zip((values, first, inverse, counts), asked, strict=True) if wanted)
        return found if len(found) > 1 else wrap(values)


def non_max_suppression(boxes: Operand, scores: Operand, max_output_boxes_per_class: int, iou_threshold: float = 0.0,
                        score_threshold: float | None = None, center_point_box: bool = False) -> Tensor:  # fmt: skip
    """Of boxes that overlap the best: i64[K, 3], batch, class and number of each, by batch, class, falling score.

    boxes: [B, N, 4], two corners (y, x, y, x), or center and size; scores: [B, C, N].
    """
    with located():
        values = value_of(boxes, "non_max_suppression"), value_of(scores, "non_max_suppression")
        score = None if score_threshold is None else float(score_threshold)
        op = NonMaxSuppression(0, max_output_boxes_per_class, float(iou_threshold), score, center_point_box)
        kept, _ = results(build(op.keeping, *values))
        count = _told(ops.nonzero_count(kept), "boxes")
        return wrap(build(suppression.with_count(op, count), *values))


def _places(value: Value) -> Value:
    return ops.nonzero(value, _told(ops.nonzero_count(value), "nonzero"))


def _told(value: Value, name: str) -> Dim:
    """A size that the program tells: a symbol of the running trace; outside of one, the number."""
    scope = scopes.current()
    if scope is None:
        return int(eager.evaluate(value))
    if scope.in_body:
        raise error(NotSupported, f"{name}: sizes that depend on data are not built in the body of a loop or branch",
                    help="compute them before the loop, or mask instead: cr.where")  # fmt: skip
    return scope.told(value, name)
